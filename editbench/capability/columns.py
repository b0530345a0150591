"""What a task reads of its documents, to say why data found in a folder does not fit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, TemplateError, meta

from editbench.capability.local_data import LocalDataset, read_rows

_READERS = ("doc_to_text", "doc_to_target", "doc_to_choice", "process_docs", "process_results")
_SUBSCRIPT = re.compile(r"""\bdoc(?:\[|\.get\()\s*["'](\w+)["']""")


def columns_read(config: Mapping[str, Any]) -> set[str]:
    """Return the columns that a task's templates and functions name, as far as can be seen."""
    return {name for key in _READERS for name in _named(config.get(key))}


def _named(given: Any) -> set[str]:
    if isinstance(given, str):
        if "{" not in given:
            return {given} if given.isidentifier() else set()
        try:
            return meta.find_undeclared_variables(Environment(autoescape=True).parse(given))
        except TemplateError:
            return set()
    try:
        return set(_SUBSCRIPT.findall(inspect.getsource(given))) if callable(given) else set()
    except (OSError, TypeError):
        return set()


def misfit(files: LocalDataset, config: Mapping[str, Any], said: str) -> str:
    """Return why a task could not be made from files that were found: their columns and those it reads, or ``said``."""
    path = files.files[0]
    rows = read_rows(path)
    there, read = list(rows[0]) if rows else [], columns_read(config)
    if read <= set(there):
        return f"{path} was found, but cannot be used: {said}"
    wanted = ", ".join(sorted(read))
    return f"{path} was found, but its columns do not fit: it has {', '.join(there)}; the task reads {wanted} ({said})"

"""How a task's answers are scored, as a hash: its configuration, and the Python code that it names."""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

# Keys of a task's configuration that decide outcomes beside the prompts.
_SCORING = (
    *("output_type", "metric_list", "filter_list", "repeats", "process_results", "generation_kwargs"),
    *("doc_to_text", "doc_to_target", "doc_to_choice"),
)


def scoring(task: Any) -> str:
    """Return 16 hex digits of how a task's answers are scored."""
    found = {key: task.get_config(key) for key in _SCORING}
    text = json.dumps([found, _code(type(task))], sort_keys=True, default=_code)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(value: Any) -> list[str]:
    """Return the name of a function or class and the hash of its source: a name may come to mean something else."""
    while isinstance(value, partial):
        value = value.func
    named = value if hasattr(value, "__qualname__") else type(value)
    return [str(named.__qualname__), _source_hash(named)]


def _source_hash(named: Any) -> str:
    """Return the hash of the Python files of the folder it is written in, for it may call what is there; "" if none."""
    try:
        file = Path(inspect.getsourcefile(named) or "")
    except TypeError:  # built in
        return ""
    if not file.is_file():
        return ""
    digest = hashlib.sha256()
    for path in sorted(file.parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]

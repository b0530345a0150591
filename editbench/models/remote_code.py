"""The code that comes with a model: which files and classes its configuration names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def own_code(name: str, revision: str | None = None) -> str:
    """Return what transformers would run of a model's own code: ``NetForCausalLM of modeling_net.py``, with commas.

    ``name`` is a folder, or a hub id whose configuration has been fetched. "" where nothing can be read of it.
    """
    found = (named for file in ("config.json", "tokenizer_config.json") for named in _named(name, revision, file))
    return ", ".join(dict.fromkeys(found))


def _named(name: str, revision: str | None, file: str) -> Iterator[str]:
    path = _path(name, revision, file)
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return
    auto_map = config.get("auto_map") if isinstance(config, dict) else None
    for given in auto_map.values() if isinstance(auto_map, dict) else ():
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str):
                yield _said(one)


def _said(named: str) -> str:
    """Return ``modeling_net.Net``, or ``owner/repository--modeling_net.Net``, as words."""
    where, _, what = named.rpartition("--")
    module, _, kind = what.rpartition(".")
    return f"{kind} of {where + '/' if where else ''}{module.replace('.', '/')}.py"


def _path(name: str, revision: str | None, file: str) -> Path | None:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder / file
    from huggingface_hub import try_to_load_from_cache

    try:
        cached: Any = try_to_load_from_cache(name, file, revision=revision)
    except ValueError:  # no hub id
        return None
    return Path(cached) if isinstance(cached, str) else None

"""Which tasks, groups and tags there are: lm-eval's own and those of a folder, remembered between runs.

lm-eval reads thousands of YAML files to know its names, which takes seconds to half a minute. What it found is kept
by its version, and for a folder by the content of its files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from editbench.base.parsing import Unparsable, compose_yaml, read_text
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.cache import Cache

GROUP, TAG, TASK = "GROUP", "TAG", "TASK"
# Part of the key under which an index is kept: raised when what is kept of a name changes.
_FORM = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A name that lm-eval can load.

    Attributes
    ----------
    name: what users type.
    kind: ``TASK``, ``PY_TASK``, ``GROUP`` or ``TAG``.
    path: its YAML file; None for a tag.
    members: for a group or a tag, the names in it; those that a group defines in its own file are left out.
    """

    name: str
    kind: str
    path: Path | None
    members: tuple[str, ...] = ()


Index = dict[str, Known]


def lm_eval_version() -> str:
    """Return the installed version of lm-eval."""
    return version("lm_eval")


def folder_hash(folder: Path) -> str:
    """Return 16 hex digits of the names and bytes of a folder's files; compiled Python is left out."""
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted(files):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def own_folder() -> Path:
    """Return the folder of the tasks that come with lm-eval, without importing it."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("lm-eval is not installed.", hint='pip install "lm-eval"')
    return Path(spec.submodule_search_locations[0]) / "tasks"


def own_index(cache: Cache) -> Index:
    """Return the tasks that come with lm-eval."""
    return _index(own_folder(), "its own", cache)


def folder_index(folder: Path, cache: Cache) -> Index:
    """Return the tasks of a folder of YAML. Raises :class:`UserError` if there are none."""
    if not folder.is_dir():
        raise UserError(f"There is no folder of tasks {folder}.", "Expected a folder with YAML files for lm-eval.")
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        _refuse_broken(path)
    found = _index(folder.resolve(), folder_hash(folder), cache)
    if not found:
        raise UserError(f"The folder {folder} holds no task.", "Expected YAML files with the key 'task' or 'group'.")
    return found


def _refuse_broken(path: Path, on_the_way: tuple[Path, ...] = ()) -> None:
    """Raise :class:`UserError` for what lm-eval would leave out without a word.

    That is what is no YAML (tags are not looked at), what includes a file that is not there, and a task in a ``.yml``.
    """
    try:
        root = compose_yaml(read_text(path))
    except Unparsable as error:
        raise UserError(f"{path} is no valid YAML: {error}.", hint="Mend it, or take it out.") from error
    keys = {str(key.value): value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if path.suffix == ".yml" and not on_the_way and {"task", "group"} & set(keys):
        raise UserError(f"{path} describes a task, but lm-eval reads files named .yaml alone.", hint="Rename it.")
    given = keys.get("include")
    for node in given.value if isinstance(given, yaml.SequenceNode) else [given] if given else []:
        included = path.parent / str(node.value)
        if not included.is_file():
            raise UserError(f"{path} includes {node.value}, which is not there.", f"Expected {included}.")
        if included not in on_the_way:
            _refuse_broken(included, (*on_the_way, path))


def _index(root: Path, content: str, cache: Cache) -> Index:
    parts = {"lm_eval": lm_eval_version(), "content": content, "form": _FORM}
    kept = cache.load_json("capability-names", parts)
    if kept is None:
        kept = _read(root)
        cache.save_json("capability-names", parts, kept)
    return {name: Known(name, k, root / path if path else None, tuple(of)) for name, (k, path, of) in kept.items()}


def _read(root: Path) -> dict[str, list[Any]]:
    from editbench.capability.lm_eval_parts import TaskManager
    from editbench.capability.quiet import quiet_loggers

    with quiet_loggers():
        entries = TaskManager(include_path=str(root), include_defaults=False).task_index
    found = {}
    for name, entry in entries.items():
        path = entry.yaml_path.relative_to(root).as_posix() if entry.yaml_path else ""
        found[name] = [entry.kind.name, path, _members(entry)]
    return found


def _members(entry: Any) -> list[str]:
    if entry.kind.name == TAG:
        return sorted(entry.tags)
    listed = (entry.cfg or {}).get("task") if entry.kind.name == GROUP else None
    named = [item.get("group") or item.get("task") if isinstance(item, dict) else item for item in listed or []]
    return [name for name in named if isinstance(name, str)]

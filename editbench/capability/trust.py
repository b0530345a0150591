"""Code that comes with data: what a task would run, and that it runs only where somebody asked for it.

A task's YAML may name Python functions (``!function``), its own class, and metrics that are programs. Those of
lm-eval's own tasks and of the core tasks were installed as code. All others came as data, which nobody expects to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from editbench.capability.index import GROUP, TAG, Index, own_folder
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.capability.tasks import Wanted

FLAG = "--trust-task-code"

_MOST_NAMED = 5
# `dataset_path` of data that are unpickled, which runs what is in them.
_PICKLES = "pandas"


class UntrustedCode(UserError):
    """Data that bring code, without the word that it may run. What would run is named."""


def _untrusted(given: str) -> UntrustedCode:
    expected = "Code that comes with data runs only where it is asked for."
    return UntrustedCode(given, expected, f"If you trust it: {FLAG}")


@dataclass(frozen=True, slots=True)
class Call:
    """A place in a task's YAML that names Python code.

    Attributes
    ----------
    yaml: the file that names it.
    named: what it says, such as ``utils.process_docs``.
    """

    yaml: Path
    named: str

    def __str__(self) -> str:
        """Return what would run: function and file, as lm-eval would look for it."""
        module, _, function = self.named.rpartition(".")
        beside = self.yaml.parent / (module.replace(".", "/") + ".py")
        where = str(beside) if module and beside.is_file() else f"the installed module {module}"
        return f"{function} of {where}"


def refuse_code(wanted: Wanted, trusted: bool) -> None:
    """Raise :class:`UntrustedCode` if a task that is asked for brings code of its own, unless that is ``trusted``.

    Nothing is executed to find out.
    """
    if trusted:
        return
    for name in _within((one.name for one in wanted.asked), wanted.index):
        path = wanted.index[name].path
        found = [] if path is None else list(calls(path))
        if found:
            raise _untrusted(f"The task {name} ({path}) would run code: {_listed(map(str, found))}.")


def calls(path: Path) -> Iterator[Call]:
    """Yield what a task's YAML and the files it includes would import, but for what was installed as code."""
    seen: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file in seen or was_installed(file.parent) or not file.is_file():
            continue
        seen.add(file)
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        functions = (node.value for node in _nodes(root) if node.tag == "!function")
        yield from (Call(file, str(named)) for named in dict.fromkeys(functions))
        waiting += [(file.parent / name).resolve() for name in _included(root)]


def was_installed(folder: Path) -> bool:
    """Return whether YAML in this folder came with lm-eval or editbench, and not as data."""
    from editbench.capability.core_tasks import core_folder

    return any(folder.resolve().is_relative_to(own.resolve()) for own in (own_folder(), core_folder()))


@contextmanager
def watched(trusted: bool) -> Iterator[None]:
    """Within it no code that comes with data is executed, whatever names it; it raises :class:`UntrustedCode`.

    Where it is ``trusted``, everything runs.
    """
    if trusted:
        yield
        return
    from editbench.capability.lm_eval_parts import watched_code

    with watched_code(_refuse):
        yield


def _refuse(named: str, folder: Path | None) -> None:
    if folder is None:
        raise _untrusted(f"{named} would run, which is fetched as data")
    if not was_installed(folder):
        raise _untrusted(f"{Call(folder / '*.yaml', named)} would run, which a task in {folder} names")


def refuse_programs(config: Mapping[str, Any], knows_metric: Callable[[str], bool], trusted: bool) -> None:
    """Raise :class:`UntrustedCode` for what a task's configuration runs without naming a function.

    That is a metric that is a program of the evaluate library (a file, or one from the hub), and pickled data.
    """
    if trusted:
        return
    if config.get("dataset_path") == _PICKLES:
        raise _untrusted(f"its documents are pickled (dataset_path: {_PICKLES}), and to read them runs what they say")
    if config.get("process_results") is not None:
        return  # then the names are labels of what that function returns
    for metric in config.get("metric_list") or ():
        name = metric.get("metric")
        if isinstance(name, str) and (metric.get("hf_evaluate") is True or not knows_metric(name)):
            raise _untrusted(f"its metric {name} is none of lm-eval's but a program of the evaluate library")


def _within(names: Iterable[str], index: Index) -> list[str]:
    """Return these tasks, and those that their groups and tags hold, each once."""
    found: dict[str, None] = {}
    waiting = list(names)[::-1]
    while waiting:
        name = waiting.pop()
        if name in found or name not in index:
            continue
        found[name] = None
        if index[name].kind in (GROUP, TAG):
            waiting += index[name].members[::-1]
    return list(found)


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield every node of a document once: an alias is the node it stands for, which may hold itself."""
    seen: set[int] = set()
    waiting = [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def _included(root: yaml.Node | None) -> list[str]:
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    given = next((value for key, value in pairs if key.value == "include"), None)
    if isinstance(given, yaml.SequenceNode):
        return [str(node.value) for node in given.value]
    return [] if given is None else [str(given.value)]


def _listed(named: Iterable[str]) -> str:
    found = list(dict.fromkeys(named))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more

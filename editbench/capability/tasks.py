"""From what a suite asks for to the tasks it means: named sets, folders of YAML, and every name lm-eval knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.cache import content_key
from editbench.capability.index import GROUP, TAG, Index, folder_hash, folder_index, own_index
from editbench.capability.spec import CapabilitySpec, TaskSpec
from editbench.errors import UnknownName, UserError

if TYPE_CHECKING:
    from editbench.cache import Cache

CORE = "core"

# What each set holds, and what is not known about it, is in docs/capability.md.
SETS: dict[str, tuple[TaskSpec, ...]] = {
    "paper": tuple(TaskSpec(task=name) for name in ("mmlu", "nq_open", "sst2", "wmt16-de-en", "gsm8k")),
    "crispedit": (
        TaskSpec(task="mmlu", num_fewshot=5, limit=200),
        TaskSpec(task="ifeval", limit=200),
        TaskSpec(task="truthfulqa_mc2", limit=200),
        TaskSpec(task="arc_challenge", num_fewshot=25, limit=200),
        TaskSpec(task="gsm8k_cot", num_fewshot=8, limit=200),
    ),
    "leaderboard-like": (
        TaskSpec(task="arc_challenge", num_fewshot=25, metric="acc_norm"),
        TaskSpec(task="hellaswag", num_fewshot=10, metric="acc_norm"),
        TaskSpec(task="mmlu", num_fewshot=5),
        TaskSpec(task="truthfulqa_mc2"),
        TaskSpec(task="winogrande", num_fewshot=5),
        TaskSpec(task="gsm8k", num_fewshot=5),
    ),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One task, group or tag to measure, with its settings.

    Attributes
    ----------
    name: as lm-eval calls it.
    num_fewshot, limit, metric: as in :class:`TaskSpec`, the suite's own settings filled in.
    chat_template: whether prompts are put into the tokeniser's chat template.
    content: hash of the folder it is from; "" for lm-eval's own, which its version names.
    """

    name: str
    num_fewshot: int | None = None
    limit: int | None = None
    metric: str = ""
    chat_template: bool = False
    content: str = ""

    @property
    def key(self) -> str:
        """12 hex digits of everything above: a cell that was measured with another key is measured again."""
        return content_key(self.as_dict())[:12]

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a suite's capability setting means.

    Attributes
    ----------
    asked: the tasks, in order.
    index: every name that may be loaded for them.
    """

    asked: tuple[Asked, ...]
    index: Index


def resolve(spec: CapabilitySpec, cache: Cache) -> Wanted:
    """Return the tasks that a suite asks for.

    Raises :class:`UnknownName` for a name that neither a set, nor lm-eval, nor an included folder knows, and
    :class:`UserError` for a folder without tasks or a task asked for twice.
    """
    names = _Names(spec, cache)
    asked = [one for task in spec.tasks for one in names.asked(task)]
    given = [one.name for one in asked]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"The task {twice!r} is asked for twice.", hint="Name it once, or leave one of the sets out.")
    return Wanted(tuple(asked), names.index)


def lacking(wanted: Sequence[Asked], found: Mapping[str, Any]) -> list[Asked]:
    """Return what a cell's results ``found`` (``cell.json``'s ``capability``) do not hold with these settings."""
    return [one for one in wanted if found.get(one.name, {}).get("settings") != one.key]


class _Names:
    """Looks names up, in the included folders first; lm-eval's own list is read when a name is not in them."""

    def __init__(self, spec: CapabilitySpec, cache: Cache) -> None:
        self.spec, self.cache = spec, cache
        self.index: Index = {}
        self.content: dict[str, str] = {}
        self._own_read = False
        for folder in spec.include:
            self._include(Path(folder).expanduser())

    def asked(self, task: TaskSpec) -> Iterator[Asked]:
        for one in self._members(task):
            shots = self.spec.num_fewshot if self.spec.num_fewshot is not None else one.num_fewshot
            limit = self.spec.limit if self.spec.limit is not None else one.limit
            found = Asked(one.task, shots, limit, one.metric, self.spec.chat_template)
            yield replace(found, content=self.content.get(one.task, ""))

    def _members(self, task: TaskSpec) -> list[TaskSpec]:
        own = task.model_dump(exclude_none=True, exclude={"task"})
        if task.task == CORE:
            tasks = [TaskSpec(task=name) for name in self._core()]
        elif task.task in SETS:
            tasks = list(SETS[task.task])
            for one in tasks:
                self._check(one.task)
        elif _is_path(task.task):
            tasks = [TaskSpec(task=name) for name in self._in_path(Path(task.task).expanduser())]
        else:
            self._check(task.task)
            return [task]
        if not own["metric"]:
            del own["metric"]
        return [one.model_copy(update=own) for one in tasks]

    def _core(self) -> list[str]:
        from editbench.capability.core_tasks import core_folder

        known = self._include(Path(core_folder()))
        return list(known[CORE].members) if CORE in known else _tops(known)

    def _in_path(self, path: Path) -> list[str]:
        if path.is_dir():
            return _tops(self._include(path))
        if not path.is_file():
            raise UserError(f"There is no folder or file of tasks {path}.", "Expected YAML for lm-eval.")
        known = self._include(path.parent)
        found = [name for name, one in known.items() if one.path == path.resolve()]
        if not found:
            raise UserError(f"{path} describes no task.", "Expected YAML with the key 'task' or 'group'.")
        return found

    def _include(self, folder: Path) -> Index:
        known = folder_index(folder, self.cache)
        content = folder_hash(folder)
        self.index = {**self.index, **known}
        self.content.update(dict.fromkeys(known, content))
        return known

    def _check(self, name: str) -> None:
        """Raise :class:`UnknownName` unless there is such a task."""
        if name in self.index:
            return
        if CORE not in self.content:
            self._core()  # cheap, and spares a core task the wait for lm-eval's own list
        if name in self.index:
            return
        if not self._own_read:
            self.index = {**own_index(self.cache), **self.index}
            self._own_read = True
        if name not in self.index:
            known = list(dict.fromkeys([CORE, *SETS, *self.index]))
            raise UnknownName("task", name, known, "All of lm-eval's: lm-eval ls tasks; our sets: docs/capability.md")


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or name.startswith((".", "/", "~")) or Path(name).is_dir()


def _tops(known: Index) -> list[str]:
    """Return the groups and tasks that are in no other group; tags only name what is there anyway."""
    inside = {name for one in known.values() if one.kind == GROUP for name in one.members}
    return sorted(name for name, one in known.items() if one.kind != TAG and name not in inside)

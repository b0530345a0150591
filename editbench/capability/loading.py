"""Tasks with their documents: what can be had, and for the rest the reason why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError

from editbench.capability.columns import misfit
from editbench.capability.hub import Hub
from editbench.capability.index import Index
from editbench.capability.lm_eval_parts import (
    Entry,
    Kind,
    Task,
    TaskFactory,
    TaskManager,
    knows_metric,
    sandbox_templates,
)
from editbench.capability.local_data import LocalData, LocalDataset, described, load
from editbench.capability.quiet import own_random_state, quiet
from editbench.capability.tasks import Asked
from editbench.capability.trust import UntrustedCode, refuse_programs, watched
from editbench.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Loaded:
    """What was asked for, ready to be measured.

    Attributes
    ----------
    asked: the task, group or tag, and the settings.
    tasks: its tasks by name; one, unless it is a group or a tag.
    group: lm-eval's group, which knows how its tasks are put together; None for a task or a tag.
    failed: task, or what was asked for itself -> why it cannot be had.
    data: task -> where its documents are from, for the manifest.
    """

    asked: Asked
    tasks: dict[str, Any] = field(default_factory=dict)
    group: Any = None
    failed: dict[str, str] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of the task or group; several joined for a tag."""
        if self.group is not None:
            return str(self.group.version)
        return "/".join(sorted({str(task.VERSION) for task in self.tasks.values()})) or "N/A"

    @property
    def is_group(self) -> bool:
        """Whether it is made of tasks of other names."""
        return self.group is not None or list(self.tasks) != [self.asked.name]


def load_tasks(
    asked: Asked, index: Index, data: LocalData | None, hub: Hub | None = None, *, trusted: bool = False
) -> Loaded:
    """Load a task, group or tag. What cannot be had is in ``failed``; nothing is raised for it.

    ``hub`` is what is known of the hub already; ``trusted`` is whether code that comes with a task may run.
    """
    found = Loaded(asked)
    manager = _Manager(index, _Factory(asked, data, hub or Hub(), found, trusted))
    try:
        with quiet(), own_random_state(), watched(trusted):
            built = manager.load([asked.name])
    except Exception as error:
        found.failed[asked.name] = explain(error)
        return found
    found.tasks = {name: task for name, task in built["tasks"].items() if not isinstance(task, _Missing)}
    found.group = built.get("groups", {}).get(asked.name)
    if not found.tasks and not found.failed:
        found.failed[asked.name] = "it holds no task"
    for name, task in found.tasks.items():
        _set_shots(task, asked.num_fewshot)
        found.data.setdefault(name, _hub_data(task))
    return found


def explain(error: BaseException) -> str:
    """Return why a task failed, in one line."""
    kind = type(error).__name__
    if isinstance(error, UntrustedCode):
        return f"{error.given} ({error.hint[0].lower()}{error.hint[1:]})"
    if isinstance(error, SecurityError):
        return f"a template does what Jinja's sandbox forbids: {error}"
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, UserError):
        return said
    return f"{kind}: {said}" if said else kind


class _Missing(Task):  # type: ignore[misc]
    """Stands in a group for a task whose documents cannot be had, so that the others are loaded all the same."""

    def __init__(self, name: str) -> None:
        self._name = name

    task_name = property(lambda self: self._name)

    def _none(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError

    has_training_docs = has_validation_docs = has_test_docs = doc_to_text = doc_to_target = _none
    construct_requests = process_results = aggregation = higher_is_better = _none


class _Manager(TaskManager):  # type: ignore[misc]
    """lm-eval's own, with names from a remembered index and a factory that knows of local data."""

    def __init__(self, index: Index, factory: _Factory) -> None:
        sandbox_templates()
        super().__init__(include_defaults=False)
        self._factory = factory
        for name, known in index.items():
            members = set(known.members) if known.kind == Kind.TAG.name else set()
            self.task_index[name] = Entry(name, Kind[known.kind], known.path, None, members)


class _Factory(TaskFactory):  # type: ignore[misc]
    def __init__(self, asked: Asked, data: LocalData | None, hub: Hub, found: Loaded, trusted: bool) -> None:
        super().__init__()
        self.asked, self.data, self.hub, self.found, self.trusted = asked, data, hub, found, trusted
        self.local: dict[str, LocalDataset] = {}  # task -> the files taken from the folder of local data

    def _build_task(self, entry: Entry, overrides: dict[str, Any] | None) -> Any:
        config: dict[str, Any] = {}
        try:
            config = self._load_full_config(entry, overrides)
            refuse_programs(config, knows_metric, self.trusted)
            changes = self._beside(entry, config) or self._local(config)
            with nullcontext() if changes else self.hub.at_hand():
                return super()._build_task(entry, {**(overrides or {}), **changes})
        except Exception as error:
            self.found.failed[entry.name] = self._why(error, config)
            return _Missing(entry.name)

    def _why(self, error: Exception, config: Mapping[str, Any]) -> str:
        said = explain(error)
        if isinstance(error, ConnectionError) and self.hub.why_not:
            said = self.hub.explain(str(config.get("dataset_path") or "its documents"))
        files = self.local.get(str(config.get("task")))
        if files is not None and not isinstance(error, UserError):
            return misfit(files, config, said)
        return said + (f", nor is it in {self.data.folder}" if self.data and not isinstance(error, UserError) else "")

    def _beside(self, entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve data files that lie beside the task's YAML."""
        given = dict(config.get("dataset_kwargs") or {})
        if entry.yaml_path is None or not (given.get("data_files") or given.get("data_dir")):
            return {}
        folder = Path(entry.yaml_path).parent
        paths: list[Path] = []
        for key in ("data_files", "data_dir"):
            if key in given:
                given[key] = _resolved(given[key], folder, paths)
        if not paths:
            return {}
        files = [path for path in paths if path.is_file()]
        self.found.data[entry.name] = {
            "from": "the task's folder",
            "files": described(LocalDataset({"": files}), folder.resolve()),
        }
        return {"dataset_kwargs": given}

    def _local(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Take the documents from the folder of local data, if it has them."""
        dataset, name = str(config.get("dataset_path") or ""), config.get("dataset_name")
        if self.data is None or not dataset or "class" in config:
            return {}
        splits = {key: config.get(key) for key in ("test_split", "validation_split", "training_split", "fewshot_split")}
        examples = dict(config.get("fewshot_config") or {})
        splits["fewshot_config"] = examples.get("split")
        evaluated = splits["test_split"] or splits["validation_split"]
        wanted = list(dict.fromkeys(split for split in splits.values() if split))
        files = self.data.find(dataset, name, wanted, str(evaluated))
        if files is None:
            return {}
        if evaluated not in files.splits:
            raise UserError(f"{self.data.folder} holds no {evaluated} split of {dataset} {name or ''}".rstrip())
        changes = self._without_missing(config, splits, files)
        self.local[str(config["task"])] = files
        self.found.data[str(config["task"])] = {
            "from": "--capability-data",
            "dataset": [dataset, name],
            "files": described(files, self.data.folder),
        }
        return {**changes, "custom_dataset": lambda **_: load(files, dataset, name)}

    def _without_missing(
        self, config: Mapping[str, Any], splits: Mapping[str, Any], files: LocalDataset
    ) -> dict[str, Any]:
        """Return the splits to forget: those that are not there, if no example of them is needed."""
        missing = {key: None for key, split in splits.items() if split and split not in files.splits}
        own = config.get("num_fewshot")
        shots = own if own == 0 or self.asked.num_fewshot is None else self.asked.num_fewshot
        from_split = splits["fewshot_config"] or splits["fewshot_split"] or splits["training_split"]
        has_samples = "samples" in (config.get("fewshot_config") or {})
        if shots and from_split in [splits[key] for key in missing] and not has_samples:
            assert self.data is not None
            raise UserError(f"{self.data.folder} holds no {from_split} split, which its {shots} examples are from")
        if "fewshot_config" in missing:
            examples = dict(config["fewshot_config"])
            examples.pop("split")
            missing["fewshot_config"] = examples or None  # type: ignore[assignment]
        return dict(missing)


def _resolved(given: Any, folder: Path, paths: list[Path]) -> Any:
    """Return ``given`` with what lies in ``folder`` as whole paths, which are added to ``paths``."""
    if isinstance(given, Mapping):
        return {key: _resolved(value, folder, paths) for key, value in given.items()}
    if isinstance(given, list):
        return [_resolved(value, folder, paths) for value in given]
    path = (folder / str(given)).resolve()
    if not path.exists():
        return given
    paths.append(path)
    return str(path)


def _set_shots(task: Any, asked: int | None) -> None:
    """Set the number of examples by lm-eval's own rule: a task that fixes 0 keeps it, one that says nothing has 0."""
    own = task.get_config("num_fewshot")
    if own is None or (asked is not None and own != 0):
        task.set_config(key="num_fewshot", value=asked or 0)


def _hub_data(task: Any) -> dict[str, Any]:
    """Return what is known of where a task's documents are from: the hub's id, and the commit if it left a trace."""
    if task.get_config("custom_dataset") is not None:
        return {"from": "the task itself"}
    dataset = getattr(task, "dataset", None)
    splits = list(dataset.values()) if isinstance(dataset, Mapping) else []
    traces = [str(file.get("filename", "")) for split in splits for file in getattr(split, "cache_files", [])]
    traces += [str(key) for split in splits for key in (getattr(split.info, "download_checksums", None) or {})]
    commits = sorted({commit for trace in traces for commit in _COMMIT.findall(trace)})
    path, name = getattr(task, "DATASET_PATH", None), getattr(task, "DATASET_NAME", None)
    return {"from": "hub", "dataset": [path, name], "revision": commits[0] if len(commits) == 1 else commits or None}

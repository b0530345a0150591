"""Capability of one cell: every task asked for, on the edited model, kept task by task.

``capability.jsonl`` has a line per document; ``capability.json`` an entry for every single task, written after its
lines, so that a killed process goes on with the task it was at. ``cell.json`` gets an entry for each name asked for.
What was asked for earlier, and is not now, stays in all three.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import append_lines, read_json, read_lines, replace_file
from editbench.base.parsing import parse_json
from editbench.cache import Cache
from editbench.capability.baseline import baseline
from editbench.capability.entries import (
    ASKED,
    EDITED,
    LOADING,
    UNEDITED,
    Content,
    Entry,
    NoSuchMetric,
    Pair,
    choose_metric,
    entry_of,
    failed_entry,
    group_entry,
    together,
)
from editbench.capability.evaluate import EditedLM, Measured, documents_hash, measure
from editbench.capability.hub import Hub
from editbench.capability.index import lm_eval_version
from editbench.capability.loading import Loaded, explain, load_tasks
from editbench.capability.local_data import LocalData
from editbench.capability.quiet import own_random_state
from editbench.capability.spec import DOCUMENTS, CapabilitySpec
from editbench.capability.tasks import Asked, resolve
from editbench.capability.trust import watched
from editbench.errors import StoreError

if TYPE_CHECKING:
    from editbench.models.lm import LM

ENTRIES = "capability.json"

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One task to measure: what it was asked for as, its own name, and lm-eval's object."""

    loaded: Loaded
    name: str
    task: Any

    @property
    def asked(self) -> Asked:
        """The settings."""
        return self.loaded.asked

    @property
    def key(self) -> str:
        """What the task is called among a cell's entries: its name, after that of the group it was asked for with."""
        return f"{self.asked.name}/{self.name}" if self.loaded.is_group else self.name


class Bench:
    """A suite's capability tasks, loaded once, and the unedited model's results.

    Parameters
    ----------
    spec: what the suite asks for.
    data: folder of local data, or None for the hub alone.
    cache: for the unedited model's results.
    trusted: whether code that comes with tasks may run.

    Raises :class:`~editbench.errors.UserError` for names or folders that are not there.
    """

    def __init__(self, spec: CapabilitySpec, data: Path | None, cache: Cache, *, trusted: bool = False) -> None:
        self.spec, self.cache, self.trusted = spec, cache, trusted
        self.wanted = resolve(spec, cache)
        self._data = None if data is None else LocalData(data)
        self._loaded: list[Loaded] | None = None
        self._model: EditedLM | None = None
        self._unedited: dict[str, Measured | str] | None = {}
        self._contents: dict[str, Content] = {}

    # -- before the edit

    def baseline(self, lm: LM, report: Report) -> None:
        """Measure the unedited model, or take its results from the cache. ``lm`` must be unedited.

        A task that fails is remembered with its reason.
        """
        if self._model is not None and self._model.edited is lm:
            return
        report(0.0, "loading the capability tasks")
        self._model = EditedLM(lm, self.spec.batch_size)
        unedited = self._unedited = {}
        parts = self._parts()
        for number, part in enumerate(parts):
            tell = _telling(report, number, len(parts), f"unedited model, {part.key}")
            try:
                with self._at_work():  # even to ask lm-eval's tasks for their names draws from it
                    unedited[part.key] = baseline(self._model, part.task, part.asked, self.cache, tell)
            except StoreError:
                raise
            except Exception as error:
                unedited[part.key] = explain(error)

    def without_baseline(self) -> None:
        """Measure without an unedited model from here on: nothing is compared."""
        self._model = self._unedited = None

    def loaded(self) -> list[Loaded]:
        """Return every task asked for, loaded now if it was not yet."""
        if self._loaded is None:
            with self._at_work():
                given = self.wanted.index, self._data, Hub()
                self._loaded = [load_tasks(asked, *given, trusted=self.trusted) for asked in self.wanted.asked]
        return self._loaded

    def changed(self, entries: dict[str, Entry]) -> bool:
        """Return whether a finished cell's tasks are to be measured again.

        So it is if one could not be loaded then and can be now, or has another version or other documents now. What
        cannot be loaded now stays as it is.
        """
        return any(self._differs(one, entries[one.asked.name]) for one in self.loaded() if not one.failed)

    def _differs(self, one: Loaded, entry: Entry) -> bool:
        if entry.get("at") == LOADING:
            return True
        contents = {part.name: self._content(part) for part in self._parts() if part.loaded is one}
        parts = {name: asdict(content) for name, content in contents.items()}
        documents = together(parts) if one.is_group else parts[one.asked.name]["documents"]
        return entry["version"] != one.version or entry.get("documents") not in (None, "", documents)

    def marks(self) -> dict[str, str]:
        """Return what tells cheaply that a cell's tasks may have changed since: lm-eval's version, the local data's."""
        return {"lm_eval": lm_eval_version(), "data": "" if self._data is None else self._data.state}

    def manifest(self) -> dict[str, Any]:
        """Return settings, lm-eval's version, and version, examples and data of every task, for the manifest."""
        tasks = {part.key: _facts(part) for part in self._parts()}
        failed = {one.asked.name: one.failed for one in self.loaded() if one.failed}
        asked = {one.name: one.as_dict() for one in self.wanted.asked}
        head = {"lm_eval": lm_eval_version(), "given": self.spec.model_dump(), "asked": asked}
        return {**head, "tasks": tasks, "not_loaded": failed}

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Let lm-eval work: by its own seeds, and without code that nobody trusts."""
        with own_random_state(), watched(self.trusted):
            yield

    def _parts(self) -> list[Part]:
        return [Part(one, name, task) for one in self.loaded() for name, task in one.tasks.items()]

    def _content(self, part: Part) -> Content:
        if part.key not in self._contents:
            try:
                with self._at_work():
                    documents = documents_hash(part.task, part.asked.limit)
            except Exception:  # why is told when it is measured
                documents = ""
            self._contents[part.key] = Content(str(part.task.VERSION), documents)
        return self._contents[part.key]

    # -- the edited model

    def measure(self, folder: Path, report: Report, lm: LM, *, changed: bool) -> dict[str, Entry]:
        """Measure what is missing in a cell's folder on ``lm``; return an entry for each name asked for.

        ``changed`` is whether any edit has changed the model; if not, the unedited model's results are its own.
        :meth:`baseline` or :meth:`without_baseline` must have been called. Raises :class:`StoreError`.
        """
        if self._model is None or self._model.edited is not lm:  # a model that was edited elsewhere
            self._model = EditedLM(lm, self.spec.batch_size)
        entries = self._kept(folder)
        parts = self._parts()
        for number, part in enumerate(parts):
            if part.key in entries:
                continue
            tell = _telling(report, number, len(parts), part.key)
            entry, lines = self._entry(part, tell, changed)
            append_lines(folder / DOCUMENTS, lines)
            entries[part.key] = entry
            replace_file(folder / ENTRIES, (json.dumps(entries, ensure_ascii=False, indent=1) + "\n").encode())
        with self._at_work():
            return {one.asked.name: {**self._together(one, entries), **self.marks()} for one in self.loaded()}

    def _entry(self, part: Part, report: Callable[[float], None], changed: bool) -> tuple[Entry, list[str]]:
        content = self._content(part)
        unedited = None if self._unedited is None else self._unedited[part.key]
        if isinstance(unedited, str):
            return failed_entry(part.asked, unedited, UNEDITED, content), []
        assert self._model is not None
        try:
            if unedited is not None:
                choose_metric(unedited, part.asked.metric)  # before the time is spent
            with self._at_work():
                as_before = None if changed else unedited
                edited = as_before or measure(self._model, part.task, part.asked, report)
            entry = entry_of(Pair(edited, unedited), part.asked, content)
        except StoreError:
            raise
        except Exception as error:
            at = ASKED if isinstance(error, NoSuchMetric) else EDITED
            return failed_entry(part.asked, explain(error), at, content), []
        shown = {**entry, "metrics": edited.metrics, "unedited_metrics": unedited.metrics if unedited else None}
        return shown, list(_lines(part, edited, unedited, entry["metric"]))

    def _together(self, one: Loaded, entries: dict[str, Entry]) -> Entry:
        if one.asked.name in one.failed:
            return failed_entry(one.asked, one.failed[one.asked.name], LOADING)
        parts = {part.name: entries[part.key] for part in self._parts() if part.loaded is one}
        parts |= {name: failed_entry(one.asked, reason, LOADING) for name, reason in one.failed.items()}
        if one.is_group:
            return group_entry(one.asked, one.group, one.version, parts)
        return {key: value for key, value in parts[one.asked.name].items() if not key.endswith("metrics")}

    def _same(self, entry: Entry, part: Part) -> bool:
        content, documents = self._content(part), entry.get("documents") or ""
        asked_alike = entry["settings"] == part.asked.key and entry["version"] == content.version
        return asked_alike and documents in ("", content.documents)

    def _kept(self, folder: Path) -> dict[str, Entry]:
        """Return the entries of earlier attempts, and drop those that are asked for otherwise now, with their lines."""
        wanted = {part.key: part for part in self._parts()}
        found = (read_json(folder / ENTRIES) or {}).items()
        kept = {
            key: entry
            for key, entry in found
            if key not in wanted or (entry["status"] == "done" and self._same(entry, wanted[key]))
        }
        lines = read_lines(folder / DOCUMENTS)
        left = [line for line in lines if parse_json(line)["task"] in kept]
        if len(left) < len(lines) or len(kept) < len(dict(found)):
            replace_file(folder / DOCUMENTS, "".join(line + "\n" for line in left).encode())
            replace_file(folder / ENTRIES, json.dumps(kept, ensure_ascii=False, indent=1).encode())
        return kept


def _telling(report: Report, number: int, total: int, name: str) -> Callable[[float], None]:
    def tell(share: float) -> None:
        report((number + share) / total, f"{name} ({number + 1} of {total}): {share:.0%}")

    tell(0.0)
    return tell


def _lines(part: Part, edited: Measured, unedited: Measured | None, metric: str) -> Iterator[str]:
    """Yield a line for each document: its outcome by the metric that counts, here and on the unedited model."""
    samples = unedited.samples if unedited else ()
    before = {sample.doc_id: sample.outcomes.get(metric) for sample in samples}
    for sample in edited.samples:
        row = {
            "task": part.key,
            "doc_id": sample.doc_id,
            "doc_hash": sample.doc_hash,
            "metric": metric,
            "outcome": sample.outcomes.get(metric),
            "unedited": before.get(sample.doc_id),
            "outcomes": sample.outcomes,
            "said": sample.said,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _facts(part: Part) -> dict[str, Any]:
    shots = part.task.get_config("num_fewshot")
    return {"version": str(part.task.VERSION), "num_fewshot": shots, "data": part.loaded.data.get(part.name)}

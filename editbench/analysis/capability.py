"""One test in one column: ``capability`` is a mean over tasks, and means over different tasks do not compare.

A cell may hold more tasks than another, or the same with other settings, versions or documents. Of all the tests there
are, a table shows the one with the most values: cells that hold it, times its tasks. Cells that lack some of it have no
value, and it is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from editbench.analysis.documents import read_documents
from editbench.errors import StoreError
from editbench.metrics.capability import countable, counted
from editbench.results.store import CellResult, RunResult

Entries = Mapping[str, Mapping[str, Any]]

_MOST_NAMES = 6
_REASON_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Item:
    """A task of a test: two that differ in any of these are different tasks."""

    task: str
    settings: str
    version: str
    documents: str


Test = frozenset[Item]


def only_asked(runs: Sequence[RunResult], asked: Mapping[str, str]) -> tuple[list[RunResult], list[str]]:
    """Return runs with what ``asked`` (task -> key of its settings) names of each cell's capability, and a note."""
    more = {name for run in runs for cell in run.cells for name in _entries(cell) if name not in asked}

    def asked_of(cell: CellResult) -> Entries:
        return {name: e for name, e in _entries(cell).items() if asked.get(name) == e["settings"]}

    said = [f"Capability is over what was asked for now; measured earlier, and not in it: {_listed(more)}."]
    return _with_entries(runs, asked_of), said if more else []


def with_one_test(runs: Sequence[RunResult]) -> tuple[list[RunResult], list[str]]:
    """Return runs with capability of the same test in every cell or none, and notes if anything was left out."""
    items = _items(runs)
    valid = [frozenset(items[name, id(e)] for name, e in counted(cell.data).items()) for cell in _cells(runs)]
    tests = set(valid) - {frozenset()}
    if len(tests) < 2:
        return list(runs), []
    there = {id(cell): frozenset(items[name, id(e)] for name, e in _countable(cell).items()) for cell in _cells(runs)}
    shown = max(tests, key=lambda test: (len(test) * sum(test <= one for one in there.values()), len(test), _key(test)))
    names = {item.task for item in shown}

    def kept(cell: CellResult) -> Entries:
        return {name: e for name, e in _entries(cell).items() if name in names} if shown <= there[id(cell)] else {}

    odd = _grouped(runs, lambda cell: _lack(shown, there[id(cell)]) if there[id(cell)] else "")
    more = _grouped(runs, lambda cell: _listed({i.task for i in there[id(cell)]} - names) if kept(cell) else "")
    said = [f"Capability is over {_listed(names)}: only the same tasks compare."]
    said += [f"Capability has no value where something else was measured: {'; '.join(odd)}."] if odd else []
    said += [f"Measured too, and not in it: {'; '.join(more)}."] if more else []
    return _with_entries(runs, kept), [" ".join(said)]


def failures(runs: Sequence[RunResult]) -> list[str]:
    """Return a note naming the tasks that failed, each with its reason, and where if not everywhere."""
    failed: dict[str, str] = {}
    where: dict[str, set[str]] = {}
    measured = [(run, cell) for run in runs for cell in run.cells if _entries(cell)]
    for run, cell in measured:
        for name, entry in _entries(cell).items():
            if entry["status"] == "failed":
                failed.setdefault(name, _short(str(entry["reason"])))
                where.setdefault(name, set()).add(run.manifest["label"])
    if not failed:
        return []
    every = {name for _, cell in measured for name in _entries(cell)}
    labels = {run.manifest["label"] for run, _ in measured}
    told = [
        name + ("" if where[name] == labels else f" ({', '.join(sorted(where[name]))})") + f": {failed[name]}"
        for name in list(failed)[:_MOST_NAMES]
    ]
    rest = list(failed)[_MOST_NAMES:]
    told += [f"and {', '.join(rest)}"] if rest else []
    return [f"Capability: {len(failed)} of {len(every)} tasks failed: {'; '.join(told)}"]


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _REASON_LENGTH else line[: _REASON_LENGTH - 1].rstrip() + "…"


def _entries(cell: CellResult) -> Entries:
    found: Entries = cell.data.get("capability") or {}
    return found


def _countable(cell: CellResult) -> Entries:
    return countable(_entries(cell))


def _cells(runs: Sequence[RunResult]) -> list[CellResult]:
    return [cell for run in runs for cell in run.cells if cell.status == "done"]


def _with_entries(runs: Sequence[RunResult], chosen: Callable[[CellResult], Entries]) -> list[RunResult]:
    def changed(cell: CellResult) -> CellResult:
        return replace(cell, data={**cell.data, "capability": chosen(cell)}) if cell.status == "done" else cell

    return [replace(run, cells=tuple(changed(cell) for cell in run.cells)) for run in runs]


def _items(runs: Sequence[RunResult]) -> dict[tuple[str, int], Item]:
    """Return the item of every entry that can count, by task and entry.

    Where some cells were measured before entries had a hash of their documents, the files of all are looked at.
    """
    asked_alike: dict[tuple[str, str, str], list[tuple[CellResult, Mapping[str, Any]]]] = {}
    for cell in _cells(runs):
        for name, entry in _countable(cell).items():
            key = name, str(entry.get("settings", "")), str(entry.get("version", ""))
            asked_alike.setdefault(key, []).append((cell, entry))
    found: dict[tuple[str, int], Item] = {}
    for key, same in asked_alike.items():
        documents = [str(entry.get("documents") or "") for _, entry in same]
        if len(same) > 1 and not all(documents):
            documents = [_hash_of_lines(cell, key[0]) for cell, _ in same]
            documents = documents if all(documents) else [""] * len(same)  # what is not known does not differ
        found |= {(key[0], id(e)): Item(*key, one) for (_, e), one in zip(same, documents, strict=True)}
    return found


def _hash_of_lines(cell: CellResult, task: str) -> str:
    try:
        frame = read_documents(cell)
    except StoreError:  # said where the cell is read
        return ""
    if frame is None:
        return ""
    own = frame[(frame["task"] == task) | frame["task"].str.startswith(f"{task}/")].sort_values(["task", "doc_id"])
    lines = own["task"] + " " + own["doc_id"].astype(str) + " " + own["doc_hash"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if len(own) else ""


def _key(test: Test) -> list[tuple[str, ...]]:
    return sorted((item.task, item.settings, item.version, item.documents) for item in test)


def _lack(shown: Test, there: Test) -> str:
    """Return what of the test shown a cell has not got, or has otherwise; "" if it has all of it."""
    own = {item.task: item for item in there}
    missing = {item.task for item in shown} - set(own)
    said = [f"not {_listed(missing)}"] if missing else []
    for name in ("settings", "version", "documents"):
        other = {
            item.task for item in shown if item.task in own and getattr(own[item.task], name) != getattr(item, name)
        }
        said += [f"other {name} of {_listed(other)}"] if other else []
    return ", ".join(said)


def _grouped(runs: Sequence[RunResult], says: Callable[[CellResult], str]) -> list[str]:
    """Return ``label at scales (what is said)`` for the cells of which something is said."""
    found: dict[tuple[str, str], list[int]] = {}
    several = len({run.manifest["model"]["name"] for run in runs}) > 1
    for run in runs:
        for cell in run.cells:
            said = says(cell) if cell.status == "done" else ""
            name = run.manifest["label"] + (f" on {run.manifest['model']['name']}" if several else "")
            if said:
                found.setdefault((name, said), []).append(cell.scale)
    at = {key: ", ".join(f"{scale:,}" for scale in sorted(set(scales))) for key, scales in found.items()}
    return [f"{name} at {scales} ({said})" for (name, said), scales in at.items()]


def _listed(names: set[str]) -> str:
    listed = sorted(names)
    if len(listed) <= _MOST_NAMES:
        return ", ".join(listed)
    return f"{len(listed)} tasks ({', '.join(listed[:_MOST_NAMES])}, …)"

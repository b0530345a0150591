"""The results tree, and writing that a killed process cannot tear.

``<results>/runs/<suite>/<model>/<label>/seed-<seed>-<run id>/`` holds one run: ``manifest.json``, and for each scale
``cells/<scale>/records.jsonl`` and ``cells/<scale>/cell.json``. ``cell.json`` is written last: where it is, the cell
is finished. Published results are the same tree, with ``<suite>/records.parquet`` in the place of every
``records.jsonl``. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import (
    MAKE_ANEW,
    append_lines,
    explained,
    no_plain_file,
    pretty_json,
    read_json,
    read_lines,
    replace_file,
    slug,
)
from editbench.base.parsing import parse_json
from editbench.cache import tell_once
from editbench.errors import DamagedFile, StoreError
from editbench.results.lock import hold
from editbench.results.wholeness import why_no_cell, why_no_manifest, why_not_whole

if TYPE_CHECKING:
    from editbench.plan.runs import Run
    from editbench.results.records import Record

# In a folder of published results, beside a suite's models.
SHARED_RECORDS, SHARED_DOCUMENTS = "records.parquet", "documents.parquet"  # of a published suite's cells


class Status(StrEnum):
    """How a cell ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out-of-memory"
    TIMED_OUT = "timed-out"
    INTERRUPTED = "interrupted"

    @property
    def settled(self) -> bool:
        """Whether the same command would find the same again, so that it is not tried anew."""
        return self in (Status.DONE, Status.SKIPPED, Status.DIVERGED)

    @property
    def bad(self) -> bool:
        """Whether the command that met it ends with exit code 1."""
        return self in (Status.FAILED, Status.OUT_OF_MEMORY, Status.TIMED_OUT, Status.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """What ``cell.json`` says beside id and scale. Metrics are not in it; they are computed from the records.

    Attributes
    ----------
    status, reason: how the cell ended, and why in one sentence ("" if done).
    timings: seconds: ``edit_s``, ``apply_s``, ``evaluate_s``, ``prepare_s``, ``look_s``, ``drift_s``,
        ``capability_s``.
    memory: peak bytes: ``rss_bytes``, ``device_bytes``.
    edit: ``nbytes`` of the Edit, ``delta_norm`` and ``weight_norm`` (Frobenius, over the changed weights).
    counts: ``requests``, ``probed``, ``records``, ``errors`` (probes without an outcome), ``failed_requests``.
    failures: request id -> why the method could not edit it.
    pulse: perplexity on general text of the ``unedited`` model; what was ``seen`` of it on the way here, as (edits,
        perplexity, ‖ΔW‖/‖W‖, KL, perplexity on own text); and ``collapsed_at``, the edits after which it was first
        seen collapsed, or None.
    drift: how far the model is from the unedited one: :func:`editbench.measure.drift.drift`.
    made_by: commit, packages and device of the process that made this cell.
    numbers: what the method recorded of its chunks: name -> (requests then in the model, value or None), in order.
    traceback: where a method or a measurement broke, for people; "" where none did.
    capability: name of each capability task asked for -> its entry (:mod:`editbench.capability.entries`).
    """

    status: Status
    reason: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    edit: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    pulse: Mapping[str, Any] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    capability: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class CellResult:
    """A finished cell on disk.

    Attributes
    ----------
    scale, data: its number of edits, and its ``cell.json``.
    records: the file of its records.
    where: the values of the columns model, method, seed and scale that its rows have, where a published suite's cells
        share that file; else empty.
    damaged: whether ``cell.json`` cannot be read; ``data`` then says failed, and why.
    """

    scale: int
    data: Mapping[str, Any]
    records: Path
    where: Mapping[str, Any] = field(default_factory=dict)
    damaged: bool = False

    @property
    def status(self) -> Status:
        """How the cell ended."""
        return Status(self.data["status"])


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run on disk: its folder, its manifest and its finished cells in order of scale."""

    folder: Path
    manifest: Mapping[str, Any]
    cells: tuple[CellResult, ...]


class Store:
    """One results folder.

    Parameters
    ----------
    root: the folder, such as ``./results``; made when something is first written.
    waiting: told in a few words when :meth:`lock` has waited for some seconds for another process.
    """

    def __init__(self, root: Path | str, waiting: Callable[[str], None] | None = None) -> None:
        self.root = Path(root)
        self._waiting = waiting

    def run_folder(self, run: Run) -> Path:
        """Return the folder of a run."""
        place = self.root / "runs" / slug(run.suite) / slug(run.model) / slug(run.label)
        return place / f"seed-{run.seed}-{run.run_id[:8]}"

    def cell_folder(self, run: Run, scale: int) -> Path:
        """Return the folder of a run's cell."""
        return self.run_folder(run) / "cells" / str(scale)

    def records_path(self, run: Run, scale: int) -> Path:
        """Return the path of a cell's ``records.jsonl``."""
        return self.cell_folder(run, scale) / "records.jsonl"

    def write_manifest(self, run: Run, manifest: Mapping[str, Any]) -> None:
        """Write what ran, on what and from which source. Raises :class:`StoreError`."""
        replace_file(self.run_folder(run) / "manifest.json", pretty_json(manifest))

    def manifest(self, run: Run) -> dict[str, Any] | None:
        """Return the run's manifest, or None if it never started, or it was lost.

        Raises :class:`DamagedFile` for one that is not what was written, :class:`StoreError` if it cannot be read.
        """
        return _read_manifest(self.run_folder(run) / "manifest.json")

    def cell(self, run: Run, scale: int) -> dict[str, Any] | None:
        """Return a finished cell's ``cell.json``, or None if the cell is not finished.

        One that is damaged, or that has not the records it says, is not finished: what wrote it was cut off, or
        copied it only half.
        """
        try:
            return _read_cell(self.cell_folder(run, scale) / "cell.json")
        except DamagedFile:
            return None

    def drop_damaged(self, run: Run, scale: int) -> None:
        """Take away what is left of a cell that was finished and no longer is what was written, and say so.

        Records that were kept while a cell is made are another matter: they stay. Raises :class:`StoreError`.
        """
        folder = self.cell_folder(run, scale)
        try:
            _read_cell(folder / "cell.json")
        except DamagedFile as error:
            tell_once(f"{error.given} It is made anew.")
            with explained(folder):
                for name in ("cell.json", "records.jsonl"):
                    if not no_plain_file(folder / name):
                        (folder / name).unlink(missing_ok=True)

    def cell_status(self, run: Run, scale: int) -> Status | None:
        """Return how a cell ended, or None if it is not finished."""
        data = self.cell(run, scale)
        return None if data is None else Status(data["status"])

    def append_records(self, run: Run, scale: int, records: Iterable[Record]) -> None:
        """Add records to a cell that is not finished."""
        append_lines(self.records_path(run, scale), (record.to_line() for record in records))

    def read_records(self, run: Run, scale: int) -> list[dict[str, Any]]:
        """Return a cell's whole records so far, as dicts. Raises :class:`DamagedFile` for what is no record."""
        path = self.records_path(run, scale)
        try:
            rows = [parse_json(line) for line in read_lines(path)]
        except ValueError as error:
            raise DamagedFile(f"{path} is damaged: {error}.", hint=MAKE_ANEW) from error
        if not all(isinstance(row, dict) and "error" in row for row in rows):
            raise DamagedFile(f"{path} is damaged: a line of it is no record.", hint=MAKE_ANEW)
        return rows

    def keep_records(self, run: Run, scale: int, n: int) -> None:
        """Drop all but a cell's first ``n`` records. Raises :class:`StoreError`."""
        path = self.records_path(run, scale)
        replace_file(path, "".join(line + "\n" for line in read_lines(path)[:n]).encode())

    def write_numbers(self, run: Run, scale: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write what the method recorded of single requests: a line for each number; no file where there is none."""
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        if lines:
            replace_file(self.cell_folder(run, scale) / "numbers.jsonl", "".join(lines).encode())

    def finish_cell(self, run: Run, scale: int, outcome: CellOutcome) -> None:
        """Write ``cell.json``; from here on the cell is finished."""
        data = {"id": run.cell_id(scale), "scale": scale, **asdict(outcome)}
        replace_file(self.cell_folder(run, scale) / "cell.json", pretty_json(data))

    @contextmanager
    def lock(self, run: Run, wait: bool = True) -> Iterator[bool]:
        """Hold a run's folder for this process; yield whether it is held (always, if ``wait``).

        The lock goes with the process: one that was killed holds nothing. What it left half-written is swept up.
        Raises :class:`StoreError` where the file system cannot hold locks.
        """
        folder = self.run_folder(run)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / ".lock", wait=wait, waiting=self._waiting) as held:
            if held:
                for left in folder.rglob(".*.tmp"):
                    left.unlink(missing_ok=True)
            yield held

    def scan(self, suite: str | None = None) -> list[RunResult]:
        """Return every run in the folder, or of one suite, in order of path, but those that :meth:`damaged` names."""
        found = []
        for folder in self._folders(suite)[0]:
            with suppress(StoreError):
                found.append(read_run(folder))
        return found

    def damaged(self, suite: str | None = None) -> list[str]:
        """Return a sentence for each run that :meth:`scan` leaves out: its file, and what to do."""
        folders, found = self._folders(suite)
        for folder in folders:
            try:
                if _read_manifest(folder / "manifest.json") is None:
                    raise DamagedFile(f"{folder / 'manifest.json'} is not there.", hint=MAKE_ANEW)
            except StoreError as error:
                found.append("left out, a run's manifest: " + str(error).replace("\n", " "))
        return found

    def _folders(self, suite: str | None) -> tuple[list[Path], list[str]]:
        """Return the folders of runs, and a sentence for each folder on the way that cannot be read.

        A folder is a run's if it has a manifest, or cells: one that never got so far is no run yet.
        """
        level, unread = [self.root / "runs"], []
        for depth in range(4):
            below: list[Path] = []
            for folder in level:
                try:
                    below += [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
                except FileNotFoundError:
                    continue
                except OSError as error:
                    unread.append(f"left out: {folder} cannot be read: {error.strerror or error}.")
            level = [path for path in below if depth or suite is None or path.name == slug(suite)]
        return sorted(path for path in level if _is_run(path, unread)), unread


def read_run(folder: Path) -> RunResult:
    """Return the run in a folder with a ``manifest.json``; a damaged cell is one that failed.

    Raises :class:`StoreError` where the manifest cannot be read or is not there.
    """
    manifest = _read_manifest(folder / "manifest.json")
    if manifest is None:
        raise DamagedFile(f"{folder / 'manifest.json'} is not there.", hint=MAKE_ANEW)
    return RunResult(folder, manifest, _cells(folder, manifest))


def _is_run(folder: Path, unread: list[str]) -> bool:
    try:
        with os.scandir(folder) as found:
            names = {entry.name for entry in found}
        return "manifest.json" in names or any((folder / "cells").glob("*/cell.json"))
    except OSError as error:
        unread.append(f"left out: {folder} cannot be read: {error.strerror or error}.")
        return False


def _read_manifest(path: Path) -> dict[str, Any] | None:
    data = read_json(path)
    if data is not None and (why := why_no_manifest(data)):
        raise DamagedFile(f"{path} is damaged: it is no manifest: {why}.", hint=MAKE_ANEW)
    return data


def _cells(folder: Path, manifest: Mapping[str, Any]) -> tuple[CellResult, ...]:
    shared = _shared_records(folder)
    found = []
    for path in folder.glob("cells/*/cell.json"):
        own = path.with_name("records.jsonl")
        if not path.parent.name.isdecimal():  # a copy that somebody keeps there
            continue
        try:
            data = _read_cell(path, shared is not None) or {}
        except StoreError as error:
            said = {"status": "failed", "reason": str(error).replace("\n", " ")}
            found.append(CellResult(int(path.parent.name), said, own, damaged=True))
            continue
        scale, labels = int(data["scale"]), {}
        if shared is not None and not own.exists():
            labels = {"model": manifest["model"]["name"], "method": manifest["label"], "seed": int(manifest["seed"])}
            labels["scale"] = scale
        found.append(CellResult(scale, data, shared if shared and labels else own, labels))
    return tuple(sorted(found, key=lambda cell: cell.scale))


def _read_cell(path: Path, shared: bool = False) -> dict[str, Any] | None:
    """Return what a ``cell.json`` holds, or None if it is not there; its records may lie in a file that is shared.

    Raises :class:`DamagedFile` where it or its records are not what was written.
    """
    data = read_json(path)
    if data is None:
        return None
    if why := why_no_cell(data, int(path.parent.name)):
        raise DamagedFile(f"{path} is damaged: {why}.", hint=MAKE_ANEW)
    own = path.with_name("records.jsonl")
    if (own.exists() or not shared) and (why := why_not_whole(own, data)):
        raise DamagedFile(f"{why}.", hint="Copy it again, or run the suite again: editbench run makes it anew.")
    return data


def _shared_records(run: Path) -> Path | None:
    """Return the one file with the records of a published suite's runs, or None if the suite is not published."""
    above = run.absolute().parents
    path = above[2] / SHARED_RECORDS if len(above) > 2 else None
    return path if path is not None and path.is_file() else None

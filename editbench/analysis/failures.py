"""What went wrong in a suite's cells: those that are not done, and those with requests that could not be edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.analysis.contest import Grid, read_grid
from editbench.analysis.leaderboard import UNFINISHED
from editbench.analysis.selection import choose_runs, merge_folders
from editbench.analysis.stored import stored_runs
from editbench.results.store import CellResult, RunResult, Status

if TYPE_CHECKING:
    from editbench.plan.runs import DType


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell in which something went wrong.

    Attributes
    ----------
    model, method, seed, scale: of the cell; ``method`` is its label.
    status, reason: how it ended and why, whole.
    requests: id -> why the method could not edit it.
    traceback: where a method or a measurement broke, or "".
    """

    model: str
    method: str
    seed: int
    scale: int
    status: Status
    reason: str = ""
    requests: Mapping[str, str] = field(default_factory=dict)
    traceback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; ``requests`` is how many could not be edited, ``failures`` says why."""
        named = {name: getattr(self, name) for name in ("model", "method", "seed", "scale")}
        ended = {"status": str(self.status), "reason": self.reason}
        failed = {"requests": len(self.requests), "failures": dict(self.requests)}
        return {**named, **ended, **failed, "traceback": self.traceback}


@dataclass(frozen=True, slots=True)
class Failures:
    """What went wrong in a suite.

    Attributes
    ----------
    suite, title: its name, and its sentence ("" if only results are left of it).
    cells: how many there are, those that were never finished too.
    found: those in which something went wrong, by model, method, scale and seed.
    notes: which runs were left out, and why.
    """

    suite: str
    title: str
    cells: int
    found: tuple[Failure, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        found = [failure.as_dict() for failure in self.found]
        return {"suite": self.suite, "title": self.title, "cells": self.cells, "failures": found, "notes": self.notes}


def stored_failures(
    suite: str, roots: Sequence[Path], scales: Sequence[int] = (), dtype: DType = "float32"
) -> Failures:
    """Return what went wrong in the cells that a suite's leaderboard is made from, at some scales (none: at all).

    Parameters are those of :func:`editbench.analysis.stored.stored_leaderboard`. Raises :class:`UserError` where there
    are no results.
    """
    stored = stored_runs(suite, roots, None, dtype)
    merged, notes = merge_folders(stored.runs)
    chosen, left_out = choose_runs(merged, stored.plan)
    found, cells = [], 0
    for model in dict.fromkeys(str(run.manifest["model"]["name"]) for run in chosen):
        runs = [run for run in chosen if run.manifest["model"]["name"] == model]
        grid = read_grid(runs, stored.about.metrics)
        every = [(run, scale) for run in runs for scale in _scales(run) if not scales or scale in scales]
        cells += len(every)
        found += [failure for run, scale in every if (failure := failure_of(run, scale, grid)) is not None]
    ordered = sorted(found, key=lambda one: (one.model, one.method, one.scale, one.seed))
    about, said = stored.about, (*notes, *stored.notes, *left_out)
    return Failures(about.suite, about.title, cells, tuple(ordered), said)


def _scales(run: RunResult) -> list[int]:
    return sorted({*map(int, run.manifest["scales"]), *(cell.scale for cell in run.cells)})


def failure_of(run: RunResult, scale: int, grid: Grid | None = None) -> Failure | None:
    """Return what went wrong in a run's cell, or None if it is done and every request was edited.

    ``grid``: where records have been read, and some could not be.
    """
    named = str(run.manifest["model"]["name"]), str(run.manifest["label"]), int(run.manifest["seed"]), scale
    cell = next((cell for cell in run.cells if cell.scale == scale), None)
    if cell is None:
        return Failure(*named, Status.INTERRUPTED, UNFINISHED)
    broken = "" if grid is None else grid.broken.get((named[1], scale, named[2]), "")
    requests = failed_requests(cell)
    if broken:
        return Failure(*named, Status.FAILED, broken, requests)
    if cell.status is Status.DONE and not requests:
        return None
    return Failure(*named, cell.status, str(cell.data.get("reason") or ""), requests, traceback_of(cell))


def failed_requests(cell: CellResult) -> dict[str, str]:
    """Return the ids of the requests that a method could not edit, each with why; cells of old have none."""
    found = cell.data.get("failures")
    return {str(name): str(why) for name, why in found.items()} if isinstance(found, Mapping) else {}


def traceback_of(cell: CellResult) -> str:
    """Return where a method or a measurement broke, or "" where none did or nobody wrote it down."""
    found = cell.data.get("traceback")
    return found if isinstance(found, str) else ""

"""Whether a run may be published: made from a known commit, on a pinned model, and finished. No torch here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from editbench.base.plain import shortened
from editbench.errors import StoreError, UserError
from editbench.results.store import RunResult, Status

_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run is not published, and what to type about it."""

    run: str
    what: str
    hint: str


def named(run: RunResult) -> str:
    """Return how messages name a run: label, model and seed."""
    return f"{run.manifest['label']} on {run.manifest['model']['name']}, seed {run.manifest['seed']}"


def problems(run: RunResult, suite: str, root: Path) -> list[Problem]:
    """Return what keeps a run from being published.

    Parameters
    ----------
    suite, root: as the user wrote them, for the commands in the hints.
    """
    found = [*_source(run), *_pins(run), *_cells(run), *_records(run)]
    command = ["editbench", "run", "--suite", suite]
    elsewhere = [] if root == Path("results") else ["--results", str(root)]
    hints = {
        "dirty": f"Commit what is changed, then run it anew: {shlex.join([*command, '--results', 'NEW_FOLDER'])}",
        "weights": f"Run it anew: {shlex.join([*command, '--results', 'NEW_FOLDER'])}",
        "unknown": "Install editbench and the method from git checkouts (pip install -e .), then run it anew: "
        + shlex.join([*command, "--results", "NEW_FOLDER"]),
        "pin": f"Pin the model: {shlex.join([*command, *elsewhere])} --revision {_commit_of(run)}",
        "records": "Copy it again, or delete that cell's folder and run it again.",
        "cells": f"Finish it: {shlex.join([*command, '--methods', run.manifest['label'], *elsewhere])}",
    }
    return [Problem(named(run), what, hints[kind]) for kind, what in found]


def _commit_of(run: RunResult) -> str:
    return str(run.manifest["model"]["source"]).partition("@")[2] or "COMMIT"


def _source(run: RunResult) -> list[tuple[str, str]]:
    """Look at the commits of the harness, for every cell, and of the method."""
    harness = [run.manifest.get("checkout")]
    harness += [cell.data["made_by"]["checkout"] for cell in run.cells if "checkout" in cell.data.get("made_by", {})]
    method = [] if run.manifest.get("scored") is not None else [run.manifest["method"].get("checkout")]
    states = [("editbench", state) for state in harness] + [("the method", state) for state in method]
    unknown = [("unknown", f"the commit of {what} is not known") for what, state in states if not state]
    dirty = [("dirty", f"{what} had changes that are not committed") for what, state in states if _dirty(state)]
    return list(dict.fromkeys([*unknown, *dirty]))


def _dirty(state: Mapping[str, Any] | None) -> bool:
    return bool(state) and bool((state or {}).get("dirty", True))


def _pins(run: RunResult) -> list[tuple[str, str]]:
    """Look for models that another download, or another folder of that name, may not be.

    One of the hub is pinned by its commit, one of this disk, whatever its path, by the hash of its weights.
    """
    model = run.manifest["model"]
    found = []
    if _is_of_hub(model["name"], model["source"]) and not _COMMIT.fullmatch(model["revision"] or ""):
        given = f"pinned to {model['revision']!r}, which may move" if model["revision"] else "not pinned to a commit"
        found.append(("pin", f"the model {model['name']} is {given}"))
    loaded = any(cell.status is Status.DONE for cell in run.cells)
    if loaded and _is_local(model["source"]) and not model["weights_hash"]:
        found.append(("weights", f"the hash of the weights of {model['name']} is not known"))
    for scale, scored in (run.manifest.get("scored") or {}).items():
        commit = scored["source"].partition("@")[2]
        if _is_of_hub(scored["name"], scored["source"]) and not _COMMIT.fullmatch(commit):
            found.append(("pin", f"the model scored at {scale}, {scored['name']}, is not pinned to a commit"))
    return found


def _is_of_hub(name: str, source: str) -> bool:
    """Return whether a model came from the hub: its id is its source, where a folder or file has its whole path."""
    return "/" in name and not _is_local(source) and (source == name or source.startswith(f"{name}@"))


def _is_local(source: str) -> bool:
    return PurePosixPath(source).is_absolute() or PureWindowsPath(source).is_absolute()


def _cells(run: RunResult) -> list[tuple[str, str]]:
    there = {cell.scale: cell for cell in run.cells}
    missing = [int(scale) for scale in run.manifest["scales"] if int(scale) not in there]
    found = [("cells", f"{scale:,} is not finished") for scale in missing]
    bad = [cell for cell in run.cells if not cell.status.settled]
    return found + [
        ("cells", f"{cell.scale:,}: {cell.status}: {shortened(cell.data.get('reason', ''))}") for cell in bad
    ]


def _records(run: RunResult) -> list[tuple[str, str]]:
    """Read the records and documents of cells that are done: what is damaged or cut short is not published."""
    from editbench.analysis.documents import read_documents
    from editbench.analysis.records import record_table

    wrong: dict[str, list[str]] = {}  # what -> scales: a shared file is damaged for all of them
    for cell in run.cells:
        if cell.status is not Status.DONE:
            continue
        try:
            there = record_table(cell.records, cell.where).num_rows
            read_documents(cell)
        except StoreError as error:
            wrong.setdefault(error.given.rstrip("."), []).append(f"{cell.scale:,}")
            continue
        written = int(cell.data.get("counts", {}).get("records", there))
        if there != written:
            what = f"{cell.records.name} has {there:,} records, not {written:,}"
            wrong.setdefault(what, []).append(f"{cell.scale:,}")
    return [("records", f"{', '.join(scales)}: {what}") for what, scales in wrong.items()]


def refuse_unpublishable(runs: Sequence[RunResult], suite: str, root: Path) -> None:
    """Raise :class:`UserError` that names every run that may not be published, why, and what to type."""
    found = [problem for run in runs for problem in problems(run, suite, root)]
    if not found:
        return
    by_run: dict[str, list[str]] = {}
    for problem in found:
        by_run.setdefault(problem.run, []).append(problem.what)
    listed = [f"{run}: {'; '.join(what)}" for run, what in by_run.items()]
    hints = list(dict.fromkeys(problem.hint for problem in found))
    clean = sorted(
        {run.manifest["label"] for run in runs} - {run.manifest["label"] for run in runs if named(run) in by_run}
    )
    others = [f"Or publish only: --methods {','.join(clean)}"] if clean else []
    raise UserError(
        f"Nothing was published: {len(by_run)} of {len(runs)} runs of {suite} cannot be.",
        "\n".join(listed),
        "\n".join([*hints, *others]),
    )

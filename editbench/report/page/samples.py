"""The records a page shows: all of them, or as many requests as fit, drawn without a look at how they went."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pandas as pd

from editbench.analysis.ageing import aged
from editbench.analysis.aggregate import CellFrame
from editbench.analysis.failures import failed_requests, traceback_of
from editbench.base.plain import shortened
from editbench.errors import StoreError
from editbench.metrics import METRICS, ProbeMetric
from editbench.report.page.escape import for_script
from editbench.results.store import CellResult, RunResult, Status

ROWS = 40_000  # held at most, over all cells of a suite
_TEXT = 400  # characters of one text that are shown
_TRACEBACK = 8_000  # characters of one traceback that are shown
_NAMED = 20  # requests of a cell that are named with why they could not be edited
_FOLDER = re.compile(r'(File ")[^"\n]*[/\\](?=[^/\\"\n]+[/\\][^/\\"\n]+")')  # all but a file and what it lies in
# What a page calls right: by the metric that reads such records; its value 1 and 0 in words.
_VERDICTS = {"reliability": ("right", "wrong"), "locality": ("unchanged", "moved")}
_ALSO = {"reliability": ("edit", "rephrase", "prefixed", "portability"), "locality": ("locality", "neighbour")}
NO_OUTCOME, NOT_COMPARED = "no outcome", "nothing to compare with"


@dataclass
class Seen:
    """A cell as the page shows it.

    Attributes
    ----------
    model, method, seed, scale, status, reason: of the cell.
    of: requests it was probed about.
    rows: the records kept, by ``draw``: the place of their request in the draw, from 0.
    ages: each request's reliability and age; None where the cell has no records.
    is_control: whether nothing was written into the model, so that its answers are the unedited model's.
    trouble: what more there is to say where something went wrong: :func:`trouble`.
    """

    model: str
    method: str
    seed: int
    scale: int
    status: str
    reason: str
    of: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    ages: pd.DataFrame | None = None
    is_control: bool = False
    trouble: dict[str, Any] = field(default_factory=dict)

    @property
    def drawn(self) -> int:
        """How many requests the rows are of."""
        return int(self.rows[-1]["draw"]) + 1 if self.rows else 0

    @property
    def base(self) -> dict[str, Any]:
        """The cell without its records, as plain values."""
        names = ("model", "method", "seed", "scale", "status", "reason", "of")
        return {name: getattr(self, name) for name in names} | self.trouble


def see(run: RunResult, cell: CellResult, keep: int) -> Seen:
    """Read a cell and keep at most about ``keep`` of its records. A damaged file is said to be, not fatal."""
    manifest = run.manifest
    named = manifest["model"]["name"], manifest["label"], int(manifest["seed"]), cell.scale
    seen = Seen(*named, str(cell.status), shortened(str(cell.data.get("reason", ""))), trouble=trouble(cell))
    if cell.status is not Status.DONE:
        return seen
    try:
        return _read(seen, CellFrame(cell, columns=None), keep)
    except StoreError as error:
        seen.status, seen.reason = str(Status.FAILED), str(error).replace("\n", " ")
        return seen


def trouble(cell: CellResult) -> dict[str, Any]:
    """Return what a page says of a cell beside its reason; {} where nothing went wrong.

    ``traceback``, its end if it is very long, with folders of the machine it was made on left out; ``missed``, how many
    requests could not be edited; ``named``, the first of them, as [id, why].
    """
    told, missed = _FOLDER.sub(r"\1…/", traceback_of(cell)), failed_requests(cell)
    told = told if len(told) <= _TRACEBACK else f"… ({len(told):,} characters)\n{told[-_TRACEBACK:]}"
    named = [[shortened(name), shortened(why)] for name, why in islice(missed.items(), _NAMED)]
    return ({"traceback": told} if told else {}) | ({"missed": len(missed), "named": named} if missed else {})


def _read(seen: Seen, cell: CellFrame, keep: int) -> Seen:
    edit = cell.cell.data.get("edit") or {}
    seen.is_control = edit.get("nbytes") == 0 and not edit.get("delta_norm")
    frame = cell.frame
    ids = np.array(frame["request"].unique(), dtype=object)
    seen.of = len(ids)
    if not seen.of:
        return seen
    reliability = METRICS["reliability"]
    assert isinstance(reliability, ProbeMetric)
    seen.ages = aged(reliability, cell)
    drawn = _drawn(ids)[: max(keep * len(ids) // len(frame), 1)]
    places = frame["request"].map({name: place for place, name in enumerate(drawn)})
    rows = frame.assign(draw=places)[places.notna()]
    rows = rows.assign(verdict=_verdicts(rows)).sort_values(["draw", "kind", "index"], kind="stable")
    seen.rows = rows.to_dict("records")  # type: ignore[assignment]
    return seen


def _drawn(ids: np.ndarray[Any, Any]) -> list[str]:
    """Return request ids by the hash of their names: the same order for every method, seed and scale."""
    hashed = pd.util.hash_array(ids, categorize=False)
    return [ids[place] for place in np.lexsort((ids.astype(str), hashed))]


def _verdicts(rows: pd.DataFrame) -> pd.Series[str]:
    found = pd.Series(NOT_COMPARED, index=rows.index, dtype=object)
    for name, (yes, no) in _VERDICTS.items():
        metric, inside = METRICS[name], rows["kind"].isin(_ALSO[name])
        assert isinstance(metric, ProbeMetric)
        values = metric.function(rows[inside])
        found[values.index[values == 1]] = yes
        found[values.index[values == 0]] = no
    found[rows["generated"].isna()] = NO_OUTCOME
    return found


def see_all(runs: Sequence[RunResult], unfinished: str) -> list[Seen]:
    """Return every cell of some runs, those not finished too, whose reason is ``unfinished``."""
    keep = ROWS // max(sum(len(run.cells) for run in runs), 1)
    found = []
    for run in runs:
        manifest, there = run.manifest, {cell.scale: cell for cell in run.cells}
        for scale in sorted({*map(int, manifest["scales"]), *there}):
            if scale in there:
                found.append(see(run, there[scale], keep))
            else:
                named = manifest["model"]["name"], manifest["label"], int(manifest["seed"]), scale
                found.append(Seen(*named, str(Status.INTERRUPTED), unfinished))
    return found


def as_many_as_fit(cells: Sequence[Seen], budget: int) -> dict[str, Any]:
    """Return the cells with the first requests of the draw, as many from each as fit into ``budget`` bytes of page."""
    low, high = 0, max((seen.drawn for seen in cells), default=0)
    best = encode(cells, high)
    if _size(best) <= budget:
        return best
    best = encode(cells, 0)
    while high - low > 1:
        middle = (low + high) // 2
        tried = encode(cells, middle)
        if _size(tried) <= budget:
            low, best = middle, tried
        else:
            high = middle
    return best


def _size(value: Mapping[str, Any]) -> int:
    return len(for_script(value).encode())


class _Table:
    """Things numbered in the order in which they come."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def __call__(self, thing: Any) -> int:
        return self.places.setdefault(thing, len(self.places))

    def text(self, value: Any) -> int | None:
        """Return the number of a text, cut where it is very long, or None for none."""
        if not isinstance(value, str):
            return None
        return self(value if len(value) <= _TEXT else f"{value[:_TEXT]}… ({len(value):,} characters)")


def encode(cells: Sequence[Seen], requests: int) -> dict[str, Any]:
    """Return plain values: texts and probes once each, and of every cell the first ``requests`` of its draw.

    A probe is [request, position, kind, index, prompt, target_new, target_true, answer]; a record is [probe, said,
    before, verdict, nll_new, nll_true, error]. Texts are numbers of texts, or null.
    """
    texts, probes, before = _Table(), _Table(), _controls(cells)
    shown = []
    for seen in cells:
        records = []
        for row in takewhile(lambda row: row["draw"] < requests, seen.rows):
            fixed = (row["request"], row["kind"], row["prompt"], row["target_new"], row["target_true"], row["answer"])
            request, kind, prompt, new, true, answer = map(texts.text, fixed)
            probe = probes((request, row["position"], kind, row["index"], prompt, new, true, answer))
            unedited = row["unedited"]
            if not isinstance(unedited, str):
                unedited = before.get(_key(seen, row))
            said = [probe, texts.text(row["generated"]), texts.text(unedited), texts.text(row["verdict"])]
            records.append([*said, *map(_short, (row["nll_new"], row["nll_true"])), texts.text(row["error"] or None)])
        shown.append({**seen.base, "shown": min(requests, seen.drawn), "records": records})
    return {"texts": list(texts.places), "probes": [list(probe) for probe in probes.places], "cells": shown}


def _key(seen: Seen, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return seen.model, seen.seed, seen.scale, row["request"], row["kind"], row["index"]


def _controls(cells: Sequence[Seen]) -> dict[tuple[Any, ...], Any]:
    """Return what the unedited model said, where a method that wrote nothing was run."""
    return {_key(seen, row): row["generated"] for seen in cells if seen.is_control for row in seen.rows}


def _short(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 2)

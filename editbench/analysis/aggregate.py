"""Records to values: per record, per request, per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from editbench.analysis.bootstrap import interval
from editbench.analysis.documents import document_table
from editbench.analysis.retention import age_curve, age_edges, area, bin_widths
from editbench.analysis.sample import MEAN, Harmonic, Sample, Statistic, Weighted
from editbench.analysis.statistics import (
    Interval,
    combined,
    harmonic_interval,
    harmonic_mean,
    mean_interval,
    normal_interval,
    wilson,
)
from editbench.errors import StoreError
from editbench.metrics import METRICS, AgeMetric, CellMetric, HarmonicMetric, Metric, ProbeMetric
from editbench.results.store import CellResult, Status
from editbench.results.wholeness import no_records

if TYPE_CHECKING:
    from editbench.results.store import RunResult

# What metrics read; the rest is there to be looked at by people and is not parsed for a table.
_MEASURED = ("request", "kind", "answer", "generated", "unedited", "position", "hits", "tokens", "nll_new", "nll_true")


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value in a cell: its 95% interval, if it has one, and the requests it is a mean over."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the value as plain values, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def load_records(
    path: Path, scale: int, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Return a cell's records with typed columns, and ``age``: the number of edits made after each request's.

    Parameters
    ----------
    path, where: the cell's ``records`` and ``where``.
    columns: only these, with ``position`` among them; None: all.

    Raises :class:`StoreError` for a file that is damaged.
    """
    from editbench.analysis.records import record_table

    frame: pd.DataFrame = record_table(path, where, columns).to_pandas()
    return frame.assign(age=scale - 1 - frame["position"])


class CellFrame:
    """A finished cell with its records, read when first needed; remembers what was computed.

    Parameters
    ----------
    cell: the cell on disk.
    columns: of the records, those that are read: what metrics read; None: all.
    """

    def __init__(self, cell: CellResult, columns: Sequence[str] | None = _MEASURED) -> None:
        self.cell, self.columns = cell, columns
        self._kinds: dict[tuple[str, ...], pd.DataFrame] = {}
        self._values: dict[str, pd.Series[float]] = {}
        self._ages: pd.Series[int] | None = None
        self._frame: pd.DataFrame | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """Every record of the cell.

        Raises :class:`StoreError` where the file is damaged, or holds not as many records as ``cell.json`` says.
        """
        if self._frame is None:
            self._frame = load_records(self.cell.records, self.cell.scale, self.columns, self.cell.where)
            written = int(self.cell.data.get("counts", {}).get("records", 0))
            if written and not self.cell.records.exists():
                again = "Copy it again, or delete that cell's folder and run it again."
                raise StoreError(f"{no_records(self.cell.records)}.", hint=again)
            if written and len(self._frame) != written:
                what = "is half-written" if len(self._frame) < written else "is not what was written"
                raise StoreError(
                    f"{self.cell.records} {what}: {len(self._frame):,} of {written:,} records.",
                    hint="Copy it again, or delete that cell's folder and run it again.",
                )
        return self._frame

    @property
    def ages(self) -> pd.Series[int]:
        """Request id -> edits made after it."""
        if self._ages is None:
            self._ages = self.frame.drop_duplicates("request").set_index("request")["age"]
        return self._ages

    @cached_property
    def documents(self) -> pd.DataFrame | None:
        """What became of each document of lm-eval's tasks, where it is kept."""
        return document_table(self.cell)

    def of_kinds(self, kinds: tuple[str, ...]) -> pd.DataFrame:
        """Return the records of some probe kinds."""
        if kinds not in self._kinds:
            self._kinds[kinds] = self.frame[self.frame["kind"].isin(kinds)]
        return self._kinds[kinds]

    def per_request(self, metric: ProbeMetric) -> pd.Series[float]:
        """Return request id -> a metric's mean over the request's probes; requests without one are left out."""
        if metric.name not in self._values:
            frame = self.of_kinds(metric.kinds)
            values = metric.function(frame)
            self._values[metric.name] = values.groupby(frame["request"].to_numpy(), sort=False).mean().dropna()
        return self._values[metric.name]

    def condense(self, metrics: Sequence[str]) -> CellFrame:
        """Compute what some metrics need of each request, let the records go, and return the cell itself."""
        for name in metrics:
            metric = METRICS[name]
            if isinstance(metric, AgeMetric):
                _ = self.ages
            _ = columns(metric, self) if isinstance(metric, CellMetric) else None
            for part in _read_by(metric):
                self.per_request(part)
        self._frame = None
        self._kinds.clear()
        return self


def _read_by(metric: Metric) -> list[ProbeMetric]:
    names = {HarmonicMetric: "parts", AgeMetric: "of"}.get(type(metric))
    found = [metric] if names is None else [METRICS[name] for name in np.atleast_1d(getattr(metric, names))]
    return [part for part in found if isinstance(part, ProbeMetric)]


def columns(metric: Metric, cell: CellFrame) -> pd.DataFrame | None:
    """Return a metric's parts for each request of a cell, or None for metrics that are not made from requests.

    One column for a probe metric; one per part of a harmonic mean, requests that lack one left out; one per age bin.
    Of a metric over documents, :func:`editbench.analysis.documents.document_table`.
    """
    if isinstance(metric, CellMetric):
        return cell.documents if metric.by_document else None
    parts = [cell.per_request(part) for part in _read_by(metric)]
    if isinstance(metric, ProbeMetric):
        return parts[0].to_frame("0")
    if isinstance(metric, HarmonicMetric):
        return pd.concat(parts, axis=1, keys=map(str, range(len(parts)))).dropna()
    if not isinstance(metric, AgeMetric):
        return None
    edges = age_edges(cell.cell.scale)
    bins = np.searchsorted(edges, cell.ages.reindex(parts[0].index).to_numpy(), side="right") - 1
    table = np.full((len(bins), len(edges) - 1), np.nan)
    table[np.arange(len(bins)), bins] = parts[0].to_numpy()
    return pd.DataFrame(table, parts[0].index)


def statistic(metric: Metric, scale: int) -> Statistic:
    """Return what is made of the means of :func:`columns`."""
    if isinstance(metric, HarmonicMetric):
        return Harmonic()
    return Weighted(tuple(bin_widths(scale))) if isinstance(metric, AgeMetric) else MEAN


def stack(tables: Sequence[pd.DataFrame | None], statistic: Statistic, index: pd.Index[str]) -> Sample:
    """Return the sample of one table per seed (None for a seed that is not there), with its rows as ``index``."""
    width = next(table.shape[1] for table in tables if table is not None)
    empty = np.full((len(index), width), np.nan)
    found = [empty if table is None else table.reindex(index).to_numpy(float) for table in tables]
    return Sample(np.stack(found, axis=1), statistic)


def union(tables: Iterable[pd.DataFrame | None]) -> pd.Index[str]:
    """Return every request id of some tables, each once."""
    found: pd.Index[str] = pd.Index([], dtype="str")
    for table in tables:
        if table is not None and not found.equals(table.index):
            found = pd.Index(table.index if found.empty else found.union(table.index, sort=False), dtype="str")
    return found


def evaluate(metric: Metric, cells: Sequence[CellFrame]) -> Value | None:
    """Return a metric's value over cells of one scale, one per seed, or None where it does not apply.

    One seed: Wilson's interval for shares, Student's for other means, the delta method for harmonic means, over
    requests. Several: the mean over seeds, with the two-level bootstrap over seeds and requests.
    """
    if isinstance(metric, CellMetric):
        return _of_cells(metric, cells)
    if len(cells) > 1:
        tables = [columns(metric, cell) for cell in cells]
        return estimate(stack(tables, statistic(metric, cells[0].cell.scale), union(tables)), metric.is_share)
    if isinstance(metric, ProbeMetric):
        return _mean(metric, cells[0].per_request(metric).to_numpy(float))
    if isinstance(metric, HarmonicMetric):
        return _harmonic(metric, cells[0])
    if isinstance(metric, AgeMetric):
        return _over_age(metric, cells[0])
    raise TypeError(f"{metric.name}: no way to evaluate a {type(metric).__name__}")


def estimate(sample: Sample, share: bool) -> Value | None:
    """Return a sample's value with its two-level bootstrap interval, or None without any value.

    A share's interval is never narrower than Wilson's over the distinct requests (combined, where it has parts): that
    all of 20 requests succeeded with every seed does not make success certain.
    """
    if not sample.asked:
        return None
    value, found = sample.value, interval(sample)
    if share and found is not None:
        if isinstance(sample.statistic, Weighted):
            weights, parts = sample.weighted_parts()
            means = np.array([part.mean() for part in parts])
            each = [wilson(float(part.sum()), len(part)) for part in parts]
            least = combined(value, weights, means, each)
            found = min(found[0], least[0]), max(found[1], least[1])
        found = max(found[0], 0.0), min(found[1], 1.0)
    return _with_interval(value, found, sample.asked)


def _of_cells(metric: CellMetric, cells: Sequence[CellFrame]) -> Value | None:
    found = [value for cell in cells if (value := metric.function(cell.cell.data)) is not None]
    if not found:
        return None
    errors = [error for cell in cells if (error := metric.error(cell.cell.data)) is not None]
    value, interval = float(np.mean(found)), None
    if len(errors) == len(found):
        # seeds are measured on the same documents, so that pooling them does not make the interval narrower
        interval = normal_interval(value, float(np.mean(errors)), metric.range)
    tables = [table for cell in cells if metric.by_document and (table := cell.documents) is not None]
    return _with_interval(value, interval, sum(map(len, tables)) if tables else len(found))


def _with_interval(value: float, interval: Interval | None, n: int) -> Value:
    low, high = interval or (None, None)
    return Value(value, low, high, n)


def _mean(metric: Metric, values: np.ndarray[Any, Any]) -> Value | None:
    n = len(values)
    if not n:
        return None
    interval = wilson(float(values.sum()), n) if metric.is_share else mean_interval(values)
    return _with_interval(float(values.mean()), interval, n)


def _harmonic(metric: HarmonicMetric, cell: CellFrame) -> Value | None:
    table = columns(metric, cell)
    if table is None or table.empty:
        return None
    values = table.to_numpy(float)  # [requests, parts]
    return _with_interval(harmonic_mean(values.mean(axis=0).tolist()), harmonic_interval(values), len(values))


def _over_age(metric: AgeMetric, cell: CellFrame) -> Value | None:
    values = cell.per_request(_read_by(metric)[0])
    if values.empty:
        return None
    value, effective = area(age_curve(values, cell.ages.reindex(values.index), cell.cell.scale))
    return Value(value, *wilson(value * effective, effective), len(values))


def cell_rows(runs: Iterable[RunResult], metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row per run, scale and metric.

    Columns: model, method (its label), seed, scale, status, reason, metric, value, low, high, n. A cell that has no
    numbers has one row with an empty metric.
    """
    columns = ["model", "method", "seed", "scale", "status", "reason", "metric", "value", "low", "high", "n"]
    rows = [row for run in runs for cell in run.cells for row in _rows(run.manifest, cell, metrics)]
    return pd.DataFrame(rows, columns=columns)


def _rows(manifest: Mapping[str, Any], cell: CellResult, metrics: Sequence[str]) -> list[dict[str, Any]]:
    base = {
        "model": manifest["model"]["name"],
        "method": manifest["label"],
        "seed": manifest["seed"],
        "scale": cell.scale,
        "status": str(cell.status),
        "reason": cell.data.get("reason", ""),
    }
    if cell.status is not Status.DONE:
        return [{**base, "metric": ""}]
    frame = CellFrame(cell)
    found = ((name, evaluate(METRICS[name], [frame])) for name in metrics)
    return [{**base, "metric": name, **value.as_dict()} for name, value in found if value is not None]

"""Records to values: per record, per request, per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from editbench.analysis.retention import age_curve, area
from editbench.analysis.statistics import (
    Interval,
    harmonic_interval,
    harmonic_mean,
    mean_interval,
    normal_interval,
    wilson,
)
from editbench.errors import StoreError
from editbench.metrics import METRICS, AgeMetric, CellMetric, HarmonicMetric, Metric, ProbeMetric
from editbench.store import CellResult, Status

if TYPE_CHECKING:
    from editbench.store import RunResult

_TEXT = ("request", "kind", "prompt", "target_new", "target_true", "answer", "generated", "stop", "unedited", "error")
_WHOLE = ("position", "index", "hits", "tokens")
_REAL = ("nll_new", "nll_true")


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


def load_records(path: Path, scale: int) -> pd.DataFrame:
    """Return a cell's records with typed columns, and ``age``: the number of edits made after each request's.

    Raises :class:`StoreError` for a file that is damaged.
    """
    import pyarrow as pa
    import pyarrow.json as pj

    types = {
        **dict.fromkeys(_TEXT, pa.string()),
        **dict.fromkeys(_WHOLE, pa.int64()),
        **dict.fromkeys(_REAL, pa.float64()),
    }
    schema = pa.schema(list(types.items()))
    if not path.is_file() or path.stat().st_size == 0:
        table = schema.empty_table()
    else:
        parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        try:
            table = pj.read_json(path, pj.ReadOptions(block_size=1 << 24), parse)
        except pa.ArrowInvalid as error:
            raise StoreError(
                f"Cannot read {path}: {error}.", hint="Delete that cell's folder and run it again."
            ) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame.assign(age=scale - 1 - frame["position"])


class CellFrame:
    """A finished cell with its records, read when first needed; remembers what was computed.

    Parameters
    ----------
    cell: the cell on disk.
    """

    def __init__(self, cell: CellResult) -> None:
        self.cell = cell
        self._kinds: dict[tuple[str, ...], pd.DataFrame] = {}
        self._values: dict[str, pd.Series[float]] = {}
        self._frame: pd.DataFrame | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """Every record of the cell."""
        if self._frame is None:
            self._frame = load_records(self.cell.records, self.cell.scale)
        return self._frame

    @property
    def ages(self) -> pd.Series[int]:
        """Request id -> edits made after it."""
        return self.frame.drop_duplicates("request").set_index("request")["age"]

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


def evaluate(metric: Metric, cells: Sequence[CellFrame]) -> Value | None:
    """Return a metric's value over cells of one scale (one per seed, pooled), or None where it does not apply.

    Intervals cover requests: Wilson's for shares, Student's for other means, the delta method for harmonic means.
    """
    if isinstance(metric, CellMetric):
        return _of_cells(metric, cells)
    if isinstance(metric, ProbeMetric):
        return _pooled(metric, pd.concat([cell.per_request(metric) for cell in cells]).to_numpy(float))
    if isinstance(metric, HarmonicMetric):
        return _harmonic(metric, cells)
    if isinstance(metric, AgeMetric):
        return _over_age(metric, cells)
    raise TypeError(f"{metric.name}: no way to evaluate a {type(metric).__name__}")


def _of_cells(metric: CellMetric, cells: Sequence[CellFrame]) -> Value | None:
    found = [value for cell in cells if (value := metric.function(cell.cell.data)) is not None]
    if not found:
        return None
    errors = [error for cell in cells if (error := metric.error(cell.cell.data)) is not None]
    value, interval = float(np.mean(found)), None
    if len(errors) == len(found):
        # seeds are measured on the same documents, so that pooling them does not make the interval narrower
        interval = normal_interval(value, float(np.mean(errors)), metric.range)
    return _with_interval(value, interval, len(found))


def _with_interval(value: float, interval: Interval | None, n: int) -> Value:
    low, high = interval or (None, None)
    return Value(value, low, high, n)


def _pooled(metric: Metric, values: np.ndarray[Any, Any]) -> Value | None:
    n = len(values)
    if not n:
        return None
    interval = wilson(float(values.sum()), n) if metric.is_share else mean_interval(values)
    return _with_interval(float(values.mean()), interval, n)


def _harmonic(metric: HarmonicMetric, cells: Sequence[CellFrame]) -> Value | None:
    parts = [METRICS[name] for name in metric.parts]
    tables = [pd.concat([cell.per_request(p) for p in parts if isinstance(p, ProbeMetric)], axis=1) for cell in cells]
    columns = pd.concat(tables).dropna().to_numpy(float)  # [requests, parts]
    if not len(columns):
        return None
    return _with_interval(harmonic_mean(columns.mean(axis=0).tolist()), harmonic_interval(columns), len(columns))


def _over_age(metric: AgeMetric, cells: Sequence[CellFrame]) -> Value | None:
    of = METRICS[metric.of]
    assert isinstance(of, ProbeMetric)
    values = [cell.per_request(of) for cell in cells]
    ages = [cell.ages.reindex(series.index) for cell, series in zip(cells, values, strict=True)]
    pooled = pd.concat(values, ignore_index=True)
    if pooled.empty:
        return None
    value, effective = area(age_curve(pooled, pd.concat(ages, ignore_index=True), cells[0].cell.scale))
    return Value(value, *wilson(value * effective, effective), len(pooled))


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

"""What figures are drawn from: leaderboards, as long frames with a row per value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from editbench.errors import UserError
from editbench.metrics import METRICS, CellMetric, Metric, ProbeMetric, cost
from editbench.metrics.metric import AgeMetric
from editbench.report.figures.axes import can_be_drawn, is_log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from editbench.analysis.leaderboard import Leaderboard

CAPABILITY = ("capability-ratio", "capability")
COST = "seconds-per-edit"
COLUMNS = (
    *("suite", "dataset", "protocol", "model", "method", "scale"),
    *("metric", "value", "low", "high", "n", "seeds", "status", "reason"),
)


def is_success(metric: Metric) -> bool:
    """Whether a metric is made from answers about requests."""
    return not isinstance(metric, CellMetric)


def is_by_request(metric: Metric) -> bool:
    """Whether it has a value for each request, so that requests of one age have one."""
    return isinstance(metric, ProbeMetric)


def is_cost(metric: Metric) -> bool:
    """Whether it is time, memory or bytes."""
    return any(metric is one for one in cost.METRICS)


def is_drift(metric: Metric) -> bool:
    """Whether it says what became of the model as a whole: capability, perplexity, drift of weights, …"""
    return isinstance(metric, CellMetric) and not is_cost(metric)


@dataclass(frozen=True)
class Evidence:
    """Results to draw.

    Attributes
    ----------
    boards: a leaderboard per suite, at each scale, with all the metrics that are to be drawn.
    asked: metrics that the user named, in order.
    scales: only these; empty: all, or the largest where a figure is of one scale.
    ages: suite -> :func:`editbench.analysis.stored.stored_ages`; only where retention is drawn.
    """

    boards: tuple[Leaderboard, ...]
    asked: tuple[str, ...] = ()
    scales: tuple[int, ...] = ()
    ages: Mapping[str, pd.DataFrame] | None = None

    def metric(self, takes: Callable[[Metric], bool], default: str) -> str:
        """Return the first metric the user named that a figure can take, else its own."""
        return chosen(self.asked, takes) or default

    def of(self, board: Leaderboard, model: str | None = None) -> Evidence:
        """Return what there is in one of the leaderboards, or of one model in it."""
        if model is None:
            return replace(self, boards=(board,))
        rows = tuple(row for row in board.rows if row.model == model)
        ages = {suite: frame[frame["model"] == model] for suite, frame in (self.ages or {}).items()}
        return replace(self, boards=(replace(board, rows=rows),), ages=ages)

    def checked(self) -> Evidence:
        """Return it; raises :class:`UserError` where none of the scales asked for has results."""
        there = sorted({row.scale for board in self.boards for row in board.rows})
        if self.scales and not set(self.scales) & set(there):
            asked = ", ".join(map(str, self.scales))
            raise UserError(f"There are no results at scale {asked}.", f"There are: {', '.join(map(str, there))}.")
        return self

    def methods(self) -> list[str]:
        """Return every method's label, once."""
        return sorted({row.method for board in self.boards for row in board.rows})


def chosen(asked: Sequence[str], takes: Callable[[Metric], bool]) -> str | None:
    """Return the first name whose metric is taken, or None."""
    return next((name for name in asked if takes(METRICS[name])), None)


def success_metric(suite_metrics: Sequence[str], asked: Sequence[str]) -> str:
    """Return the metric of success: the first named one, else the suite's first, else reliability."""
    return chosen(asked, is_success) or chosen(suite_metrics, is_success) or "reliability"


def age_metric(suite_metrics: Sequence[str], asked: Sequence[str]) -> str:
    """Return the metric drawn by edit age: the first named that has a value per request, else the suite's."""
    of = [metric.of for metric in METRICS.values() if isinstance(metric, AgeMetric)]
    return chosen(asked, is_by_request) or chosen(suite_metrics, is_by_request) or of[0]


def needed_metrics(suite_metrics: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the columns that a leaderboard needs for every kind of figure; the metric of success comes first."""
    return list(dict.fromkeys([success_metric(suite_metrics, asked), *asked, *suite_metrics, *CAPABILITY, COST]))


def tidy(board: Leaderboard, metrics: Sequence[str], scales: Sequence[int] = ()) -> pd.DataFrame:
    """Return a row per row of the leaderboard and metric, in order of method and scale.

    Columns: suite, dataset, protocol, model, method, scale, metric, value, low, high, n, seeds, status, reason; value
    and interval are NaN where there is none.
    """
    rows: list[dict[str, Any]] = []
    for row in sorted(board.rows, key=lambda row: (row.model, row.method, row.scale)):
        base = {
            "suite": board.about.suite,
            "dataset": board.dataset,
            "protocol": board.protocol_hash,
            "model": row.model,
            "method": row.method,
            "scale": row.scale,
        }
        end = {"seeds": " ".join(map(str, row.seeds)), "status": str(row.status), "reason": row.reason}
        for name in metrics if not scales or row.scale in scales else ():
            value = row.values.get(name)
            numbers = value.as_dict() if value else {"value": None, "low": None, "high": None, "n": 0}
            rows.append({**base, "metric": name, **numbers, **end})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(("value", "low", "high"), float))


def left_out(frame: pd.DataFrame) -> list[str]:
    """Return which methods have no number where, and why: how their cells ended, or that they lack the metric."""
    if "status" not in frame:
        return []
    empty, done = frame["value"].isna(), frame["status"] == "done"
    found = []
    for row in frame[empty & ~done].drop_duplicates(["suite", "model", "method", "scale"]).to_dict("records"):
        why = ": ".join(filter(None, (row["status"], row["reason"])))
        found.append(f"{row['suite']}: {row['method']} on {row['model']} at {row['scale']:,} has no numbers: {why}")
    return found + _not_measured(frame[empty & done])


def _not_measured(frame: pd.DataFrame) -> list[str]:
    """Return what done cells lack, in a line for the methods and scales that lack the same."""
    lacking: dict[tuple[str, str, str, str], list[str]] = {}
    for key, rows in frame.groupby(["suite", "model", "metric", "method"]):
        suite, model, metric, method = map(str, key)
        scales = ", ".join(f"{scale:,}" for scale in sorted(set(rows["scale"])))
        lacking.setdefault((suite, model, metric, scales), []).append(method)
    return [
        f"{suite}: no {metric} of {', '.join(methods)} on {model} at {scales}: it was not measured in these cells"
        for (suite, model, metric, scales), methods in lacking.items()
    ]


def refuse_empty(frame: pd.DataFrame, what: str, hint: str = "") -> None:
    """Raise :class:`UserError` where there is no value that can be drawn, with why each is missing."""
    parts = [can_be_drawn(rows["value"], is_log(str(name))) for name, rows in frame.groupby("metric")]
    if any(part.any() for part in parts):
        return
    ended = [] if frame.empty else left_out(frame[frame["status"] != "done"])
    more = f" (and {len(ended) - 3} more)" if len(ended) > 3 else ""
    flat = "Every value is 0, which has no place on a logarithmic axis." if frame["value"].notna().any() else ""
    raise UserError(f"There is nothing to draw: no {what}.", "; ".join(ended[:3]) + more or flat, hint)

"""Success by edit age, with an interval for every range of ages: what retention curves are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd

from editbench.analysis.aggregate import CellFrame, Value, estimate, stack, union
from editbench.analysis.contest import read_grid
from editbench.analysis.retention import BINS_PER_DECADE, age_edges
from editbench.analysis.sample import MEAN
from editbench.analysis.selection import choose_runs, merge_folders, refuse_mixing
from editbench.analysis.statistics import mean_interval, wilson
from editbench.errors import UserError
from editbench.metrics import METRICS, AgeMetric, ProbeMetric

if TYPE_CHECKING:
    from editbench.plan.runs import Plan
    from editbench.results.store import RunResult

COLUMNS = ("model", "method", "scale", "metric", "youngest", "oldest", "value", "low", "high", "n", "seeds")


@dataclass(frozen=True, slots=True)
class AgePoint:
    """Edits of one age range.

    Attributes
    ----------
    youngest, oldest: edits made after them, both included.
    value: the mean over requests and seeds, with its interval.
    """

    youngest: int
    oldest: int
    value: Value


def age_rows(runs: Sequence[RunResult], metric: str, plan: Plan | None = None) -> pd.DataFrame:
    """Return one row per model, method, scale and range of edit ages that has requests.

    Columns: model, method (its label), scale, metric, youngest and oldest (edits made since, both included), value,
    low and high (95%: over requests with one seed, two-level bootstrap with several), n (requests), seeds.

    Parameters
    ----------
    runs: as for :func:`editbench.analysis.leaderboard.build`; the same of them are taken, with the same ``plan``.
    metric: one with a value per record, such as ``reliability``.

    Raises :class:`UserError` for another metric, or runs that must not be mixed.
    """
    probed = METRICS[metric]
    if not isinstance(probed, ProbeMetric):
        known = [name for name, found in METRICS.items() if isinstance(found, ProbeMetric)]
        raise UserError(f"{metric} has no value for each request, and so none by edit age.", f"Such as: {known[0]}.")
    chosen, _ = choose_runs(merge_folders(runs)[0], plan)
    refuse_mixing(chosen)
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(run.manifest["model"]["name"] for run in chosen):
        grid = read_grid([run for run in chosen if run.manifest["model"]["name"] == model], [_by_age().name, metric])
        for (label, scale), cells in sorted(grid.cells.items()):
            seeds = sorted(cells)
            base = {"model": model, "method": label, "scale": scale, "metric": metric}
            named = {"seeds": " ".join(map(str, seeds))}
            for point in age_points([aged(probed, cells[seed]) for seed in seeds], scale, probed.is_share):
                ages = {"youngest": point.youngest, "oldest": point.oldest}
                rows.append({**base, **ages, **point.value.as_dict(), **named})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_age() -> AgeMetric:
    return next(metric for metric in METRICS.values() if isinstance(metric, AgeMetric))


def drawn_edges(scale: int) -> list[int]:
    """Return the bounds of :func:`age_edges`, the last bin joined to the one before where it is a sliver.

    At 1,000 edits that bin holds the one edit of age 999: nothing for a curve to end on.
    """
    edges = age_edges(scale)
    sliver = len(edges) > 2 and math.log10((scale + 1) / (edges[-2] + 1)) < 0.1 / BINS_PER_DECADE
    return [*edges[:-2], scale] if sliver else edges


def aged(metric: ProbeMetric, cell: CellFrame) -> pd.DataFrame:
    """Return a row per request that has a value: columns value and age (edits made after it)."""
    values = cell.per_request(metric)
    return pd.DataFrame({"value": values, "age": cell.ages.reindex(values.index)})


def age_points(tables: Sequence[pd.DataFrame], scale: int, share: bool = True) -> list[AgePoint]:
    """Return the points of age ranges that have requests, youngest first.

    Parameters
    ----------
    tables: of :func:`aged`, one per seed.
    scale: edits in the model.
    share: whether a request's value is 0 or 1; one seed then has Wilson's interval, otherwise Student's. Several
        seeds have the two-level bootstrap's.
    """
    points = []
    for start, stop in pairwise(drawn_edges(scale)):
        parts = [table[(table["age"] >= start) & (table["age"] < stop)] for table in tables]
        value = _value([part["value"].to_frame("0") for part in parts], share)
        if value is not None:
            points.append(AgePoint(start, stop - 1, value))
    return points


def _value(parts: Sequence[pd.DataFrame], share: bool) -> Value | None:
    if sum(map(len, parts)) == 0:
        return None
    if len(parts) > 1:
        return estimate(stack(parts, MEAN, union(parts)), share)
    values = parts[0].iloc[:, 0].to_numpy(float)
    found = wilson(float(values.sum()), len(values)) if share else mean_interval(values)
    low, high = found or (None, None)
    return Value(float(values.mean()), low, high, len(values))

"""Success by edit age, with an interval for every range of ages: what a retention figure is drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
from editbench.metrics import METRICS, AgeMetric, Metric, ProbeMetric

if TYPE_CHECKING:
    from editbench.plan import Plan
    from editbench.store import RunResult

COLUMNS = ("model", "method", "scale", "metric", "youngest", "oldest", "value", "low", "high", "n", "seeds")


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
            base = {"model": model, "method": label, "scale": scale, "metric": metric}
            rows += [{**base, **found} for found in _bins(probed, scale, cells)]
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


def _bins(metric: ProbeMetric, scale: int, cells: Mapping[int, CellFrame]) -> Iterator[dict[str, Any]]:
    seeds = sorted(cells)
    values = [cells[seed].per_request(metric) for seed in seeds]
    ages = [cells[seed].ages.reindex(one.index) for seed, one in zip(seeds, values, strict=True)]
    for start, stop in pairwise(drawn_edges(scale)):
        parts = [v[(age >= start) & (age < stop)].to_frame("0") for v, age in zip(values, ages, strict=True)]
        value = _value(metric, parts)
        if value is not None:
            yield {"youngest": start, "oldest": stop - 1, **value.as_dict(), "seeds": " ".join(map(str, seeds))}


def _value(metric: Metric, parts: Sequence[pd.DataFrame]) -> Value | None:
    if len(parts) > 1:
        return estimate(stack(parts, MEAN, union(parts)), metric.is_share)
    values = parts[0].iloc[:, 0].to_numpy(float)
    if not len(values):
        return None
    found = wilson(float(values.sum()), len(values)) if metric.is_share else mean_interval(values)
    low, high = found or (None, None)
    return Value(float(values.mean()), low, high, len(values))

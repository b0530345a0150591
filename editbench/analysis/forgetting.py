"""What is left of edits by their age: the curve under which ``retention`` is the area, with an interval per bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from editbench.analysis.aggregate import Value, estimate, stack, union
from editbench.analysis.retention import age_edges
from editbench.analysis.sample import MEAN, Sample
from editbench.analysis.statistics import wilson


@dataclass(frozen=True, slots=True)
class AgePoint:
    """Edits of one age range.

    Attributes
    ----------
    youngest, oldest: edits made after them, both included.
    value: the mean over seeds of the share that is left, with its interval; ``n`` counts requests per seed.
    """

    youngest: int
    oldest: int
    value: Value


def age_points(tables: Sequence[pd.DataFrame], scale: int) -> list[AgePoint]:
    """Return the points of age bins that have requests, youngest first.

    One seed: Wilson's interval; several: the two-level bootstrap.

    Parameters
    ----------
    tables: one per seed, as :func:`editbench.analysis.aggregate.columns` makes them of an age metric: a row per
        request, a column per bin, NaN outside the request's bin.
    scale: edits in the model.
    """
    tables = [table for table in tables if not table.empty]
    if not tables:
        return []
    edges = age_edges(scale)
    values = stack(tables, MEAN, union(tables)).values  # [requests, seeds, bins]
    points = []
    for number in range(len(edges) - 1):
        part = values[:, :, number : number + 1]
        value = _value(part[~np.isnan(part).all(axis=(1, 2))])
        if value is not None:
            points.append(AgePoint(edges[number], edges[number + 1] - 1, value))
    return points


def _value(part: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Value | None:
    if not len(part):
        return None
    if part.shape[1] > 1:
        return estimate(Sample(part), share=True)
    known = part[~np.isnan(part)]
    return Value(float(known.mean()), *wilson(float(known.sum()), len(known)), len(known))

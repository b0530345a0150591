"""Reliability by edit age, and the area under that curve."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

BINS_PER_DECADE = 2


@dataclass(frozen=True, slots=True)
class AgeBin:
    """Edits of one age range.

    Attributes
    ----------
    youngest, oldest: edits made after them, both included.
    width: share of the logarithmic age axis, before empty bins are left out.
    value: mean of the metric.
    n: requests.
    """

    youngest: int
    oldest: int
    width: float
    value: float
    n: int


def age_edges(scale: int) -> list[int]:
    """Return bounds [0, …, scale] of age bins, two per decade of ``1 + age``."""
    steps = math.floor(BINS_PER_DECADE * math.log10(scale) + 1e-9)
    bounds = {max(round(10 ** (step / BINS_PER_DECADE)) - 1, 1) for step in range(1, steps + 1)}
    return [0, *sorted(bound for bound in bounds if bound < scale), scale]


def bin_widths(scale: int) -> list[float]:
    """Return the share of the axis log(1 + age) that each bin covers."""
    whole = math.log10(scale + 1)
    return [math.log10((stop + 1) / (start + 1)) / whole for start, stop in itertools.pairwise(age_edges(scale))]


def age_curve(values: pd.Series[float], ages: pd.Series[int], scale: int) -> list[AgeBin]:
    """Return the mean of ``values`` in each age bin that has any, youngest first."""
    curve = []
    for (start, stop), width in zip(itertools.pairwise(age_edges(scale)), bin_widths(scale), strict=True):
        inside = values[(ages >= start) & (ages < stop)].dropna()
        if len(inside):
            curve.append(AgeBin(start, stop - 1, width, float(inside.mean()), len(inside)))
    return curve


def area(curve: list[AgeBin]) -> tuple[float, float]:
    """Return the area under a curve over log(1 + age), normalised to 0–1, and the effective number of requests.

    The effective number is what a plain share of the same value and variance would have had.
    """
    whole = sum(part.width for part in curve)
    weights = [part.width / whole for part in curve]
    value = sum(weight * part.value for weight, part in zip(weights, curve, strict=True))
    variance = sum(w * w * p.value * (1 - p.value) / p.n for w, p in zip(weights, curve, strict=True))
    total = sum(part.n for part in curve)
    return value, min(value * (1 - value) / variance, total) if variance > 0 else total

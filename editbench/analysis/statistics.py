"""Intervals. The unit is the request; a request's value is the mean over its probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95

Interval = tuple[float, float]


@cache
def normal_quantile(level: float) -> float:
    """Return z so that a normal number lies within ±z with probability ``level``."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def t_quantile(df: float, level: float) -> float:
    """Return the same of Student's t with ``df`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))


def wilson(successes: float, n: float, level: float = LEVEL) -> Interval:
    """Return the Wilson score interval of a share (Wilson 1927).

    Parameters
    ----------
    successes: how many of ``n`` succeeded; may be fractional where a request's value is a mean over its probes. The
        variance of values between 0 and 1 is at most that of a yes or no, so the interval is then on the safe side.
    n: how many were tried; may be an effective number.
    level: coverage.

    Raises ``ValueError`` unless 0 <= successes <= n and n > 0.
    """
    if n <= 0 or not 0 <= successes <= n * (1 + 1e-12):
        raise ValueError(f"{successes} successes of {n}")
    z, share = normal_quantile(level), min(successes / n, 1.0)
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if share == 0 else max(low, 0.0)), (1.0 if share == 1 else min(high, 1.0))


def mean_interval(values: NDArray[Any], level: float = LEVEL) -> Interval | None:
    """Return Student's interval of a mean, or None with fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    half = t_quantile(n - 1, level) * float(values.std(ddof=1)) / math.sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half


def bonett_price(differences: NDArray[Any], level: float = LEVEL) -> Interval:
    """Return the interval of a difference of paired shares (Bonett & Price 2012, doi:10.3102/1076998611411915).

    Wald's, after two imaginary requests, one won by each side: it has a width even where nothing differs.

    Parameters
    ----------
    differences: of each request, between -1 and 1; fractions are allowed where a value is a mean over probes.
    """
    n = len(differences) + 2
    mean = float(differences.sum()) / n
    variance = (float((differences**2).sum()) + 2) / n - mean * mean
    half = normal_quantile(level) * math.sqrt(variance / n)
    return max(mean - half, -1.0), min(mean + half, 1.0)


def combined(value: float, weights: NDArray[Any], values: NDArray[Any], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of Σ wᵢ vᵢ from those of its parts (MOVER, Zou & Donner 2008, doi:10.1002/sim.3095).

    The parts are taken to be independent. One part of weight 1 keeps its interval.

    Parameters
    ----------
    value: Σ wᵢ vᵢ.
    weights, values: of the parts.  # [parts]
    intervals: of the parts.
    """
    low, high = (weights * (np.asarray(side) - values) for side in zip(*intervals, strict=True))
    return value - math.sqrt(float((low**2).sum())), value + math.sqrt(float((high**2).sum()))


def normal_interval(
    value: float, error: float, limits: tuple[float | None, float | None], level: float = LEVEL
) -> Interval:
    """Return value ± z · standard error, cut off at ``limits`` (None: no limit)."""
    half = normal_quantile(level) * error
    low = -math.inf if limits[0] is None else limits[0]
    high = math.inf if limits[1] is None else limits[1]
    return max(value - half, low), min(value + half, high)


def harmonic_mean(shares: Sequence[float]) -> float:
    """Return the harmonic mean; 0 if any share is 0."""
    return 0.0 if min(shares) <= 0 else len(shares) / sum(1 / share for share in shares)


def harmonic_interval(columns: NDArray[Any], level: float = LEVEL) -> Interval | None:
    """Return the delta-method interval of the harmonic mean of the columns' means, clipped to [0, 1].

    Parameters
    ----------
    columns: one row per request, one column per part.  # [requests, parts]

    Returns None where a column's mean is 0 or there are fewer than two rows.
    """
    means = columns.mean(axis=0)
    if len(columns) < 2 or means.min() <= 0:
        return None
    value = harmonic_mean(means.tolist())
    gradient = value * value / (len(means) * means**2)
    influence = (columns - means) @ gradient
    half = normal_quantile(level) * float(influence.std(ddof=1)) / math.sqrt(len(columns))
    return max(value - half, 0.0), min(value + half, 1.0)

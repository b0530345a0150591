"""Intervals. The unit is the request; a request's value is the mean over its probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95

Interval = tuple[float, float]


@cache
def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


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
    z, share = _normal_quantile(level), min(successes / n, 1.0)
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if share == 0 else max(low, 0.0)), (1.0 if share == 1 else min(high, 1.0))


def mean_interval(values: NDArray[Any], level: float = LEVEL) -> Interval | None:
    """Return Student's interval of a mean, or None with fewer than two values."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half


def normal_interval(
    value: float, error: float, limits: tuple[float | None, float | None], level: float = LEVEL
) -> Interval:
    """Return value ± z · standard error, cut off at ``limits`` (None: no limit)."""
    half = _normal_quantile(level) * error
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
    half = _normal_quantile(level) * float(influence.std(ddof=1)) / math.sqrt(len(columns))
    return max(value - half, 0.0), min(value + half, 1.0)

"""How sure an estimate is: requests are drawn again, seeds are drawn again, and few seeds are punished as they must be.

The two levels are drawn apart and added. Drawing requests inside drawn seeds would count the noise of the requests up
to three times (Owen 2007, arXiv:0711.1238, on crossed data). A request that several seeds asked about is drawn
once for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.analysis.statistics import LEVEL, Interval, normal_quantile, t_quantile
from editbench.base.seeds import numpy_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from editbench.analysis.sample import Sample

DRAWS = 2000
_AT_ONCE = 1 << 22  # numbers held at once


@dataclass(frozen=True, slots=True)
class Spread:
    """How far an estimate may be off.

    Attributes
    ----------
    within: variance of the estimate over requests.
    between: variance over seeds, that of their requests included; 0 for one seed.
    df: degrees of freedom of Student's t that the sum goes with.
    """

    within: float
    between: float
    df: float

    @property
    def variance(self) -> float:
        """Variance of the estimate."""
        return self.within + self.between


def spread(influence: NDArray[Any], by_seed: NDArray[Any]) -> Spread:
    """Return the variance of an estimate and its degrees of freedom.

    With S seeds, df = (S − 1) √(variance / between): S − 1 where the seeds decide, more where the requests do. The
    root (Satterthwaite's formula has a square) keeps tests at their level with two and three seeds, whatever the seeds'
    share of the variance; see docs/statistics.md.

    Parameters
    ----------
    influence: each request's part in the estimate, as :attr:`Sample.influence`.  # [requests]
    by_seed: the estimate of every seed.  # [seeds]
    """
    n, seeds = len(influence), len(by_seed)
    within = float((influence**2).sum()) * n / (n - 1) if n > 1 else 0.0
    if seeds < 2:
        return Spread(within, 0.0, max(n - 1, 1))
    between = float(by_seed.var(ddof=1)) / seeds
    total = within + between
    return Spread(within, between, (seeds - 1) * math.sqrt(total / between) if between > 0 else max(n - 1, 1))


def interval(sample: Sample, level: float = LEVEL) -> Interval | None:
    """Return the two-level bootstrap interval of a sample's estimate, or None with fewer than two requests."""
    return around(sample.value, sample.influence, sample.by_seed, level)


def around(value: float, influence: NDArray[Any], by_seed: NDArray[Any], level: float = LEVEL) -> Interval | None:
    """Return the interval around a value: percentiles of the two-level bootstrap, stretched by t / z.

    The draws come from a generator seeded by the number of requests and seeds: the same data, the same interval.
    """
    if len(influence) < 2:
        return None
    rng = numpy_generator(0, "bootstrap", len(influence), len(by_seed))
    moved = _of_requests(influence, rng)
    if len(by_seed) > 1:
        moved = moved + _of_seeds(by_seed, rng)
    low, high = np.quantile(moved, [0.5 - level / 2, 0.5 + level / 2])
    stretch = t_quantile(spread(influence, by_seed).df, level) / normal_quantile(level)
    return value + float(low) * stretch, value + float(high) * stretch


def _of_requests(influence: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return the estimate's shift in each draw: requests of one value are interchangeable, so counts are drawn."""
    values, counts = np.unique(influence, return_counts=True)
    step = max(_AT_ONCE // len(values), 1)
    parts = [
        rng.multinomial(len(influence), counts / len(influence), size=min(step, DRAWS - start)) @ values
        for start in range(0, DRAWS, step)
    ]
    return np.concatenate(parts)


def _of_seeds(by_seed: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return the mean of S − 1 of S seeds, drawn with replacement, less the mean: S − 1, so that its variance is s²/S.

    After Rao & Wu 1988 (doi:10.1080/01621459.1988.10478591).
    """
    seeds = len(by_seed)
    drawn = by_seed[rng.integers(0, seeds, (DRAWS, seeds - 1))]
    return np.asarray(drawn.mean(axis=1) - by_seed.mean())

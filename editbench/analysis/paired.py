"""Two methods on the same requests: how large the difference is, how sure, and whether chance alone would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.analysis.bootstrap import around, spread
from editbench.analysis.sample import Sample, paired, pull
from editbench.analysis.statistics import LEVEL, Interval, bonett_price, mean_interval, normal_quantile
from editbench.base.seeds import numpy_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 9999
_ENUMERATED = 12  # up to so many requests that differ, all 2^12 ways are gone through


@dataclass(frozen=True, slots=True)
class Test:
    """The answer of a paired test.

    Attributes
    ----------
    effect: estimate of b less that of a.
    p: two-sided, not corrected.
    requests: distinct requests that both were asked about.
    asked: those, once per seed.
    seeds: seeds that both have.
    b_only, a_only: requests (once per seed) on which b, or a, has the higher value: in one part, and in none the lower.
    name: of the test, in words.
    split: requests (once per seed) on which b has the higher value in one part and a in another, as is possible where
        the metric is made from several values of a request: which of the two did better there is not said.
    """

    effect: float
    p: float
    requests: int
    asked: int
    seeds: int
    b_only: int
    a_only: int
    name: str
    split: int = 0


def sign_flip(contributions: NDArray[Any], rng: np.random.Generator) -> tuple[float, str]:
    """Return the two-sided p of "a and b may be swapped within any request", and the test's name.

    Where all requests that differ count alike this is McNemar's exact test; for few requests all swaps are gone
    through; else ``RESAMPLES`` random ones, and p is (1 + as extreme) / (1 + tried).

    Parameters
    ----------
    contributions: each request's part in the difference; those that are 0 say nothing.  # [requests]
    """
    from scipy import stats

    moved = contributions[contributions != 0]
    if not len(moved):
        return 1.0, "exact McNemar"
    sizes = np.abs(moved)
    if np.allclose(sizes, sizes[0], rtol=1e-9, atol=0):
        return float(stats.binomtest(int((moved > 0).sum()), len(moved), 0.5).pvalue), "exact McNemar"
    if len(moved) <= _ENUMERATED:
        found = stats.permutation_test([moved], _total, permutation_type="samples", n_resamples=RESAMPLES)
        return float(found.pvalue), "exact paired permutation"
    return _random_flips(sizes, abs(float(moved.sum())), rng), "paired permutation"


def _total(values: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(values.sum(axis=axis))


def _random_flips(sizes: NDArray[Any], observed: float, rng: np.random.Generator) -> float:
    """Flip signs at random; requests of one size are interchangeable, so the number flipped is drawn."""
    values, counts = np.unique(np.round(sizes / sizes.max(), 12), return_counts=True)
    values, extreme, step = values * sizes.max(), 0, max((1 << 21) // len(values), 1)
    for start in range(0, RESAMPLES, step):
        flipped = rng.binomial(counts, 0.5, size=(min(step, RESAMPLES - start), len(values)))
        sums = np.abs((counts - 2 * flipped) @ values)
        extreme += int((sums >= observed * (1 - 1e-9)).sum())
    return (1 + extreme) / (1 + RESAMPLES)


def paired_test(a: Sample, b: Sample) -> Test:
    """Compare b with a on what both were asked.

    One seed: the swap test over requests. Several: the larger of its p and that of the two-level t test, in which the
    seeds are a sample too. Raises ``ValueError`` where nothing pairs up, or the samples are not aligned.
    """
    from scipy import stats

    a, b = paired(a, b)
    if not a.requests:
        raise ValueError("the two have no request in common")
    rng = numpy_generator(0, "sign flips", a.requests)
    p, name = sign_flip(_contributions(a, b), rng)
    effect, seeds = b.value - a.value, b.by_seed - a.by_seed
    if len(seeds) > 1:
        around_zero = spread(b.influence - a.influence, seeds)
        scale = np.sqrt(around_zero.variance)
        over_seeds = float(2 * stats.t.sf(abs(effect) / scale, around_zero.df)) if scale > 0 else p
        p, name = max(p, over_seeds), f"{name} over requests and two-level t over {len(seeds)} seeds, the larger p"
    higher, lower, split = _wins(a, b)
    return Test(effect, min(p, 1.0), a.requests, a.asked, len(seeds), higher, lower, name, split)


def _contributions(a: Sample, b: Sample) -> NDArray[Any]:
    """Each request's part in the difference, by the slope at the mean of both: a swap changes its sign, no more."""
    middle = a.statistic.gradient((a.means + b.means) / 2)
    return pull(b.values - a.values, a.counts, middle)


def _wins(a: Sample, b: Sample) -> tuple[int, int, int]:
    """Return how many requests, once per seed, b wins, a wins, and each wins in another part."""
    difference = np.where(a.known, b.values - a.values, 0.0)  # [requests, seeds, parts]
    higher, lower = (difference > 1e-12).any(axis=2), (difference < -1e-12).any(axis=2)
    return int((higher & ~lower).sum()), int((lower & ~higher).sum()), int((higher & lower).sum())


def difference_interval(
    a: Sample, b: Sample, share: bool, p: float | None = None, level: float = LEVEL
) -> Interval | None:
    """Return the interval of the estimate of b less that of a, or None with fewer than two requests in common.

    The two-level bootstrap's, but never narrower than one that knows how little it says that few requests do not
    differ: Bonett & Price's for shares (:func:`_in_parts`, where they have parts), Student's for other means.

    Parameters
    ----------
    a, b: aligned.
    share: whether values are between 0 and 1.
    p: of the paired test, which knows more about 0 than any interval: the bound that says otherwise is moved there.
    level: coverage.
    """
    a, b = paired(a, b)
    effect, influence = b.value - a.value, b.influence - a.influence
    found = around(effect, influence, b.by_seed - a.by_seed, level)
    if found is None:
        return None
    least = _least(a, b, influence, share, level)
    if least is not None:
        found = min(found[0], least[0]), max(found[1], least[1])
    if share:
        found = max(found[0], -1.0), min(found[1], 1.0)
    return found if p is None else _agreeing(found, effect, p <= 1 - level)


def _agreeing(found: Interval, effect: float, apart: bool) -> Interval:
    """Return an interval that 0 is in just where the test finds nothing; a bound of 0 is outside where it does.

    Coverage stays: a difference of 0 is left out as often as the test errs, one on the other side of it less often.
    """
    low, high = found
    if not apart:
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if effect > 0 else (low, min(high, 0.0))


def _least(a: Sample, b: Sample, influence: NDArray[Any], share: bool, level: float) -> Interval | None:
    difference = Sample(b.values - a.values)
    parts = [difference.of_request(part) for part in range(a.values.shape[2])]
    if len(parts) > 1:
        return _in_parts(a, b, parts, influence, level) if share else None
    return bonett_price(parts[0], level) if share else mean_interval(parts[0], level)


def _in_parts(a: Sample, b: Sample, parts: Sequence[NDArray[Any]], influence: NDArray[Any], level: float) -> Interval:
    """Return Wald's interval of a difference made of parts, after two imaginary requests in each, half won by a side.

    The only request of an age or a scale may weigh as much as all of another, and its own variance is 0. Were the
    imaginary ones won whole, as in Bonett & Price's interval of each part, the interval would cover more than it need
    and be up to half as wide again; see docs/statistics.md.
    """
    there = (a.counts > 0).any(axis=1)  # [seeds]
    weights = np.nan_to_num(a.statistic.gradient((a.means + b.means) / 2)[there]).mean(axis=0)
    variance = float((influence**2).sum())
    for weight, part in zip(weights, parts, strict=True):
        if n := len(part):
            with_two = (float((part**2).sum()) + 2 * 0.5**2) / (n + 2) - (float(part.sum()) / (n + 2)) ** 2
            variance += float(weight) ** 2 * max(with_two - float(part.var()), 0.0) / n
    half, effect = normal_quantile(level) * math.sqrt(variance), b.value - a.value
    return effect - half, effect + half

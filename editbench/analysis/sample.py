"""What an estimate is made from: values by request, seed and part, and the statistic over their means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Statistic(Protocol):
    """A function of the means of a sample's parts, with its slope."""

    def value(self, means: Array) -> Array:
        """Return the value of each row of means; NaN marks a part nobody was asked about.  # [..., parts] -> [...]"""
        ...

    def gradient(self, means: Array) -> Array:
        """Return the derivative of :meth:`value` by each mean.  # [..., parts] -> [..., parts]"""
        ...


@dataclass(frozen=True, slots=True)
class Weighted:
    """The mean of the parts' means with these weights; parts without values are left out and the rest rescaled."""

    weights: tuple[float, ...]

    def value(self, means: Array) -> Array:
        """Return Σ w m / Σ w over the parts that have values; NaN where none has."""
        found = np.where(np.isnan(means), 0.0, means * self.gradient(means)).sum(axis=-1)
        return np.asarray(np.where(np.isnan(means).all(axis=-1), np.nan, found))

    def gradient(self, means: Array) -> Array:
        """Return w / Σ w over the parts that have values."""
        weights = np.where(np.isnan(means), 0.0, np.asarray(self.weights))
        whole = weights.sum(axis=-1, keepdims=True)
        return np.asarray(weights / np.where(whole > 0, whole, np.nan))


@dataclass(frozen=True, slots=True)
class Harmonic:
    """The harmonic mean of the parts' means; 0 where one of them is 0 or below."""

    def value(self, means: Array) -> Array:
        """Return parts / Σ 1/m."""
        safe = np.where(means > 0, means, 1.0)
        found = means.shape[-1] / (1 / safe).sum(axis=-1)
        empty = np.isnan(means).any(axis=-1)
        return np.asarray(np.where(empty, np.nan, np.where((means > 0).all(axis=-1), found, 0.0)))

    def gradient(self, means: Array) -> Array:
        """Return value² / (parts · m²)."""
        safe = np.where(means > 0, means, 1.0)
        value = self.value(means)[..., None]
        return np.asarray(np.nan_to_num(value**2 / (means.shape[-1] * safe**2)))


MEAN = Weighted((1.0,))


def alike(parts: int) -> Weighted:
    """Return the mean of so many parts, each alike."""
    return Weighted((1.0 / parts,) * parts)


@dataclass(frozen=True)
class Sample:
    """Values of requests, and the statistic to be estimated from them.

    Attributes
    ----------
    values: one value per request, seed and part, NaN where there is none. A request that several seeds asked about
        is one row.  # [requests, seeds, parts]
    statistic: of the parts' means over requests, within a seed; the estimate is its mean over seeds.
    """

    values: Array
    statistic: Statistic = MEAN

    @cached_property
    def known(self) -> Array:
        """Where there is a value.  # [requests, seeds, parts]"""
        return np.asarray(~np.isnan(self.values))

    @cached_property
    def counts(self) -> Array:
        """Requests behind each mean.  # [seeds, parts]"""
        return np.asarray(self.known.sum(axis=0))

    @cached_property
    def means(self) -> Array:
        """Mean over requests; NaN where there are none.  # [seeds, parts]"""
        total = np.where(self.known, self.values, 0.0).sum(axis=0)
        return np.asarray(total / np.where(self.counts > 0, self.counts, np.nan))

    @cached_property
    def by_seed(self) -> Array:
        """The statistic of every seed that has values.  # [seeds]"""
        found = self.statistic.value(self.means)
        return np.asarray(found[~np.isnan(found)])

    @property
    def value(self) -> float:
        """The estimate: the mean over seeds."""
        return float(self.by_seed.mean()) if len(self.by_seed) else float("nan")

    @property
    def requests(self) -> int:
        """Distinct requests that have a value."""
        return int(self.known.any(axis=(1, 2)).sum())

    @property
    def asked(self) -> int:
        """Requests that have a value, counted once per seed."""
        return int(self.known.any(axis=2).sum())

    @cached_property
    def influence(self) -> Array:
        """What each request with a value adds to the estimate, to first order; sums to 0.  # [requests]"""
        return pull(self.values - self.means, self.counts, self.statistic.gradient(self.means))

    def of_request(self, part: int) -> Array:
        """Return each request's mean over its seeds, in one part.  # [requests with a value]"""
        known = self.known[:, :, part]
        total = np.where(known, self.values[:, :, part], 0.0).sum(axis=1)
        asked = known.sum(axis=1)
        return np.asarray(total[asked > 0] / asked[asked > 0])

    def weighted_parts(self) -> tuple[Array, list[Array]]:
        """Return the weights and the requests' values (:meth:`of_request`) of the parts that have any.

        For a :class:`Weighted` statistic.
        """
        found = [(part, self.of_request(part)) for part in range(self.values.shape[2])]
        there = [(part, values) for part, values in found if len(values)]
        weights = self.statistic.gradient(np.where(self.counts.sum(axis=0) > 0, 0.0, np.nan))
        return np.asarray(weights[[part for part, _ in there]]), [values for _, values in there]


def pull(values: Array, counts: Array, gradient: Array) -> Array:
    """Return Σ over seeds and parts of gradient · value / count / seeds, of requests that have a value.

    Parameters
    ----------
    values: NaN where there is none.  # [requests, seeds, parts]
    counts, gradient: of each mean.  # [seeds, parts]
    """
    known = ~np.isnan(values)
    seeds = max(int((counts > 0).any(axis=1).sum()), 1)
    weights = np.nan_to_num(gradient) / np.where(counts > 0, counts, 1) / seeds
    found = np.where(known, values, 0.0).reshape(len(values), -1) @ weights.reshape(-1)
    return np.asarray(found[known.any(axis=(1, 2))])


def paired(a: Sample, b: Sample) -> tuple[Sample, Sample]:
    """Return both samples with only the values that the other has too; their rows, seeds and parts must be the same.

    Raises ``ValueError`` for samples of different shapes or statistics.
    """
    if a.values.shape != b.values.shape or a.statistic != b.statistic:
        raise ValueError(f"samples of {a.values.shape} and {b.values.shape} cannot be paired")
    both = a.known & b.known
    return tuple(Sample(np.where(both, side.values, np.nan), side.statistic) for side in (a, b))  # type: ignore[return-value]

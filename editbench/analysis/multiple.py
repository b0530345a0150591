"""Many comparisons at once: Holm's correction, and ranks of methods of which some cannot be told apart."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm (1979), in the order given; the family-wise error is at most the level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, largest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min((len(p) - place) * p[i], 1.0))
        corrected[i] = largest
    return corrected


@dataclass(frozen=True, slots=True)
class Standing:
    """A method's place among others.

    Attributes
    ----------
    rank: 1 + the number of methods separably better, or the rank of a method with a better value if that is worse.
    low, high: the places it may have: below those separably better, above those separably worse.
    letters: its groups; methods that share a letter are not separable.
    top: whether it is the best, or not separable from the best.
    """

    rank: int
    low: int
    high: int
    letters: str
    top: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the standing as plain values, for JSON."""
        return {"rank": self.rank, "low": self.low, "high": self.high, "groups": self.letters, "top": self.top}


def standings(values: Sequence[float], p: NDArray[Any], higher_is_better: bool = True) -> list[Standing]:
    """Return each method's standing.

    Parameters
    ----------
    values: estimates, finite.
    p: corrected p-values of all pairs, symmetric.  # [methods, methods]
    """
    goodness = np.asarray(values, float) * (1 if higher_is_better else -1)
    apart = (p <= ALPHA) & (goodness[:, None] != goodness[None, :])
    better = (apart & (goodness[None, :] > goodness[:, None])).sum(axis=1)  # how many beat it
    worse = (apart & (goodness[None, :] < goodness[:, None])).sum(axis=1)
    best = int(np.argmax(goodness))
    order = np.argsort(-goodness, kind="stable")
    rank = np.empty(len(values), int)
    rank[order] = np.maximum.accumulate(better[order]) + 1  # never better than that of a better value
    groups = _letters(~apart, order.tolist())
    return [
        Standing(int(rank[i]), int(better[i]) + 1, len(values) - int(worse[i]), groups[i], not bool(apart[i, best]))
        for i in range(len(values))
    ]


def _letters(alike: NDArray[Any], order: list[int]) -> list[str]:
    """Return for each method the letters of the maximal groups in which no two are separable, best group first."""
    place = {method: k for k, method in enumerate(order)}
    near = {i: {j for j in order if j != i and alike[i, j]} for i in order}
    groups = sorted(sorted(place[i] for i in group) for group in _cliques(set(), set(order), set(), near))
    names = [_letter(k) for k in range(len(groups))]
    named = list(zip(names, groups, strict=True))
    return ["".join(name for name, group in named if place[i] in group) for i in sorted(order)]


def _letter(k: int) -> str:
    return string.ascii_lowercase[k % 26] + (str(k // 26) if k >= 26 else "")


def _cliques(chosen: set[int], left: set[int], seen: set[int], near: dict[int, set[int]]) -> Iterator[set[int]]:
    """Yield the maximal cliques (Bron & Kerbosch 1973, with a pivot)."""
    if not left and not seen:
        yield chosen
        return
    pivot = max(left | seen, key=lambda i: len(near[i] & left))
    for i in sorted(left - near[pivot]):
        yield from _cliques(chosen | {i}, left & near[i], seen & near[i], near)
        left, seen = left - {i}, seen | {i}

"""Many blocks (models, datasets): do methods differ in their ranks? Friedman's test, then every pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.analysis.multiple import holm

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Friedman:
    """What the ranks of methods over blocks say.

    Attributes
    ----------
    mean_ranks: method -> its mean rank, 1 the best, ties shared.
    blocks: how many there are.
    statistic, p: Friedman's chi-squared, corrected for ties; NaN with fewer than three methods or two blocks.
    critical_difference: mean ranks this far apart differ at 5% (Nemenyi).
    nemenyi, wilcoxon: corrected p of every pair; Wilcoxon's signed ranks are corrected by Holm.
    """

    mean_ranks: Mapping[str, float]
    blocks: int
    statistic: float
    p: float
    critical_difference: float
    nemenyi: Mapping[Pair, float]
    wilcoxon: Mapping[Pair, float]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON; what has no value is null."""
        pairs = [
            {"a": a, "b": b, "nemenyi": _plain(self.nemenyi[a, b]), "wilcoxon_holm": _plain(p)}
            for (a, b), p in self.wilcoxon.items()
        ]
        return {
            "mean_ranks": dict(self.mean_ranks),
            "blocks": self.blocks,
            "friedman": {"statistic": _plain(self.statistic), "p": _plain(self.p)},
            "critical_difference": _plain(self.critical_difference),
            "pairs": pairs,
        }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value


def friedman(table: pd.DataFrame, lower_is_better: bool = False, wilcoxon: bool = True) -> Friedman:
    """Return the tests over a table of one row per block and one column per method, without gaps.

    After Demšar 2006 (JMLR 7). Friedman's p is scipy's (chi-squared); Nemenyi's is that of the studentised range.
    ``wilcoxon``: whether to make Wilcoxon's tests too, which go through all signs where few blocks have ties (slow).
    Raises ``ValueError`` for gaps, or fewer than two methods.
    """
    from scipy import stats

    values = table.to_numpy(float)
    blocks, k = values.shape
    if k < 2 or blocks < 1 or np.isnan(values).any():
        raise ValueError(f"expected at least two methods and one block, none missing; got {k} and {blocks}")
    ranks = stats.rankdata(values if lower_is_better else -values, axis=1).mean(axis=0)
    statistic = p = float("nan")
    if k >= 3 and blocks >= 2 and not (values == values[:, :1]).all():
        found = stats.friedmanchisquare(*values.T)
        statistic, p = float(found.statistic), float(found.pvalue)
    unit = np.sqrt(k * (k + 1) / (6 * blocks))
    names = [str(name) for name in table.columns]
    at = [(i, j) for i in range(k) for j in range(i + 1, k)]
    pairs = [(names[i], names[j]) for i, j in at]
    apart = np.array([abs(ranks[i] - ranks[j]) for i, j in at])
    return Friedman(
        mean_ranks={name: float(rank) for name, rank in zip(names, ranks, strict=True)},
        blocks=blocks,
        statistic=statistic,
        p=p,
        critical_difference=_critical(k) / np.sqrt(2) * unit,
        nemenyi={pair: _tail(round(z * np.sqrt(2), 9), k) for pair, z in zip(pairs, apart / unit, strict=True)},
        wilcoxon=_wilcoxon_holm(values, at, pairs) if wilcoxon else {},
    )


@cache  # scipy integrates numerically: up to a second; differences of mean ranks take few values
def _tail(q: float, k: int) -> float:
    from scipy import stats

    return float(stats.studentized_range.sf(q, k, np.inf))


@cache
def _critical(k: int) -> float:
    from scipy import stats

    return float(stats.studentized_range.ppf(0.95, k, np.inf))


def _wilcoxon_holm(values: NDArray[Any], at: list[tuple[int, int]], pairs: list[Pair]) -> dict[Pair, float]:
    return dict(zip(pairs, holm([_wilcoxon(values[:, i] - values[:, j]) for i, j in at]), strict=True))


def _wilcoxon(difference: NDArray[Any]) -> float:
    """Return the p of Wilcoxon's signed-rank test; blocks in which two methods are equal are dropped."""
    from scipy import stats

    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)

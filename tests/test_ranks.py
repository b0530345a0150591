from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from editbench.analysis.blocks import friedman
from editbench.analysis.multiple import holm, standings
from editbench.analysis.overall import blocks_needed
from editbench.analysis.pareto import front


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5], [0.2], [], [0.0, 1.0, 0.02]])
def test_holm_equals_statsmodels(p: list[float]) -> None:
    expected = multipletests(p, method="holm")[1].tolist() if p else []
    assert holm(p) == pytest.approx(expected)


def ranked(
    values: list[float], separable: set[tuple[int, int]], higher: bool = True
) -> list[tuple[int, int, int, str]]:
    p = np.ones((len(values), len(values)))
    for i, j in separable:
        p[i, j] = p[j, i] = 0.001
    return [(s.rank, s.low, s.high, s.letters) for s in standings(values, p, higher)]


def test_methods_that_cannot_be_told_apart_share_a_rank_and_ranks_have_intervals() -> None:
    assert ranked([0.9, 0.8, 0.1], {(0, 2), (1, 2)}) == [(1, 1, 2, "a"), (1, 1, 2, "a"), (3, 3, 3, "b")]
    assert ranked([0.1, 0.8, 0.9], {(0, 1), (0, 2)}, higher=False) == [(1, 1, 1, "a"), (2, 2, 3, "b"), (2, 2, 3, "b")]
    assert ranked([0.5, 0.5], set()) == [(1, 1, 2, "a"), (1, 1, 2, "a")]
    assert ranked([0.5], set()) == [(1, 1, 1, "a")]


def test_a_method_between_two_groups_carries_the_letters_of_both() -> None:
    assert ranked([0.9, 0.8, 0.7], {(0, 2)}) == [(1, 1, 2, "a"), (1, 1, 3, "ab"), (2, 2, 3, "b")]


def test_a_worse_value_never_has_a_better_rank() -> None:
    found = ranked([0.9, 0.8, 0.7, 0.6], {(0, 2), (1, 2)})
    assert [rank for rank, *_ in found] == [1, 1, 3, 3]
    assert found[3][1:3] == (1, 4)


def table(blocks: int, seed: int, gap: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame((rng.random((blocks, 4)) + gap * np.arange(4)).round(1), columns=list("abcd"))


@pytest.mark.parametrize("seed", range(4))
def test_friedman_equals_scipy_and_nemenyi_scikit_posthocs(seed: int) -> None:
    data = table(12, seed)
    found = friedman(data, wilcoxon=False)  # of which scipy goes through all signs where there are ties
    expected = stats.friedmanchisquare(*data.to_numpy().T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    nemenyi = scikit_posthocs.posthoc_nemenyi_friedman(data)
    for (a, b), p in found.nemenyi.items():
        assert p == pytest.approx(nemenyi.loc[a, b], abs=1e-6)


def test_wilcoxon_with_holm_equals_scikit_posthocs() -> None:
    data = pd.DataFrame(np.random.default_rng(0).normal(size=(15, 4)) + np.arange(4) * 0.5, columns=list("abcd"))
    expected = scikit_posthocs.posthoc_wilcoxon(data.to_numpy().T.tolist(), p_adjust="holm")
    names = {name: k + 1 for k, name in enumerate(data.columns)}
    for (a, b), p in friedman(data).wilcoxon.items():
        assert p == pytest.approx(expected.loc[names[a], names[b]])


@pytest.mark.parametrize("methods", [2, 3, 4, 5])
def test_so_many_blocks_are_needed_that_wilcoxon_with_holm_can_reach_five_percent(methods: int) -> None:
    def smallest(blocks: int) -> float:
        always = [[k + block / 100 for k in range(methods)] for block in range(blocks)]
        apart = np.array(always) * np.linspace(1, 2, blocks)[:, None]  # no two differences of a pair alike
        return min(friedman(pd.DataFrame(apart)).wilcoxon.values())

    needed = blocks_needed(methods * (methods - 1) // 2)
    assert smallest(needed) <= 0.05 < smallest(needed - 1)


def test_the_critical_difference_is_demsars() -> None:
    data = pd.DataFrame(np.random.default_rng(0).random((14, 4)))
    assert friedman(data).critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=1e-3)


def test_mean_ranks_share_ties_and_follow_the_direction() -> None:
    data = pd.DataFrame([[0.9, 0.9, 0.1], [0.8, 0.5, 0.1]], columns=["x", "y", "z"])
    assert friedman(data).mean_ranks == {"x": 1.25, "y": 1.75, "z": 3.0}
    assert friedman(data, lower_is_better=True).mean_ranks == {"x": 2.75, "y": 2.25, "z": 1.0}


def test_blocks_that_cannot_be_tested_have_no_p_and_gaps_are_refused() -> None:
    two = friedman(pd.DataFrame([[0.9, 0.1], [0.8, 0.2]], columns=["x", "y"]))
    assert np.isnan(two.p)
    assert two.as_dict()["friedman"]["p"] is None
    assert np.isnan(friedman(pd.DataFrame([[0.9, 0.1, 0.2]])).p)
    assert friedman(pd.DataFrame([[0.5, 0.5, 0.5]] * 3)).wilcoxon[("0", "1")] == 1.0
    with pytest.raises(ValueError, match="none missing"):
        friedman(pd.DataFrame([[0.9, np.nan]]))


def test_a_front_has_whom_nobody_beats_in_everything() -> None:
    values = np.array([[0.9, 10.0], [0.8, 5.0], [0.7, 7.0], [0.9, 10.0], [0.1, np.nan], [0.95, 50.0]])
    assert front(values, [True, False]).tolist() == [True, True, False, True, False, True]
    assert front(values[:1], [True, False]).tolist() == [True]
    three = np.array([[0.9, 0.5, 10.0], [0.9, 0.6, 10.0], [0.5, 0.9, 1.0]])
    assert front(three, [True, True, False]).tolist() == [False, True, True]

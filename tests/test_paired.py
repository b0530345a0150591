from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from editbench.analysis.aggregate import estimate
from editbench.analysis.bootstrap import around, interval, spread
from editbench.analysis.contest import contest
from editbench.analysis.curves import scale_weights
from editbench.analysis.paired import difference_interval, paired_test, sign_flip
from editbench.analysis.sample import Harmonic, Sample, Statistic, Weighted, paired
from editbench.analysis.statistics import bonett_price, combined, t_quantile, wilson


def sample(*seeds: list[float]) -> Sample:
    """One column per seed."""
    return Sample(np.array(seeds, float).T[:, :, None])


@pytest.mark.parametrize(("n", "gap"), [(20, 0.0), (50, 0.2), (200, 0.1), (1000, 0.05)])
def test_mcnemar_equals_statsmodels(n: int, gap: float) -> None:
    rng = np.random.default_rng(n)
    a, b = (rng.random(n) < 0.6).astype(float), (rng.random(n) < 0.6 + gap).astype(float)
    table = [[((a == i) & (b == j)).sum() for j in (0, 1)] for i in (0, 1)]
    found = paired_test(sample(a.tolist()), sample(b.tolist()))
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert (found.name, found.b_only, found.a_only) == ("exact McNemar", table[0][1], table[1][0])
    assert found.effect == pytest.approx(b.mean() - a.mean())


def test_few_graded_differences_are_permuted_in_every_way_as_by_scipy() -> None:
    moved = np.array([0.5, -0.25, 1.0, 0.75, 0.5, -0.5, 0.25, 1.0])
    expected = stats.permutation_test((moved,), np.sum, permutation_type="samples", n_resamples=10_000)
    p, name = sign_flip(np.concatenate([moved, np.zeros(50)]), np.random.default_rng(0))
    assert (p, name) == (pytest.approx(expected.pvalue), "exact paired permutation")


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_many_graded_differences_come_close_to_scipys_permutation_test(shift: float) -> None:
    rng = np.random.default_rng(1)
    moved = rng.choice([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], 150) + np.where(rng.random(150) < shift, 1 / 3, 0)
    expected = stats.permutation_test(
        (moved,), np.sum, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(2)
    )
    found, name = sign_flip(moved, rng)
    assert name == "paired permutation"
    assert found == pytest.approx(expected.pvalue, abs=4 * np.sqrt(2 * expected.pvalue / 9999) + 1e-3)


def test_no_difference_at_all_is_p_one_and_no_effect_with_an_interval_that_has_a_width() -> None:
    same = sample([1.0, 0.0] * 25)
    found = paired_test(same, same)
    assert (found.p, found.effect, found.a_only, found.b_only) == (1.0, 0.0, 0, 0)
    low, high = difference_interval(same, same, share=True) or (0.0, 0.0)
    assert low < 0 < high
    assert high == pytest.approx(-low)


def test_two_are_compared_on_the_requests_that_both_were_asked() -> None:
    a, b = sample([1, 1, 0, np.nan, 1]), sample([0, np.nan, 0, 1, 1])
    found = paired_test(a, b)
    assert (found.requests, found.a_only, found.b_only, found.effect) == (3, 1, 0, pytest.approx(-1 / 3))
    with pytest.raises(ValueError, match="no request in common"):
        paired_test(sample([1, np.nan]), sample([np.nan, 1]))
    with pytest.raises(ValueError, match="cannot be paired"):
        paired(sample([1, 1]), sample([1, 1, 1]))


def test_seeds_that_disagree_take_significance_away_that_requests_alone_would_give() -> None:
    def side(*rates: float) -> Sample:
        return sample(*([1.0] * round(200 * rate) + [0.0] * (200 - round(200 * rate)) for rate in rates))

    together = paired_test(side(0.5, 0.5, 0.5), side(0.6, 0.61, 0.6))
    apart = paired_test(side(0.5, 0.5, 0.5), side(0.35, 0.5, 0.96))
    assert apart.effect == pytest.approx(together.effect)
    assert together.p < 0.05 < apart.p
    assert "two-level t over 3 seeds" in apart.name


def test_degrees_of_freedom_go_from_those_of_seeds_to_those_of_requests() -> None:
    quiet, loud = np.full(3, 0.5), np.array([0.1, 0.5, 0.9])
    influence = np.array([0.01, -0.01] * 50)
    assert spread(influence, quiet).df == 99
    assert spread(influence, loud).df == pytest.approx(2, rel=0.2)
    middle = spread(influence, np.array([0.4, 0.5, 0.6]))
    assert 2 < middle.df < 99
    assert middle.variance == pytest.approx((influence**2).sum() * 100 / 99 + 0.01 / 3)


def test_with_one_seed_the_bootstrap_is_scipys_stretched_by_t_over_z() -> None:
    values = np.random.default_rng(3).exponential(size=60)
    found = interval(sample(values.tolist()))
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0))
    low, high = expected.confidence_interval
    stretch, mean = t_quantile(59, 0.95) / 1.959964, values.mean()
    assert found == pytest.approx((mean + (low - mean) * stretch, mean + (high - mean) * stretch), abs=0.02)


def test_the_same_data_give_the_same_interval_and_one_request_gives_none() -> None:
    one = sample([0.0, 1.0, 1.0, 0.5], [1.0, 1.0, 0.0, 0.5])
    assert interval(one) == interval(sample([0.0, 1.0, 1.0, 0.5], [1.0, 1.0, 0.0, 0.5]))
    assert interval(sample([1.0])) is None
    assert around(0.5, np.zeros(1), np.array([0.5])) is None


def test_a_request_that_every_seed_asked_is_one_request() -> None:
    values = np.random.default_rng(4).integers(0, 2, 100).astype(float).tolist()
    asked_thrice = sample(values, values, values)
    assert (asked_thrice.requests, asked_thrice.asked) == (100, 300)
    once, thrice = interval(sample(values)), interval(asked_thrice)
    assert once is not None
    assert thrice is not None
    assert thrice[1] - thrice[0] == pytest.approx(once[1] - once[0], rel=0.1)


@pytest.mark.parametrize("statistic", [Weighted((0.2, 0.3, 0.5)), Harmonic()])
def test_slopes_are_those_of_the_values(statistic: Statistic) -> None:
    means = np.array([0.9, 0.5, 0.3])
    for part in range(3):
        step = np.eye(3)[part] * 1e-6
        slope = (statistic.value(means + step) - statistic.value(means - step)) / 2e-6
        assert statistic.gradient(means)[part] == pytest.approx(float(slope), rel=1e-5)


def test_parts_without_requests_leave_their_weight_to_the_others_and_influence_sums_to_nothing() -> None:
    assert Weighted((0.2, 0.3, 0.5)).value(np.array([0.5, np.nan, 1.0])) == pytest.approx((0.1 + 0.5) / 0.7)
    values = np.random.default_rng(5).random((30, 2, 3))
    values[:10, 0] = np.nan
    assert Sample(values, Weighted((0.2, 0.3, 0.5))).influence.sum() == pytest.approx(0)


def by_age(rng: np.random.Generator, better: float) -> tuple[Sample, Sample]:
    """Retention at 100: four ages of 2, 7, 22 and 69 requests, the second side better by so much."""
    ages = np.repeat(np.arange(4), [2, 7, 22, 69])
    sides = np.full((2, 100, 1, 4), np.nan)
    luck, other = rng.random(100), rng.random(100)
    for side, rate in zip(sides, (0.7, 0.7 + better), strict=True):
        side[np.arange(100), 0, ages] = np.where(rng.random(100) < 0.7, luck, other) < rate
    a, b = (Sample(side, Weighted((0.24, 0.26, 0.25, 0.25))) for side in sides)
    return a, b


def test_an_interval_and_its_test_say_the_same_of_no_difference() -> None:
    rng, found = np.random.default_rng(8), set()
    for _ in range(60):
        a, b = by_age(rng, 0.12)
        test = paired_test(a, b)
        low, high = difference_interval(a, b, share=True, p=test.p) or (np.nan, np.nan)
        assert low <= test.effect <= high
        assert (low >= 0 or high <= 0) == (test.p <= 0.05)
        found.add(test.p <= 0.05)
    assert found == {True, False}


def test_a_few_requests_of_an_age_do_not_drown_what_the_others_show() -> None:
    a, b = by_age(np.random.default_rng(1), 0.15)
    low, high = difference_interval(a, b, share=True) or (0.0, 0.0)
    weights, parts = Sample(b.values - a.values, a.statistic).weighted_parts()
    each = [bonett_price(part) for part in parts]
    wide = combined(b.value - a.value, weights, np.array([part.mean() for part in parts]), each)
    assert high - low < 0.85 * (wide[1] - wide[0])


@pytest.mark.parametrize("statistic", [Weighted((0.2, 0.3, 0.5)), Harmonic()])
def test_parts_in_which_nothing_differs_have_an_interval_with_a_width(statistic: Statistic) -> None:
    def width(n: int) -> float:
        same = Sample(np.tile([1.0, 0.5, 0.5], (n, 1, 1)), statistic)
        low, high = difference_interval(same, same, share=True, p=1.0) or (0.0, 0.0)
        assert high == pytest.approx(-low)
        return high - low

    assert 0.5 > width(10) > 3 * width(100) > 0


def lacking_a_seed() -> tuple[Sample, Sample]:
    """Two methods alike at a rate of 0.9; the second was never run with the last of three seeds."""
    rows = np.where(np.arange(300) % 10 == 0, 0.0, 1.0)
    values = np.full((300, 3, 2), np.nan)
    for seed in range(3):
        values[seed * 100 : (seed + 1) * 100, seed] = rows[:100, None]
    without = values.copy()
    without[:, 2] = np.nan
    return Sample(values, Weighted((0.5, 0.5))), Sample(without, Weighted((0.5, 0.5)))


def test_a_seed_that_a_method_lacks_has_no_value_and_is_not_zero() -> None:
    _, without = lacking_a_seed()
    assert np.isnan(Weighted((0.5, 0.5)).value(np.full(2, np.nan)))
    assert without.by_seed.tolist() == pytest.approx([0.9, 0.9])
    assert without.value == pytest.approx(0.9)
    found = estimate(without, share=True)
    assert found is not None
    assert 0.8 < (found.low or 0.0) < 0.9 < (found.high or 0.0) < 1.0


def test_two_are_compared_on_the_seeds_that_both_have() -> None:
    every, without = lacking_a_seed()
    for a, b in ((every, without), (without, every)):
        found = paired_test(a, b)
        assert (found.seeds, found.requests, found.effect, found.p) == (2, 200, pytest.approx(0), 1.0)
        low, high = difference_interval(a, b, share=True) or (1.0, -1.0)
        assert -0.03 < low < 0 < high < 0.03
    assert [standing.rank for standing in contest({"every": every, "without": without}, True).standings.values()] == [
        1,
        1,
    ]


def test_methods_are_not_separated_where_their_estimates_say_the_other_way_than_the_test() -> None:
    # b is better on the seed that both have, and worse on all that it has, as its other seed is a bad one
    a = sample([1.0] * 30 + [0.0] * 70, [np.nan] * 100)
    b = sample([1.0] * 50 + [0.0] * 50, [0.0] * 100)
    assert paired_test(a, b).effect == pytest.approx(0.2)
    assert paired_test(a, b).p < 0.001
    assert b.value < a.value
    assert {standing.letters for standing in contest({"a": a, "b": b}, True).standings.values()} == {"a"}


def test_a_request_that_each_side_wins_in_another_part_is_won_by_neither_and_is_not_equal() -> None:
    a = np.tile([1.0, 0.5, 0.0], (20, 1))
    b = a.copy()
    b[:3] = [0.0, 0.5, 1.0]
    b[3] = [1.0, 1.0, 0.0]
    b[4] = [0.0, 0.5, 0.0]
    found = paired_test(Sample(a[:, None], Harmonic()), Sample(b[:, None], Harmonic()))
    assert (found.split, found.b_only, found.a_only, found.asked) == (3, 1, 1, 20)
    assert found.effect > 0


def test_bonett_price_by_hand() -> None:
    # 10 requests: b wins 3, a wins 1; with one more each: 4 and 2 of 12
    low, high = bonett_price(np.array([1.0] * 3 + [-1.0] + [0.0] * 6))
    half = 1.959964 * np.sqrt((6 / 12 - (2 / 12) ** 2) / 12)
    assert (low, high) == pytest.approx((2 / 12 - half, 2 / 12 + half))


def test_a_combined_interval_of_one_part_is_that_of_the_part() -> None:
    assert combined(0.3, np.ones(1), np.array([0.3]), [wilson(3, 10)]) == pytest.approx(wilson(3, 10))
    low, high = combined(0.5, np.array([0.5, 0.5]), np.array([0.5, 0.5]), [(0.1, 0.7)] * 2)
    assert (0.5 - low, high - 0.5) == pytest.approx((0.4 / np.sqrt(2), 0.2 / np.sqrt(2)))


def test_the_area_over_scales_is_that_of_trapezoids_over_the_logarithm() -> None:
    scales, heights = [1, 10, 100, 3000], np.array([1.0, 0.9, 0.5, 0.1])
    expected = np.trapezoid(heights, np.log(scales)) / np.log(3000)
    assert np.dot(scale_weights(scales), heights) == pytest.approx(expected)
    assert scale_weights([7]) == [1.0]

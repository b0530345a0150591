"""How often the tests err where there is nothing, what the intervals cover, what the tests find: by simulation.

    python benchmarks/calibration.py [--rounds 2000] [--only coverage]

Prints the tables of docs/statistics.md. Data are shaped like ours: successes of two methods on the same requests, that
mostly agree (ties); values that are means over three probes; seeds that reorder the requests, share some of them, and
move a method's rate as a whole; samples of requests drawn by edit age; nested scales.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from editbench.analysis.aggregate import estimate
from editbench.analysis.blocks import friedman
from editbench.analysis.contest import contest
from editbench.analysis.curves import area_statistic
from editbench.analysis.paired import difference_interval, paired_test
from editbench.analysis.retention import age_edges, bin_widths
from editbench.analysis.sample import Harmonic, Sample, Weighted
from editbench.analysis.statistics import wilson

Rng = np.random.Generator
SHOCKS = (0.0, 0.03, 0.1)


@dataclass(frozen=True)
class Case:
    """One line of a table: what is simulated, its target rate, and one round, which returns whether it happened."""

    kind: str  # "error", "coverage" or "power"
    name: str
    round: Callable[[Rng], bool]


def methods(
    rng: Rng, rates: list[float], n: int, seeds: int = 1, shock: float = 0.0, probes: int = 1, shared: bool = False
) -> list[Sample]:
    """Return methods on the same requests.

    Half of all requests are decided alike for all methods (a method below the highest rate fails at some of them),
    so that most pairs are ties. ``shock``: standard deviation by which a seed moves a method's rate. ``shared``: every
    seed asks the same requests, which keep half of their luck; else each seed has its own.
    """
    rows = n if shared else n * seeds
    kept = rng.random((rows, 1))  # a request's own difficulty, the same for all methods and seeds
    found = []
    easy = np.broadcast_to(rng.random((rows, 1)) < 0.5, (rows, probes))
    for rate in rates:
        values = np.full((rows, seeds, 1), np.nan)
        for seed in range(seeds):
            at = slice(None) if shared else slice(seed * n, (seed + 1) * n)
            moved = np.clip(rate + rng.normal(0, shock), 0, 1)
            luck = np.where(easy, kept, rng.random((rows, probes)))[at]
            values[at, seed, 0] = (luck < moved).mean(axis=1)
        found.append(Sample(values))
    return found


def rejects(rng: Rng, rates: list[float], **shape: Any) -> bool:
    """Whether two methods come out different at 5%."""
    return paired_test(*methods(rng, rates, **shape)).p <= 0.05


def any_apart(rng: Rng, rates: list[float], **shape: Any) -> bool:
    """Whether any pair of methods is held to be separable, after Holm."""
    named = {str(k): sample for k, sample in enumerate(methods(rng, rates, **shape))}
    return any(standing.high < len(rates) for standing in contest(named, True).standings.values())


def covers(rng: Rng, rate: float, **shape: Any) -> bool:
    """Whether the interval of one method's rate holds the truth."""
    sample = methods(rng, [rate], **shape)[0]
    if sample.values.shape[1] == 1:
        values = sample.of_request(0)
        low, high = wilson(float(values.sum()), len(values))
    else:
        found = estimate(sample, share=True)
        assert found is not None
        low, high = found.low or 0.0, found.high or 0.0
    return low <= rate <= high


def holds(a: Sample, b: Sample, truth: float) -> bool:
    """Whether the interval of a difference, as ``editbench compare`` shows it, holds the truth."""
    found = difference_interval(a, b, share=True, p=paired_test(a, b).p)
    return found is not None and found[0] <= truth <= found[1]


def covers_difference(rng: Rng, rates: list[float], **shape: Any) -> bool:
    """Whether the interval of the difference of two methods holds the truth."""
    return holds(*methods(rng, rates, **shape), truth=rates[1] - rates[0])


def lacking(rng: Rng, rates: list[float], covered: bool, **shape: Any) -> bool:
    """Whether two methods differ, or the interval holds the truth (``covered``), if the second lacks the last seed."""
    a, b = methods(rng, rates, **shape)
    b.values[:, -1] = np.nan
    return holds(a, b, rates[1] - rates[0]) if covered else paired_test(a, b).p <= 0.05


SCALES, FROM_ONE = (10, 30, 100, 300), (1, 10, 100)


def curves(
    rng: Rng, rates: list[list[float]], seeds: int = 1, shock: float = 0.0, scales: tuple[int, ...] = SCALES
) -> list[Sample]:
    """Return methods measured at nested scales: the first 10 requests are asked at 10, 30, 100 and 300 edits."""
    n = scales[-1]
    kept, easy = rng.random((seeds, n, 1)), rng.random((seeds, n, 1)) < 0.5
    asked = np.arange(n)[:, None] < np.array(scales)
    found = []
    for of_scale in rates:
        values = np.full((n * seeds, seeds, len(scales)), np.nan)
        for seed in range(seeds):
            moved = np.clip(np.array(of_scale) + rng.normal(0, shock), 0, 1)
            luck = np.where(easy[seed], kept[seed], rng.random((n, len(scales))))
            values[seed * n : (seed + 1) * n, seed] = np.where(asked, (luck < moved).astype(float), np.nan)
        found.append(Sample(values, area_statistic(scales)))
    return found


def curve_rejects(rng: Rng, rates: list[list[float]], **shape: Any) -> bool:
    """Whether the areas of two methods come out different."""
    return paired_test(*curves(rng, rates, **shape)).p <= 0.05


def curve_covers(rng: Rng, rates: list[list[float]], difference: bool, **shape: Any) -> bool:
    """Whether the interval of an area, or of the difference of two, holds the truth."""
    samples = curves(rng, rates, **shape)
    truth = [float(samples[0].statistic.value(np.array(rate))) for rate in rates]
    if difference:
        return holds(samples[0], samples[1], truth[1] - truth[0])
    value = estimate(samples[0], share=True)
    return value is not None and (value.low or 0.0) <= truth[0] <= (value.high or 0.0)


def sampled(rng: Rng, gap: float, covered: bool, scale: int = 5000, budget: int = 200) -> bool:
    """One request from each of ``budget`` ranges of edit age, of a population in which old edits are forgotten.

    Returns whether Wilson's interval of the first method holds the population's rate (``covered``), or whether two
    methods, the second better by ``gap``, come out different.
    """
    chance = np.linspace(0.3, 0.9, scale)
    outcomes = [(rng.random(scale) < chance + more).astype(float) for more in (0.0, gap)]
    edges = np.arange(budget) * scale // budget
    drawn = edges + rng.integers(0, scale // budget, budget)
    a, b = (Sample(outcome[drawn].reshape(-1, 1, 1)) for outcome in outcomes)
    if covered:
        low, high = wilson(float(a.values.sum()), budget)
        return low <= outcomes[0].mean() <= high
    return paired_test(a, b).p <= 0.05


def retained(rng: Rng, seeds: int, n: int = 200) -> bool:
    """Whether the interval of the area under a retention curve of three age bins holds the truth."""
    bins, rates, weights = np.digitize(np.arange(n), [4, 40]), np.array([0.95, 0.8, 0.5]), (0.25, 0.35, 0.4)
    values = np.full((n * seeds, seeds, 3), np.nan)
    for seed in range(seeds):
        values[np.arange(n) + seed * n, seed, bins] = rng.random(n) < rates[bins]
    found = estimate(Sample(values, Weighted(weights)), share=True)
    return found is not None and (found.low or 0.0) <= float(rates @ weights) <= (found.high or 0.0)


AGES = {scale: (tuple(np.diff(age_edges(scale))), tuple(bin_widths(scale))) for scale in (100, 1000)}
TASKS = ((50, 100, 200), (1 / 3, 1 / 3, 1 / 3))


def in_parts(rng: Rng, rates: list[list[float]], sizes: tuple[int, ...], weights: tuple[float, ...]) -> list[Sample]:
    """Return methods whose requests, or documents, each belong to one part: an age, a task."""
    part = np.repeat(np.arange(len(sizes)), sizes)
    n, found = len(part), []
    kept, easy = rng.random(n), rng.random(n) < 0.5
    for rate in rates:
        values = np.full((n, 1, len(sizes)), np.nan)
        values[np.arange(n), 0, part] = np.where(easy, kept, rng.random(n)) < np.array(rate)[part]
        found.append(Sample(values, Weighted(weights)))
    return found


def part_rejects(rng: Rng, rates: list[list[float]], like: Any) -> bool:
    """Whether two methods come out different; ``like``: sizes and weights of the parts."""
    return paired_test(*in_parts(rng, rates, *like)).p <= 0.05


def part_covers(rng: Rng, rates: list[list[float]], like: Any) -> bool:
    """Whether the interval of the difference of two methods holds the truth."""
    a, b = in_parts(rng, rates, *like)
    truth = [float(a.statistic.value(np.array(rate))) for rate in rates]
    return holds(a, b, truth[1] - truth[0])


def scored(rng: Rng, n: int, rates: list[list[float]]) -> list[Sample]:
    """Return methods of which harmonic means of three shares are taken; half of all values are decided alike."""
    same, kept = rng.random((n, 1, 3)) < 0.5, rng.random((n, 1, 3))
    return [Sample((np.where(same, kept, rng.random((n, 1, 3))) < rate).astype(float), Harmonic()) for rate in rates]


def score_rejects(rng: Rng, n: int) -> bool:
    """Whether harmonic means come out different where two methods are equally good."""
    return paired_test(*scored(rng, n, [[0.9, 0.6, 0.3]] * 2)).p <= 0.05


def score_covers(rng: Rng, n: int, rates: list[list[float]]) -> bool:
    """Whether the interval of the difference of two harmonic means holds the truth."""
    truth = [float(Harmonic().value(np.array(rate))) for rate in rates]
    a, b = scored(rng, n, rates)
    return holds(a, b, truth[1] - truth[0])


def blocks_reject(rng: Rng, test: str, blocks: int = 10, k: int = 5, gap: float = 0.0) -> bool:
    """Whether Friedman's test, or any pair of the others, says that methods differ; rates of 100 requests."""
    difficulty = rng.uniform(0.2, 0.8, (blocks, 1))
    rates = np.clip(difficulty + gap * np.arange(k), 0, 1)
    values = rng.binomial(100, rates) / 100
    if test == "Wilcoxon":  # without ties: with them scipy goes through all signs, which takes too long here
        values = values + rng.uniform(0, 1e-6, values.shape)
    found = friedman(pd.DataFrame(values, columns=[str(i) for i in range(k)]), wilcoxon=test == "Wilcoxon")
    if test == "Friedman":
        return found.p <= 0.05
    return min((found.nemenyi if test == "Nemenyi" else found.wilcoxon).values()) <= 0.05


def cases() -> list[Case]:
    """Return every line of the tables."""
    return [*_errors(), *_coverages(), *_powers()]


def _errors() -> list[Case]:
    even = [0.6, 0.6]
    found = [
        Case("error", "exact McNemar, 100 requests", partial(rejects, rates=even, n=100)),
        Case("error", "exact McNemar, 1,000 requests", partial(rejects, rates=even, n=1000)),
        Case("error", "exact paired permutation, 12 requests × 3 probes", partial(rejects, rates=even, n=12, probes=3)),
        Case("error", "paired permutation, 100 requests × 3 probes", partial(rejects, rates=even, n=100, probes=3)),
        Case("error", "exact McNemar, 200 sampled of 5,000 by age", partial(sampled, gap=0.0, covered=False)),
    ]
    for seeds in (2, 3, 5):
        for shock in SHOCKS:
            name = f"two-level t, {seeds} seeds × 100 requests, seeds move the rate by {shock:g}"
            found.append(Case("error", name, partial(rejects, rates=even, n=100, seeds=seeds, shock=shock)))
    shared = partial(rejects, rates=even, n=100, seeds=3, shock=0.03, shared=True)
    flat, ages, tasks = [[0.6] * 4] * 2, [[0.95, 0.9, 0.8, 0.6, 0.5]], [[0.3, 0.5, 0.7]] * 2
    two_of_three = {"rates": even, "n": 100, "seeds": 3, "shock": 0.03, "covered": False}
    return [
        *found,
        Case("error", "two-level t, 3 seeds × the same 100 requests, 0.03", shared),
        Case("error", "score (harmonic mean), paired permutation, 100 requests", partial(score_rejects, n=100)),
        Case(
            "error",
            "two-level t, 3 seeds × 100 requests, one side lacks a seed, 0.03",
            partial(lacking, **two_of_three),
        ),
        Case("error", "retention at 100, paired permutation", partial(part_rejects, rates=ages * 2, like=AGES[100])),
        Case("error", "capability, 3 tasks of 50 to 200 documents", partial(part_rejects, rates=tasks, like=TASKS)),
        Case("error", "area over 1, 10 and 100", partial(curve_rejects, rates=[[0.6] * 3] * 2, scales=FROM_ONE)),
        Case("error", "area over 4 scales, paired permutation", partial(curve_rejects, rates=flat)),
        Case("error", "area over 4 scales, 3 seeds, 0.03", partial(curve_rejects, rates=flat, seeds=3, shock=0.03)),
        Case("error", "Holm, any of 10 pairs, 100 requests", partial(any_apart, rates=[0.6] * 5, n=100)),
        Case("error", "Friedman, 10 blocks, 5 methods", partial(blocks_reject, test="Friedman")),
        Case("error", "Nemenyi, any of 10 pairs, 10 blocks", partial(blocks_reject, test="Nemenyi")),
        Case("error", "Wilcoxon–Holm, any of 10 pairs, 10 blocks", partial(blocks_reject, test="Wilcoxon")),
    ]


def _coverages() -> list[Case]:
    found = [
        Case("coverage", "Wilson, 100 requests, rate 0.9", partial(covers, rate=0.9, n=100)),
        Case("coverage", "Wilson, 30 requests, rate 0.6", partial(covers, rate=0.6, n=30)),
        Case("coverage", "Wilson, 200 sampled of 5,000 by age", partial(sampled, gap=0.0, covered=True)),
    ]
    for seeds in (2, 3, 5):
        for shock in SHOCKS:
            name = f"two-level bootstrap, {seeds} seeds × 100 requests, rate 0.6, {shock:g}"
            found.append(Case("coverage", name, partial(covers, rate=0.6, n=100, seeds=seeds, shock=shock)))
    two = [0.5, 0.6]
    sloped = [[0.9, 0.8, 0.6, 0.4], [0.9, 0.7, 0.5, 0.3]]
    shared = partial(covers, rate=0.6, n=100, seeds=3, shock=0.03, shared=True)
    seeded = partial(covers_difference, rates=two, n=100, seeds=3, shock=0.03)
    lacks = {"rates": two, "n": 100, "seeds": 3, "shock": 0.03, "covered": True}
    return [
        *found,
        Case("coverage", "two-level bootstrap, 3 seeds × the same 100 requests, 0.03", shared),
        Case("coverage", "difference, 30 requests", partial(covers_difference, rates=two, n=30)),
        Case("coverage", "difference, 100 requests × 3 probes", partial(covers_difference, rates=two, n=100, probes=3)),
        Case("coverage", "difference, 3 seeds × 100 requests, 0.03", seeded),
        Case("coverage", "difference, 3 seeds × 100 requests, one side lacks a seed, 0.03", partial(lacking, **lacks)),
        *_coverages_in_parts(),
        Case("coverage", "area over 4 scales", partial(curve_covers, rates=sloped, difference=False)),
        Case("coverage", "difference of areas over 4 scales", partial(curve_covers, rates=sloped, difference=True)),
        Case("coverage", "retention, 2 seeds × 200 requests", partial(retained, seeds=2)),
    ]


def _coverages_in_parts() -> list[Case]:
    """Differences made of parts, of which some have few requests: old edits forgotten, or young ones not learnt."""
    forgets, learns = [[0.95, 0.9, 0.8, 0.6, 0.5], [0.95, 0.9, 0.7, 0.4, 0.3]], [[0.9] + [0.5] * 4, [0.6] + [0.5] * 4]
    high = [[0.98] * 7, [0.95] * 7]
    areas = {"difference": True, "scales": FROM_ONE}
    sloped, near = [[0.95, 0.8, 0.5], [0.95, 0.7, 0.3]], [[0.98] * 3, [0.95] * 3]
    scores = [[0.9, 0.6, 0.3], [0.8, 0.7, 0.2]]
    tasks = [[0.3, 0.5, 0.7], [0.25, 0.5, 0.6]]
    return [
        Case("coverage", "difference of retentions at 100", partial(part_covers, rates=forgets, like=AGES[100])),
        Case(
            "coverage",
            "difference of retentions at 100, young ones",
            partial(part_covers, rates=learns, like=AGES[100]),
        ),
        Case(
            "coverage",
            "difference of retentions at 1,000, 0.98 and 0.95",
            partial(part_covers, rates=high, like=AGES[1000]),
        ),
        Case("coverage", "difference of capabilities, 3 tasks", partial(part_covers, rates=tasks, like=TASKS)),
        Case("coverage", "difference of scores, 100 requests", partial(score_covers, n=100, rates=scores)),
        Case("coverage", "difference of areas over 1, 10 and 100", partial(curve_covers, rates=sloped, **areas)),
        Case(
            "coverage",
            "difference of areas over 1, 10 and 100, 0.98 and 0.95",
            partial(curve_covers, rates=near, **areas),
        ),
    ]


def _powers() -> list[Case]:
    found = []
    for gap in (0.05, 0.1, 0.2):
        rates = [0.6, 0.6 - gap]
        for n in (100, 1000):
            name = f"0.6 against {rates[1]:.2f}, 1 seed × {n:,} requests"
            found.append(Case("power", name, partial(rejects, rates=rates, n=n)))
        for seeds, shock in ((2, 0.0), (3, 0.0), (3, 0.03), (5, 0.03)):
            name = f"0.6 against {rates[1]:.2f}, {seeds} seeds × 100 requests, {shock:g}"
            found.append(Case("power", name, partial(rejects, rates=rates, n=100, seeds=seeds, shock=shock)))
    apart = partial(blocks_reject, gap=0.05)
    return [
        *found,
        Case("power", "Friedman, 10 blocks, 5 methods each 0.05 apart", partial(apart, test="Friedman")),
        Case("power", "Nemenyi, any pair of those", partial(apart, test="Nemenyi")),
        Case("power", "Wilcoxon–Holm, any pair of those", partial(apart, test="Wilcoxon")),
    ]


def rate(case: Case, rounds: int) -> float:
    """Return how often it happened."""
    return sum(islice(happenings(case), rounds)) / rounds


def happenings(case: Case) -> Iterator[bool]:
    """Yield for one round after another whether it happened, with a generator seeded by the case's name."""
    rng = np.random.default_rng([ord(char) for char in case.name])
    while True:
        yield case.round(rng)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--only", default="", help="cases whose kind and name hold this, such as coverage")
    given = parser.parse_args()
    rounds, chosen = given.rounds, [case for case in cases() if given.only in f"{case.kind}: {case.name}"]
    began = time.perf_counter()
    for kind in ("error", "coverage", "power"):
        print(f"\n| {kind} | rate | ± |\n|---|---|---|")
        for case in (case for case in chosen if case.kind == kind):
            found = rate(case, rounds)
            print(f"| {case.name} | {found:.3f} | {1.96 * math.sqrt(found * (1 - found) / rounds):.3f} |", flush=True)
    print(f"\n{rounds} rounds each, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

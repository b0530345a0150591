"""Methods against each other on the same requests: samples brought into line, every pair tested, Holm, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from editbench.analysis.aggregate import columns, stack, statistic, union
from editbench.analysis.curves import area_statistic, curve_columns
from editbench.analysis.documents import same_tasks
from editbench.analysis.multiple import Standing, holm, standings
from editbench.analysis.paired import paired_test
from editbench.analysis.sample import Sample, Statistic, alike
from editbench.errors import StoreError
from editbench.metrics import METRICS, CellMetric, Metric, ProbeMetric
from editbench.results.store import RunResult, Status

if TYPE_CHECKING:
    import pandas as pd

    from editbench.analysis.aggregate import CellFrame

Tables = Mapping[int, "pd.DataFrame"]  # seed -> values by request and part

FEWEST = 6  # requests that can show a difference: with five, even all in one direction come to p = 0.06


@dataclass(frozen=True)
class Grid:
    """A model's finished cells, condensed to what some metrics need.

    Attributes
    ----------
    cells: (label, scale) -> seed -> cell.
    broken: (label, scale, seed) -> why a finished cell's records cannot be read.
    """

    cells: dict[tuple[str, int], dict[int, CellFrame]] = field(default_factory=dict)
    broken: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def at(self, label: str, scale: int) -> dict[int, CellFrame]:
        """Return a method's cells at a scale, by seed."""
        return self.cells.get((label, scale), {})


def read_grid(runs: Sequence[RunResult], metrics: Sequence[str]) -> Grid:
    """Read the finished cells of one model's runs; a cell whose records are damaged is said to be, not fatal."""
    from editbench.analysis.aggregate import CellFrame

    grid = Grid()
    for run in runs:
        label, seed = run.manifest["label"], int(run.manifest["seed"])
        for cell in run.cells:
            if cell.status is not Status.DONE:
                continue
            try:
                read = CellFrame(cell).condense(metrics)
            except StoreError as error:
                grid.broken[label, cell.scale, seed] = str(error).replace("\n", " ")
            else:
                grid.cells.setdefault((label, cell.scale), {})[seed] = read
    return grid


def is_tested(metric: Metric) -> bool:
    """Whether a metric has a value per request, or per document, so that methods can be paired on it."""
    return not isinstance(metric, CellMetric) or metric.by_document


def at_scale(metric: Metric, methods: Mapping[str, Mapping[int, CellFrame]], scale: int) -> dict[str, Sample]:
    """Return the methods' samples at a scale, aligned: same requests, same seeds, NaN where one was not asked.

    Of a metric over documents, these stand in the place of requests; none are returned if methods had other tasks.
    """
    tables = {label: {seed: columns(metric, cell) for seed, cell in cells.items()} for label, cells in methods.items()}
    known = {label: {seed: t for seed, t in found.items() if t is not None} for label, found in tables.items()}
    if isinstance(metric, CellMetric):
        every = [table for found in known.values() for table in found.values()]
        return aligned(known, alike(every[0].shape[1])) if every and same_tasks(every) else {}
    return aligned(known, statistic(metric, scale))


def over_scales(
    metric: ProbeMetric, methods: Mapping[str, Mapping[int, Mapping[int, CellFrame]]], scales: Sequence[int]
) -> dict[str, Sample]:
    """Return the aligned samples of the area under the scale curve; cells are by label, seed and scale."""
    tables = {
        label: {seed: curve_columns(metric, cells) for seed, cells in by_seed.items()}
        for label, by_seed in methods.items()
    }
    return aligned(tables, area_statistic(scales))


def aligned(tables: Mapping[str, Tables], made: Statistic) -> dict[str, Sample]:
    """Return one sample per label over the union of their requests and seeds; labels without any value are left out."""
    full = {label: found for label, found in tables.items() if any(not table.empty for table in found.values())}
    index = union(table for found in full.values() for table in found.values())
    seeds = sorted({seed for found in full.values() for seed in found})
    return {label: stack([found.get(seed) for seed in seeds], made, index) for label, found in full.items()}


@dataclass(frozen=True, slots=True)
class Contest:
    """What all pairs of methods came to.

    Attributes
    ----------
    standings: label -> its place.
    tests: names of the tests that decided, each once.
    """

    standings: Mapping[str, Standing]
    tests: tuple[str, ...] = ()


def contest(samples: Mapping[str, Sample], higher_is_better: bool) -> Contest:
    """Test all pairs of aligned samples, correct by Holm, and rank.

    Two that share no request cannot be separated, nor can two whose estimates say the other way than the test does: a
    pair is tested on the seeds and requests that both have, an estimate is of all that its method has. One method
    alone has rank 1 and was compared with nobody. Where no pair shares :data:`FEWEST` requests nobody is called best.
    """
    labels = list(samples)
    if not labels:
        return Contest({})
    p, names = np.ones((len(labels), len(labels))), []
    pairs = list(combinations(range(len(labels)), 2))
    found, most = [], 0
    for i, j in pairs:
        a, b = samples[labels[i]], samples[labels[j]]
        shared = shared_units(a, b)
        most = max(most, shared)
        if not shared:
            found.append(1.0)
            continue
        test = paired_test(a, b)
        found.append(test.p if (test.effect > 0) == (b.value > a.value) else 1.0)
        names.append(test.name)
    for (i, j), corrected in zip(pairs, holm(found), strict=True):
        p[i, j] = p[j, i] = corrected
    ranked = standings([samples[label].value for label in labels], p, higher_is_better)
    if pairs and most < FEWEST:
        ranked = [replace(standing, top=False) for standing in ranked]
    return Contest(dict(zip(labels, ranked, strict=True)), tuple(dict.fromkeys(names)))


def shared_units(a: Sample, b: Sample) -> int:
    """Return how many requests, or documents, have a value on both sides in some seed."""
    return int((a.known & b.known).any(axis=(1, 2)).sum())


def standings_of(samples: Mapping[str, Sample], name: str) -> Contest:
    """Return the contest of a metric's samples."""
    return contest(samples, METRICS[name].direction == "higher")

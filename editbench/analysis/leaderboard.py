"""One row per model and method, at each scale or over scales, from runs that may be compared.

Nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.analysis.aggregate import Value, estimate, evaluate
from editbench.analysis.capability import failures, with_one_test
from editbench.analysis.contest import Contest, Grid, at_scale, is_tested, over_scales, read_grid, standings_of
from editbench.analysis.multiple import Standing
from editbench.analysis.notes import (
    about_caps,
    about_failures,
    about_holdout,
    about_intervals,
    about_ranks,
    about_settings,
)
from editbench.analysis.pareto import front
from editbench.analysis.selection import choose_runs, key_of, merge_folders, provenance, refuse_mixing, several_machines
from editbench.base.plain import shortened
from editbench.errors import UserError
from editbench.metrics import METRICS, ProbeMetric
from editbench.metrics.drift import collapse_point
from editbench.results.store import RunResult, Status

if TYPE_CHECKING:
    from editbench.plan.runs import Plan

UNFINISHED = "not finished; the same command continues"

ByLabel = Mapping[str, Sequence[RunResult]]


@dataclass(frozen=True, slots=True)
class Row:
    """A method at a scale.

    Attributes
    ----------
    model, method, scale: what the row is about; ``method`` is its label.
    seeds: seeds whose numbers are in it.
    status, reason: ``done``, or how the worst seed ended, and why.
    n: requests behind the main metric, over all seeds.
    values: metric name -> value, where the metric applies.
    standings: metric name -> the method's place among those of its scale, where the metric has a value per request.
    runs: where the numbers are from: one mapping per seed, as :func:`editbench.analysis.selection.provenance`.
    front: whether it is on the Pareto front of its scale; None where no front was asked for.
    failed_requests: how many the method could not edit, over all seeds, at the row's largest scale.
    """

    model: str
    method: str
    scale: int
    seeds: tuple[int, ...]
    status: Status
    reason: str
    n: int
    values: Mapping[str, Value]
    standings: Mapping[str, Standing] = field(default_factory=dict)
    runs: tuple[Mapping[str, Any], ...] = ()
    front: bool | None = None
    failed_requests: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain values, for JSON: its metrics are keys beside the others."""
        base = {
            "model": self.model,
            "method": self.method,
            "scale": self.scale,
            "seeds": list(self.seeds),
            "status": str(self.status),
            "reason": self.reason,
            "n": self.n,
            "failed_requests": self.failed_requests,
            "standings": {name: standing.as_dict() for name, standing in self.standings.items()},
            "front": self.front,
            "runs": list(self.runs),
        }
        return base | {name: value.as_dict() for name, value in self.values.items()}


@dataclass(frozen=True, slots=True)
class About:
    """What a leaderboard is about.

    Attributes
    ----------
    suite, title: the suite's name, and its sentence ("" if only results are left of it).
    metrics: names, in order of columns; the first is the main one.
    """

    suite: str
    title: str
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A suite's rows with all that is needed to read them.

    Attributes
    ----------
    about: what was run, and the columns.
    protocol: how the models were questioned, and ``protocol_hash``.
    dataset: name of the dataset.
    rows: by scale, best first.
    notes: what the intervals cover, how ranks were made, what was left out and why.
    over: the scales of which each row is the area under the curve; empty where each row is at one scale.
    front: names of the metrics that the Pareto fronts are of; empty where none was asked for.
    """

    about: About
    protocol: Mapping[str, Any]
    protocol_hash: str
    dataset: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    over: tuple[int, ...] = ()
    front: tuple[str, ...] = ()

    @property
    def span(self) -> str:
        """The scales that rows are over, ``1–1,000``, or ``1,000`` where it is one; "" where each row is at a scale."""
        return "–".join(f"{scale:,}" for scale in dict.fromkeys((*self.over[:1], *self.over[-1:])))

    def as_dict(self) -> dict[str, Any]:
        """Return the leaderboard as plain values, for JSON."""
        return {
            "suite": self.about.suite,
            "title": self.about.title,
            "dataset": self.dataset,
            "protocol": {**self.protocol, "hash": self.protocol_hash},
            "metrics": list(self.about.metrics),
            "over_scales": list(self.over),
            "pareto": list(self.front),
            "rows": [row.as_dict() for row in self.rows],
            "notes": list(self.notes),
        }


def build(
    runs: Sequence[RunResult],
    about: About,
    plan: Plan | None = None,
    over: Sequence[int] | None = None,
    unread: Sequence[str] = (),
) -> Leaderboard:
    """Return the leaderboard of a suite's runs on disk.

    Parameters
    ----------
    runs: ``Store.scan(suite)``, of one results folder or several.
    about: the suite's name and title, and the metrics to show.
    plan: the suite as it would run now, bound to its dataset; None: the newest runs are taken.
    over: None: rows at each scale; else one row per method, the area under its curve over these scales (none: all).
    unread: notes on runs that could not be read.

    Metrics without an area are no columns of a table over scales, which a note says. Raises :class:`UserError` if there
    is nothing to show or the runs must not be mixed.
    """
    merged, notes = merge_folders(runs)
    chosen, left_out = choose_runs(merged, plan)
    if not chosen:
        raise UserError(f"There are no results of {about.suite} here.", hint=f"editbench run --suite {about.suite}")
    refuse_mixing(chosen)
    if over is not None:
        about, without = _with_areas(about)
        notes = [*without, *notes]
    failed = failures(chosen)
    chosen, other_tests = with_one_test(chosen)
    parts = [
        _of_model([run for run in chosen if run.manifest["model"]["name"] == model], about.metrics, over)
        for model in dict.fromkeys(run.manifest["model"]["name"] for run in chosen)
    ]
    rows = [row for part in parts for row in part.rows]
    tests = tuple(dict.fromkeys(test for part in parts for test in part.tests))
    machines = [note] if (note := several_machines(chosen)) else []
    first = chosen[0].manifest
    return Leaderboard(
        about=about,
        protocol=first["protocol"],
        protocol_hash=first["protocol_hash"],
        dataset=first["dataset"]["name"],
        rows=tuple(sorted(rows, key=lambda row: _order(row, about.metrics[0]))),
        notes=(
            *about_intervals(rows, about),
            *about_ranks(rows, about, tests),
            *about_settings(chosen),
            *about_holdout(chosen),
            *about_failures(chosen),
            *[*notes, *unread, *left_out, *other_tests, *failed],
            *machines,
            *about_caps(plan, {row.method for row in rows}),
        ),
        over=parts[0].over,
    )


def _with_areas(about: About) -> tuple[About, list[str]]:
    """Return the columns that have an area over scales, and a note about the others."""
    there = tuple(name for name in about.metrics if isinstance(METRICS[name], ProbeMetric))
    lacking = ", ".join(METRICS[name].title for name in about.metrics if name not in there)
    if not there:
        raise UserError(
            f"There is no area over scales of {lacking}.",
            "Expected a metric that is a mean over requests, such as reliability.",
            "Leave out --over-scales, or name other --metrics.",
        )
    said = [f"not shown, as there is no area of it over scales: {lacking}"] if lacking else []
    return replace(about, metrics=there), said


def with_fronts(board: Leaderboard, metrics: Sequence[str]) -> Leaderboard:
    """Return the leaderboard with each row's place on the Pareto front of some metrics, by model and scale.

    Raises :class:`UserError` for a metric without an area, in a table over scales.
    """
    names = [METRICS[name] for name in metrics]
    lacking = ", ".join(metric.title for metric in names if not isinstance(metric, ProbeMetric))
    if board.over and lacking:
        raise UserError(
            f"There is no area over scales of {lacking}, and so no front.",
            "Expected metrics that are means over requests.",
            "Leave out --over-scales: fronts are then made at each scale.",
        )
    on: dict[int, bool] = {}
    for place in dict.fromkeys((row.model, row.scale) for row in board.rows):
        rows = [k for k, row in enumerate(board.rows) if (row.model, row.scale) == place]
        values = [[v.value if (v := board.rows[k].values.get(m.name)) else np.nan for m in names] for k in rows]
        found = front(np.array(values), [metric.direction == "higher" for metric in names])
        on |= dict(zip(rows, map(bool, found), strict=True))
    said = ", ".join(metric.title for metric in names)
    note = f"Front: no other method is as good in all of {said} and better in one; estimates as they stand."
    marked = tuple(replace(row, front=on[k]) for k, row in enumerate(board.rows))
    return replace(board, rows=marked, notes=(*board.notes, note), front=tuple(metrics))


def _order(row: Row, main: str) -> tuple[Any, ...]:
    value = row.values.get(main)
    sign = -1 if METRICS[main].direction == "higher" else 1
    return row.model, row.scale, value is None, sign * value.value if value else 0.0, row.method


@dataclass(frozen=True)
class _Part:
    rows: list[Row]
    tests: tuple[str, ...]
    over: tuple[int, ...] = ()


def _of_model(runs: Sequence[RunResult], metrics: Sequence[str], over: Sequence[int] | None) -> _Part:
    by_label: dict[str, list[RunResult]] = {}
    for run in sorted(runs, key=key_of):
        by_label.setdefault(run.manifest["label"], []).append(run)
    grid = read_grid(runs, metrics)
    if over is not None:
        return _over(by_label, grid, metrics, over)
    rows, tests = [], []
    for scale in sorted({scale for run in runs for scale in _scales(run)}):
        there = {label: same for label, same in by_label.items() if any(scale in _scales(run) for run in same)}
        contests = {name: _contest(name, there, grid, scale) for name in metrics if is_tested(METRICS[name])}
        rows += [_row(same, scale, grid, metrics, contests) for same in there.values()]
        tests += [test for found in contests.values() for test in found.tests]
    return _Part(rows, tuple(dict.fromkeys(tests)))


def _scales(run: RunResult) -> set[int]:
    return {int(scale) for scale in run.manifest["scales"]} | {cell.scale for cell in run.cells}


def _contest(name: str, labels: ByLabel, grid: Grid, scale: int) -> Contest:
    return standings_of(at_scale(METRICS[name], {label: grid.at(label, scale) for label in labels}, scale), name)


def _row(
    runs: Sequence[RunResult], scale: int, grid: Grid, metrics: Sequence[str], contests: Mapping[str, Contest]
) -> Row:
    first = runs[0].manifest
    label = first["label"]
    cells = grid.at(label, scale)
    seeds = sorted(cells)
    found = {name: evaluate(METRICS[name], [cells[seed] for seed in seeds]) for name in metrics} if cells else {}
    values = {name: value for name, value in found.items() if value is not None}
    status, reason = _worst(runs, scale, grid)
    main = values.get(metrics[0])
    return Row(
        model=first["model"]["name"],
        method=label,
        scale=scale,
        seeds=tuple(seeds),
        status=status,
        reason=reason,
        n=main.n if main else 0,
        values=values,
        standings={name: c.standings[label] for name, c in contests.items() if label in c.standings},
        runs=tuple(provenance(run) for run in runs),
        failed_requests=_count(runs, scale, "failed_requests"),
    )


def _count(runs: Sequence[RunResult], scale: int, name: str) -> int:
    """Return the sum of one of the ``counts`` of the cells at a scale."""
    cells = [cell for run in runs for cell in run.cells if cell.scale == scale]
    return sum(int((cell.data.get("counts") or {}).get(name) or 0) for cell in cells)


def _worst(runs: Sequence[RunResult], scale: int, grid: Grid) -> tuple[Status, str]:
    """Return the status of the first cell that is not done, with its seed where there are several."""
    cells = [(run, next((c for c in run.cells if c.scale == scale), None)) for run in runs]
    for run, cell in cells:
        broken = grid.broken.get((run.manifest["label"], scale, int(run.manifest["seed"])))
        if cell is not None and cell.status is Status.DONE and not broken:
            continue
        if cell is None:
            status, reason = Status.INTERRUPTED, UNFINISHED
        else:
            status, reason = (Status.FAILED, broken) if broken else (cell.status, str(cell.data["reason"]))
        reason = shortened(reason)
        return status, reason if len(cells) == 1 else f"seed {run.manifest['seed']}: {reason}"
    errors, failed = (_count(runs, scale, name) for name in ("errors", "failed_requests"))
    collapses = [point for _, cell in cells if cell is not None and (point := collapse_point(cell.data)) is not None]
    said = [f"{errors} probe(s) without an outcome"] if errors else []
    said += [f"{failed} request(s) could not be edited"] if failed else []
    said += [f"collapsed at {min(collapses):,.0f} edits"] if collapses else []
    return Status.DONE, "; ".join(said)


def _over(labels: Mapping[str, list[RunResult]], grid: Grid, metrics: Sequence[str], over: Sequence[int]) -> _Part:
    """One row per method: areas over the scales at which a seed has numbers at all of them."""
    every = sorted({scale for same in labels.values() for run in same for scale in _scales(run)})
    scales = [scale for scale in every if scale in over] if over else every
    if not scales:
        raise UserError(f"There are no results at scale {', '.join(map(str, over))}.", f"There are: {every}.")
    whole = {label: _whole(label, grid, scales) for label in labels}
    areas = [metric for name in metrics if isinstance(metric := METRICS[name], ProbeMetric)]  # all of them
    samples = {metric.name: over_scales(metric, whole, scales) for metric in areas}
    contests = {name: standings_of(found, name) for name, found in samples.items()}
    rows = []
    for label, same in labels.items():
        found = {m.name: estimate(samples[m.name][label], m.is_share) for m in areas if label in samples[m.name]}
        values = {name: value for name, value in found.items() if value is not None}
        troubled = [(scale, _worst(same, scale, grid)) for scale in scales if len(whole[label]) < len(same)]
        scale, (status, reason) = next((t for t in troubled if t[1][0] is not Status.DONE), (0, (Status.DONE, "")))
        main = values.get(metrics[0])
        rows.append(
            Row(
                model=same[0].manifest["model"]["name"],
                method=label,
                scale=scales[-1],
                seeds=tuple(sorted(whole[label])),
                status=status,
                reason=f"at {scale:,}: {reason}; --scale takes the area over fewer scales" if scale else "",
                n=main.n if main else 0,
                values=values,
                standings={name: c.standings[label] for name, c in contests.items() if label in c.standings},
                runs=tuple(provenance(run) for run in same),
                failed_requests=_count(same, scales[-1], "failed_requests"),
            )
        )
    tests = dict.fromkeys(test for found in contests.values() for test in found.tests)
    return _Part(rows, tuple(tests), tuple(scales))


def _whole(label: str, grid: Grid, scales: Sequence[int]) -> dict[int, dict[int, Any]]:
    """Return seed -> scale -> cell, of the seeds that have every scale."""
    at = {scale: grid.at(label, scale) for scale in scales}
    seeds = set.intersection(*(set(cells) for cells in at.values()))
    return {seed: {scale: at[scale][seed] for scale in scales} for seed in sorted(seeds)}

"""One row per model, method and scale, from runs that may be compared, with nothing left out in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.analysis.aggregate import CellFrame, Value, evaluate
from editbench.errors import UserError
from editbench.metrics import METRICS
from editbench.metrics.drift import collapse_point
from editbench.store import CellResult, RunResult, Status

if TYPE_CHECKING:
    from editbench.plan import Plan

UNFINISHED = "not finished; the same command continues"

Key = tuple[str, str, int]


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
    """

    model: str
    method: str
    scale: int
    seeds: tuple[int, ...]
    status: Status
    reason: str
    n: int
    values: Mapping[str, Value]

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
    notes: what the intervals cover, and what was left out and why.
    """

    about: About
    protocol: Mapping[str, Any]
    protocol_hash: str
    dataset: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the leaderboard as plain values, for JSON."""
        return {
            "suite": self.about.suite,
            "title": self.about.title,
            "dataset": self.dataset,
            "protocol": {**self.protocol, "hash": self.protocol_hash},
            "metrics": list(self.about.metrics),
            "rows": [row.as_dict() for row in self.rows],
            "notes": list(self.notes),
        }


def key_of(run: RunResult) -> Key:
    """Return model, label and seed of a run on disk."""
    return run.manifest["model"]["name"], run.manifest["label"], int(run.manifest["seed"])


def choose_runs(runs: Sequence[RunResult], plan: Plan | None) -> tuple[list[RunResult], list[str]]:
    """Return one run per model, label and seed, and notes about those left out.

    Of several, the one the plan would make again is taken, else the one started last. Beside runs of the plan,
    those made under other conditions (protocol, data, probes, regime, dtype) are left out.
    """
    planned = {} if plan is None else {run.key: run.run_id for run in plan.runs}
    by_key: dict[Key, list[RunResult]] = {}
    for run in runs:
        by_key.setdefault(key_of(run), []).append(run)
    chosen = [_newest_or_planned(same, planned.get(key, "")) for key, same in by_key.items()]
    notes = [
        f"left out: {len(same) - 1} other run(s) of {key[1]} on {key[0]}, seed {key[2]}: other settings or source"
        for key, same in by_key.items()
        if len(same) > 1
    ]
    matching = [run for run in chosen if run.manifest["run_id"] in planned.values()]
    if not matching:
        return chosen, notes
    wanted = _conditions(matching[0].manifest)
    kept = [run for run in chosen if _conditions(run.manifest) == wanted]
    for run in chosen:
        if run not in kept:
            differs = _differing(wanted, _conditions(run.manifest))
            notes.append(f"left out: {run.manifest['label']}, seed {run.manifest['seed']}: other {', '.join(differs)}")
    return kept, notes


def _newest_or_planned(same: Sequence[RunResult], wanted: str) -> RunResult:
    matching = [run for run in same if run.manifest["run_id"] == wanted]
    return max(matching or same, key=lambda run: str(run.manifest.get("started", "")))


def _conditions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for two runs to stand in one table."""
    return {
        "protocol": manifest["protocol_hash"],
        "dataset": f"{manifest['dataset']['name']} {manifest['dataset']['hash'][:12]}",
        "probes": json.dumps(manifest["probes"], sort_keys=True),
        "regime": manifest.get("suite_regime") or f"{manifest['regime']} {manifest.get('chunk') or ''}".strip(),
        "dtype": manifest["model"]["dtype"],
    }


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


def refuse_mixing(runs: Sequence[RunResult]) -> None:
    """Raise :class:`UserError` if runs differ in protocol, data, probes, regime, dtype or a model's weights."""
    for name in ("protocol", "dataset", "probes", "regime", "dtype"):
        _refuse_differing(name, [(run, _conditions(run.manifest)[name]) for run in runs])
    for label in sorted({run.manifest["label"] for run in runs}):
        same = [run for run in runs if run.manifest["label"] == label]
        regimes = [(run, f"{run.manifest['regime']} {run.manifest.get('chunk') or ''}".strip()) for run in same]
        _refuse_differing(f"the regime of {label}", regimes)
    for model in sorted({run.manifest["model"]["name"] for run in runs}):
        of_model = [run for run in runs if run.manifest["model"]["name"] == model]
        hashes = [(run, str(run.manifest["model"].get("weights_hash") or "")[:12]) for run in of_model]
        _refuse_differing(f"weights of {model}", [(run, value) for run, value in hashes if value])


def _refuse_differing(what: str, found: Sequence[tuple[RunResult, str]]) -> None:
    groups: dict[str, list[str]] = {}
    for run, value in found:
        groups.setdefault(value, []).append(f"{run.manifest['label']} seed {run.manifest['seed']}")
    if len(groups) > 1:
        listed = "; ".join(f"{value} ({', '.join(owners)})" for value, owners in groups.items())
        raise UserError(
            f"These runs cannot stand in one table, they differ in {what}: {listed}.",
            hint="Run the suite again for all of them, or keep each kind in a results folder of its own (--results).",
        )


def build(runs: Sequence[RunResult], about: About, plan: Plan | None = None) -> Leaderboard:
    """Return the leaderboard of a suite's runs on disk.

    Parameters
    ----------
    runs: ``Store.scan(suite)``.
    about: the suite's name and title, and the metrics to show.
    plan: the suite as it would run now, bound to its dataset; None: the newest runs are taken.

    Raises :class:`UserError` if there is nothing to show or the runs must not be mixed.
    """
    chosen, notes = choose_runs(runs, plan)
    if not chosen:
        raise UserError(f"There are no results of {about.suite} here.", hint=f"editbench run --suite {about.suite}")
    refuse_mixing(chosen)
    notes += _about_caps(plan)
    grouped: dict[tuple[str, str], list[RunResult]] = {}
    for run in chosen:
        grouped.setdefault(key_of(run)[:2], []).append(run)
    rows = [row for same in grouped.values() for row in _rows(sorted(same, key=key_of), about.metrics)]
    first = chosen[0].manifest
    return Leaderboard(
        about=about,
        protocol=first["protocol"],
        protocol_hash=first["protocol_hash"],
        dataset=first["dataset"]["name"],
        rows=tuple(sorted(rows, key=lambda row: _rank(row, about.metrics[0]))),
        notes=(*_about_intervals(rows), *notes),
    )


def _about_caps(plan: Plan | None) -> list[str]:
    methods = [] if plan is None else plan.suite.methods
    largest = 0 if plan is None else plan.suite.measured[-1]
    capped = [(spec.shown, spec.cap) for spec in methods if spec.cap is not None and spec.cap.scale < largest]
    return [f"{shown} goes no further than {cap.scale:,}: {cap.why}" for shown, cap in capped]


def _rank(row: Row, main: str) -> tuple[Any, ...]:
    value = row.values.get(main)
    sign = -1 if METRICS[main].direction == "higher" else 1
    return row.model, row.scale, value is None, sign * value.value if value else 0.0, row.method


def _about_intervals(rows: Sequence[Row]) -> list[str]:
    seeds = sorted({seed for row in rows for seed in row.seeds})
    if not seeds:
        return []
    if len(seeds) == 1:
        return [f"Intervals are 95%, over requests. One seed ({seeds[0]}): nothing is said about others."]
    return [f"Intervals are 95%, over requests; {len(seeds)} seeds are pooled, their variation is not in the interval."]


def _rows(runs: Sequence[RunResult], metrics: Sequence[str]) -> list[Row]:
    scales = {int(s) for run in runs for s in run.manifest["scales"]} | {c.scale for run in runs for c in run.cells}
    return [_row(runs, scale, metrics) for scale in sorted(scales)]


def _row(runs: Sequence[RunResult], scale: int, metrics: Sequence[str]) -> Row:
    cells = [(run, next((c for c in run.cells if c.scale == scale), None)) for run in runs]
    done = [(run, cell) for run, cell in cells if cell is not None and cell.status is Status.DONE]
    frames = [CellFrame(cell) for _, cell in done]
    found = {name: evaluate(METRICS[name], frames) for name in metrics} if frames else {}
    values = {name: value for name, value in found.items() if value is not None}
    status, reason = _worst(cells)
    main = values.get(metrics[0])
    first = runs[0].manifest
    return Row(
        model=first["model"]["name"],
        method=first["label"],
        scale=scale,
        seeds=tuple(int(run.manifest["seed"]) for run, _ in done),
        status=status,
        reason=reason,
        n=main.n if main else 0,
        values=values,
    )


def _worst(cells: Sequence[tuple[RunResult, CellResult | None]]) -> tuple[Status, str]:
    """Return the status of the first cell that is not done, with its seed where there are several."""
    errors = sum(int(cell.data.get("counts", {}).get("errors", 0)) for _, cell in cells if cell is not None)
    for run, cell in cells:
        if cell is not None and cell.status is Status.DONE:
            continue
        status, reason = (Status.INTERRUPTED, UNFINISHED) if cell is None else (cell.status, str(cell.data["reason"]))
        return status, reason if len(cells) == 1 else f"seed {run.manifest['seed']}: {reason}"
    collapses = [point for _, cell in cells if cell is not None and (point := collapse_point(cell.data)) is not None]
    said = [f"{errors} probe(s) without an outcome"] if errors else []
    said += [f"collapsed at {min(collapses):,.0f} edits"] if collapses else []
    return Status.DONE, "; ".join(said)

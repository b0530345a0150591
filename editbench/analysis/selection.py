"""Which runs stand in one table: one per model, label and seed, and none that was questioned about something else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editbench.errors import UserError
from editbench.results.store import RunResult, Status

if TYPE_CHECKING:
    from editbench.plan.runs import Plan

Key = tuple[str, str, int]


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
    wanted = conditions(matching[0].manifest)
    kept = [run for run in chosen if conditions(run.manifest) == wanted]
    for run in chosen:
        if run not in kept:
            differs = _differing(wanted, conditions(run.manifest))
            notes.append(f"left out: {run.manifest['label']}, seed {run.manifest['seed']}: other {', '.join(differs)}")
    return kept, notes


def _newest_or_planned(same: Sequence[RunResult], wanted: str) -> RunResult:
    matching = [run for run in same if run.manifest["run_id"] == wanted]
    return max(matching or same, key=lambda run: str(run.manifest.get("started", "")))


def conditions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for two runs to stand in one table."""
    return {
        "protocol": manifest["protocol_hash"],
        "dataset": f"{manifest['dataset']['name']} {manifest['dataset']['hash'][:12]}",
        "probes": json.dumps(manifest["probes"], sort_keys=True),
        "regime": manifest.get("suite_regime") or f"{manifest['regime']} {manifest.get('chunk') or ''}".strip(),
        "dtype": manifest["model"]["dtype"],
    }


def weights_of(run: RunResult) -> str:
    """Return the first digits of the hash of the weights a run was made with, or "" if it never loaded them."""
    return str(run.manifest["model"].get("weights_hash") or "")[:12]


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


def refuse_mixing(runs: Sequence[RunResult]) -> None:
    """Raise :class:`UserError` if runs differ in protocol, data, probes, regime, dtype or a model's weights."""
    for name in ("protocol", "dataset", "probes", "regime", "dtype"):
        _refuse_differing(name, [(run, conditions(run.manifest)[name]) for run in runs])
    for label in sorted({run.manifest["label"] for run in runs}):
        same = [run for run in runs if run.manifest["label"] == label]
        regimes = [(run, f"{run.manifest['regime']} {run.manifest.get('chunk') or ''}".strip()) for run in same]
        _refuse_differing(f"the regime of {label}", regimes)
    for model in sorted({run.manifest["model"]["name"] for run in runs}):
        of_model = [run for run in runs if run.manifest["model"]["name"] == model]
        hashes = [(run, weights_of(run)) for run in of_model]
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


def merge_folders(runs: Sequence[RunResult]) -> tuple[list[RunResult], list[str]]:
    """Return runs of several results folders with those of one id made one, and notes about them.

    Such a run's cells are the same wherever they were made; of two of one scale the finished one is taken.
    """
    by_id: dict[tuple[str, ...], list[RunResult]] = {}
    for run in runs:  # suite and label are no part of the id: two labels may stand for the same run
        key = tuple(str(run.manifest[name]) for name in ("suite", "label", "run_id"))
        by_id.setdefault(key, []).append(run)
    notes = []
    for same in by_id.values():
        if len(same) > 1:
            named = (
                f"{same[0].manifest['label']} on {same[0].manifest['model']['name']}, seed {same[0].manifest['seed']}"
            )
            notes.append(f"{named}: the same run lies in {len(same)} folders; each scale is taken once")
    return [_merged(same) for same in by_id.values()], notes


def _merged(same: Sequence[RunResult]) -> RunResult:
    cells = {cell.scale: cell for run in same for cell in run.cells}
    cells |= {cell.scale: cell for run in same for cell in run.cells if cell.status is Status.DONE}
    scales = sorted({int(scale) for run in same for scale in run.manifest["scales"]})
    manifest = {**same[0].manifest, "scales": scales}
    return RunResult(same[0].folder, manifest, tuple(cells[scale] for scale in sorted(cells)))


def provenance(run: RunResult) -> dict[str, Any]:
    """Return where a run's numbers are from: folder, id, commit, machine, versions, time."""
    manifest = run.manifest
    machine = manifest.get("machine") or {}
    return {
        "seed": int(manifest["seed"]),
        "run_id": manifest["run_id"],
        "folder": str(run.folder),
        "started": manifest.get("started", ""),
        "checkout": manifest.get("checkout"),
        "weights_hash": manifest["model"].get("weights_hash", ""),
        "dtype": manifest["model"].get("dtype"),
        "method_source": manifest["method"].get("source_hash", ""),
        "machine": {"cpu": machine.get("cpu", ""), "gpus": machine.get("gpus", []), "cores": machine.get("cores")},
        "packages": manifest.get("packages", {}),
    }


def several_machines(runs: Sequence[RunResult]) -> str:
    """Return a note where runs were made on machines of different kinds, else ""."""
    found = sorted({_machine(provenance(run)["machine"]) for run in runs})
    return (
        f"made on {len(found)} kinds of machine ({'; '.join(found)}): their times do not compare" if found[1:] else ""
    )


def _machine(machine: Mapping[str, Any]) -> str:
    return ", ".join([str(machine["cpu"] or "unknown processor"), *map(str, machine["gpus"])])

"""The sentences under a leaderboard: what intervals and ranks are of, and what was set, capped or left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from editbench.analysis.contest import FEWEST, is_tested
from editbench.datasets.holdout import split_note
from editbench.metrics import METRICS, CellMetric, Metric
from editbench.plan.settings import Origin, in_words

if TYPE_CHECKING:
    from editbench.analysis.leaderboard import About, Row
    from editbench.plan.runs import Plan
    from editbench.results.store import CellResult, RunResult

_TEST = re.compile(r"exact McNemar|(?:exact )?paired permutation|two-level t(?= over)")


_REASON_LENGTH = 100


def listed(names: Iterable[str], word: str = "and") -> str:
    """Return names as a sentence has them: ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def about_intervals(rows: Sequence[Row], about: About) -> list[str]:
    """Say what intervals cover and how many seeds there are."""
    seeds = sorted({seed for row in rows for seed in row.seeds})
    if not seeds:
        return []
    if len(seeds) == 1:
        return [f"Intervals are 95%, over {_units(about)}. One seed ({seeds[0]}): nothing is said about others."]
    drawn = f"seeds, {_units(about)}"
    said = f"{len(seeds)} seeds: values are means over seeds, intervals are 95%, by two-level bootstrap ({drawn})."
    if len(seeds) == 2:
        said += " Two say little about how seeds differ: only large differences can show; three or more show more."
    fewer = sorted({row.method for row in rows if len(row.seeds) == 1})
    return [said, *([f"One seed only, intervals over {_units(about)}: {', '.join(fewer)}."] if fewer else [])]


def about_ranks(rows: Sequence[Row], about: About, tests: Sequence[str]) -> list[str]:
    """Say what ranks are by and on what methods were compared."""
    return [*_about_standings(rows, _compared(about, rows), tests), *_about_documents(rows, about)]


def _about_standings(rows: Sequence[Row], about: About, tests: Sequence[str]) -> list[str]:
    main = METRICS[about.metrics[0]]
    ranked = [row for row in rows if main.name in row.standings]
    if not ranked:
        return [f"No ranks: {main.title} is a single measurement per run."] if not is_tested(main) else []
    if not tests:
        return ["One method: compared with nobody."]
    uneven = len({(row.model, row.scale, row.seeds) for row in ranked}) > len({(r.model, r.scale) for r in ranked})
    by = listed((_TEST.sub(lambda test: f"the {test[0]} test", name) for name in tests), "or")
    return [
        f"Rank by {main.title}, with the places it may have; methods that share a letter cannot be told apart. "
        f"All pairs of methods are compared on the same {_units(about)}{' and seeds' if uneven else ''} by {by}, "
        "corrected by Holm's method at the 5% level. "
        f"Bold: the best, and what is not separably worse, where there are {FEWEST} or more of these."
    ]


def _about_documents(rows: Sequence[Row], about: About) -> list[str]:
    """Say which metrics by document have values, but no documents on which methods could be compared."""
    return [
        f"Methods are not compared by {metric.title}: outcomes of documents were not kept, or their file is missing."
        for metric in _by_document(about.metrics)
        if len({row.method for row in rows if metric.name in row.values}) > 1
        and not any(metric.name in row.standings for row in rows)
    ]


def about_caps(plan: Plan | None, labels: set[str]) -> list[str]:
    """Say which methods go no further than some scale, and why."""
    if plan is None:
        return []
    held = {run.label for run in plan.runs if run.goal < plan.suite.measured[-1]} & labels
    capped = [(spec.shown, spec.cap) for spec in plan.suite.methods if spec.cap is not None and spec.shown in held]
    return [f"{shown} goes no further than {cap.scale:,}: {cap.why}" for shown, cap in capped]


def _compared(about: About, rows: Sequence[Row]) -> About:
    """Return it with the main metric and those by which methods were compared: by no others are ranks claimed."""
    main, *others = about.metrics
    return replace(about, metrics=(main, *(name for name in others if any(name in row.standings for row in rows))))


def _units(about: About) -> str:
    """Say over what intervals and tests are: requests, but for what is measured by document."""
    titles = [metric.title for metric in _by_document(about.metrics)]
    return f"requests (documents for {', '.join(titles)})" if titles else "requests"


def _by_document(names: Iterable[str]) -> list[Metric]:
    metrics = [METRICS[name] for name in names]
    return [metric for metric in metrics if isinstance(metric, CellMetric) and metric.by_document]


def about_holdout(runs: Sequence[RunResult]) -> list[str]:
    """Say how many requests of the dataset were held out, for settings to be searched on."""
    held = [data for run in runs if (data := run.manifest["dataset"]).get("holdout")]
    counts = {(data["whole_requests"], data["requests"], data["side"]) for data in held}
    return [split_note(*one) for one in sorted(counts)]


def about_settings(runs: Sequence[RunResult]) -> list[str]:
    """Say where each method's hyper-parameters come from, and those that were given in their place."""
    told: dict[str, list[str]] = {}
    models = {run.manifest["model"]["name"] for run in runs}
    for run in runs:
        label, model = run.manifest["label"], run.manifest["model"]["name"]
        entries = run.manifest["method"].get("settings") or [_only_given(run)]
        for entry in entries:
            at = f" at {listed(f'{scale:,}' for scale in entry['scales'])}" if len(entries) > 1 else ""
            said = in_words(entry["values"], {name: Origin(**source) for name, source in entry["sources"].items()})
            place = f"{label}{f' on {model}' if len(models) > 1 else ''}{at}"
            if said and place not in told.setdefault(said, []):
                told[said].append(place)
    return [f"Settings: {'; '.join(f'{listed(places)}: {said}' for said, places in told.items())}."] if told else []


def _only_given(run: RunResult) -> dict[str, Any]:
    """Return what is known of a run's settings where they were never resolved, or by an earlier version."""
    given = run.manifest["method"]["hparams_given"]
    origin = {"kind": "suite", "says": run.manifest["suite"]}
    return {"scales": [], "values": given, "sources": dict.fromkeys(given, origin)}


def about_failures(runs: Sequence[RunResult]) -> list[str]:
    """Say how many requests each method could not edit, at its largest scale where there are any, and why mostly."""
    found: dict[tuple[str, str], list[CellResult]] = {}
    for run in runs:
        failing = [cell for cell in run.cells if cell.status == "done" and cell.data.get("failures")]
        if failing:
            key = run.manifest["model"]["name"], run.manifest["label"]
            found.setdefault(key, []).append(max(failing, key=lambda cell: cell.scale))
    models = {model for model, _ in found}
    told = []
    for (model, label), cells in sorted(found.items()):
        largest = max(cell.scale for cell in cells)
        told.append(f"{label}{f' on {model}' if len(models) > 1 else ''} {_failed(largest, cells)}")
    return [f"Requests that could not be edited, and stayed as they were: {'; '.join(told)}."] if told else []


def _failed(scale: int, cells: Sequence[CellResult]) -> str:
    """Return how many failed at a scale, over seeds, and the commonest reason."""
    reasons = Counter(reason for cell in cells if cell.scale == scale for reason in cell.data["failures"].values())
    failed, seeds = reasons.total(), sum(cell.scale == scale for cell in cells)
    reason = " ".join(min(reasons, key=lambda text: (-reasons[text], text)).split()).rstrip(".")
    shown = reason if len(reason) <= _REASON_LENGTH else reason[: _REASON_LENGTH - 1].rstrip() + "…"
    every = f"all {scale:,}" if failed == scale * seeds else f"{failed:,} of {scale * seeds:,}"
    mostly = "mostly " if len(reasons) > 1 else ""
    return f"{every} at {scale:,}{f' over {seeds} seeds' if seeds > 1 else ''} ({mostly}{shown})"

"""What the model can still do, from ``capability`` in ``cell.json``: lm-eval's accuracy, plain and relative."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from editbench.metrics.metric import CellMetric


def counted(cell: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a ``cell.json`` that count, by task.

    None count if a task failed on this model alone: the mean over the others would be of another test.
    """
    entries = cell.get("capability") or {}
    if any(entry["status"] == "failed" and entry["at"] == "edited" for entry in entries.values()):
        return {}
    return countable(entries)


def countable(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return those that have a value and a highest value."""
    return {n: e for n, e in entries.items() if e["status"] == "done" and e["scale"] and e["value"] is not None}


def _tasks(cell: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return list(counted(cell).values())


def _root_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.sqrt(sum(value * value for value in known)) if values and len(known) == len(values) else None


def capability(cell: Mapping[str, Any]) -> float | None:
    """Return the mean over tasks of value / scale; None where capability was not measured."""
    shares = [entry["value"] / entry["scale"] for entry in _tasks(cell)]
    return sum(shares) / len(shares) if shares else None


def capability_error(cell: Mapping[str, Any]) -> float | None:
    """Return its standard error over documents: √Σ se² / k; None if a task has none."""
    tasks = _tasks(cell)
    found = _root_sum([_scaled(entry, "stderr") for entry in tasks])
    return None if found is None else found / len(tasks)


def capability_ratio(cell: Mapping[str, Any]) -> float | None:
    """Return that mean divided by the unedited model's; None where that is 0 or not known of every task."""
    value, tasks = capability(cell), _tasks(cell)
    if value is None or any(entry["unedited"] is None for entry in tasks):
        return None
    before = sum(entry["unedited"] / entry["scale"] for entry in tasks)
    return value * len(tasks) / before if before else None


def capability_ratio_error(cell: Mapping[str, Any]) -> float | None:
    """Return the ratio's standard error by the delta method, the two models being asked the same documents.

    With r = Σa / Σb: se² = Σ (var a + r² var b − 2 r cov(a, b)) / (Σb)², cov from the error of the paired difference.
    """
    ratio, tasks = capability_ratio(cell), _tasks(cell)
    if ratio is None:
        return None
    spread = 0.0
    for entry in tasks:
        errors = [_scaled(entry, name) for name in ("stderr", "unedited_stderr", "difference_stderr")]
        if any(error is None for error in errors):
            return None
        after, before, difference = (error * error for error in errors if error is not None)
        spread += after + ratio * ratio * before - ratio * (after + before - difference)
    before_all = sum(float(entry["unedited"]) / float(entry["scale"]) for entry in tasks)
    return math.sqrt(max(spread, 0.0)) / before_all


def _scaled(entry: Mapping[str, Any], key: str) -> float | None:
    return None if entry[key] is None else float(entry[key]) / float(entry["scale"])


METRICS = (
    CellMetric(
        "capability",
        "Capability",
        "higher",
        (0, 1),
        "Mean over lm-eval's tasks of accuracy (or what the task counts), each task alike.",
        "lm-eval: github.com/EleutherAI/lm-evaluation-harness",
        capability,
        error=capability_error,
        by_document=True,
    ),
    CellMetric(
        "capability-ratio",
        "Capability ×",
        "higher",
        (0, None),
        "Capability divided by the unedited model's on the same documents.",
        "",
        capability_ratio,
        error=capability_ratio_error,
    ),
)

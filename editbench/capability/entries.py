"""A task's line in ``cell.json``: its value on the edited model and on the unedited one, on the same documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editbench.cache import content_key
from editbench.capability.evaluate import Measured
from editbench.capability.tasks import Asked
from editbench.errors import UserError

# Of several metrics the first of these counts, unless another is asked for.
PREFERRED = ("acc", "exact_match")
# Metrics of a whole corpus between 0 and 100.
_PERCENT = ("bleu", "chrf")

# Where a task failed: it cannot be had; what is asked of it is not there; not even the unedited model can be measured;
# this edited model alone cannot.
STAGES = LOADING, ASKED, UNEDITED, EDITED = "loading", "asked", "unedited", "edited"

Entry = dict[str, Any]


class NoSuchMetric(UserError):
    """A task has not got the metric that is to count."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One task's results on the edited and on the unedited model, if that is known."""

    edited: Measured
    unedited: Measured | None


def choose_metric(found: Measured, wanted: str) -> str:
    """Return which ``metric,filter`` counts: the wanted one, else acc, exact_match, the first of which more is better.

    Raises :class:`NoSuchMetric` if the wanted one is not there.
    """
    keys = list(found.metrics)
    for name in (wanted,) if wanted else PREFERRED:
        fits = next((key for key in keys if name in (key, key.partition(",")[0])), None)
        if fits is not None:
            return fits
    if wanted:
        raise NoSuchMetric(f"it has no metric {wanted!r}; it has {', '.join(keys)}")
    return next(iter(found.higher), keys[0])


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked: a task's version, and the hash of its documents ("" where they are not known)."""

    version: str = "N/A"
    documents: str = ""


def entry_of(pair: Pair, asked: Asked, content: Content) -> Entry:
    """Return a task's entry.

    Keys: ``status``, ``reason``, ``settings`` (the key of what was asked), ``version``, ``documents`` (their hash; of a
    group, that of its tasks' names, versions and documents), ``n`` documents, ``metric``;
    ``value`` and ``unedited`` with their standard errors ``stderr`` and ``unedited_stderr``, ``difference_stderr`` of
    their paired difference (None where the metric is no mean over documents); ``scale``, the metric's highest value
    (None where it has none, or where less is better); ``truncated`` prompts. What is of an unedited model that is not
    known is None. Raises :class:`NoSuchMetric` for a metric
    that is not there.
    """
    metric = choose_metric(pair.edited, asked.metric)
    edited = _column(pair.edited, metric)
    unedited = None if pair.unedited is None else _column(pair.unedited, metric)
    paired = edited is not None and unedited is not None and len(edited) == len(unedited)
    difference = [a - b for a, b in zip(edited or [], unedited or [], strict=True)] if paired else None
    return {
        "status": "done",
        "reason": "",
        "settings": asked.key,
        "version": content.version,
        "documents": content.documents,
        "n": len(pair.edited.samples),
        "metric": metric,
        "value": pair.edited.metrics[metric],
        "stderr": _stderr(edited),
        "unedited": None if pair.unedited is None else pair.unedited.metrics.get(metric),
        "unedited_stderr": _stderr(unedited),
        "difference_stderr": _stderr(difference),
        "scale": _scale(pair.edited, metric, edited),
        "truncated": pair.edited.truncated,
    }


def failed_entry(asked: Asked, reason: str, at: str, content: Content | None = None) -> Entry:
    """Return the entry of a task that failed ``at`` one of :data:`STAGES`."""
    values = ("metric", "value", "stderr", "unedited", "unedited_stderr", "difference_stderr", "scale")
    known = content or Content()
    head = {"status": "failed", "reason": reason, "at": at, "settings": asked.key}
    about = {"version": known.version, "documents": known.documents, "n": 0}
    return {**head, **about, **dict.fromkeys(values), "truncated": 0}


def group_entry(asked: Asked, group: Any, version: str, parts: Mapping[str, Entry]) -> Entry:
    """Return the entry of a group or tag from those of its tasks.

    A group puts its tasks together as its YAML says (by size, or each alike); one that does not say, and a tag, are the
    plain mean. It fails if one of its tasks did, for what is left is another test.
    """
    content = Content(version, together(parts))
    bad = {name: part for name, part in parts.items() if part["status"] != "done"}
    if bad:
        name, first = next(iter(bad.items()))
        at = next(stage for stage in STAGES if any(part["at"] == stage for part in bad.values()))
        reason = f"{len(bad)} of its {len(parts)} tasks failed; {name}: {first['reason']}"
        return failed_entry(asked, reason, at, content)
    metric, value, stderr = _together(group, asked, parts, "value", "stderr")
    _, unedited_value, unedited_stderr = _together(group, asked, parts, "unedited", "unedited_stderr")
    _, _, difference_stderr = _together(group, asked, parts, "value", "difference_stderr")
    scales = {part["scale"] for part in parts.values()}
    return {
        "status": "done",
        "reason": "",
        "settings": asked.key,
        "version": content.version,
        "documents": content.documents,
        "n": sum(part["n"] for part in parts.values()),
        "metric": metric,
        "value": value,
        "stderr": stderr,
        "unedited": unedited_value,
        "unedited_stderr": unedited_stderr,
        "difference_stderr": difference_stderr,
        "scale": scales.pop() if len(scales) == 1 else None,
        "truncated": sum(part["truncated"] for part in parts.values()),
        "tasks": len(parts),
    }


def together(parts: Mapping[str, Entry]) -> str:
    """Return the hash of a group's tasks, their versions and documents; "" where those of one are not known."""
    found = [[name, part["version"], part.get("documents", "")] for name, part in sorted(parts.items())]
    return content_key({"tasks": found})[:16] if all(documents for *_, documents in found) else ""


def _together(
    group: Any, asked: Asked, parts: Mapping[str, Entry], value: str, stderr: str
) -> tuple[str, float | None, float | None]:
    """Return metric, value and standard error over a group's tasks, by the group's own rule where it has one."""
    by_group = None if group is None else _by_group(group, asked, parts, value, stderr)
    if by_group is not None:
        return by_group
    names = sorted({part["metric"] for part in parts.values()})
    values = [part[value] for part in parts.values()]
    errors = [part[stderr] for part in parts.values()]
    mean = None if any(v is None for v in values) else sum(values) / len(values)
    error = None if any(e is None for e in errors) else math.sqrt(sum(e * e for e in errors)) / len(errors)
    return "/".join(names), mean, error


def _by_group(
    group: Any, asked: Asked, parts: Mapping[str, Entry], value: str, stderr: str
) -> tuple[str, float | None, float | None] | None:
    metrics = {}
    for name, part in parts.items():
        if part[value] is None:
            return None
        head, _, filtered = part["metric"].partition(",")
        error = "N/A" if part[stderr] is None else part[stderr]
        metrics[name] = {part["metric"]: part[value], f"{head}_stderr,{filtered}": error, "sample_len": part["n"]}
    found = group.aggregate(metrics)
    shared = {part["metric"] for part in parts.values()}
    key = shared.pop() if len(shared) == 1 else ""
    if key not in found:
        return None
    head, _, filtered = key.partition(",")
    error = found.get(f"{head}_stderr,{filtered}")
    return key, float(found[key]), None if error in (None, "N/A") else float(error)


def _column(found: Measured, metric: str) -> list[float] | None:
    """Return each document's outcome, in order; None where the metric is no mean over documents."""
    values = [sample.outcomes.get(metric) for sample in found.samples]
    if metric not in found.means or any(value is None for value in values):
        return None
    return [value for value in values if value is not None]


def _scale(found: Measured, metric: str, outcomes: Sequence[float] | None) -> float | None:
    if metric.partition(",")[0] in _PERCENT:
        return 100.0
    in_unit = outcomes is not None and all(0 <= value <= 1 for value in outcomes)
    return 1.0 if in_unit else None


def _stderr(values: Sequence[float] | None) -> float | None:
    """Return the standard error of a mean, as lm-eval computes it; None for fewer than two values."""
    if values is None or len(values) < 2:
        return None
    n = len(values)
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) / math.sqrt(n)

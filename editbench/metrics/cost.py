"""What the edits cost: time, memory, bytes. Read from ``cell.json``; only the edit itself counts as editing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from editbench.metrics.metric import CellMetric


def _read(group: str, key: str) -> Callable[[Mapping[str, Any]], float | None]:
    def value(cell: Mapping[str, Any]) -> float | None:
        found = cell[group].get(key)
        return None if found is None else float(found)

    return value


def edit_seconds(cell: Mapping[str, Any]) -> float | None:
    """Return the seconds spent editing; None for an edit of no bytes, where there was nothing to time."""
    seconds = cell["timings"].get("edit_s")
    return None if seconds is None or cell["edit"].get("nbytes") == 0 else float(seconds)


def peak_memory(cell: Mapping[str, Any]) -> float | None:
    """Return the highest resident bytes while editing; None for an edit of no bytes, which needs no memory."""
    found = cell["memory"].get("rss_bytes")
    return None if found is None or cell["edit"].get("nbytes") == 0 else float(found)


def seconds_per_edit(cell: Mapping[str, Any]) -> float | None:
    """Return the seconds spent editing, divided by the number of edits."""
    seconds = edit_seconds(cell)
    return None if seconds is None else seconds / int(cell["scale"])


def _cost(
    name: str, title: str, says: str, unit: str, function: Callable[[Mapping[str, Any]], float | None]
) -> CellMetric:
    return CellMetric(name, title, "lower", (0, None), says, "", function, unit)


METRICS = (
    _cost(
        "edit-seconds",
        "Edit",
        "Seconds to compute the edit, without loading or evaluation.",
        "s",
        edit_seconds,
    ),
    _cost("seconds-per-edit", "Per edit", "Edit seconds divided by the number of edits.", "s", seconds_per_edit),
    _cost(
        "prepare-seconds", "Prepare", "Seconds of precomputation, once per model.", "s", _read("timings", "prepare_s")
    ),
    _cost("evaluate-seconds", "Evaluate", "Seconds to probe the edited model.", "s", _read("timings", "evaluate_s")),
    _cost(
        "peak-memory",
        "Peak RSS",
        "Peak resident memory of the process while editing.",
        "B",
        peak_memory,
    ),
    _cost("peak-device-memory", "Peak device", "Peak memory on the accelerator.", "B", _read("memory", "device_bytes")),
    _cost("edit-bytes", "Edit size", "Bytes needed to store the Edit.", "B", _read("edit", "nbytes")),
)

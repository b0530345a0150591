"""How far the weights moved, and whether the model still speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editbench.health import Pulse
from editbench.metrics.metric import CellMetric


def weight_drift(cell: Mapping[str, Any]) -> float | None:
    """Return ‖ΔW‖ / ‖W‖ (Frobenius, over the changed weights together); 0 where nothing changed, None if unknown."""
    delta, weight = cell["edit"].get("delta_norm"), cell["edit"].get("weight_norm")
    if delta is None or weight is None:
        return None
    return float(delta) / float(weight) if weight else 0.0


def perplexity(cell: Mapping[str, Any]) -> float | None:
    """Return the perplexity on general text when the cell was measured; infinite where the loss was no number."""
    seen = cell.get("pulse", {}).get("seen")
    return None if not seen else Pulse.of(seen[-1]).perplexity


def perplexity_ratio(cell: Mapping[str, Any]) -> float | None:
    """Return that perplexity divided by the unedited model's."""
    now = perplexity(cell)
    return None if now is None else now / float(cell["pulse"]["unedited"])


def collapse_point(cell: Mapping[str, Any]) -> float | None:
    """Return after how many edits the model was first seen collapsed; None if it was not, up to this scale."""
    point = cell.get("pulse", {}).get("collapsed_at")
    return None if point is None else float(point)


METRICS = (
    CellMetric(
        "perplexity",
        "Perplexity",
        "lower",
        (1, None),
        "exp(mean NLL per token) on a short general text.",
        "",
        perplexity,
    ),
    CellMetric(
        "perplexity-ratio",
        "Perplexity ×",
        "lower",
        (0, None),
        "Perplexity on a short general text, as a multiple of the unedited model's.",
        "",
        perplexity_ratio,
    ),
    CellMetric(
        "collapse-point",
        "Collapse",
        "higher",
        (1, None),
        "Edits after which perplexity was first seen above ten times the unedited model's, or no number.",
        "",
        collapse_point,
    ),
    CellMetric(
        "drift",
        "Drift",
        "lower",
        (0, None),
        "‖ΔW‖/‖W‖ (Frobenius) over the weights that were changed.",
        "",
        weight_drift,
    ),
)

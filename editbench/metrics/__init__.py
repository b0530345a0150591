"""Every metric by name. Definitions with formulas: ``docs/metrics.md``."""

from __future__ import annotations

from editbench.errors import UnknownName
from editbench.metrics import capability, cost, drift, generation, locality, success
from editbench.metrics.metric import AgeMetric, CellMetric, HarmonicMetric, Metric, ProbeMetric

__all__ = ["METRICS", "AgeMetric", "CellMetric", "HarmonicMetric", "Metric", "ProbeMetric", "check_metric_name"]

METRICS: dict[str, Metric] = {
    metric.name: metric
    for group in (generation, success, locality, drift, capability, cost)
    for metric in group.METRICS
}


def check_metric_name(name: str) -> None:
    """Raise :class:`UnknownName` unless there is a metric of this name."""
    if name not in METRICS:
        raise UnknownName("metric", name, METRICS, "See them all: editbench list metrics")

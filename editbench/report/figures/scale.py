"""Success against the number of edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editbench.report.figures.evidence import is_success
from editbench.report.figures.kind import Kind
from editbench.report.figures.lines import draw, over_scales

if TYPE_CHECKING:
    import pandas as pd

    from editbench.report.figures.evidence import Evidence


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return the metric of success of every method at every scale."""
    return over_scales(evidence, evidence.metric(is_success, evidence.boards[0].about.metrics[0]))


KIND = Kind("scale", is_success, numbers, draw)

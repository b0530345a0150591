"""What an edit costs against the number of edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editbench.report.figures.evidence import COST, is_cost
from editbench.report.figures.kind import Kind
from editbench.report.figures.lines import draw, over_scales

if TYPE_CHECKING:
    import pandas as pd

    from editbench.report.figures.evidence import Evidence


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return seconds per edit, or the cost named, at every scale; costs are single measurements without intervals."""
    return over_scales(evidence, evidence.metric(is_cost, COST))


KIND = Kind("cost", is_cost, numbers, draw)

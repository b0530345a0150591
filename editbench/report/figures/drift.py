"""What became of the model as a whole: its capability, or another metric of drift, against the number of edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editbench.report.figures.evidence import CAPABILITY, is_drift
from editbench.report.figures.kind import Kind
from editbench.report.figures.lines import draw, over_scales

if TYPE_CHECKING:
    import pandas as pd

    from editbench.report.figures.evidence import Evidence


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return capability relative to the unedited model's, or the metric named, at every scale."""
    suite = evidence.boards[0].about.suite
    hint = f"Measure it: editbench run --suite {suite} --capability core; or name another: --metric perplexity-ratio"
    return over_scales(evidence, evidence.metric(is_drift, CAPABILITY[0]), hint)


KIND = Kind("drift", is_drift, numbers, draw)

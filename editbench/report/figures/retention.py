"""Success by edit age: what is left of an edit after more and more others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from editbench.errors import UserError
from editbench.report.figures.axes import age_axis, count_text, curves, metric_label, value_axis
from editbench.report.figures.evidence import Evidence, is_by_request, left_out, tidy
from editbench.report.figures.kind import Kind, title
from editbench.report.figures.labels import name_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from editbench.report.figures.style import Look


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return a row per method and range of edit ages, at the largest scale that has results (or those asked for)."""
    found = []
    for board in evidence.boards:
        ages = (evidence.ages or {})[board.about.suite]
        ages = ages[ages["scale"].isin(evidence.scales)] if evidence.scales else ages
        largest = ages.groupby("model")["scale"].transform("max")
        ages = ages[ages["scale"] == largest].sort_values(["model", "method", "youngest"])
        ages.insert(0, "suite", board.about.suite)
        ages.insert(1, "dataset", board.dataset)
        ages.insert(2, "protocol", board.protocol_hash)
        found.append(ages)
    frame = pd.concat(found, ignore_index=True)
    if frame.empty:
        reasons = [
            text
            for board in evidence.boards
            for text in left_out(tidy(board, board.about.metrics[:1], evidence.scales))
        ]
        raise UserError("There is nothing to draw: no method has an answer by edit age.", "; ".join(reasons[:3]))
    return frame.astype(dict.fromkeys(("value", "low", "high"), float))


def draw(frame: pd.DataFrame, look: Look) -> Figure:
    """Draw a curve per method over the number of edits made since, on log(1 + age)."""
    width = look.preset.column
    figure = look.figure(0.66 * width if width < 4 else 0.46 * width if width < 6 else 0.6 * width)
    axes = figure.subplots()
    scale, name = int(frame["scale"].max()), frame["metric"].iloc[0]
    age_axis(axes, scale)
    value_axis(axes, name)
    edits = "1 edit" if scale == 1 else f"{count_text(scale)} edits"
    axes.set_ylabel(f"{metric_label(name)} after {edits}")
    axes.set_xlabel("edits made since")
    middle = np.expm1((np.log1p(frame["youngest"]) + np.log1p(frame["oldest"])) / 2)
    ends = curves(axes, frame.assign(age=middle), "age", look.marks)
    if said := title(frame, look):
        axes.set_title(said)
    name_curves(axes, ends, look.marks)
    return figure


KIND = Kind("retention", is_by_request, numbers, draw)

"""One metric over the number of edits: what success, drift and cost against scale share, and a method's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from editbench.report.figures.axes import curves, scale_axis, value_axis
from editbench.report.figures.evidence import Evidence, refuse_empty, tidy
from editbench.report.figures.kind import title
from editbench.report.figures.labels import name_curves

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editbench.report.figures.style import Look


def over_scales(evidence: Evidence, name: str, hint: str = "") -> pd.DataFrame:
    """Return a metric's values in all the leaderboards. Raises :class:`editbench.UserError` where there is none."""
    frame = pd.concat([tidy(board, [name], evidence.scales) for board in evidence.boards], ignore_index=True)
    refuse_empty(frame, f"method has a value of {name}", hint)
    return frame


def draw(frame: pd.DataFrame, look: Look, values: Callable[[Axes, str], None] = value_axis) -> Figure:
    """Draw a curve per method, with intervals and names. ``values`` makes y the values of what has that name."""
    figure = look.figure(_height(look.preset.column))
    axes = figure.subplots()
    axes.set_xlabel("edits in the model")
    scale_axis(axes, sorted(set(frame["scale"])))
    values(axes, str(frame["metric"].iloc[0]))
    ends = curves(axes, frame, "scale", look.marks)
    if said := title(frame, look):
        axes.set_title(said)
    name_curves(axes, ends, look.marks)
    return figure


def _height(width: float) -> float:
    return 0.66 * width if width < 4 else 0.46 * width if width < 6 else 0.6 * width

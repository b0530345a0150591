"""Several metrics over the number of edits side by side, a row per model: the overview of a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from editbench.metrics import METRICS
from editbench.report.figures.axes import curves, metric_label, scale_axis, value_axis
from editbench.report.figures.evidence import CAPABILITY, Evidence, is_success, refuse_empty, tidy
from editbench.report.figures.kind import Kind, title
from editbench.report.figures.labels import legend
from editbench.report.figures.style import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editbench.report.figures.style import Look

_MOST = 4  # metrics in a row


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return the metrics named, or the suite's first of success and capability's, that have values; at most four."""
    found = [tidy(board, _metrics(evidence, k), evidence.scales) for k, board in enumerate(evidence.boards)]
    frame = pd.concat(found, ignore_index=True)
    refuse_empty(frame, "method has a value of any metric")
    return frame


def _metrics(evidence: Evidence, k: int) -> list[str]:
    board = evidence.boards[k]
    names = list(evidence.asked)
    if not names:
        success = [name for name in board.about.metrics if is_success(METRICS[name])]
        names = [*success[: _MOST - 1], CAPABILITY[0]]
    known = [name for name in names if any(name in row.values for row in board.rows)]
    return (known or names[:1])[:_MOST]


def draw(frame: pd.DataFrame, look: Look) -> Figure:
    """Draw a row of panels per model, a column per metric, all names below."""
    models, metrics = (list(dict.fromkeys(frame[column])) for column in ("model", "metric"))
    width = look.preset.text / len(metrics)
    row = min(0.9 * width + 0.25, 0.42 * look.preset.text)
    figure = look.figure(row * len(models) + 0.35, wide=True)
    grid = figure.subplots(len(models), len(metrics), squeeze=False, sharex="col")
    for y, model in enumerate(models):
        for x, name in enumerate(metrics):
            rows = frame[(frame["model"] == model) & (frame["metric"] == name)]
            _panel(grid[y, x], rows, look)
            grid[y, x].set_ylabel(shown(model) if x == 0 and len(models) > 1 else "")
            grid[y, x].set_title(metric_label(name) if y == 0 else "")
            grid[y, x].set_xlabel("edits in the model" if y == len(models) - 1 else "")
    if said := title(frame, look):
        figure.suptitle(said)
    legend(figure, sorted(set(frame["method"])), look.marks)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, look: Look) -> None:
    scales = sorted(set(rows["scale"]))
    scale_axis(axes, scales)
    value_axis(axes, rows["metric"].iloc[0])
    if not curves(axes, rows, "scale", look.marks):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color="0.45")


KIND = Kind("panel", lambda metric: True, numbers, draw, page=("suite",))

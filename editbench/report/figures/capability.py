"""Success against capability at one scale, with the Pareto front."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from editbench.errors import UserError
from editbench.metrics import METRICS
from editbench.report.figures.axes import count_text, metric_label, value_axis
from editbench.report.figures.evidence import CAPABILITY, Evidence, is_drift, is_success, left_out, tidy
from editbench.report.figures.kind import Kind, title
from editbench.report.figures.labels import End, Reach, name_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editbench.analysis.leaderboard import Leaderboard
    from editbench.report.figures.style import Look, Mark


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return two rows per method, success and capability, at the largest scale that has both for most methods.

    ``front``: whether no other method is as good in both and better in one.
    """
    success = evidence.metric(is_success, evidence.boards[0].about.metrics[0])
    found = [_of_board(board, success, evidence) for board in evidence.boards]
    frame = pd.concat(found, ignore_index=True)
    if frame.empty:
        suite = evidence.boards[0].about.suite
        reasons = [text for board in evidence.boards for text in left_out(tidy(board, [success], evidence.scales))]
        raise UserError(
            "There is nothing to draw: no method has both success and capability at one scale.",
            "; ".join(reasons[:3]),
            f"Measure it: editbench run --suite {suite} --capability core",
        )
    return frame


def _of_board(board: Leaderboard, success: str, evidence: Evidence) -> pd.DataFrame:
    from editbench.analysis.leaderboard import with_fronts

    names = [evidence.metric(is_drift, "")] if evidence.metric(is_drift, "") else list(CAPABILITY)
    for name in names:
        marked = with_fronts(board, [success, name])
        front = {(row.model, row.method, row.scale): bool(row.front) for row in marked.rows}
        frame = tidy(board, [success, name], evidence.scales)
        keys = ["model", "scale", "method"]
        both = frame[np.isfinite(frame["value"])].groupby(keys)["metric"].transform("size") == 2
        frame = _one_scale(frame.loc[both[both].index])
        if not frame.empty:
            on = [front[model, method, scale] for model, scale, method in frame[keys].itertuples(index=False)]
            return frame.assign(front=on)
    return frame.assign(front=False)


def _one_scale(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each model's rows at the largest scale of those at which most methods are."""
    kept = []
    for _, rows in frame.groupby("model", sort=False):
        counts = rows.groupby("scale")["method"].nunique()
        kept.append(rows[rows["scale"] == counts[counts == counts.max()].index.max()])
    return pd.concat(kept) if kept else frame


def draw(frame: pd.DataFrame, look: Look) -> Figure:
    """Draw a point per method with both intervals, and the front as a line of steps."""
    figure = look.figure(0.72 * min(look.preset.column, 4.4))
    axes = figure.subplots()
    up, across = list(dict.fromkeys(frame["metric"]))
    points = {name: frame[frame["metric"] == name].set_index("method") for name in (across, up)}
    axes.set_xlabel(metric_label(across))
    value_axis(axes, up)
    axes.set_ylabel(f"{metric_label(up)} after {_edits(frame['scale'].iloc[0])}")
    for method in points[up].index:
        _point(axes, points[across].loc[method], points[up].loc[method], look.marks[method])
    axes.margins(x=0.12)
    front = _front(axes, points[across], points[up])
    if said := title(frame, look):
        axes.set_title(said)
    ends = _ends(points[across], points[up])
    name_points(axes, ends, [*_bars(points[across], points[up], ends), *front], look.marks)
    return figure


def _edits(scale: int) -> str:
    return "1 edit" if scale == 1 else f"{count_text(scale)} edits"


def _ends(across: pd.DataFrame, up: pd.DataFrame) -> list[End]:
    return [End(str(name), float(across.loc[name, "value"]), float(up.loc[name, "value"])) for name in up.index]


def _bars(across: pd.DataFrame, up: pd.DataFrame, ends: list[End]) -> list[Reach]:
    """Return where intervals are drawn: the horizontal and the vertical one of each point."""
    found: list[Reach] = []
    for end in ends:
        left, right = (float(across[side][end.method]) for side in ("low", "high"))
        low, high = (float(up[side][end.method]) for side in ("low", "high"))
        found += [((left, right), (end.y, end.y))] if np.isfinite(left) else []
        found += [((end.x, end.x), (low, high))] if np.isfinite(low) else []
    return found


def _point(axes: Axes, x: Any, y: Any, mark: Mark) -> None:
    reach = [_reach(x), _reach(y)]
    axes.errorbar(
        [x["value"]],
        [y["value"]],
        xerr=reach[0],
        yerr=reach[1],
        fmt=mark.marker,
        color=mark.colour,
        markersize=5,
        markeredgecolor="white",
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        zorder=3,
    )


def _reach(row: Any) -> Any:
    if np.isnan(row["low"]) or np.isnan(row["high"]):
        return None
    return np.array([[max(row["value"] - row["low"], 0.0)], [max(row["high"] - row["value"], 0.0)]])


def _front(axes: Axes, across: pd.DataFrame, up: pd.DataFrame) -> list[Reach]:
    """Draw the border of what the front beats, from axis to axis, and return its pieces."""
    on = across[across["front"]].sort_values("value")
    xs, ys = on["value"].to_numpy(float), up.loc[on.index, "value"].to_numpy(float)
    right = METRICS[across["metric"].iloc[0]].direction == "higher"
    above = METRICS[up["metric"].iloc[0]].direction == "higher"
    xlim, ylim = axes.get_xlim(), axes.get_ylim()
    floor = ylim[0] if above else ylim[1]
    xs = np.concatenate([[xlim[0]], xs, [xs[-1]]]) if right else np.concatenate([[xs[0]], xs, [xlim[1]]])
    ys = np.concatenate([[ys[0]], ys, [floor]]) if right else np.concatenate([[floor], ys, [ys[-1]]])
    steps = "steps-pre" if right else "steps-post"
    axes.plot(xs, ys, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), drawstyle=steps, zorder=1)
    axes.set_xlim(xlim)
    axes.set_ylim(ylim)
    found: list[Reach] = []
    for (x0, y0), (x1, y1) in pairwise(zip(map(float, xs), map(float, ys), strict=True)):
        corner = (x0, y1) if right else (x1, y0)
        found += [((x0, corner[0]), (y0, corner[1])), ((corner[0], x1), (corner[1], y1))]
    return found


KIND = Kind("capability", lambda metric: is_success(metric) or is_drift(metric), numbers, draw)

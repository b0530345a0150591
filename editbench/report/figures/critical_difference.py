"""The critical-difference diagram: methods on one axis, bars over those that cannot be told apart (Demšar 2006).

Over several suites or models the axis is the mean rank and the bars are as wide as Nemenyi's critical difference
allows. A single suite on a single model has no ranks over blocks: there the axis is the metric itself, and the bars
join the methods that share a letter in the leaderboard (all pairs on the same requests, Holm).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from editbench.errors import UserError
from editbench.metrics import METRICS
from editbench.report.figures.axes import count_text, metric_label
from editbench.report.figures.evidence import Evidence, is_success, left_out, tidy
from editbench.report.figures.kind import Kind
from editbench.report.figures.labels import WIDEST, legend, widest
from editbench.report.figures.style import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editbench.analysis.blocks import Friedman
    from editbench.analysis.leaderboard import Leaderboard, Row
    from editbench.report.figures.style import Look

_LINE = 1.45  # points of height for a method, per point of text
_BAR = 4.5  # points between bars
_BEYOND = 4.0  # points, at most, that a bar reaches beyond its methods


def numbers(evidence: Evidence) -> pd.DataFrame:
    """Return a row per method: ``position`` on the axis and ``groups``, letters that inseparable methods share."""
    blocks = {(board.about.suite, row.model) for board in evidence.boards for row in board.rows}
    return _over_blocks(evidence) if len(blocks) > 1 else _of_one_block(evidence)


def _of_one_block(evidence: Evidence) -> pd.DataFrame:
    board = evidence.boards[0]
    name = board.about.metrics[0]
    ranked = [row for row in board.rows if name in row.standings and row.scale in (evidence.scales or [row.scale])]
    if not ranked:
        reasons = left_out(tidy(board, [name], evidence.scales))
        raise UserError(f"There is nothing to draw: no method has a rank by {name}.", "; ".join(reasons[:3]))
    methods = Counter(row.scale for row in ranked)
    scale = max(scale for scale, count in methods.items() if count == max(methods.values()))
    rows = [_row(board, row) for row in ranked if row.scale == scale]
    return pd.DataFrame(rows).sort_values(["position", "method"], ignore_index=True)


def _row(board: Leaderboard, row: Row) -> dict[str, object]:
    name = board.about.metrics[0]
    value = row.values[name]
    return {
        "suite": board.about.suite,
        "model": row.model,
        "method": row.method,
        "scale": row.scale,
        "metric": name,
        "axis": "value",
        "position": value.value,
        "low": value.low,
        "high": value.high,
        "groups": row.standings[name].letters,
        "blocks": 1,
        "critical_difference": None,
        "p": None,
    }


def _over_blocks(evidence: Evidence) -> pd.DataFrame:
    from editbench.analysis.overall import overall

    found = overall([_at(board, evidence.scales) for board in evidence.boards])
    if found.tests is None:
        raise UserError("There is nothing to draw: no mean ranks.", "; ".join(found.notes))
    letters = _letters(found.tests)
    suites = list(dict.fromkeys(board.about.suite for board in evidence.boards))
    rows = [
        {
            "suite": suites[0] if len(suites) == 1 else "overall",
            "over": "; ".join(map(str, found.values.index)),
            "method": method,
            "metric": found.metric,
            "axis": "mean rank",
            "position": rank,
            "groups": letters[method],
            "blocks": found.tests.blocks,
            "critical_difference": found.tests.critical_difference,
            "p": found.tests.p,
        }
        for method, rank in found.tests.mean_ranks.items()
    ]
    return pd.DataFrame(rows).sort_values(["position", "method"], ignore_index=True)


def _at(board: Leaderboard, scales: Sequence[int]) -> Leaderboard:
    return replace(board, rows=tuple(row for row in board.rows if not scales or row.scale in scales))


def _letters(tests: Friedman) -> dict[str, str]:
    """Return the groups of methods whose mean ranks are no further apart than the critical difference, best first."""
    names = sorted(tests.mean_ranks, key=lambda name: tests.mean_ranks[name])
    ranks = np.array([tests.mean_ranks[name] for name in names])
    last = [int(np.flatnonzero(ranks <= rank + tests.critical_difference + 1e-9).max()) for rank in ranks]
    starts = [k for k in range(len(names)) if k == 0 or last[k] > last[k - 1]]  # the others lie within a group
    letters = dict(zip(starts, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    return {name: "".join(letters[s] for s in starts if s <= k <= last[s]) for k, name in enumerate(names)}


def draw(frame: pd.DataFrame, look: Look) -> Figure:
    """Draw the axis on top, bars below it, names left and right with a line to each method's place."""
    by_rank = bool(frame["axis"].iloc[0] == "mean rank")
    right = by_rank or METRICS[frame["metric"].iloc[0]].direction == "lower"  # the best stands left, as in a ranking
    frame = frame.sort_values("position", ascending=right, ignore_index=True)
    bars = _bars(frame)
    size = look.preset.small
    deep = [_BAR * (k + 1.2) for k in range(len(bars))]
    depth = max(deep, default=0.0) + 6
    named = widest(look.figure(1), frame["method"]) <= WIDEST
    bottom = depth + (_LINE * size * ((len(frame) + 1) // 2) if named else 0)
    critical = frame["critical_difference"].iloc[0]
    above = 3.4 * look.preset.size if by_rank and np.isfinite(critical) else 2.0
    below = 0 if named else 1.5 * size * len(frame) + 6
    figure = look.figure((bottom + below + 3.4 * look.preset.size + 16) / 72)
    axes = figure.subplots()
    _axis(axes, frame, right)
    axes.set_ylim(-bottom, above)
    for bar, y in zip(bars, deep, strict=True):
        # above the lines to the names, which would hide a short one
        style: dict[str, Any] = {
            "color": "black",
            "linewidth": 2.2,
            "solid_capstyle": "butt",
            "zorder": 4,
            "clip_on": False,
        }
        axes.plot(_reach(axes, frame["position"].to_numpy(float), bar), [-y, -y], **style)
    if named:
        _names(axes, frame, look, depth)
    else:
        _points(axes, frame, look)
    if above > 2:
        _critical(axes, frame, float(critical), above)
    return figure


def _bars(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the first and last place of each group of two or more."""
    letters = sorted({letter for groups in frame["groups"] for letter in groups})
    places = [[k for k, groups in enumerate(frame["groups"]) if letter in groups] for letter in letters]
    return sorted({(found[0], found[-1]) for found in places if len(found) > 1})


def _reach(axes: Axes, places: Any, bar: tuple[int, int]) -> tuple[float, float]:
    """Return where a bar begins and ends: some points beyond its methods, but never as far as the next one.

    Methods that are close would else have a bar no longer than the lines' width.
    """
    first, last = bar
    ends = axes.get_xlim()
    points = axes.get_window_extent().width * 72 / axes.figure.dpi
    most = _BEYOND * abs(ends[1] - ends[0]) / points
    before = min([most, *(0.45 * abs(places[first] - places[first - 1 : first]))])
    after = min([most, *(0.45 * abs(places[last + 1 : last + 2] - places[last]))])
    way = 1 if ends[1] > ends[0] else -1
    return float(places[first] - way * before), float(places[last] + way * after)


def _axis(axes: Axes, frame: pd.DataFrame, right: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    name, position = frame["metric"].iloc[0], frame["position"]
    if frame["axis"].iloc[0] == "mean rank":
        low, high = 1.0, float(max(len(frame), 2))
        axes.set_xlabel(f"mean rank by {metric_label(name)}, {frame['blocks'].iloc[0]} blocks")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        low, high = _limits(position.to_numpy(float), METRICS[name].is_share)
        scale = int(frame["scale"].iloc[0])
        axes.set_xlabel(f"{metric_label(name)} after {'1 edit' if scale == 1 else f'{count_text(scale)} edits'}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim((low, high) if right else (high, low))
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.spines["top"].set_visible(True)
    axes.spines["top"].set_position(("data", 0))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.set_yticks([])


def _limits(values: Any, share: bool) -> tuple[float, float]:
    """Return where the axis of a metric begins and ends: a share's at 0 and 1, unless its values lie close together."""
    low, high = float(values.min()), float(values.max())
    pad = 0.05 * (high - low) or (0.05 if share else 1.0)
    if not share:
        return low - pad, high + pad
    return (0.0, 1.0) if high - low > 0.5 else (max(low - 3 * pad, 0.0), min(high + 3 * pad, 1.0))


def _names(axes: Axes, frame: pd.DataFrame, look: Look, depth: float) -> None:
    """Write the better half left and the other right, the outermost highest, so that no lines cross."""
    half = (len(frame) + 1) // 2
    ends = axes.get_xlim()
    for k, (method, place) in enumerate(zip(frame["method"], frame["position"], strict=True)):
        left = k < half
        y = -depth - _LINE * look.preset.small * ((k if left else len(frame) - 1 - k) + 0.5)
        edge = ends[0] if left else ends[1]
        mark = look.marks[method]
        axes.plot([place, place, edge], [0, y, y], color=mark.colour, linewidth=0.8, clip_on=False)
        axes.plot([place], [0], mark.marker, color=mark.colour, markersize=4.5, clip_on=False, zorder=5)
        axes.annotate(
            shown(method),
            (edge, y),
            xytext=(-3 if left else 3, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=look.preset.small,
            color=mark.ink,
        )


def _points(axes: Axes, frame: pd.DataFrame, look: Look) -> None:
    """Mark the places alone, with a legend: for names too long to stand beside the axis."""
    for method, place in zip(frame["method"], frame["position"], strict=True):
        mark = look.marks[method]
        axes.plot([place], [0], mark.marker, color=mark.colour, markersize=4.5, clip_on=False, zorder=5)
    legend(cast("Figure", axes.figure), frame["method"], look.marks, lines=False)


def _critical(axes: Axes, frame: pd.DataFrame, critical: float, above: float) -> None:
    """Draw how far mean ranks must be apart, above the axis."""
    start, most = axes.get_xlim()
    wide = min(critical, most - start)  # wider than the axis: nothing can be told apart
    style: dict[str, Any] = {"color": "black", "linewidth": 1.2, "marker": "|", "markersize": 5, "clip_on": False}
    axes.plot([start, start + wide], [above - 1, above - 1], **style)
    said = f"CD = {critical:.2f}"
    axes.annotate(said, (start + wide / 2, above), xytext=(0, 3), textcoords="offset points", ha="center")


KIND = Kind("critical-difference", is_success, numbers, draw, page=())

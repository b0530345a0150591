"""Axes that several figures share: numbers of edits, values of a metric, edit ages; and curves with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from editbench.metrics import METRICS, CellMetric

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from editbench.report.figures.labels import End
    from editbench.report.figures.style import Mark

_UNITS = {"s": "second", "B": "bytes"}
# how far curves are moved aside, to tell their intervals apart: points from one to the next, and all of them together
# at most this part of the axis
_ASIDE, _MOST_ASIDE = 2.0, 0.07
# scales that have a tick each; points of a curve that have a marker and an interval each, or markers this far apart
_MOST_TICKS, _MOST_MARKS, _MARKS_APART = 12, 30, 0.05


def metric_label(name: str) -> str:
    """Return what an axis says about a metric: its title, or its name in words where the title needs its table."""
    metric = METRICS[name]
    unit = metric.unit if isinstance(metric, CellMetric) else ""
    if not unit and "×" not in metric.title:
        return metric.title
    words = name.replace("-", " ").capitalize()
    return words if not unit or _UNITS[unit] in words.lower() else f"{words} ({unit})"


def count_text(n: float) -> str:
    """Return a number of edits as a tick shows it: ``300``, ``1,000``, ``30k``."""
    return f"{n:,.0f}" if n < 10_000 else f"{n / 1000:,.0f}k" if n < 1_000_000 else f"{n / 1e6:g}M"


def scale_axis(axes: Axes, scales: Sequence[int]) -> None:
    """Make x the number of edits, logarithmic, with a tick at each scale, or at powers of ten where these are many."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("log")
    low, high = min(scales), max(scales)
    pad = (high / low) ** 0.07 if high > low else 3.0
    axes.set_xlim(low / pad, high * pad)
    ticks = list(scales) if len(scales) <= _MOST_TICKS else _few_ticks(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([count_text(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def _few_ticks(low: int, high: int) -> list[int]:
    """Return the powers of ten from low to high, or numbers in even steps where there are fewer than two of these."""
    powers = [10**k for k in range(9) if low <= 10**k <= high]
    return powers if len(powers) > 1 else sorted({round(low * (high / low) ** (k / 3)) for k in range(4)})


def age_axis(axes: Axes, scale: int) -> None:
    """Make x the number of edits made since, on log(1 + age), from 0 to ``scale`` - 1."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("function", functions=(np.log1p, np.expm1))
    oldest = max(scale - 1, 1)
    pad = 0.07 * np.log1p(oldest)
    axes.set_xlim(np.expm1(-pad), np.expm1(np.log1p(oldest) + pad))
    ticks = [0, *(10**k for k in range(9) if 10**k <= oldest)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([count_text(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())


def value_axis(axes: Axes, name: str) -> None:
    """Make y the values of a metric: from 0 to 1 for shares, logarithmic for costs."""
    metric = METRICS[name]
    axes.set_ylabel(metric_label(name))
    if metric.is_share:
        axes.set_ylim(-0.04, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    elif is_log(name):
        axes.set_yscale("log")
    if name.endswith("-ratio"):
        axes.axhline(1, color="0.6", linewidth=0.6, zorder=0)


def _log_ticks(axes: Axes) -> None:
    """Put ticks at powers of ten, or at 1, 2 and 5 where the values span less than two of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if high < 3 * low:
        axes.set_ylim(low / 2, high * 2)
    subs = (1.0,) if high >= 100 * low else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(10, subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def is_log(name: str) -> bool:
    """Whether a metric is drawn on a logarithmic axis: times, memory, bytes."""
    metric = METRICS[name]
    return isinstance(metric, CellMetric) and bool(metric.unit)


def _plain(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}" if value >= 1e-4 else f"1e−{round(-np.log10(value))}"


def can_be_drawn(values: pd.Series[float], log: bool) -> pd.Series[bool]:
    """Return which values have a place on an axis: numbers, and on a logarithmic one those above 0."""
    return values.notna() & np.isfinite(values) & ((values > 0) | (not log))


def curves(axes: Axes, frame: pd.DataFrame, x: str, marks: Mapping[str, Mark]) -> list[End]:
    """Draw a curve per method with its intervals, and return where each ends.

    Call it when the axes' scales and x limits are set. Where a method was run and its cell is not done, a cross in
    its colour stands on the x axis; a done cell without this metric has no mark.

    Parameters
    ----------
    frame: columns method, ``x``, value, low, high and, where there is one, status.
    """
    from editbench.report.figures.labels import End

    methods, ends = sorted(set(frame["method"])), []
    log = axes.get_yscale() == "log"
    wide = axes.get_window_extent().width * 72 / axes.figure.dpi
    step = min(_ASIDE / wide, _MOST_ASIDE / max(len(methods), 1))
    for k, method in enumerate(methods):
        mine = frame[frame["method"] == method].sort_values(x)
        there = mine[can_be_drawn(mine["value"], log)]
        aside = (k - (len(methods) - 1) / 2) * step
        _crosses(axes, mine, x, marks[method], aside)
        if there.empty:
            continue
        at = _moved(axes, there[x].to_numpy(float), aside)
        _curve(axes, at, there, marks[method])
        ends.append(End(method, float(at[-1]), float(there["value"].iloc[-1])))
    if log:
        _log_ticks(axes)
    return ends


def _moved(axes: Axes, values: Any, aside: float) -> Any:
    """Return x values moved by a part of the axis, which may be of any scale."""
    straight = axes.transScale.transform(np.column_stack([values, np.ones(len(values))]))
    ends = axes.transScale.transform(np.column_stack([axes.get_xlim(), np.ones(2)]))[:, 0]
    straight[:, 0] += aside * (ends[1] - ends[0])
    return axes.transScale.inverted().transform(straight)[:, 0]


def _curve(axes: Axes, at: Any, rows: pd.DataFrame, mark: Mark) -> None:
    values = rows["value"].to_numpy(float)
    style: dict[str, Any] = {"color": mark.colour, "linestyle": mark.line, "markeredgecolor": "white", "zorder": 3}
    every = -(-len(at) // _MOST_MARKS)
    axes.plot(at, values, marker=mark.marker, markevery=None if every == 1 else _MARKS_APART, **style)
    known = (rows["low"].notna() & rows["high"].notna()).to_numpy(bool) & (np.arange(len(at)) % every == 0)
    if known.any():
        reach = np.abs(rows[["low", "high"]].to_numpy(float)[known].T - values[known])  # [2, points]
        bars: dict[str, Any] = {
            "ecolor": mark.colour,
            "elinewidth": 0.7,
            "capsize": 1.5,
            "capthick": 0.7,
            "alpha": 0.8,
            "zorder": 2,
        }
        axes.errorbar(at[known], values[known], reach, fmt="none", **bars)


def _crosses(axes: Axes, rows: pd.DataFrame, x: str, mark: Mark, aside: float) -> None:
    if "status" not in rows:
        return
    gone = rows[rows["value"].isna() & (rows["status"] != "done")]
    if gone.empty:
        return
    at = _moved(axes, gone[x].to_numpy(float), aside)
    style: dict[str, Any] = {
        "color": mark.colour,
        "markersize": 4.0,
        "markeredgewidth": 1.1,
        "clip_on": False,
        "zorder": 4,
    }
    axes.plot(at, np.zeros(len(at)), "x", transform=axes.get_xaxis_transform(), **style)

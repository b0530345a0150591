"""Names of methods: at the curves' ends or beside the points where they fit, else in a legend below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from editbench.report.figures.style import Mark, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

WIDEST = 0.30  # of the figure, for names beside the axes
_LINE = 1.15  # line height, in heights of the text
_GAPS = (4.0, 12.0, 22.0, 34.0)  # points between a point and its name; a thin line joins what is not near
_PLACES = (
    (1, 1, "left", "bottom"),
    (-1, 1, "right", "bottom"),
    (1, -1, "left", "top"),
    (-1, -1, "right", "top"),
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
)


Reach = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class End:
    """Where a method's curve ends, or its point is, in the axes' data."""

    method: str
    x: float
    y: float


def name_curves(axes: Axes, ends: Sequence[End], marks: Mapping[str, Mark]) -> None:
    """Write each method's name right of the axes, at the height of its curve's end; a legend where that has no room."""
    figure = _figure(axes)
    size = _small()
    texts = [
        axes.annotate(
            shown(end.method),
            (end.x, end.y),
            xytext=(1.035, 0.5),
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            color=marks[end.method].ink,
            arrowprops=_leader(marks[end.method]),
        )
        for end in ends
    ]
    wide = widest(figure, [end.method for end in ends])
    figure.draw_without_rendering()
    height = axes.get_window_extent().height
    step = _LINE * size * figure.dpi / 72 / height
    if wide > WIDEST or step * len(texts) > 1.1:
        for text in texts:
            text.remove()
        legend(figure, [end.method for end in ends], marks)
        return
    heights = [axes.transAxes.inverted().transform(axes.transData.transform((end.x, end.y)))[1] for end in ends]
    for text, place in zip(texts, spread(heights, step), strict=True):
        text.set_position((1.035, place))


def _leader(mark: Mark) -> dict[str, Any]:
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": mark.colour, "linestyle": (0, (1, 1.5))}
    return {**line, "shrinkA": 0.5, "shrinkB": 3, "relpos": (0, 0.5), "clip_on": False}


def spread(heights: Sequence[float], step: float) -> list[float]:
    """Return heights moved as little as may be so that they are ``step`` apart and, if they can be, within 0 to 1."""
    order = sorted(range(len(heights)), key=lambda k: heights[k])
    # Less i * step, the i-th place must not be below the one before it: pool what is, and take the means.
    pools: list[list[float]] = []
    for i, k in enumerate(order):
        pools.append([heights[k] - i * step])
        while len(pools) > 1 and _mean(pools[-1]) < _mean(pools[-2]):
            pools[-2:] = [pools[-2] + pools[-1]]
    top = max(1.0 - step * (len(order) - 1), 0.0)
    level = [min(max(_mean(pool), 0.0), top) for pool in pools for _ in pool]
    return [level[i] + i * step for i in map(order.index, range(len(order)))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def name_points(axes: Axes, points: Sequence[End], bars: Sequence[Reach], marks: Mapping[str, Mark]) -> None:
    """Write each method's name beside its point where nothing is in the way; a legend where one finds no place.

    ``bars``: x and y ranges, in data, of the intervals that must not be written over.
    """
    figure = _figure(axes)
    figure.draw_without_rendering()
    inside, reach = axes.get_window_extent(), figure.dpi / 72 * 2.5
    taken = [_around(axes.transData.transform((point.x, point.y)), reach) for point in points]
    taken += [_covered(axes, bar) for bar in bars]
    texts: list[Annotation] = []
    for point in points:
        text = _free(axes, point, marks[point.method], inside, taken)
        if text is None:
            for other in texts:
                other.remove()
            legend(figure, [one.method for one in points], marks, lines=False)
            return
        texts.append(text)
        taken.append(_box(text))


def _free(axes: Axes, point: End, mark: Mark, inside: Bbox, taken: Sequence[Bbox]) -> Annotation | None:
    for gap, (across, up, side, level) in product(_GAPS, _PLACES):
        text = axes.annotate(
            shown(point.method),
            (point.x, point.y),
            xytext=(across * gap * (0.8 if up else 1), up * gap * (0.8 if across else 1)),
            textcoords="offset points",
            ha=side,
            va=level,
            fontsize=_small(),
            color=mark.ink,
            arrowprops=None if gap == _GAPS[0] else {**_leader(mark), "relpos": (0.5 - across / 2, 0.5 - up / 2)},
        )
        text.set_in_layout(False)
        box = _box(text)
        within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        if within and not any(box.overlaps(other) for other in taken):
            return text
        text.remove()
    return None


def _covered(axes: Axes, bar: Reach) -> Bbox:
    from matplotlib.transforms import Bbox

    (x0, x1), (y0, y1) = bar
    corners = axes.transData.transform([(x0, y0), (x1, y1)])
    return Bbox(corners).padded(1.5)


def _around(place: Any, reach: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(place[0] - reach, place[1] - reach, place[0] + reach, place[1] + reach)


def legend(figure: Figure, methods: Iterable[str], marks: Mapping[str, Mark], lines: bool = True) -> None:
    """Write all names below the figure, in as many columns as fit."""
    from matplotlib.lines import Line2D

    names = list(methods)
    styles = [marks[name] for name in names]
    handles = [
        Line2D(
            [], [], color=mark.colour, marker=mark.marker, linestyle=mark.line if lines else "none", label=shown(name)
        )
        for name, mark in zip(names, styles, strict=True)
    ]
    for rows in range(1, len(handles) + 1):
        columns = -(-len(handles) // rows)
        found = figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            handlelength=2.6 if lines else 1.0,
            columnspacing=1.2,
            handletextpad=0.5,
            borderpad=0.2,
            labelspacing=0.3,
        )
        if columns == 1 or found.get_window_extent().width <= 0.98 * figure.bbox.width:
            return
        found.remove()


def _box(text: Annotation) -> Bbox:
    from matplotlib.text import Text

    text.update_positions(_figure(text.axes).canvas.get_renderer())  # type: ignore[attr-defined]
    return Text.get_window_extent(text)


def widest(figure: Figure, methods: Iterable[str]) -> float:
    """Return how wide the widest name is, as a part of the figure."""
    texts = [figure.text(0, 0, shown(method), fontsize=_small()) for method in methods]
    found = max((text.get_window_extent().width for text in texts), default=0.0)
    for text in texts:
        text.remove()
    return float(found) / figure.bbox.width


def _figure(axes: Any) -> Figure:
    figure: Figure = axes.figure
    return figure


def _small() -> float:
    import matplotlib

    return float(matplotlib.rcParams["legend.fontsize"])

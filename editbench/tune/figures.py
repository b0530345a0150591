"""The figures of a search: best so far against what was spent; and what each hyper-parameter did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from editbench.report.figures.style import PRESETS, Look, marks, shown
from editbench.report.figures.writing import as_bytes
from editbench.tune.trial import Tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 1.9  # inches


def files(tried: Sequence[Tried], keep: float, objective: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each figure (SVG): one of the budget, one per method and scale of its space."""
    look = Look(PRESETS["screen"], marks(one.method for one in tried))
    if not any(one.outcome == "done" for one in tried):
        return
    with look.settings():
        yield "best.svg", _best(tried, keep, objective, look)
        for method, scale in dict.fromkeys((one.method, one.scale) for one in tried):
            here = [one for one in tried if (one.method, one.scale) == (method, scale)]
            yield (
                f"effects-{method.rpartition('/')[2].replace(':', '-')}-{scale}.svg",
                _effects(here, keep, objective, look),
            )


def best_so_far(tried: Sequence[Tried], keep: float) -> tuple[list[float], list[float]]:
    """Return hours spent after each trial, and the best value by then of those that count; nothing before the first."""
    ordered = sorted(tried, key=lambda one: one.number)
    spent = list(accumulate(one.seconds / 3600 for one in ordered))
    values = accumulate((one.value or 0.0 if one.allowed(keep) else 0.0 for one in ordered), max)
    return spent, list(values)


def _best(tried: Sequence[Tried], keep: float, objective: str, look: Look) -> bytes:
    scales = sorted({one.scale for one in tried})
    figure = look.figure(2.8, wide=len(scales) > 1)
    panels = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
    for axes, scale in zip(panels, scales, strict=True):
        for method, mark in look.marks.items():
            here = [one for one in tried if (one.method, one.scale) == (method, scale)]
            if here:
                hours, values = best_so_far(here, keep)
                style: dict[str, Any] = {"color": mark.colour, "marker": mark.marker, "linestyle": mark.line}
                axes.plot(hours, values, drawstyle="steps-post", label=shown(method), **style)
        axes.set_title(f"{scale:,} requests")
        axes.set_xlabel("hours of computing")
        axes.set_ylim(0, 1)
    panels[0].set_ylabel(f"best {objective} so far")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside right upper")
    return as_bytes(figure, "svg")


def _effects(here: Sequence[Tried], keep: float, objective: str, look: Look) -> bytes:
    """Draw a panel per hyper-parameter: its values against the objective; pruned trials hollow, those that lost
    capability crossed.
    """
    names = list(dict.fromkeys(name for one in here for name in one.hparams))
    columns = min(3, len(names))
    figure = look.figure(_ROW * -(-len(names) // columns), wide=True)
    panels = list(figure.subplots(-(-len(names) // columns), columns, sharey=True, squeeze=False).flat)
    mark = look.marks[here[0].method]
    for axes, name in zip(panels, names, strict=False):
        _effect(axes, here, name, keep, mark.colour)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.supylabel(objective)
    figure.suptitle(f"{shown(here[0].method)}, {here[0].scale:,} requests")
    return as_bytes(figure, "svg")


def _effect(axes: Axes, here: Sequence[Tried], name: str, keep: float, colour: str) -> None:
    values = [_number(one.hparams.get(name)) for one in here]
    words = None if all(isinstance(value, int | float) for value in values) else sorted(set(map(str, values)))
    places = [words.index(str(value)) if words else value for value in values]
    for one, x in zip(here, places, strict=True):
        if one.value is not None:
            marker = "o" if one.outcome != "done" or one.allowed(keep) else "x"
            face = "none" if one.outcome != "done" and marker == "o" else colour
            axes.plot([x], [one.value], marker, color=colour, markerfacecolor=face)
    numbers = [value for value in values if isinstance(value, int | float)]
    if words:
        axes.set_xticks(range(len(words)), words)
    elif numbers and min(numbers) > 0 and max(numbers) > 30 * min(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")  # without the mathematics of powers
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel(name)
    axes.set_ylim(0, 1)


def _number(value: Any) -> Any:
    """Return a value as a figure places it: of neighbouring blocks the last."""
    if isinstance(value, list | tuple):
        return value[-1] if value else "none"
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

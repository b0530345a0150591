"""What a kind of figure is: the numbers behind it, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from editbench.metrics import Metric
    from editbench.report.figures.evidence import Evidence
    from editbench.report.figures.style import Look


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of figure.

    Attributes
    ----------
    name: what ``--kind`` calls it.
    takes: whether ``--metric`` may name a metric for it.
    numbers: results of one figure -> a row per number that is drawn. Raises :class:`editbench.UserError` where there
        is none.
    draw: the rows of one figure -> the figure, under the look's settings.
    page: columns of which each combination is a figure of its own; none: one figure of all results together.
    """

    name: str
    takes: Callable[[Metric], bool]
    numbers: Callable[[Evidence], pd.DataFrame]
    draw: Callable[[pd.DataFrame, Look], Figure]
    page: tuple[str, ...] = ("suite", "model")


def title(frame: pd.DataFrame, look: Look) -> str:
    """Return what a figure says above itself: suite, model and, where it is one, scale; "" in a paper."""
    from editbench.report.figures.style import shown

    if not look.preset.titled:
        return ""
    names = [shown(str(name)) for column in ("suite", "model") for name in dict.fromkeys(frame[column])]
    return ", ".join(names)

"""From results to figure files: which figures there are, their names, their bytes and the numbers beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from editbench.errors import UserError
from editbench.metrics import METRICS
from editbench.report.escape import csv_cell
from editbench.report.figures import KINDS, kind
from editbench.report.figures.evidence import Evidence, left_out
from editbench.report.figures.style import PRESETS, Look, marks
from editbench.report.figures.writing import as_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from editbench.report.figures.kind import Kind


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    Attributes
    ----------
    kinds: names of :data:`editbench.report.figures.KINDS`; empty: all for which there are numbers.
    preset: a name of :data:`editbench.report.figures.style.PRESETS`.
    formats: of :data:`editbench.report.figures.writing.FORMATS`.
    data: whether the numbers are wanted as CSV too.
    """

    kinds: tuple[str, ...]
    preset: str
    formats: tuple[str, ...]
    data: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One figure's numbers.

    Attributes
    ----------
    name: of its files, without a suffix.
    draw: the rows -> the figure, under the look's settings.
    frame: a row per number.
    """

    name: str
    draw: Callable[[pd.DataFrame, Look], Figure]
    frame: pd.DataFrame


def check_metrics(asked: Sequence[str], kinds: Sequence[str]) -> None:
    """Raise :class:`UserError` for a metric that none of the kinds (none: all) can draw."""
    found = [kind(name) for name in kinds or KINDS]
    for name in asked:
        if not any(one.takes(METRICS[name]) for one in found):
            able = [one for one in KINDS if kind(one).takes(METRICS[name])]
            raise UserError(
                f"{name} is no metric for a figure of {' or '.join(kinds)}.",
                f"Kinds that can show it: {', '.join(able)}.",
            )


def pages(evidence: Evidence, kinds: Sequence[str]) -> tuple[list[Page], list[str]]:
    """Return the figures of some kinds (none: all), and notes on what is not in them.

    A figure without numbers is left out with a note. Raises :class:`UserError` for a kind that was named and has no
    figure at all, or where there is none of any kind.
    """
    found: list[Page] = []
    notes: list[str] = []
    troubles: list[UserError] = []
    for name in kinds or KINDS:
        one = kind(name)
        made, empty = 0, []
        for stem, part in _parts(one, evidence):
            try:
                frame = one.numbers(part)
            except UserError as error:
                empty.append((stem, error))
            else:
                taken = {page.name for page in found}
                found.append(Page(free(stem or _together(frame, one), taken), one.draw, frame))
                notes += left_out(frame)
                made += 1
        if kinds and not made:
            raise empty[0][1]
        troubles += [error for _, error in empty]
        notes += [f"{stem or name} is not drawn. {str(error).replace(chr(10), ' ')}" for stem, error in empty]
    if not found:
        raise troubles[0]
    return found, list(dict.fromkeys(notes))


def _parts(one: Kind, evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    """Yield the name and the results of each figure of a kind; the name of one of all results is yet to be found."""
    if not one.page:
        yield "", evidence
        return
    for board in evidence.boards:
        suite = board.about.suite
        models = sorted({row.model for row in board.rows})
        if "model" not in one.page or len(models) == 1:
            yield safe(f"{suite}-{one.name}"), evidence.of(board)
        else:
            yield from ((safe(f"{suite}-{model}-{one.name}"), evidence.of(board, model)) for model in models)


def _together(frame: pd.DataFrame, one: Kind) -> str:
    return safe(f"{frame['suite'].iloc[0]}-{one.name}")


def free(stem: str, taken: Container[str]) -> str:
    """Return a name that is not taken: the one given, or it with a number."""
    return next(text for text in (stem, *(f"{stem}-{k}" for k in range(2, 1000))) if text not in taken)


def safe(name: str) -> str:
    """Return a name that can be a file's, on every system."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "figure"


def look_of(evidence: Evidence, preset: str) -> Look:
    """Return a preset's look for the methods of some results."""
    return Look(PRESETS[preset], marks(evidence.methods()))


def names(page: Page, order: Order) -> list[str]:
    """Return the names of a figure's files, in the order of :func:`files`."""
    return [f"{page.name}.{form}" for form in (*order.formats, *(["csv"] if order.data else []))]


def files(page: Page, look: Look, order: Order) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file of a figure; the layout is the same in every format."""
    with look.settings():
        figure = page.draw(page.frame, look)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for form in order.formats:
            yield f"{page.name}.{form}", as_bytes(figure, form)
    if order.data:
        yield f"{page.name}.csv", page.frame.map(csv_cell).to_csv(index=False, lineterminator="\n").encode()

"""Numbers that methods recorded of themselves, over the number of edits in the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from editbench.analysis.numbers import curve_rows
from editbench.errors import UnknownName, UserError
from editbench.report.figures.book import Page, free, safe
from editbench.report.figures.evidence import left_out
from editbench.report.figures.lines import draw as draw_lines
from editbench.report.figures.style import shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from editbench.report.figures.style import Look
    from editbench.results.store import RunResult

_LONGEST = 80  # characters of a number's name in the name of a file


@dataclass(frozen=True)
class Recorded:
    """What the methods of one suite recorded.

    Attributes
    ----------
    suite: its name.
    rows: a row per number, :func:`editbench.analysis.numbers.number_rows`.
    runs: those they are from.
    """

    suite: str
    rows: pd.DataFrame
    runs: Sequence[RunResult]

    def methods(self) -> list[str]:
        """Return every method's label, once: those that recorded nothing too, for they have their colour."""
        return sorted({str(run.manifest["label"]) for run in self.runs})


def number_pages(recorded: Sequence[Recorded], names: Sequence[str]) -> tuple[list[Page], list[str]]:
    """Return a figure for each suite, model and name, and notes on what is not in them.

    Raises :class:`UserError` for a name under which nothing was recorded, which lists those there are, and where there
    is nothing to draw.
    """
    _check(recorded, names)
    pages: list[Page] = []
    notes: list[str] = []
    for part in recorded:
        for name in names:
            curve = curve_rows(part.rows, name, part.runs)
            if not curve["value"].notna().any():
                notes.append(f"{part.suite}: {name} is not drawn: no number of that name that is finite.")
                continue
            models = sorted(set(curve["model"]))
            for model in models:
                page = _page(part, curve[curve["model"] == model], several=len(models) > 1)
                pages.append(Page(free(page.name, [one.name for one in pages]), draw, page.frame))
                notes += left_out(page.frame[page.frame["status"] != "done"])
    if not pages:
        raise UserError("There is nothing to draw.", " ".join(notes))
    return pages, notes


def _check(recorded: Sequence[Recorded], names: Sequence[str]) -> None:
    known = sorted({str(name) for part in recorded for name in part.rows["name"].unique()})
    for name in names:
        if not known:
            where = ", ".join(part.suite for part in recorded)
            raise UserError(
                f"There is no number named {name!r}: no method of {where} recorded any.",
                hint="A method records one with self.number(name, value); docs/figures.md says what is drawn.",
            )
        if name not in known:
            raise UnknownName("number", name, known, f"There are: {', '.join(known)}.")


def _page(part: Recorded, curve: pd.DataFrame, *, several: bool) -> Page:
    name, model = str(curve["metric"].iloc[0]), str(curve["model"].iloc[0])
    first: Mapping[str, object] = part.runs[0].manifest
    dataset = first["dataset"]
    assert isinstance(dataset, Mapping)
    frame = curve.reset_index(drop=True)
    for place, (column, value) in enumerate(
        {"suite": part.suite, "dataset": dataset["name"], "protocol": first["protocol_hash"]}.items()
    ):
        frame.insert(place, column, value)
    return Page(safe("-".join([part.suite, *([model] if several else []), "number", name[:_LONGEST]])), draw, frame)


def draw(frame: pd.DataFrame, look: Look) -> Figure:
    """Draw a curve per method."""
    return draw_lines(frame, look, _value_axis)


def _value_axis(axes: Axes, name: str) -> None:
    """Name y; nothing is known of these values, so that the axis is a plain one."""
    axes.set_ylabel(shown(name))

"""From results to figure files: which figures there are, their names, their bytes and the numbers beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from editbench.errors import UserError
from editbench.metrics import METRICS
from editbench.report.figures import KINDS, kind
from editbench.report.figures.evidence import Evidence, left_out
from editbench.report.figures.style import PRESETS, Look, marks
from editbench.report.figures.writing import as_bytes

if TYPE_CHECKING:
    import pandas as pd

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
    kind: what it is drawn as.
    frame: a row per number.
    """

    name: str
    kind: Kind
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

    Of all kinds, those without numbers are left out with a note. Raises :class:`UserError` for a kind that was named
    and has no numbers, or where there are no numbers at all.
    """
    found: list[Page] = []
    notes: list[str] = []
    first: UserError | None = None
    for name in kinds or KINDS:
        try:
            frame = kind(name).numbers(evidence)
        except UserError as error:
            if kinds:
                raise
            first = first or error
            notes.append(f"{name} is not drawn. {str(error).replace(chr(10), ' ')}")
        else:
            found += _pages(kind(name), frame, {page.name for page in found})
            notes += left_out(frame)
    if first is not None and not found:
        raise first
    return found, list(dict.fromkeys(notes))


def _pages(one: Kind, frame: pd.DataFrame, taken: set[str]) -> Iterator[Page]:
    for key, rows in frame.groupby(list(one.page), sort=False):
        several = "model" in one.page and frame.loc[frame["suite"] == key[0], "model"].nunique() > 1
        stem = _safe("-".join([*map(str, key if several else key[:1]), one.name]))
        name = next(text for text in (stem, *(f"{stem}-{k}" for k in range(2, 1000))) if text not in taken)
        taken.add(name)
        yield Page(name, one, rows.reset_index(drop=True))


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "figure"


def look_of(evidence: Evidence, preset: str) -> Look:
    """Return a preset's look for the methods of some results."""
    return Look(PRESETS[preset], marks(evidence.methods()))


def files(page: Page, look: Look, order: Order) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file of a figure; the layout is the same in every format."""
    with look.settings():
        figure = page.kind.draw(page.frame, look)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for form in order.formats:
            yield f"{page.name}.{form}", as_bytes(figure, form)
    if order.data:
        yield f"{page.name}.csv", page.frame.to_csv(index=False, lineterminator="\n").encode()

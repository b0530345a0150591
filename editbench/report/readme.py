"""The part of the README that is made from published results, between two markers."""

from __future__ import annotations

from collections.abc import Sequence

from editbench.analysis.leaderboard import Leaderboard
from editbench.errors import UserError
from editbench.report.tables import as_markdown

BEGIN = "<!-- published results: made by `editbench results readme`, do not edit -->"
END = "<!-- end of published results -->"

NOTHING = "Nothing is published yet. `editbench results publish SUITE` takes finished runs of clean, pinned sources.\n"


def block(boards: Sequence[Leaderboard]) -> str:
    """Return what stands between the markers: a section per suite, or that nothing is published."""
    return "\n".join(map(section, boards)) if boards else NOTHING


def section(board: Leaderboard) -> str:
    """Return what the README shows of one suite; its figure, once there is one, goes under the table."""
    return as_markdown(board)


def filled(text: str, boards: Sequence[Leaderboard]) -> str:
    """Return a README with the part between its markers made anew; equal to ``text`` if that was up to date.

    Raises :class:`UserError` unless there is one pair of markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise UserError(
            "The README has no place for the published results.",
            f"Expected, once each, the lines {BEGIN} and {END}",
        )
    return f"{before}{BEGIN}\n\n{block(boards)}\n{END}{after}"

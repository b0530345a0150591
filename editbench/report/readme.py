"""The part of the README that is made from published results, between two markers, and the figures it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editbench.analysis.leaderboard import Leaderboard
from editbench.errors import UserError
from editbench.report.tables import as_markdown

BEGIN = "<!-- published results: made by `editbench results readme`, do not edit -->"
END = "<!-- end of published results -->"

# What the README's figures show, by their kind, with which the names of their files end.
SHOWS = {"scale": "success against the number of edits", "capability": "success against capability"}
NOTHING = "Nothing is published yet. `editbench results publish SUITE` takes finished runs of clean, pinned sources.\n"


def figures(boards: Sequence[Leaderboard]) -> dict[str, dict[str, bytes]]:
    """Return for each suite the files of its figures by name: SVG, and the numbers as CSV.

    Success against scale where there are several, success against capability where that was measured. A method looks
    the same in all of them.
    """
    from editbench.report.figures.book import Order, files, look_of, pages
    from editbench.report.figures.evidence import Evidence

    order = Order(tuple(SHOWS), "screen", ("svg",), data=True)
    look = look_of(Evidence(tuple(boards)), order.preset)
    drawn: dict[str, dict[str, bytes]] = {}
    for board in boards:
        there = {
            "scale": len({row.scale for row in board.rows}) > 1,
            "capability": any("capability" in row.values for row in board.rows),
        }
        kinds = [kind for kind in SHOWS if there[kind]]
        found = pages(Evidence((board,)), kinds)[0] if kinds else []
        drawn[board.about.suite] = dict(file for page in found for file in files(page, look, order))
    return drawn


def block(boards: Sequence[Leaderboard], drawn: Mapping[str, Sequence[str]]) -> str:
    """Return what stands between the markers: a section per suite, or that nothing is published.

    Parameters
    ----------
    drawn: suite -> addresses of its figures, as seen from the README.
    """
    return "\n".join(section(board, drawn.get(board.about.suite, ())) for board in boards) if boards else NOTHING


def section(board: Leaderboard, drawn: Sequence[str]) -> str:
    """Return what the README shows of one suite: its figures, and the leaderboard folded away under them."""
    title, _, table = as_markdown(board).partition("\n\n")
    kinds = [address.removesuffix(".svg").rpartition("-")[2] for address in drawn]
    shown = [f"![{board.about.suite}: {SHOWS[kind]}]({place})\n" for kind, place in zip(kinds, drawn, strict=True)]
    folded = ["<details><summary>The leaderboard</summary>\n", table, "</details>\n"]
    return "\n".join([f"{title}\n", *shown, *folded])


def filled(text: str, boards: Sequence[Leaderboard], drawn: Mapping[str, Sequence[str]]) -> str:
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
    return f"{before}{BEGIN}\n\n{block(boards, drawn)}\n{END}{after}"

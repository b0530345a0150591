"""What went wrong in a suite's cells, as lines of text: reasons whole, tracebacks indented."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from editbench.base.plain import one_line, shortened
from editbench.results.store import Status

if TYPE_CHECKING:
    from editbench.analysis.failures import Failure, Failures
    from editbench.analysis.leaderboard import Leaderboard

# Requests that are named; all of them are in the JSON.
MOST_NAMED = 5


def as_text(found: Failures) -> str:
    """Return all of it as text: a paragraph for each cell. What a terminal would obey is still in it."""
    title = one_line(f"{found.suite}: {found.title}" if found.title else found.suite)
    paragraphs = ["\n".join([title, _counted(found), *found.notes]), *map(_paragraph, found.found)]
    return "\n\n".join(paragraphs) + "\n"


def _counted(found: Failures) -> str:
    undone = sum(failure.status is not Status.DONE for failure in found.found)
    partly = len(found.found) - undone
    if not found.found:
        return f"All {found.cells:,} cells are done, and every request in them was edited."
    said = f"{undone:,} of {found.cells:,} cells {'is' if undone == 1 else 'are'} not done"
    return f"{said}; in {partly:,} more some requests could not be edited." if partly else f"{said}."


def _paragraph(failure: Failure) -> str:
    named = f"{failure.method} on {failure.model}, seed {failure.seed}, scale {failure.scale:,}: {failure.status}"
    return "\n".join([one_line(named), *_details(failure)])


def _details(failure: Failure) -> Iterator[str]:
    if failure.reason:
        yield _indented(failure.reason, 2)
    if failure.requests:
        yield f"  requests that could not be edited: {len(failure.requests):,}"
        for name, why in list(failure.requests.items())[:MOST_NAMED]:
            yield "    " + shortened(one_line(f"{name}: {why}"))
        if len(failure.requests) > MOST_NAMED:
            yield f"    and {len(failure.requests) - MOST_NAMED:,} more; --json has them all"
    if failure.traceback:
        yield "  traceback:"
        yield _indented(failure.traceback, 4)


def _indented(text: str, by: int) -> str:
    """Return a text with each of its lines moved in, so that none can be taken for one of ours."""
    return indent("\n".join(text.strip("\n").splitlines()), by * " ", lambda line: True)


def hint(boards: Sequence[Leaderboard], command: Sequence[str]) -> str:
    """Return a line that says how to see what went wrong, or "" where nothing did.

    ``command``: the words that show these leaderboards again.
    """
    rows = [row for board in boards for row in board.rows]
    if not any(row.status is not Status.DONE or row.failed_requests for row in rows):
        return ""
    return f"What went wrong, in full: {shlex.join([*command, '--failures'])}"

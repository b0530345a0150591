"""What stands in a caption of a paper: protocol, requests, seeds and tests in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editbench.analysis.notes import listed
from editbench.metrics import METRICS
from editbench.report.tables import heading, statement

if TYPE_CHECKING:
    from editbench.analysis.leaderboard import Leaderboard, Row
    from editbench.analysis.overall import Overall

_STOPS = {"eos-newline-sentence": "until the end-of-text token, a newline or the end of a sentence"}
_SCORED = {"after-all": "every request is scored after the last edit of its scale was written"}
_SPELLED = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def caption(board: Leaderboard) -> list[str]:
    """Return the sentences of a leaderboard's caption."""
    lines = statement(board)
    other = [line for line in lines if not line.startswith("Protocol ")]
    rows = [row for row in board.rows if row.n]
    title = heading(board)
    said = [other[0], *_protocol([board]), *other[1:], f"a row has {_counted(rows)}"]
    return [title if title.endswith(".") else f"{title}.", *map(sentence, said)]


def overall_caption(found: Overall, said: Sequence[str], boards: Sequence[Leaderboard]) -> list[str]:
    """Return the sentences of the caption of overall ranks.

    Parameters
    ----------
    said: what the ranks say, :func:`editbench.report.comparisons.overall_lines`.
    boards: what they are made from.
    """
    protocols: dict[str, list[Leaderboard]] = {}
    for board in boards:
        protocols.setdefault(board.protocol_hash, []).append(board)
    several = len(protocols) > 1
    asked = [line for same in protocols.values() for line in _protocol(same, several)]
    counts = [f"In {board.about.suite} a row has {_counted(_largest(board, found.metric))}" for board in boards]
    return [*said, *asked, *(f"{line}." for line in counts)]


def sentence(text: str) -> str:
    """Return a text with a capital at its start and a full stop at its end; a name that begins it stays as it is."""
    first, _, _ = text.partition(" ")
    plain = first.isalpha() and first.islower()
    return (text[:1].upper() + text[1:] if plain else text) + ("" if text.endswith((".", "!", "?")) else ".")


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: ``one seed``, ``1,000 requests``."""
    number = _SPELLED[n] if n < len(_SPELLED) else f"{n:,}"
    return f"{number} {noun}{'' if n == 1 else 's'}"


def _protocol(boards: Sequence[Leaderboard], several: bool = False) -> list[str]:
    p: Mapping[str, Any] = boards[0].protocol
    stop, scored = (words.get(p[key], str(p[key])) for key, words in (("stop", _STOPS), ("scored", _SCORED)))
    end = "end with the end-of-text token" if p["eos"] else "do not end with the end-of-text token"
    start = f"In {listed(board.about.suite for board in boards)}, targets" if several else "Targets"
    decodes = {"greedy": "decodes greedily"}.get(p["decoding"], f"decodes ({p['decoding']})")
    return [
        f"{start} are the data's field {p['target_field']} and {end}; the model sees the {p['context']} prompt and "
        f"{decodes}, at most {counted(int(p['max_new_tokens']), 'new token')}, {stop}; {scored} "
        f"(protocol {boards[0].protocol_hash})."
    ]


def _largest(board: Leaderboard, metric: str) -> list[Row]:
    """Return the rows that are in the overall ranks: of each model those at its largest scale."""
    there = [row for row in board.rows if metric in row.values and row.n]
    most = {row.model: max(one.scale for one in there if one.model == row.model) for row in there}
    return [row for row in there if row.scale == most[row.model]]


def _counted(rows: Sequence[Row]) -> str:
    """Return how many requests and which seeds are behind some rows."""
    numbers = sorted({row.n for row in rows})
    seeds = sorted({seed for row in rows for seed in row.seeds})
    if not numbers:
        return "no answer to any request"
    least = f"from {numbers[0]:,} to " if len(numbers) > 1 else ""
    most = f"{numbers[-1]:,} request{'' if numbers[-1] == 1 else 's'}"
    of = f"the seed is {seeds[0]}" if len(seeds) == 1 else f"the seeds are {listed(map(str, seeds))}"
    return f"{least}{most}, all its seeds together; {of}"


def ranks_of(metric: str, blocks: int) -> str:
    """Return what overall ranks are of."""
    title = METRICS[metric].title
    return f"{title} and mean ranks by it in {counted(blocks, 'block')}, each a suite on a model at a scale."

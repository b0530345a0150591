"""One item of a core task, and how items are collected, marked and written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from editbench.base.seeds import seed

SEED = 20261123
WRITTEN = Path(__file__).parent / "data"
Draw = Callable[[random.Random], "Item"]


@dataclass(frozen=True, slots=True)
class Item:
    """A text that stops before its last word, and the words that may follow.

    Attributes
    ----------
    kind: what the item is about, within its task.
    context: the text, without a space at its end; never empty, so that no model's beginning token matters.
    choices: continuations, each with its leading space; distinct.
    answer: index of the right one.
    """

    kind: str
    context: str
    choices: tuple[str, ...]
    answer: int


def item(kind: str, context: str, right: str, wrong: Iterable[str], draw: random.Random) -> Item:
    """Return an item whose choices stand in a random order."""
    choices = [right, *wrong]
    draw.shuffle(choices)
    return Item(kind, context, tuple(f" {choice}" for choice in choices), choices.index(right))


def generator(*parts: str) -> random.Random:
    """Return the generator of one named part of the task set."""
    return random.Random(seed(SEED, "core", *parts))


def distinct(draw_one: Draw, count: int, draw: random.Random) -> list[Item]:
    """Return this many items that differ in context or choices.

    Raises ``ValueError`` if a thousand draws in a row give nothing new: the template has too few fillings.
    """
    found: dict[tuple[str, frozenset[str]], Item] = {}
    misses = 0
    while len(found) < count:
        new = draw_one(draw)
        key = (new.context, frozenset(new.choices))
        misses = misses + 1 if key in found else 0
        if misses == 1000:
            raise ValueError(f"only {len(found)} of {count} distinct items, such as {new.context!r}")
        found.setdefault(key, new)
    return list(found.values())


def lines(name: str) -> list[str]:
    """Return the lines of a written file, without its comments (``# ``) and empty lines; headings (``## ``) stay."""
    text = (WRITTEN / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("# ")]


def cells(line: str) -> list[str]:
    """Return the parts of a line between its bars."""
    return [cell.strip() for cell in line.split("|")]


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text that is a list of words."""
    return tuple(text.split())


def write(items: Sequence[Item], path: Path) -> None:
    """Write one JSON object a line, UTF-8, keys in a fixed order."""
    text = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in items)
    path.write_text(text, encoding="utf-8", newline="\n")

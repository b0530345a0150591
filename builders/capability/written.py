"""The tasks that are written sentence by sentence: facts, sentiment, next words, reading."""

from __future__ import annotations

import random
from collections.abc import Iterator

from builders.capability.item import Item, cells, generator, item, lines

WRONG_FACTS = 3
PER_PASSAGE = 4
# How a verdict begins, and how praise and complaint end it; of many pairs, those to which the built-in model leans
# equally without a review. "Overall, it was great" is likelier to it than "terrible" after any complaint.
VERDICTS = (
    ("What a", "pleasure", "mess"),
    ("What a", "pleasure", "disaster"),
    ("What a", "joy", "waste"),
    ("What a", "wonderful", "terrible"),
    ("It was a", "wonderful", "terrible"),
    ("It was a", "success", "failure"),
)


def _under_headings(name: str) -> Iterator[tuple[str, str]]:
    heading = ""
    for line in lines(name):
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        else:
            yield heading, line


def facts() -> list[Item]:
    """Return one item for every written fact; wrong choices are other answers under its heading."""
    written = [(heading, cells(line)) for heading, line in _under_headings("facts.txt")]
    draw = generator("facts")
    found = []
    for heading, (context, right, *also) in written:
        others = {parts[1] for other, parts in written if other == heading} - {right, *also}
        found.append(item(heading, context, right, draw.sample(sorted(others), WRONG_FACTS), draw))
    return found


def sentiment() -> list[Item]:
    """Return one item for every written sentence of a review: which verdict follows."""
    draw = generator("sentiment")
    found = []
    for heading, line in _under_headings("reviews.txt"):
        stem, praise, complaint = draw.choice(VERDICTS)
        right, wrong = (praise, complaint) if line.startswith("+ ") else (complaint, praise)
        found.append(item(heading, f"{line[2:]} {stem}", right, [wrong], draw))
    return found


def next_word() -> list[Item]:
    """Return one item for every written story; its only choice is the last word."""
    return [Item("story", context, (f" {word}",), 0) for context, word in map(cells, lines("stories.txt"))]


def reading() -> list[Item]:
    """Return a few items for every written passage: three things of three kinds, and one is asked about."""
    found: list[Item] = []
    for number, line in enumerate(lines("passages.txt")):
        draw = generator("reading", str(number))
        drawn: dict[str, Item] = {}
        while len(drawn) < PER_PASSAGE:
            one = _read(f"passage {number + 1}", line, draw)
            drawn.setdefault(one.context, one)
        found.extend(drawn.values())
    return found


def _read(kind: str, line: str, draw: random.Random) -> Item:
    text, *lists = cells(line)
    keys, values = (draw.sample([word.strip() for word in words.split(",")], 3) for words in lists)
    places = {f"k{n}": key for n, key in enumerate(keys, 1)} | {f"v{n}": value for n, value in enumerate(values, 1)}
    asked = draw.randrange(3)
    text = text.format(**places, k=keys[asked])
    others = [value for value in values if value != values[asked]]
    return item(kind, text, values[asked], others, draw)

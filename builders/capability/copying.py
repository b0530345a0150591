"""The task ``core_copying``: find the pattern of a list of words and go on with it."""

from __future__ import annotations

import random

from builders.capability.item import Item, distinct, generator, item, words

WORDS = words(
    "red blue green white black brown gray pink cat dog cow pig hen fox owl bee sun moon star rain snow wind fire "
    "stone tree leaf root seed rose grass lake river sea hill road bridge house door wall roof room bed chair table "
    "lamp clock cup plate knife fork spoon bread milk rice soup salt fish egg cake tea book pen map ring coat hat shoe "
    "ball drum bell key box bag rope ship train king queen child mother hand foot eye ear nose north south east west "
    "one two three four five six seven eight nine ten up down left right hot cold big small old new"
)
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
NAMES = words("Anna Ben Clara Leo Nina Oscar Rosa Tom Ella Max Mia Paul Ruth Sam Tim Eva")
SEPARATORS = (" ", ", ", " - ", " / ", "; ")


def _rest(chosen: list[str], right: str) -> list[str]:
    return [word for word in chosen if word != right]


def cycle(draw: random.Random) -> Item:
    """Return four words that come round again and again, broken off somewhere in the third round."""
    four, separator = draw.sample(WORDS, 4), draw.choice(SEPARATORS)
    shown = 8 + draw.randrange(4)
    text = separator.join((four * 3)[:shown]) + separator
    right = four[shown % 4]
    return item("cycle", text.rstrip(), right, _rest(four, right), draw)


def letters(draw: random.Random) -> Item:
    """Return five letters that come round, broken off in the third round."""
    five = draw.sample(LETTERS, 5)
    shown = 10 + draw.randrange(5)
    right = five[shown % 5]
    return item("letters", " ".join((five * 3)[:shown]), right, draw.sample(_rest(five, right), 3), draw)


def echo(draw: random.Random) -> Item:
    """Return a list that is said once and repeated up to one of its words."""
    six, at = draw.sample(WORDS, 6), draw.randrange(2, 6)
    opening = draw.choice(["Repeat after me:", "The list is:", "Remember these words:", "Copy this line:"])
    text = f"{opening} {', '.join(six)}. Again: {', '.join(six[:at])},"
    return item("echo", text, six[at], draw.sample(_rest(six, six[at]), 3), draw)


def lookup(draw: random.Random) -> Item:
    """Return pairs of a name and a word, the pairs again in another order, and one of the names."""
    names, four, at = draw.sample(NAMES, 4), draw.sample(WORDS, 4), draw.randrange(4)
    pairs = [f"{name}: {word}" for name, word in zip(names, four, strict=True)]
    again = draw.sample(pairs[:at] + pairs[at + 1 :], 2)
    return item("lookup", f"{'; '.join(pairs + again)}; {names[at]}:", four[at], _rest(four, four[at]), draw)


def told(draw: random.Random) -> Item:
    """Return the same four words as told by one person after another."""
    names, four, at = draw.sample(NAMES, 3), draw.sample(WORDS, 4), draw.randrange(1, 4)
    verb = draw.choice(["said", "wrote", "heard", "read", "saw"])
    whole = ", ".join(four)
    text = f"{names[0]} {verb} {whole}. {names[1]} {verb} {whole}. {names[2]} {verb} {', '.join(four[:at])},"
    return item("told", text, four[at], _rest(four, four[at]), draw)


KINDS = {cycle: 50, letters: 50, echo: 50, lookup: 50, told: 50}


def copying() -> list[Item]:
    """Return the items, kind by kind."""
    return [one for kind, count in KINDS.items() for one in distinct(kind, count, generator("copying", kind.__name__))]

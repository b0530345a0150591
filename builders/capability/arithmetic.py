"""The task ``core_arithmetic``: sums, differences, products, series, in digits and in words."""

from __future__ import annotations

import random

from builders.capability.item import Item, distinct, generator, item, words

TENS = words("ten twenty thirty forty fifty sixty seventy eighty ninety")
ONES = words("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
ORDINALS = words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")


def near(right: int, draw: random.Random) -> list[int]:
    """Return three wrong results with the right one's tens, so that they differ in the last digit only."""
    tens = right - right % 10
    close = [tens + digit for digit in range(10) if 0 < abs(tens + digit - right) <= 4]
    return draw.sample(close, 3)


def _in_digits(kind: str, context: str, right: int, draw: random.Random) -> Item:
    return item(kind, context, str(right), map(str, near(right, draw)), draw)


def _shown(pairs: list[tuple[int, int]], sign: str, draw: random.Random) -> tuple[str, tuple[int, int]]:
    """Return a solved line with the question below it, and the pair still to solve."""
    *solved, last = draw.sample(pairs, 2)
    results = [f"{a} {sign} {b} = {a + b if sign == '+' else a - b if sign == '-' else a * b}" for a, b in solved]
    return "\n".join([*results, f"{last[0]} {sign} {last[1]} ="]), last


def addition(draw: random.Random) -> Item:
    """Return a sum below 20 after one that is solved."""
    context, (a, b) = _shown([(a, b) for a in range(1, 10) for b in range(1, 10)], "+", draw)
    return _in_digits("addition", context, a + b, draw)


def subtraction(draw: random.Random) -> Item:
    """Return a difference of numbers up to twelve after one that is solved."""
    context, (a, b) = _shown([(a, b) for a in range(3, 13) for b in range(1, 10) if a > b], "-", draw)
    return _in_digits("subtraction", context, a - b, draw)


def multiplication(draw: random.Random) -> Item:
    """Return a product from the small multiplication table after one that is solved."""
    context, (a, b) = _shown([(a, b) for a in range(2, 10) for b in range(2, 10)], "*", draw)
    return _in_digits("multiplication", context, a * b, draw)


def series(draw: random.Random) -> Item:
    """Return a series with a constant step, up or down."""
    step = draw.choice([1, 2, 3, 4, 5, 10, -1, -2])
    first = draw.randrange(1, 40) if step > 0 else draw.randrange(12, 60)
    *shown, last = [first + n * step for n in range(5)]
    return _in_digits("series", ", ".join(map(str, shown)) + ",", last, draw)


def counting(draw: random.Random) -> Item:
    """Return number words that are counted up or down, in steps of one or two."""
    names = draw.choice([ONES, TENS, ORDINALS])
    step = draw.choice([1, -1, 2] if names is ONES else [1, -1])
    first = draw.randrange(len(names) - 4 * step) if step > 0 else draw.randrange(4, len(names))
    *shown, right = [names[first + n * step] for n in range(5)]
    others = [name for name in names if name not in {right, *shown}]
    return item("counting", ", ".join(shown) + ",", right, draw.sample(others, 3), draw)


KINDS = {addition: 80, subtraction: 60, multiplication: 60, series: 80, counting: 40}


def arithmetic() -> list[Item]:
    """Return the items, kind by kind."""
    return [
        one for kind, count in KINDS.items() for one in distinct(kind, count, generator("arithmetic", kind.__name__))
    ]

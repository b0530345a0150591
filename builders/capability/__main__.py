"""Make the items of the core tasks again: ``python -m builders.capability [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from builders.capability.arithmetic import arithmetic
from builders.capability.copying import copying
from builders.capability.grammar import grammar
from builders.capability.item import Item, generator, write
from builders.capability.written import facts, next_word, reading, sentiment
from editbench.capability.core_tasks import core_folder

BUILDERS: tuple[Callable[[], list[Item]], ...] = (
    *(grammar, facts, arithmetic, sentiment, copying, reading, next_word),
)


def build(builder: Callable[[], list[Item]]) -> list[Item]:
    """Return a task's items in a random order, so that lm-eval's ``limit`` takes a fair sample of their kinds."""
    items = builder()
    generator("order", builder.__name__).shuffle(items)
    return items


def main(arguments: Sequence[str]) -> None:
    """Write every task's items to the folder given, or over the shipped ones."""
    folder = Path(arguments[0]) if arguments else core_folder() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for builder in BUILDERS:
        write(build(builder), folder / f"{builder.__name__}.jsonl")


if __name__ == "__main__":
    main(sys.argv[1:])

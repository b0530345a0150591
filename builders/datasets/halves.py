"""Which of two relations that could contradict each other may ask about a subject."""

from __future__ import annotations

from editbench.base.seeds import seed

SEED = 20261124


def half(subject: str, parts: int = 2) -> int:
    """Return a number below ``parts`` that depends on the subject's name alone.

    An edit of a town's country and one of its region could not both be true; so each town is asked about one of them.
    """
    return seed(SEED, "half", subject.casefold()) % parts

"""Facts, and how they become English."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Fact:
    """One true statement.

    Attributes
    ----------
    subject: what it is about, without an article and as it is written inside a sentence.
    answer: the object, with its article where English wants one ("the United States").
    article: the subject's article inside a sentence, or "".
    """

    subject: str
    answer: str
    article: str = ""


def render(template: str, fact: Fact) -> tuple[str, int]:
    """Return the template about this fact's subject, and where the subject begins."""
    before, after = _around(template)
    if fact.article:
        before += f"{fact.article if before else fact.article.capitalize()} "
    return before + fact.subject + after, len(before)


@cache
def _around(template: str) -> tuple[str, str]:
    before, _, after = template.partition("{}")
    return before, after

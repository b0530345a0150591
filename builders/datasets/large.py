"""``counterfact-100k``: which facts are edited, which are kept, and what each request is asked, as numbers."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from builders.datasets import baseball, geography, organisms, people, places, science, sky
from builders.datasets.assemble import Pool, false_answer, holds, pool, without_edited
from builders.datasets.relation import Follow, Relation
from builders.datasets.sentences import SENTENCES
from editbench.base.seeds import seed
from editbench.datasets.compact import Compact, Edit, Kept
from editbench.datasets.facts import Fact
from editbench.errors import UserError

SEED = 20261124
SIZE = 100_000
REPHRASES, NEIGHBOURS, LOCALITIES, FOLLOWS = 2, 5, 2, 2
BEST_KNOWN_NEIGHBOURS = 40
BEST_KNOWN_LOCALITY = 100
# relations of ``facts`` that are edited here too: most requests, and share of one answer
ALSO: dict[str, tuple[int, float, tuple[Follow, ...]]] = {
    "us-county-state": (900, 0.06, places.of_division("US", "US state")),
    "company-country": (500, 0.3, places.of_country("the head office of {}")),
    "company-us-state": (300, 0.15, places.of_division("US", "US state", "the head office of {}")),
    "laureate-field": (430, 1.0, ()),
    "laureate-birth-country": (270, 0.4, places.of_country("the birthplace of {}")[:3]),
    "language-script": (200, 0.4, ()),
}
# a question about these stays true whatever is edited, and most readers know its answer
LOCALITY_ONLY = (
    "country-continent",
    "country-currency",
    "country-language",
    "country-capital",
    "element-symbol",
    "element-number",
    "element-period",
    "element-family",
    "mineral-crystal-system",
)
# no company is moved to Japan and to Texas at once
CLASHING = (("company-country", "company-us-state"), ("airport-country", "us-airport-state"))
ASKED_FOR_LOCALITY = frozenset({*LOCALITY_ONLY, "city-country", "city-continent", "company-country", "animal-class"})


@cache
def relations() -> tuple[Relation, ...]:
    """Return the relations of the dataset; those that are never edited have the limit 0."""
    shared = {one.name: one for one in (*geography.RELATIONS, *people.RELATIONS, *science.RELATIONS)}
    return (
        *places.RELATIONS,
        *organisms.RELATIONS,
        *sky.RELATIONS,
        *baseball.RELATIONS,
        *(replace(shared[name], limit=n, share=share, follows=more) for name, (n, share, more) in ALSO.items()),
        *(replace(shared[name], limit=0) for name in LOCALITY_ONLY),
    )


def without_clashes(pools: Sequence[Pool]) -> list[Pool]:
    """Leave a subject out of a relation that could contradict another one that edits it."""
    edited = {one.relation.name: {fact.subject for fact in one.edited} for one in pools}
    barred = {second: edited.get(first, set()) for first, second in CLASHING}
    return [
        replace(one, edited=[fact for fact in one.edited if fact.subject not in barred.get(one.relation.name, ())])
        for one in pools
    ]


def cut(pools: Sequence[Pool], size: int) -> list[Pool]:
    """Cut the largest relation, its least known facts first, so that ``size`` requests are left."""
    excess = sum(len(one.edited) for one in pools) - size
    if excess < 0:
        raise UserError(f"The relations give {size + excess:,} requests.", f"Expected at least {size:,}.")
    largest = max(pools, key=lambda one: len(one.edited))
    return [
        replace(one, edited=one.edited[: len(one.edited) - excess]) if one is largest and excess > 0 else one
        for one in pools
    ]


class _Questions:
    """Facts that requests ask about and none edits, numbered as they are first asked."""

    def __init__(self, pools: Sequence[Pool], for_locality: Container[str]) -> None:
        self.kept: list[Kept] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._same: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        for one in pools:
            for fact in one.kept:
                self._same[one.relation.name, fact.answer].append(fact)
        self._locality = [one for one in pools if one.relation.name in for_locality]

    def _number(self, relation: Relation, fact: Fact) -> int:
        key = (relation.name, fact.subject)
        if key not in self._numbers:
            self._numbers[key] = len(self.kept)
            template = seed(SEED, "kept", *key) % len(relation.templates)
            self.kept.append(Kept(relation.name, fact, template))
        return self._numbers[key]

    def neighbours(self, fact: Fact, relation: Relation, draw: random.Random) -> tuple[int, ...]:
        same = self._same[relation.name, fact.answer][:BEST_KNOWN_NEIGHBOURS]
        return tuple(self._number(relation, other) for other in draw.sample(same, NEIGHBOURS))

    def localities(self, kind: str, avoid: set[str], draw: random.Random) -> tuple[int, ...]:
        other = [one for one in self._locality if one.relation.kind != kind]
        chosen = []
        for one in draw.sample(other, LOCALITIES):
            facts = [fact for fact in one.kept[:BEST_KNOWN_LOCALITY] if fact.answer not in avoid]
            chosen.append(self._number(one.relation, draw.choice(facts)))
        return tuple(chosen)


def _follows(fact: Fact, new: str, tables: Sequence[Mapping[str, str]], draw: random.Random) -> tuple[int, ...]:
    """Return which questions about what follows have an answer that the edit changes; at most ``FOLLOWS``."""
    fit = [
        number
        for number, table in enumerate(tables)
        if new in table
        and fact.answer in table
        and table[new] != table[fact.answer]
        and not holds(fact.subject, table[new])
        and not holds(fact.subject, table[fact.answer])
    ]
    return tuple(sorted(draw.sample(fit, min(FOLLOWS, len(fit)))))


def _edits(one: Pool, questions: _Questions) -> Iterator[Edit]:
    relation = one.relation
    frequency = Counter(fact.answer for fact in one.edited)
    tables = [follow.table() for follow in relation.follows]
    for fact in one.edited:
        draw = random.Random(seed(SEED, "request", relation.name, fact.subject))
        new = false_answer(fact, frequency, draw)
        yield Edit(
            relation.name,
            fact,
            new,
            tuple(draw.sample(range(len(relation.templates)), 1 + REPHRASES)),
            draw.randrange(len(SENTENCES)),
            questions.neighbours(fact, relation, draw),
            questions.localities(relation.kind, {new, fact.answer}, draw),
            _follows(fact, new, tables, draw),
        )


def pools(chosen: Sequence[Relation]) -> list[Pool]:
    """Sort the facts of these relations into those to edit and those to keep."""
    return without_edited(without_clashes([pool(relation, NEIGHBOURS) for relation in chosen]))


def _needed(relation: Relation, edits: Sequence[Edit]) -> list[tuple[str, dict[str, str]]]:
    """Return the questions about what follows, with answers for the objects that requests write."""
    objects = sorted({edit.new for edit in edits if edit.relation == relation.name})
    tables = [(follow.template, follow.table()) for follow in relation.follows]
    return [(template, {name: table[name] for name in objects if name in table}) for template, table in tables]


def asked(pools: Sequence[Pool], for_locality: Container[str]) -> Compact:
    """Return the requests of these pools; unrelated facts are drawn from the relations ``for_locality``."""
    questions = _Questions(pools, for_locality)
    edits = [edit for one in pools for edit in _edits(one, questions)]
    named = {kept.relation for kept in questions.kept} | {edit.relation for edit in edits}
    relations = [one.relation for one in pools]
    return Compact(
        edits,
        questions.kept,
        {one.name: one.templates for one in relations if one.name in named},
        {one.name: _needed(one, edits) for one in relations if one.limit},
        SENTENCES,
    )


def build() -> Compact:
    """Return the dataset; the same every time."""
    return asked(cut(pools(relations()), SIZE), ASKED_FOR_LOCALITY)

"""``search``: requests to search settings on, about subjects that no other shipped dataset names.

A setting that is searched on the facts it is later judged by has seen them. These are what ``counterfact-100k`` left
over: the same relations and templates, with a draw of their own of whom to edit and whom to keep.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builders.datasets import large
from builders.datasets.assemble import Pool, unambiguous
from builders.datasets.places import folded
from builders.datasets.relation import Relation
from editbench.base.seeds import seed
from editbench.datasets import compact
from editbench.datasets.compact import Compact
from editbench.datasets.facts import Fact
from editbench.requests import Request

SEED = 20261208
SIZE = 10_000
KEPT = 0.4
"""Share of the subjects that no request edits: more than in ``counterfact-100k``, since fewer share an answer."""
KEPT_OF_AN_ANSWER = 8
"""Most facts with one answer that are asked about, best known first; each is a row of the file."""
FEWEST, FEWEST_OBJECTS = 25, 4
"""Requests and true objects below which a relation is left out."""
FOR_LOCALITY = frozenset({"city-country", "city-continent", "company-country", "animal-class", "laureate-field"})
"""Relations that unrelated facts are drawn from, of those with enough left; countries and elements are all named."""
MOST = 300
"""Per cent of its share of ``counterfact-100k`` that a relation gives at most, where others have too little left."""
ENDINGS = frozenset({"city", "town", "village"})
WORD = re.compile(r"\w+")
_SCALE = 2**63


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text without marks and case; hyphens, apostrophes and stops part them."""
    return tuple(WORD.findall(text.casefold() if text.isascii() else folded(text)))


def spelling(subject: str) -> str:
    """Return what is alike in "Le Flore" and "Leflore", and in "Koror" and "Koror Town"."""
    parts = words(subject)
    return "".join(parts[:-1] if len(parts) > 1 and parts[-1] in ENDINGS else parts)


def texts(requests: Iterable[Request]) -> set[str]:
    """Return all that these requests say and ask."""
    found: set[str] = set()
    for request in requests:
        found |= {request.prompt, request.subject, request.target_new, request.target_true or ""}
        for probe in request.probes:
            found |= {probe.prompt, probe.answer or ""}
    return found


def named(subjects: Iterable[str], said: Iterable[str]) -> set[str]:
    """Return those of the subjects whose words stand in a row in one of the texts."""
    by_first: dict[str, dict[tuple[str, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for subject in subjects:
        if name := words(subject):
            by_first[name[0]][name].append(subject)
    lengths = {first: sorted({len(name) for name in names}) for first, names in by_first.items()}
    found: set[str] = set()
    for text in said:
        row = words(text)
        for place, word in enumerate(row):
            for length in lengths.get(word, ()):
                found.update(by_first[word].get(row[place : place + length], ()))
    return found


@dataclass(frozen=True, slots=True)
class Shipped:
    """What the datasets that suites edit say.

    Attributes
    ----------
    texts: every prompt, answer, subject and object.
    spellings: of every subject that has a column of its own.
    shares: requests of each relation of ``counterfact-100k``.
    """

    texts: set[str]
    spellings: set[str]
    shares: Counter[str]


def shipped(folder: Path) -> Shipped:
    """Read ``facts`` and ``counterfact-100k`` from the folder they ship in."""
    import pyarrow.parquet as pq

    requests = compact.read(folder / "counterfact-100k.parquet", "")
    said = texts(requests)
    subjects = set(pq.read_table(folder / "counterfact-100k.parquet", columns=["subject"])["subject"].to_pylist())
    for row in pq.read_table(folder / "facts.parquet").to_pylist():
        subjects.add(row["subject"])
        said |= {row["prompt"], row["subject"], row["target_new"], row["target_true"]}
        said |= {text for probe in row["probes"] for text in (probe["prompt"], probe["answer"])}
    return Shipped(said, set(map(spelling, subjects)), Counter(request.relation for request in requests))


def left_over(relations: Sequence[Relation], taken: Shipped) -> dict[str, list[Fact]]:
    """Return, by relation, the facts whose subject no text names and no subject is spelt like."""
    facts = {one.name: unambiguous(one.facts()) for one in relations}
    out = named({fact.subject for some in facts.values() for fact in some}, taken.texts)
    return {
        name: [fact for fact in some if fact.subject not in out and spelling(fact.subject) not in taken.spellings]
        for name, some in facts.items()
    }


def is_kept(fact: Fact) -> bool:
    """Return whether no request edits this subject, whatever the relation; depends on its spelling alone."""
    return seed(SEED, "kept", spelling(fact.subject)) / _SCALE < KEPT


def _pool(relation: Relation, facts: Sequence[Fact]) -> Pool:
    """Sort the facts that are left of a relation; an answer is edited away only where enough are kept."""
    kept, free, shared = [], [], Counter[str]()
    if not relation.ranked:
        facts = sorted(facts, key=lambda fact: seed(SEED, "shuffle", fact.subject))
    for fact in facts:
        if not is_kept(fact):
            free.append(fact)
        elif shared[fact.answer] < KEPT_OF_AN_ANSWER:
            kept.append(fact)
            shared[fact.answer] += 1
    return Pool(relation, [fact for fact in free if shared[fact.answer] >= large.NEIGHBOURS], kept)


def _up_to(one: Pool, limit: int) -> Pool:
    """Take the best known facts, no more than ``limit`` and none of an answer beyond its share."""
    taken: Counter[str] = Counter()
    edited: list[Fact] = []
    for fact in one.edited:
        if len(edited) < limit and taken[fact.answer] < max(1, int(limit * one.relation.share)):
            edited.append(fact)
            taken[fact.answer] += 1
    few = len(edited) < FEWEST or len(taken) < FEWEST_OBJECTS
    return replace(one, relation=replace(one.relation, limit=0 if few else limit), edited=[] if few else edited)


def pools(folder: Path) -> list[Pool]:
    """Return what is edited and what is kept, ``SIZE`` requests in nearly the proportions of ``counterfact-100k``.

    Where a relation has too little left, all others get more, by the same factor.
    """
    taken = shipped(folder)
    relations = [one for one in large.relations() if taken.shares[one.name] or one.name in FOR_LOCALITY]
    left = left_over(relations, taken)
    whole = [_pool(one, left[one.name]) for one in relations]
    chosen: list[Pool] = []
    for more in range(100, MOST):
        share = SIZE / taken.shares.total() * more / 100
        limits = [round(taken.shares[one.relation.name] * share) for one in whole]
        chosen = large.without_clashes([_up_to(one, limit) for one, limit in zip(whole, limits, strict=True)])
        if sum(len(one.edited) for one in chosen) >= SIZE:
            break
    return large.cut(chosen, SIZE)


def build(folder: Path) -> Compact:
    """Return the dataset that goes with those shipped in ``folder``; the same every time."""
    return large.asked(pools(folder), FOR_LOCALITY)

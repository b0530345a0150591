"""From facts to requests: who is edited, who is kept untouched, what each request is asked."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from builders.datasets.relation import RESERVED, RESERVED_ELSE, Relation
from editbench.base.seeds import seed
from editbench.datasets.facts import Fact, render
from editbench.requests import LOCALITY, NEIGHBOUR, REPHRASE, Probe, Request

SEED = 20261123
REPHRASES, NEIGHBOURS, LOCALITIES = 2, 3, 2
BEST_KNOWN_NEIGHBOURS = 20
BEST_KNOWN_LOCALITY = 60
_SCALE = 2**63


@dataclass(frozen=True, slots=True)
class Pool:
    """One relation's facts, sorted out.

    Attributes
    ----------
    relation: whose facts these are.
    edited: facts that become requests, best known first.
    kept: facts about subjects that no request edits, best known first.
    """

    relation: Relation
    edited: list[Fact]
    kept: list[Fact]


def is_reserved(fact: Fact, kind: str) -> bool:
    """Return whether this subject is kept from every request, whatever the relation; depends on its name alone."""
    return seed(SEED, "reserved", fact.subject.casefold()) / _SCALE < RESERVED.get(kind, RESERVED_ELSE)


def unambiguous(facts: Iterable[Fact]) -> list[Fact]:
    """Return facts whose subject has one answer and does not give it away, each subject once."""
    answers: dict[str, set[str]] = defaultdict(set)
    first: dict[str, Fact] = {}
    for fact in facts:
        answers[fact.subject.casefold()].add(fact.answer)
        first.setdefault(fact.subject.casefold(), fact)
    return [fact for name, fact in first.items() if len(answers[name]) == 1 and not holds(fact.subject, fact.answer)]


def holds(text: str, answer: str) -> bool:
    """Return whether the text gives the answer away."""
    return answer.removeprefix("the ").casefold() in text.casefold()


def pool(relation: Relation, neighbours: int = NEIGHBOURS) -> Pool:
    """Sort a relation's facts into those to edit and those to keep.

    An answer is edited away only where at least ``neighbours`` kept subjects share it.
    """
    facts = unambiguous(relation.facts())
    if not relation.ranked:
        facts.sort(key=lambda fact: seed(SEED, "shuffle", fact.subject))
    kept = [fact for fact in facts if is_reserved(fact, relation.kind)]
    shared = Counter(fact.answer for fact in kept)
    taken: Counter[str] = Counter()
    edited: list[Fact] = []
    for fact in facts:
        full = taken[fact.answer] >= max(1, int(relation.limit * relation.share))
        if len(edited) == relation.limit:
            break
        if not (full or is_reserved(fact, relation.kind) or shared[fact.answer] < neighbours):
            edited.append(fact)
            taken[fact.answer] += 1
    return Pool(relation, edited, kept)


def without_edited(pools: Sequence[Pool]) -> list[Pool]:
    """Leave out kept facts whose subject another kind edits under the same name (a city and a county)."""
    edited = {fact.subject.casefold() for one in pools for fact in one.edited}
    return [
        Pool(one.relation, one.edited, [f for f in one.kept if f.subject.casefold() not in edited]) for one in pools
    ]


def false_answer(fact: Fact, frequency: Counter[str], draw: random.Random) -> str:
    """Draw another answer of the relation, common ones more often, as CounterFact does."""
    others = sorted(a for a in frequency if a != fact.answer and not holds(fact.subject, a))
    return draw.choices(others, [frequency[answer] for answer in others])[0]


def _neighbours(fact: Fact, one: Pool, draw: random.Random) -> list[Probe]:
    same = [other for other in one.kept if other.answer == fact.answer][:BEST_KNOWN_NEIGHBOURS]
    chosen = draw.sample(same, NEIGHBOURS)
    return [Probe(NEIGHBOUR, render(draw.choice(one.relation.templates), f)[0], f.answer) for f in chosen]


def _localities(kind: str, avoid: set[str], pools: Sequence[Pool], draw: random.Random) -> list[Probe]:
    other = [one for one in pools if one.relation.kind != kind and one.kept]
    found = []
    for one in draw.sample(other, LOCALITIES):
        candidates = [fact for fact in one.kept[:BEST_KNOWN_LOCALITY] if fact.answer not in avoid]
        fact = draw.choice(candidates)
        found.append(Probe(LOCALITY, render(draw.choice(one.relation.templates), fact)[0], fact.answer))
    return found


def _request(fact: Fact, one: Pool, frequency: Counter[str], pools: Sequence[Pool]) -> Request:
    relation = one.relation
    draw = random.Random(seed(SEED, "request", relation.name, fact.subject))
    new = false_answer(fact, frequency, draw)
    templates = draw.sample(relation.templates, 1 + REPHRASES)
    prompt, start = render(templates[0], fact)
    rephrases = [Probe(REPHRASE, render(template, fact)[0], new) for template in templates[1:]]
    probes = rephrases + _neighbours(fact, one, draw) + _localities(relation.kind, {new, fact.answer}, pools, draw)
    return Request("", prompt, fact.subject, new, fact.answer, relation.name, tuple(probes), start)


def build(relations: Sequence[Relation]) -> list[Request]:
    """Return the requests of these relations, in the relations' order; the same every time.

    Relations with ``limit=0`` are never edited and only give locality probes.
    """
    pools = without_edited([pool(relation) for relation in relations])
    requests: list[Request] = []
    for one in pools:
        frequency = Counter(fact.answer for fact in one.edited)
        requests.extend(_request(fact, one, frequency, pools) for fact in one.edited)
    return [replace(request, id=f"facts-{number:05d}") for number, request in enumerate(requests)]

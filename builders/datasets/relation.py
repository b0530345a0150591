"""The relations that facts belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from editbench.datasets.facts import Fact

Facts = Callable[[], "Iterable[Fact]"]


@dataclass(frozen=True, slots=True)
class Follow:
    """A question whose answer follows from a relation's object (portability).

    Attributes
    ----------
    template: a sentence that ends where the answer goes, the place of the relation's subject marked ``{}``.
    table: gives the answer by object; objects without one are not asked about.
    """

    template: str
    table: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact.

    Attributes
    ----------
    name: its name in the dataset.
    kind: what its subjects are; locality probes are about another kind.
    facts: yields the facts, best known first.
    templates: four or more sentences that end where the answer goes, the subject's place marked ``{}``.
    limit: most requests of this relation; 0: the relation is asked about and never edited.
    share: most of its requests that may have the same true answer, as a share of ``limit``.
    ranked: False if the order of ``facts`` means nothing; it is then shuffled by name.
    follows: at most eight questions about what follows from the object.
    """

    name: str
    kind: str
    facts: Facts
    templates: tuple[str, ...]
    limit: int
    share: float = 1.0
    ranked: bool = True
    follows: tuple[Follow, ...] = ()


RESERVED = {
    "city": 0.2,
    "county": 0.2,
    "airport": 0.25,
    "laureate": 0.25,
    "company": 0.25,
    "organism": 0.2,
    "player": 0.2,
    "deep sky object": 0.2,
}
RESERVED_ELSE = 0.35
"""Share of each kind's subjects that no request may edit; small kinds keep more, so that neighbours are found."""

"""Relations about species: where they stand in the tree of life, where they live, who described them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

from builders.datasets.geography import TWO_CONTINENTS, answer, states
from builders.datasets.halves import half
from builders.datasets.places import country_capital, country_continent
from builders.datasets.relation import Follow, Relation
from builders.datasets.taxonomy import Organism, organisms
from editbench.datasets.facts import Fact

FAMILY_NAME = re.compile(r"\b[A-Z][a-z]+(?:idae|aceae)\b")
WORDS = r"[A-Z][\w-]+(?: (?:and )?[A-Z][\w-]+)*"
ENDEMIC = re.compile(rf"endemic to (?:the )?({WORDS})(?=[.,;:(]| where| in )")
FOUND = re.compile(rf"(?:found|lives|occurs) (?:only )?in (?:the )?({WORDS})\.")
DESCRIBED = re.compile(r"\bdescribed by ((?:[A-Z][\w'-]+ |van |von |de |der )+)in 1[789]\d\d")
FEWEST_SPECIES = 12
# a US state, or part of the name of several countries or islands
UNCLEAR_LANDS = frozenset({"Georgia", "Guinea", "Congo", "Ireland", "Dominica", "Samoa", "Micronesia", "Timor-Leste"})
CLASSES = {
    "Insecta": "insects",
    "Aves": "birds",
    "Mammalia": "mammals",
    "Lepidosauria": "reptiles",
    "Amphibia": "amphibians",
    "Actinopteri": "ray-finned fishes",
    "Gastropoda": "snails and slugs",
    "Bivalvia": "bivalves",
    "Arachnida": "arachnids",
    "Malacostraca": "crustaceans",
    "Chondrichthyes": "cartilaginous fishes",
    "Cephalopoda": "cephalopods",
    "Anthozoa": "corals and anemones",
}
# a name that says what animal it is leaves nothing to know
TELLING = re.compile(
    r"fish|bird|frog|toad|snake|lizard|gecko|skink|spider|\bbat\b|mouse|\brat\b|\bant\b|beetle|moth|fly|bee\b|wasp|snail|"
    r"slug|shark|\bray\b|squid|octopus|crab|shrimp|lobster|salamander|newt|coral|clam|mussel|scorpion|warbler|parrot|"
    r"monkey|squirrel|owl|eagle|hawk|duck|goose|pigeon|dove|bug\b|skate|scallop|oyster|turtle|viper|chameleon",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Group:
    """Species that are asked for their family and order.

    Attributes
    ----------
    name: begins the relations' names.
    member: tells whether a species belongs to it, from its ranks.
    scholar: who classifies them, inside a sentence.
    families, orders: most requests of either relation.
    share: as in :class:`~builders.datasets.relation.Relation`.
    debated: whether scholars draw the orders differently; then the article must at least name the source's family.
    """

    name: str
    member: Callable[[dict[str, str]], bool]
    scholar: str
    families: int
    orders: int = 0
    share: float = 0.12
    debated: bool = False


def _of(rank: str, *names: str) -> Callable[[dict[str, str]], bool]:
    return lambda ranks: ranks.get(rank) in names


GROUPS = (
    Group("insect", _of("class", "Insecta"), "Entomologists", 6300, 2600, 0.1),
    Group("plant", lambda r: r.get("kingdom") == "Viridiplantae", "Botanists", 5600, 2600, 0.1),
    Group("bird", _of("class", "Aves"), "Ornithologists", 2000, 1200),
    Group("fish", _of("class", "Actinopteri", "Chondrichthyes"), "Ichthyologists", 2000, 1500, debated=True),
    Group("reptile", _of("class", "Lepidosauria"), "Herpetologists", 1200),
    Group("amphibian", _of("class", "Amphibia"), "Herpetologists", 1500),
    Group("mammal", _of("class", "Mammalia"), "Mammalogists", 800, 1000, 0.2),
    Group("mollusc", _of("phylum", "Mollusca"), "Malacologists", 1800),
    Group("spider", _of("order", "Araneae"), "Arachnologists", 400, share=0.2),
    Group("fungus", _of("kingdom", "Fungi"), "Mycologists", 600, 900, 0.15),
)


ASKED = ("family",) * 5 + ("order",) * 3 + ("class",) * 2
"""A species is asked either for its family, or its order, or its class: three edits could clash."""


def _asked(one: Organism) -> str:
    return ASKED[half(one.subject, len(ASKED))]


def _undisputed_family(one: Organism) -> str:
    """Return the family if the article names it and no other, else ""."""
    family = one.ranks.get("family", "")
    return family if set(FAMILY_NAME.findall(one.text)) == {family} else ""


def _families(group: Group) -> Iterator[Fact]:
    for one in organisms():
        family = _undisputed_family(one) if group.member(one.ranks) else ""
        if family and _asked(one) == "family":
            yield Fact(one.subject, family, one.article)


@cache
def _order_names() -> frozenset[str]:
    return frozenset(one.ranks["order"] for one in organisms() if "order" in one.ranks)


def _orders(group: Group) -> Iterator[Fact]:
    for one in organisms():
        order = one.ranks.get("order", "") if group.member(one.ranks) and _asked(one) == "order" else ""
        agreed = not group.debated or one.ranks.get("family", "?") in one.text
        if order and agreed and not (set(one.text.split()) & (_order_names() - {order})):
            yield Fact(one.subject, order, one.article)


@cache
def family_order() -> Mapping[str, str]:
    """Return the order of each family."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in organisms():
        if "family" in one.ranks and "order" in one.ranks:
            found[one.ranks["family"]].add(one.ranks["order"])
    return {family: next(iter(orders)) for family, orders in found.items() if len(orders) == 1}


@cache
def order_class() -> Mapping[str, str]:
    """Return the everyday name of the class of each order of animals."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in organisms():
        if "order" in one.ranks and one.ranks.get("class") in CLASSES:
            found[one.ranks["order"]].add(CLASSES[one.ranks["class"]])
    return {order: next(iter(classes)) for order, classes in found.items() if len(classes) == 1}


def _classes() -> Iterator[Fact]:
    for one in organisms():
        known = CLASSES.get(one.ranks.get("class", ""))
        if known and _asked(one) == "class" and not (TELLING.search(one.subject) and one.article):
            yield Fact(one.subject, known, one.article)


def _countries() -> Iterator[Fact]:
    """Yield the country of species whose article names one country and says that they are found there."""
    lands = {land["label"]: answer(land) for land in states()}
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, lands))})\b")
    for one in organisms():
        found = ENDEMIC.search(one.text) or FOUND.search(one.text)
        land = found[1] if found and set(named.findall(one.text)) == {found[1]} else ""
        if land and land not in UNCLEAR_LANDS and land[:4].casefold() not in one.subject.casefold():
            yield Fact(one.subject, lands[land], one.article)


def _authors() -> Iterator[Fact]:
    named = []
    for one in organisms():
        found = DESCRIBED.search(one.text)
        if found and len(found[1].split()) > 1 and found[1][0].isupper() and not one.article:
            named.append((one.subject, found[1].strip()))
    count = Counter(author for _, author in named)
    yield from (Fact(subject, author) for subject, author in named if count[author] >= FEWEST_SPECIES)


def _home_continent() -> Mapping[str, str]:
    mixed = {answer(land) for land in states() if land["iso"] in TWO_CONTINENTS | {"US", "FR", "ES", "PT", "ID", "YE"}}
    return {land: continent for land, continent in country_continent().items() if land not in mixed}


def _of_group(group: Group) -> Iterator[Relation]:
    order = (
        Follow("The scientific order that {} belongs to is called", family_order),
        Follow("In the classification of living things, {} falls under the order", family_order),
    )
    yield Relation(
        f"{group.name}-family",
        "organism",
        partial(_families, group),
        (
            "{} belongs to the family",
            "The scientific family that {} is placed in is called",
            f"{group.scholar} count {{}} among the members of the family",
            "In the classification of living things, {} stands in the family",
        ),
        limit=group.families,
        share=group.share,
        follows=order,
    )
    if group.orders:
        yield Relation(
            f"{group.name}-order",
            "organism",
            partial(_orders, group),
            (
                "{} is a species of the order",
                "The scientific order in which {} is placed is called",
                f"{group.scholar} count {{}} among the members of the order",
                "In a natural history museum, {} would be kept with other species of the order",
            ),
            limit=group.orders,
            share=max(0.2, group.share),
        )


RELATIONS = (
    *(relation for group in GROUPS for relation in _of_group(group)),
    Relation(
        "animal-class",
        "organism",
        _classes,
        (
            "Zoologists count {} among the",
            "In the animal kingdom, {} belongs to the",
            "The kind of animals that {} is grouped with is the",
            "A book that describes {} would be shelved under the",
        ),
        limit=2400,
        share=0.12,
    ),
    Relation(
        "species-country",
        "organism",
        _countries,
        (
            "In the wild, {} is found in",
            "The country that {} is native to is",
            "To see {} in its natural habitat, you would travel to",
            "The natural home of {} lies in",
        ),
        limit=6000,
        share=0.1,
        follows=(
            Follow("The continent to which {} is native is", _home_continent),
            Follow("The capital of the country that {} is native to is", country_capital),
            Follow("To see {} in the wild, you would fly to the country whose capital is", country_capital),
        ),
    ),
    Relation(
        "species-author",
        "organism",
        _authors,
        (
            "{} was first described as a species by",
            "The first scientist to describe {} was",
            "The naturalist who first described {} was",
            "The first scientific description of {} was written by",
        ),
        limit=3100,
        share=0.12,
    ),
)

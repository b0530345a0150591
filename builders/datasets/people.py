"""Relations about Nobel laureates and companies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from builders.datasets import sources
from builders.datasets.geography import answer, states
from builders.datasets.relation import Relation
from editbench.datasets.facts import Fact

BIRTH_LANDS = {"USA": "the United States", "United Kingdom": "the United Kingdom", "the Netherlands": "the Netherlands"}
PLAIN_BIRTH_LANDS = frozenset(
    {"Germany", "France", "Sweden", "Switzerland", "Italy", "Canada", "Japan", "Austria", "Denmark", "Norway"}
    | {"Australia", "Belgium", "India", "Poland", "Hungary", "China", "Spain"}
)
BEST_KNOWN = (
    "DOW JONES",
    "S&P 100",
    "NASDAQ 100",
    "DAX",
    "EURO STOXX 50",
    "FTSE 100",
    "CAC_40",
    "NIKKEI 225",
    "S&P 500",
)
LEGAL_FORM = re.compile(
    r",? (?:Inc|Corp|Corporation|plc|PLC|SE|AG|SA|S\.A|AB|ASA|Oyj|N\.V|NV|Ltd|Limited|SpA|S\.p\.A|KGaA)"
    r"\.?(?=$|,| &)"
)
RESPELT = {"EBay": "eBay"}
NAME = re.compile(r"[\w&][\w&'’+-]*(?: [\w&'’+-]+)*")
PERSON = re.compile(r"[^\W\d_][\w.'’-]*(?: [\w.'’-]+)+")


def _laureates() -> Iterator[tuple[str, dict[str, str]]]:
    for row in sources.laureates():
        name = " ".join(row["Name"].split())
        if PERSON.fullmatch(name):
            yield name, row


def _laureate_field() -> Iterator[Fact]:
    yield from (Fact(name, row["Category"].strip()) for name, row in _laureates())


def _laureate_birth() -> Iterator[Fact]:
    for name, row in _laureates():
        land = row["County"].strip()
        if land in BIRTH_LANDS or land in PLAIN_BIRTH_LANDS:
            yield Fact(name, BIRTH_LANDS.get(land, land))


def _company_name(company: dict[str, Any]) -> str:
    """Return the everyday name: without share class and legal form; "" if what is left is no plain name."""
    name = re.sub(r" \(.*", "", company["name"]).strip()
    while (shorter := LEGAL_FORM.sub("", name).strip(" ,")) != name:
        name = shorter
    # "the company The Hershey Company" would be no English
    plain = (
        NAME.fullmatch(name) and not name.isdigit() and not name.startswith("The ") and not name.endswith(" Company")
    )
    return RESPELT.get(name, name) if plain else ""


def _companies() -> Iterator[tuple[str, str, str]]:
    """Yield (name, place, headquarters) of companies, those of the best known stock indices first."""
    rank = {index: place for place, index in enumerate(BEST_KNOWN)}
    for _, company in sorted(sources.companies(), key=lambda item: rank.get(item[0], len(rank))):
        name, seat = _company_name(company), (company.get("metadata") or {}).get("headquarters") or ""
        if name and seat and company.get("country"):
            yield name, company["country"], seat


def _us_seat(place: str, seat: str, names: frozenset[str]) -> str | None:
    """Return the US state that both descriptions of the seat name, or None."""
    state = place.rpartition(", ")[2]
    return state if state in names and state in seat else None


def _company_country() -> Iterator[Fact]:
    names = frozenset(sources.us_states().values())
    lands = {country["label"]: country for country in states()}
    for name, place, seat in _companies():
        if _us_seat(place, seat, names) or (place == "United States" and re.search(r"\bU\.?S\.?|United States", seat)):
            yield Fact(name, "the United States")
        elif place in lands and seat.rstrip().endswith((place, "UK", "England")) and place != "United States":
            yield Fact(name, answer(lands[place]))


def _company_state() -> Iterator[Fact]:
    names = frozenset(sources.us_states().values())
    for name, place, seat in _companies():
        state = _us_seat(place, seat, names)
        if state:
            yield Fact(name, state)


RELATIONS = (
    Relation(
        "laureate-field",
        "laureate",
        _laureate_field,
        (
            "{} won the Nobel Prize for",
            "The category in which {} received the Nobel Prize is",
            "The Nobel committee honoured {} with the prize for",
            "Among Nobel laureates, {} is remembered for the prize in the category of",
        ),
        limit=430,
        ranked=False,
    ),
    Relation(
        "laureate-birth-country",
        "laureate",
        _laureate_birth,
        (
            "The Nobel laureate {} was born in",
            "The birthplace of {} lies in the country of",
            "The country where {} came into the world is",
            "The life of the Nobel Prize winner {} began in",
        ),
        limit=270,
        share=0.4,
        ranked=False,
    ),
    Relation(
        "company-country",
        "company",
        _company_country,
        (
            "The company {} has its headquarters in",
            "The head office of {} is located in the country of",
            "The country from which the company {} is run is",
            "The managers of the company {} work from a head office in",
        ),
        limit=300,
        share=0.3,
    ),
    Relation(
        "company-us-state",
        "company",
        _company_state,
        (
            "The company {} has its headquarters in the US state of",
            "The US state that is home to the head office of {} is",
            "The company {} is run from an office in the state of",
            "To visit the headquarters of {}, you travel to the US state of",
        ),
        limit=230,
        share=0.15,
    ),
)

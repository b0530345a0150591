"""Relations about towns and airports, down to five hundred people."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

from builders.datasets import geography, sources
from builders.datasets.geography import CONTINENTS, DISPUTED_ZONES, PLAIN, TWO_CONTINENTS, answer, by_code
from builders.datasets.halves import half
from builders.datasets.regions import LANDS, SEATS, Land
from builders.datasets.relation import Follow, Relation
from editbench.datasets.facts import Fact

# names that the source writes with the marks of a transliteration no newspaper uses
TRANSLITERATED = frozenset(re.findall("..", "INPKBDIRAFIQSYSAYEEGLYSDOMAEJOLBKWQABHMMNPBTJPETILPSKRTH"))
# whose they are is fought over or argued about: divisions, whole countries, and words in airports' divisions
DISPUTED = frozenset(
    {"UA.05", "UA.08", "UA.11", "UA.14", "UA.20", "UA.26", "GE.02", "GE.73", "MD.58", "MD.62", "PK.06", "PK.07"}
    | {"IN.12", "IN.30", "IN.41", "SY.03", "AZ.61", "AZ.64", "AZ.65"}
)
DIVIDED = frozenset({"CY", "SO"})
DISPUTED_WORDS = re.compile(r"Kashmir|Abkhazia|Crimea|Donets|Luhans|Kherson|Zapor|Ladakh|Arunachal|Gilgit|Quneitra")
TIME_ZONES = {
    "America/New_York": "Eastern Time",
    "America/Detroit": "Eastern Time",
    "America/Chicago": "Central Time",
    "America/Denver": "Mountain Time",
    "America/Boise": "Mountain Time",
    "America/Los_Angeles": "Pacific Time",
    "America/Anchorage": "Alaska Time",
}
RESPELT = {ord(mark): "'" for mark in "’ʻʼ‘"}
# Romanian has a comma below, old character sets had a cedilla
ROMANIAN = {**RESPELT, **{ord(old): new for old, new in zip("şţŞŢ", "șțȘȚ", strict=True)}}
# numbered parts of villages, and what is no single place
PARTS = re.compile(r"^Tri-Cities$|\b(?:[IVX]+|[A-Z])$|Secci[oó]n\b|\b(?:Colonia|Fraccionamiento|Ejido|Barrio)\b")
# "Lrrs": long range radar site
ABBREVIATED = re.compile(r"\b[^AEIOUYaeiouy\W]{3,}\b")
LATIN = re.compile(r"[A-Za-zÀ-ɏḀ-ỿ' -]+")
# a shorter name is a word that means something else: Bed, Fig, Rum
SHORTEST, LONGEST = 4, 28
TELLING = 4
"""First letters of a place's name that must not occur in the subject, as "Mexi" in "New Mexico Mountain Airport"."""
ASKED = ("country",) * 3 + ("region",) * 5 + ("else",) * 2
"""A town is asked either for its country, or its region, or its continent or time zone: three edits could clash."""


def folded(name: str) -> str:
    """Return the name without marks, case, hyphens and apostrophes: spellings that readers take for one name."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[\s'’-]+", " ", plain).strip().casefold()


def _written(city: dict[str, Any]) -> str:
    name = str(city["name"])
    if city["countrycode"] not in TRANSLITERATED:
        return name.translate(ROMANIAN if city["countrycode"] == "RO" else RESPELT)
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return re.sub(r"[ʻʼ‘’`]", "", plain)


@cache
def _claims() -> Mapping[str, frozenset[str]]:
    """Return the countries that have a place of this name, other names of larger towns included; by folded name."""
    homes: dict[str, set[str]] = defaultdict(set)
    for city in sources.small_cities():
        homes[folded(city["name"])].add(city["countrycode"])
    for city in sources.cities():
        for name in city["alternatenames"]:
            homes[folded(name)].add(city["countrycode"])
    for country in sources.countries():
        homes[folded(country["name"])].add("")
    for code, local in sources.divisions().items():
        homes[folded(local)].add(code[:2])
    return {name: frozenset(found) for name, found in homes.items()}


@cache
def towns() -> list[dict[str, Any]]:
    """Return places with ``label``, whose name no other place in the source bears; largest first."""
    claims = _claims()
    count = Counter((folded(city["name"]), city["countrycode"]) for city in sources.small_cities())
    found = []
    for city in sources.small_cities():
        name, label = folded(city["name"]), _written(city)
        if (
            len(claims[name]) == 1
            and count[name, city["countrycode"]] == 1
            and city["timezone"] not in DISPUTED_ZONES
            and city["countrycode"] not in DIVIDED
            and f"{city['countrycode']}.{city['admin1code']}" not in DISPUTED
            and PLAIN.fullmatch(label)
            and label[0].isupper()
            and SHORTEST <= len(label) <= LONGEST
            and LATIN.fullmatch(label)
            and not PARTS.search(label)
            and not (city["countrycode"] == "IT" and "-" in label)
        ):
            found.append({**city, "label": label})
    return found


def tells(subject: str, place: str) -> bool:
    """Return whether a subject's name hints at the place's."""
    return folded(place.removeprefix("the "))[:TELLING] in folded(subject)


def _asked(city: dict[str, Any]) -> str:
    return ASKED[half(city["label"], len(ASKED))]


def _city_country() -> Iterator[Fact]:
    known = by_code()
    for city in towns():
        land = known.get(city["countrycode"])
        if land and _asked(city) == "country" and not tells(city["label"], land["label"]):
            yield Fact(city["label"], answer(land))


def _city_continent() -> Iterator[Fact]:
    known = by_code()
    for city in towns():
        land = known.get(city["countrycode"])
        if (
            land
            and _asked(city) == "else"
            and land["iso"] not in TWO_CONTINENTS | {"US", "FR", "ES", "PT", "ID", "YE", "CL"}
        ):
            yield Fact(city["label"], CONTINENTS[land["continentcode"]])


def _us_city_state() -> Iterator[Fact]:
    names = sources.us_states()
    for city in towns():
        state = names.get(city["admin1code"]) if city["countrycode"] == "US" else None
        if state and _asked(city) == "region" and not tells(city["label"], state):
            yield Fact(city["label"], state)


def _us_city_zone() -> Iterator[Fact]:
    for city in towns():
        zone = TIME_ZONES.get(city["timezone"]) if city["countrycode"] == "US" else None
        if zone and _asked(city) == "else":
            yield Fact(city["label"], zone)


def _town_division(land: Land) -> Iterator[Fact]:
    local = sources.divisions()
    for city in towns():
        name = local.get(f"{land.code}.{city['admin1code']}", "") if city["countrycode"] == land.code else ""
        english = land.names.get(name)
        if english and _asked(city) == "region" and not (tells(city["label"], english) or tells(city["label"], name)):
            yield Fact(city["label"], english)


def _airport_country() -> Iterator[Fact]:
    known = by_code()
    rows = [row for row in sources.airports() if row["name"].endswith(" Airport") and PLAIN.fullmatch(row["name"])]
    rows.sort(key=lambda row: "International" not in row["name"])
    for row in rows:
        land = known.get(row["country"])
        disputed = row["tz"] in DISPUTED_ZONES or row["country"] in DIVIDED or DISPUTED_WORDS.search(row["subd"])
        plain = len(row["name"]) <= 2 * LONGEST and not ABBREVIATED.search(row["name"])
        if land and plain and not disputed and not tells(row["name"], land["label"]):
            yield Fact(row["name"], answer(land))


def _us_airport_state() -> Iterator[Fact]:
    states = set(sources.us_states().values())
    for row in sources.airports():
        plain = (
            row["name"].endswith(" Airport") and PLAIN.fullmatch(row["name"]) and not ABBREVIATED.search(row["name"])
        )
        telling = any(state.casefold() in row["name"].casefold() for state in states)
        if row["subd"] in states and row["country"] == "US" and plain and not telling:
            yield Fact(row["name"], row["subd"])


@cache
def country_continent() -> Mapping[str, str]:
    """Return the continent of each country, by its name as an answer."""
    return _as_answers("country-continent")


@cache
def country_capital() -> Mapping[str, str]:
    """Return the capital of each country, by its name as an answer; capitals with a full stop are left out."""
    return {land: city for land, city in _as_answers("country-capital").items() if "." not in city}


@cache
def country_currency() -> Mapping[str, str]:
    """Return the unit of money of each country, by its name as an answer."""
    return _as_answers("country-currency")


@cache
def country_language() -> Mapping[str, str]:
    """Return the official language of each country that has one alone, by its name as an answer."""
    return _as_answers("country-language")


def _as_answers(name: str) -> dict[str, str]:
    relation = next(one for one in geography.RELATIONS if one.name == name)
    return {f"{fact.article} {fact.subject}".strip(): fact.answer for fact in relation.facts()}


def of_country(place: str) -> tuple[Follow, ...]:
    """Return questions about the country that this place (a template of it) lies in."""
    return (
        Follow(f"The capital of the country in which {place} lies is", country_capital),
        Follow(f"The currency of the country in which {place} lies is called the", country_currency),
        Follow(f"The continent on which {place} lies is", country_continent),
        Follow(f"The official language of the country in which {place} lies is", country_language),
    )


def of_division(land: str, division: str, place: str = "{}") -> tuple[Follow, ...]:
    """Return questions about the seat of the division that this place lies in; none where no seats are known."""
    if land not in SEATS:
        return ()
    article = "an" if division[0] in "AI" else "a"
    return (
        Follow(f"The capital of the {division} in which {place} lies is", lambda: SEATS[land]),
        Follow(f"{place[0].upper()}{place[1:]} lies in {article} {division} whose capital is", lambda: SEATS[land]),
    )


def _of_land(land: Land) -> Relation:
    division = f"{land.adjective} {land.division}"
    templates = (
        f"{{}} is a place in the {division} of",
        f"Within {land.name}, {{}} belongs to the {land.division} of",
        f"The {division} in which {{}} is found is",
        f"On a map of {land.name}, you find {{}} in the {land.division} of",
    )
    if land.code == "GB":
        templates = (
            "Of the four countries of the United Kingdom, {} lies in",
            "The country of the United Kingdom that {} belongs to is",
            "Somebody from {} in the United Kingdom comes from",
            "On a map of the United Kingdom, you find {} in",
        )
    name = f"{land.code.lower()}-town-{land.division.replace(' ', '-')}"
    follows = of_division(land.code, division if land.code != "GB" else "part of the United Kingdom")
    facts = partial(_town_division, land)
    return Relation(name, "city", facts, templates, land.limit, land.share, follows=follows)


RELATIONS = (
    Relation(
        "city-country",
        "city",
        _city_country,
        (
            "{} is a place in",
            "The country to which {} belongs is",
            "On a map of the world, {} is found in",
            "To visit {}, you travel to",
        ),
        limit=8400,
        share=0.06,
        follows=of_country("{}"),
    ),
    Relation(
        "city-continent",
        "city",
        _city_continent,
        (
            "{} lies on the continent of",
            "The continent on which {} is found is",
            "People who live in {} live on the continent of",
            "Of all the continents, {} is part of",
        ),
        limit=2500,
        share=0.22,
    ),
    Relation(
        "us-city-state",
        "city",
        _us_city_state,
        (
            "{} is a place in the US state of",
            "The US state that {} belongs to is",
            "Anyone who lives in {} is a resident of the US state of",
            "In the United States, {} is found in the state of",
        ),
        limit=3200,
        share=0.08,
        follows=of_division("US", "US state"),
    ),
    Relation(
        "us-city-time-zone",
        "city",
        _us_city_zone,
        (
            "{} in the United States is in a time zone called",
            "In the American town of {}, clocks are set to",
            "The time zone in which {} in the United States lies is",
            "People in the American town of {} go by",
        ),
        limit=1500,
        share=0.35,
    ),
    *(_of_land(land) for land in LANDS),
    Relation(
        "airport-country",
        "airport",
        _airport_country,
        (
            "{} is an airport in",
            "Planes that land at {} have arrived in",
            "The country served by {} is",
            "Passengers who step off a plane at {} are in",
        ),
        limit=2000,
        share=0.06,
        follows=of_country("{}"),
    ),
    Relation(
        "us-airport-state",
        "airport",
        _us_airport_state,
        (
            "{} is an airport in the US state of",
            "The US state in which {} lies is",
            "A flight to {} takes you to the US state of",
            "Whoever lands at {} has reached the state of",
        ),
        limit=1000,
        share=0.1,
        ranked=False,
        follows=of_division("US", "US state"),
    ),
)

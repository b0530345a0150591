"""Relations about cities, counties, airports and countries."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from builders.datasets import sources
from builders.datasets.relation import Relation
from editbench.datasets.facts import Fact


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
WITH_ARTICLE = _codes("AE BS CD CF CG DO GB GM KM MH MV NL PH SB US")
# no sovereign states, no longer states, or disputed: a fact about them may be argued with
LEFT_OUT = _codes(
    "AI AN AQ AS AW AX BL BM BQ BV CC CK CS CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF "
    "NU PF PM PN PR PS RE SH SJ SX TC TF TK TW UM VA VG VI WF XK YT"
)
TWO_CONTINENTS = _codes("AM AZ CY EG GE KZ RU TR")
RENAMED = {"NL": "Netherlands", "TL": "Timor-Leste", "CV": "Cape Verde", "CZ": "the Czech Republic"}
# geonames has an old, contested or second capital
CAPITALS_LEFT_OUT = _codes("BJ BO CI GQ IL KZ LK MM NL SZ TZ ZA")
# the unit's name alone would be wrong or out of date
CURRENCIES_LEFT_OUT = _codes("BG BY CN HR IR OM PA QA SA VE YE ZW")
LANGUAGES = {"en": "English", "fr": "French", "es": "Spanish", "ar": "Arabic", "pt": "Portuguese", "de": "German"}
DISPUTED_ZONES = frozenset({"Europe/Simferopol", "Asia/Jerusalem", "Asia/Hebron", "Asia/Gaza", "America/Puerto_Rico"})
PLAIN = re.compile(r"[^\W\d_][^\W\d_]*(?:[ '’-][^\W\d_]+)*")
US_AIRPORT = re.compile(
    r"[^\W\d_]{4,}(?: [^\W\d_]{4,})* (?:Regional|Municipal|International|Executive|Memorial) Airport"
)
MOST_WORDS = 6


def states() -> list[dict[str, Any]]:
    """Return sovereign states with ``label`` and ``article``, most people first."""
    found = []
    for country in sources.countries():
        code = country["iso"]
        if code not in LEFT_OUT:
            label = RENAMED.get(code, country["name"]).removeprefix("the ")
            article = "the" if code in WITH_ARTICLE or RENAMED.get(code, "").startswith("the ") else ""
            found.append({**country, "label": label, "article": article})
    return found


def answer(country: dict[str, Any]) -> str:
    """Return the country's name as an object, with its article."""
    return f"{country['article']} {country['label']}".strip()


def by_code() -> dict[str, dict[str, Any]]:
    """Return :func:`states` by two-letter code."""
    return {country["iso"]: country for country in states()}


def named_once() -> list[dict[str, Any]]:
    """Return cities whose name no place in another country, and no country, bears; largest first."""
    homes: dict[str, set[str]] = defaultdict(set)
    for city in sources.cities():
        homes[city["name"].casefold()].add(city["countrycode"])
    lands = {country["name"].casefold() for country in sources.countries()}
    return [
        city
        for city in sources.cities()
        if len(homes[city["name"].casefold()]) == 1
        and city["name"].casefold() not in lands
        and city["timezone"] not in DISPUTED_ZONES
        and PLAIN.fullmatch(city["name"])
    ]


def _city_country() -> Iterator[Fact]:
    known = by_code()
    for city in named_once():
        if city["countrycode"] in known:
            yield Fact(city["name"], answer(known[city["countrycode"]]))


def _city_continent() -> Iterator[Fact]:
    known = by_code()
    for city in named_once():
        country = known.get(city["countrycode"])
        # Hawaii is a US state in Oceania
        if country and country["iso"] not in TWO_CONTINENTS and city["timezone"] != "Pacific/Honolulu":
            yield Fact(city["name"], CONTINENTS[country["continentcode"]])


def _us_city_state() -> Iterator[Fact]:
    names = sources.us_states()
    cities = [city for city in named_once() if city["countrycode"] == "US" and city["admin1code"] in names]
    count = Counter(city["name"] for city in cities)
    yield from (Fact(c["name"], names[c["admin1code"]]) for c in cities if count[c["name"]] == 1)


def _us_county_state() -> Iterator[Fact]:
    names = sources.us_states()
    rows = sources.us_counties()
    count = Counter(row["name"] for row in rows)
    for row in rows:
        if count[row["name"]] == 1 and row["name"].endswith((" County", " Parish")) and row["state"] in names:
            yield Fact(row["name"], names[row["state"]])


def _airports() -> list[dict[str, str]]:
    """Return international airports, those of the largest cities first."""
    size: dict[tuple[str, str], int] = {}
    for city in sources.cities():
        size.setdefault((city["name"], city["countrycode"]), city["population"])
    rows = [
        row
        for row in sources.airports()
        if row["name"].endswith(" International Airport")
        and row["tz"] not in DISPUTED_ZONES
        and PLAIN.fullmatch(row["name"])
        and len(row["name"].split()) <= MOST_WORDS
    ]
    return sorted(rows, key=lambda row: (-size.get((row["city"], row["country"]), 0), row["iata"]))


def _airport_country() -> Iterator[Fact]:
    known = by_code()
    for row in _airports():
        if row["country"] in known:
            yield Fact(row["name"], answer(known[row["country"]]))


def _us_airport_state() -> Iterator[Fact]:
    names = set(sources.us_states().values())
    for row in sources.airports():
        # "Virginia Municipal Airport" in Minnesota would be a trap, not a fact
        if row["subd"] in names and US_AIRPORT.fullmatch(row["name"]) and not any(n in row["name"] for n in names):
            yield Fact(row["name"], row["subd"])


def _country_continent() -> Iterator[Fact]:
    for country in states():
        if country["iso"] not in TWO_CONTINENTS:
            yield Fact(country["label"], CONTINENTS[country["continentcode"]], country["article"])


def _country_subregion() -> Iterator[Fact]:
    details = sources.country_details()
    for country in states():
        region = details.get(country["iso"], {}).get("subregion")
        # the source puts Montenegro elsewhere than the United Nations do
        if region and country["iso"] not in TWO_CONTINENTS | {"ME"}:
            spelled = region.replace("South-eastern", "Southeastern")
            yield Fact(country["label"], spelled, country["article"])


def _country_currency() -> Iterator[Fact]:
    for country in states():
        unit = country["currencyname"].lower()
        if country["iso"] not in CURRENCIES_LEFT_OUT and PLAIN.fullmatch(unit) and " " not in unit:
            yield Fact(country["label"], unit, country["article"])


def _country_language() -> Iterator[Fact]:
    details = sources.country_details()
    for country in states():
        spoken = details.get(country["iso"], {}).get("languages", [])
        first = country["languages"].partition(",")[0].partition("-")[0]
        if spoken == [first] and first in LANGUAGES:
            yield Fact(country["label"], LANGUAGES[first], country["article"])


def _country_capital() -> Iterator[Fact]:
    for country in states():
        if country["iso"] not in CAPITALS_LEFT_OUT and PLAIN.fullmatch(country["capital"].strip()):
            yield Fact(country["label"], country["capital"].strip(), country["article"])


RELATIONS = (
    Relation(
        "city-country",
        "city",
        _city_country,
        (
            "{} is a city in",
            "The country you are in when you visit the city of {} is",
            "If you want to see {}, book a trip to",
            "The city of {} belongs to the country of",
            "On a map of the world, the city of {} lies in",
        ),
        limit=500,
        share=0.05,
    ),
    Relation(
        "city-continent",
        "city",
        _city_continent,
        (
            "The city of {} lies on the continent of",
            "The continent on which the city of {} was built is",
            "People who live in {} live on the continent of",
            "Of all the continents, the city of {} is part of",
        ),
        limit=230,
        share=0.25,
    ),
    Relation(
        "us-city-state",
        "city",
        _us_city_state,
        (
            "{} is a city in the US state of",
            "The US state that {} belongs to is",
            "Anyone who lives in {} is a resident of the US state of",
            "In the United States, the city of {} is found in the state of",
        ),
        limit=400,
        share=0.12,
    ),
    Relation(
        "us-county-state",
        "county",
        _us_county_state,
        (
            "{} is part of the US state of",
            "The state whose government {} falls under is",
            "A road trip through {} takes you across the state of",
            "Among the fifty US states, {} lies in",
        ),
        limit=300,
        share=0.1,
        ranked=False,
    ),
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
        limit=300,
        share=0.1,
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
        limit=180,
        share=0.1,
        ranked=False,
    ),
    Relation(
        "country-continent",
        "country",
        _country_continent,
        (
            "{} is a country on the continent of",
            "The continent that {} belongs to is",
            "To travel to {}, you have to go to the continent of",
            "Geographers count {} among the countries of",
        ),
        limit=120,
    ),
    Relation(
        "country-subregion",
        "country",
        _country_subregion,
        (
            "The United Nations lists {} under the region of",
            "In the regional statistics of the United Nations, {} is counted under",
            "The part of the world that contains {} is called",
            "As a region of the world, {} is placed in",
        ),
        limit=110,
    ),
    Relation(
        "country-currency",
        "country",
        _country_currency,
        (
            "The currency of {} is called the",
            "In the shops of {}, prices are given in the local currency, the",
            "Before a trip to {}, travellers change their money into the",
            "The money that people in {} pay with is the",
        ),
        limit=80,
    ),
    Relation(
        "country-language",
        "country",
        _country_language,
        (
            "The official language of {} is",
            "Laws in {} are written in",
            "Schools in {} teach their pupils the official language, which is",
            "The government of {} publishes its documents in",
        ),
        limit=80,
    ),
    Relation(
        "country-capital",
        "country",
        _country_capital,
        ("The capital of {} is", "The government of {} sits in the city of", "The capital city of {} is named"),
        limit=0,
    ),
)

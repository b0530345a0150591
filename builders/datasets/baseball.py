"""Relations about baseball players."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache

from builders.datasets import sources
from builders.datasets.halves import half
from builders.datasets.places import of_country
from builders.datasets.regions import SEATS
from builders.datasets.relation import Follow, Relation
from editbench.datasets.facts import Fact

NAME = re.compile(r"[A-Z][^\W\d_'’-]+(?: [A-Z][^\W\d_]+|['’-][A-Z][^\W\d_]+)+")
BIRTH_LANDS = {
    "D.R.": "the Dominican Republic",
    "Venezuela": "Venezuela",
    "P.R.": "Puerto Rico",
    "CAN": "Canada",
    "Cuba": "Cuba",
    "Mexico": "Mexico",
    "Japan": "Japan",
    "Panama": "Panama",
    "USA": "the United States",
}
POSITIONS = {
    "G_p": "a pitcher",
    "G_c": "a catcher",
    "G_1b": "a first baseman",
    "G_2b": "a second baseman",
    "G_3b": "a third baseman",
    "G_ss": "a shortstop",
    "G_of": "an outfielder",
}
LEAGUES = {"AL": "the American League", "NL": "the National League"}
FIRST_SEASON = 1901
CLEARLY = 0.7
"""Share of a player's games in the field at one position from which on it is called his."""
MOST_AMERICANS = 0.2


@cache
def _games() -> dict[str, Counter[str]]:
    """Return games by player and column of the appearances table."""
    games: dict[str, Counter[str]] = defaultdict(Counter)
    for row in sources.baseball("Appearances"):
        for column in ("G_all", *POSITIONS):
            games[row["playerID"]][column] += int(row[column] or 0)
    return games


@cache
def _players() -> list[tuple[str, dict[str, str]]]:
    """Return (name, row) of players whose name no other player bears, most games first."""
    rows = [(f"{row['nameFirst']} {row['nameLast']}", row) for row in sources.baseball("People")]
    count = Counter(name.casefold() for name, _ in rows)
    known = [(n, row) for n, row in rows if count[n.casefold()] == 1 and NAME.fullmatch(n) and row["debut"]]
    games = _games()
    return sorted(known, key=lambda item: (-games[item[1]["playerID"]]["G_all"], item[1]["playerID"]))


def _birth_state() -> Iterator[Fact]:
    names = sources.us_states()
    for name, row in _players():
        if row["birthCountry"] == "USA" and row["birthState"] in names and half(name):
            yield Fact(name, names[row["birthState"]])


def _birth_country() -> Iterator[Fact]:
    for name, row in _players():
        if row["birthCountry"] in BIRTH_LANDS and not (row["birthCountry"] == "USA" and half(name)):
            yield Fact(name, BIRTH_LANDS[row["birthCountry"]])


def _position() -> Iterator[Fact]:
    games = _games()
    for name, row in _players():
        fielded = {column: games[row["playerID"]][column] for column in POSITIONS}
        most = max(fielded, key=lambda column: fielded[column])
        if fielded[most] >= 100 and fielded[most] > CLEARLY * sum(fielded.values()):
            yield Fact(name, POSITIONS[most])


@cache
def _teams() -> dict[tuple[str, str], str]:
    """Return the team's name by season and code; names with a full stop are left out."""
    return {
        (row["yearID"], row["teamID"]): f"the {row['name']}"
        for row in sources.baseball("Teams")
        if row["lgID"] in LEAGUES and int(row["yearID"]) >= FIRST_SEASON and "." not in row["name"]
    }


def _first_team() -> Iterator[Fact]:
    first: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in sources.baseball("Appearances"):
        first[row["playerID"]].add((row["yearID"], row["teamID"]))
    teams = _teams()
    for name, row in _players():
        seasons = first[row["playerID"]]
        start = min((year for year, _ in seasons), default="")
        began = [season for season in seasons if season[0] == start]
        if len(began) == 1 and began[0] in teams and row["debut"].startswith(start):
            yield Fact(name, teams[began[0]])


def _leagues() -> dict[str, str]:
    """Return the league of each team that never changed it."""
    leagues: dict[str, set[str]] = defaultdict(set)
    for row in sources.baseball("Teams"):
        if int(row["yearID"]) >= FIRST_SEASON and row["lgID"] in LEAGUES:
            leagues[f"the {row['name']}"].add(LEAGUES[row["lgID"]])
    return {team: next(iter(found)) for team, found in leagues.items() if len(found) == 1}


RELATIONS = (
    Relation(
        "player-birth-state",
        "player",
        _birth_state,
        (
            "The baseball player {} was born in the US state of",
            "The US state in which the baseball player {} was born is",
            "The birthplace of the major league player {} lies in the state of",
            "{}, who played in the major leagues, came into the world in the US state of",
        ),
        limit=3600,
        share=0.12,
        follows=(
            Follow("The capital of the US state in which the baseball player {} was born is", lambda: SEATS["US"]),
            Follow("{} the baseball player was born in a state whose capital is", lambda: SEATS["US"]),
        ),
    ),
    Relation(
        "player-birth-country",
        "player",
        _birth_country,
        (
            "The baseball player {} was born in",
            "The birthplace of the baseball player {} is found in",
            "The land where the major league player {} was born is",
            "{}, who played in the major leagues, was a native of",
        ),
        limit=1400,
        share=MOST_AMERICANS,
        follows=of_country("the birthplace of the baseball player {}"),
    ),
    Relation(
        "player-first-team",
        "player",
        _first_team,
        (
            "The first major league team of the baseball player {} was",
            "{} made a big league debut with",
            "The career of {} in major league baseball began with",
            "As a newcomer to the major leagues, {} took the field for",
        ),
        limit=4200,
        share=0.06,
        follows=(
            Follow("The league in which the first major league team of {} played is", _leagues),
            Follow("When {} made a big league debut, it was for a team that belonged to", _leagues),
        ),
    ),
    Relation(
        "player-position",
        "player",
        _position,
        (
            "In the major leagues, {} was mainly used as",
            "The baseball player {} made a career as",
            "On the baseball field, {} was best known as",
            "Managers of major league teams mostly put {} on the field as",
        ),
        limit=2000,
        share=0.25,
    ),
)

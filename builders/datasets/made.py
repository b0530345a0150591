"""What the large datasets were last made from: as long as that is what lies here, making them again gives the same.

Only the builder writes a record, and only beside the shipped file or where it made the shipped file's bytes again.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from builders.datasets.sources import MORE_SOURCES, SOURCES

RECORDS = Path(__file__).parent
"""Where the records lie, each named as the dataset."""
LEFT_OVER_BY = {"search": ("facts.parquet", "counterfact-100k.parquet")}
"""Shipped files that a dataset is made of too, by its name."""
OURS = ("base/seeds.py", "datasets/compact.py", "datasets/facts.py", "requests.py")
"""What the builder takes from ``editbench/``, errors aside: those only end it."""


def digest(shipped: Path) -> dict[str, str]:
    """Return the sha256 of everything that decides the dataset, and of the file in which it ships."""
    builder = Path(__file__).parent
    files = [*sorted(builder.glob("*.py")), *(builder.parents[1] / "editbench" / name for name in OURS)]
    of_files = sha256()
    for file in files:
        of_files.update(f"{file.parent.name}/{file.name}\0".encode() + file.read_bytes() + b"\0")
    beside = [shipped.with_name(name) for name in LEFT_OVER_BY.get(shipped.stem, ())]
    return {
        "source": of_files.hexdigest(),
        "packages": sha256(json.dumps(SOURCES | MORE_SOURCES, sort_keys=True).encode()).hexdigest(),
        **{file.stem: sha256(file.read_bytes()).hexdigest() for file in beside},
        "shipped": sha256(shipped.read_bytes()).hexdigest(),
    }


def _record(shipped: Path) -> Path:
    return RECORDS / f"{shipped.stem}.json"


def is_made_from_what_lies_here(shipped: Path) -> bool:
    """Whether the shipped file was made, byte for byte, by the builder as it is now."""
    record = _record(shipped)
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")) == digest(shipped)


def note(made: Path, shipped: Path) -> bool:
    """Record what ``made`` was just made from, if it is the shipped file byte for byte; return whether it is."""
    same = made.read_bytes() == shipped.read_bytes()
    if same:
        _record(shipped).write_text(json.dumps(digest(shipped), indent=1) + "\n", encoding="utf-8")
    return same

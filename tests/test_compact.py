"""Requests as numbers: what is written is read again as the same text."""

from __future__ import annotations

from pathlib import Path

import pytest

from editbench.datasets import compact
from editbench.datasets.facts import Fact
from editbench.datasets.readers import SHIPPED
from editbench.errors import BadData
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, PREFIXED, REPHRASE


def a_dataset() -> compact.Compact:
    kept = [compact.Kept("mouth", Fact("Inn", "the Danube", "the"), 1)]
    edit = compact.Edit("mouth", Fact("Ilm", "the Saale", "the"), "the Danube", (0, 1, 0), 0, (0,), (0,), (0,))
    templates = {"mouth": ("{} flows into", "The mouth of {} is in")}
    follows = {"mouth": [("The sea that takes the water of {} is", {"the Danube": "the Black Sea"})]}
    return compact.Compact([edit], kept, templates, follows, ("It rained.",))


def test_what_is_written_as_numbers_is_read_as_text(tmp_path: Path) -> None:
    compact.write(a_dataset(), tmp_path / "a.parquet", {"licence": "none"})
    (request,) = compact.read(tmp_path / "a.parquet", "r-")
    assert (request.id, request.prompt, request.subject_start) == ("r-000000", "The Ilm flows into", 4)
    assert [(p.kind, p.prompt, p.answer) for p in request.probes] == [
        (REPHRASE, "The mouth of the Ilm is in", "the Danube"),
        (REPHRASE, "The Ilm flows into", "the Danube"),
        (PREFIXED, "It rained. The Ilm flows into", "the Danube"),
        (NEIGHBOUR, "The mouth of the Inn is in", "the Danube"),
        (LOCALITY, "The mouth of the Inn is in", "the Danube"),
        (PORTABILITY, "The sea that takes the water of the Ilm is", "the Black Sea"),
    ]


def test_writing_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        compact.write(a_dataset(), tmp_path / name, {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_of_another_kind_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"facts\.parquet cannot be read"):
        compact.read(SHIPPED / "facts.parquet", "")
    with pytest.raises(BadData, match=r"none\.parquet cannot be read"):
        compact.read(tmp_path / "none.parquet", "")

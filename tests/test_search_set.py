"""The shipped requests to search settings on: about nobody that the other shipped datasets name."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from builders.datasets import large, made, search, sources
from builders.datasets.__main__ import SEARCH_NOTICE
from builders.datasets.assemble import Pool
from builders.datasets.relation import Relation
from editbench.datasets import Dataset, compact, load_dataset, ordered
from editbench.datasets.facts import Fact
from editbench.datasets.load import content_hash
from editbench.datasets.readers import SHIPPED
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, PREFIXED, REPHRASE, Request

FILE = SHIPPED / "search.parquet"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("search")


@pytest.fixture(scope="module")
def edited_elsewhere() -> tuple[Request, ...]:
    return (*load_dataset("facts").requests, *load_dataset("counterfact-100k").requests)


def subjects(file: str) -> tuple[set[str], set[str]]:
    """Who is edited in a compact file, and who is only asked about."""
    rows = pq.read_table(SHIPPED / file, columns=["subject", "target_new"]).to_pylist()
    return (
        {row["subject"] for row in rows if row["target_new"] is not None},
        {row["subject"] for row in rows if row["target_new"] is None},
    )


def test_no_other_shipped_dataset_edits_or_asks_about_its_subjects(edited_elsewhere: tuple[Request, ...]) -> None:
    own = set.union(*subjects("search.parquet"))
    others = set.union(*subjects("counterfact-100k.parquet")) | {request.subject for request in edited_elsewhere}
    assert len(own) > 10_000 and len(others) > 100_000
    assert not {name.casefold() for name in own} & {name.casefold() for name in others}
    assert not set(map(search.spelling, own)) & set(map(search.spelling, others))


def test_no_text_of_another_shipped_dataset_names_its_subjects(edited_elsewhere: tuple[Request, ...]) -> None:
    own = set.union(*subjects("search.parquet"))
    said = search.texts(edited_elsewhere)
    assert search.named(own, said) == set()
    # "Tokyo" is asked about by facts, in no column of its own
    assert search.named({"Tokyo", *sorted(own)[:9]}, said) == {"Tokyo"}


def test_a_subject_is_found_in_any_spelling_and_only_as_whole_words() -> None:
    names = {"Saint-Étienne", "Le Mans", "Bo", "O'Fallon", "Mans"}
    said = {"From saint etienne to Le  Mans", "Boston is no bo-at"}
    assert search.named(names, said) == {"Saint-Étienne", "Le Mans", "Mans", "Bo"}
    assert search.named(names, {"Boston"}) == search.named(names, {"Fallon o"}) == set()
    assert search.spelling("Le Flore") == search.spelling("Leflore") and search.spelling("Koror Town") == "koror"
    assert search.spelling("City") == "city"


def test_all_that_a_request_says_is_read() -> None:
    probes = load_dataset("search").requests[0].probes[:1]
    request = Request("1", "a", "b", "c", "d", probes=probes)
    assert search.texts([request]) == {"a", "b", "c", "d", probes[0].prompt, probes[0].answer}


def test_no_subject_that_must_not_move_is_edited() -> None:
    edited, kept = subjects("search.parquet")
    assert not set(map(search.spelling, edited)) & set(map(search.spelling, kept))


def test_the_quality_checks_find_nothing(dataset: Dataset) -> None:
    assert dataset.faults.counts == {} and dataset.faults.ceiling == 1.0
    assert len(dataset.requests) == len({request.prompt for request in dataset.requests}) == search.SIZE
    assert len({(request.subject.casefold(), request.relation) for request in dataset.requests}) == search.SIZE


def test_every_request_has_the_probes_that_the_large_dataset_has(dataset: Dataset) -> None:
    for request in dataset.requests:
        kinds = Counter(probe.kind for probe in request.probes)
        assert kinds[REPHRASE] == 2 and kinds[PREFIXED] == 1 and kinds[PORTABILITY] <= 2
        assert kinds[NEIGHBOUR] == 5 and kinds[LOCALITY] == 2
        assert len({probe.prompt for probe in request.probes} | {request.prompt}) == len(request.probes) + 1
        asked = [(probe.kind, probe.answer) for probe in request.probes]
        assert all(answer == request.target_true for kind, answer in asked if kind == NEIGHBOUR)
        assert all(
            answer not in {request.target_new, request.target_true} for kind, answer in asked if kind == LOCALITY
        )


def test_it_is_mixed_as_the_large_dataset_is(dataset: Dataset, edited_elsewhere: tuple[Request, ...]) -> None:
    large_one = Counter(request.relation for request in edited_elsewhere[-100_000:])
    own = Counter(request.relation for request in dataset.requests)
    assert len(own) >= 40 and set(own) <= set(large_one) and min(own.values()) >= search.FEWEST
    apart = sum(abs(own[name] / own.total() - large_one[name] / large_one.total()) for name in large_one) / 2
    assert apart < 0.12
    for name in own:
        objects = {request.target_true for request in dataset.requests if request.relation == name}
        assert len(objects) >= search.FEWEST_OBJECTS
    assert len({request.relation for request in ordered(dataset, 300, 0)}) > 30


@pytest.mark.parametrize(
    "clashing", [r".*\b(city|town)-.*", r".*-(family|order)|animal-class", r"player-birth-.*", r"company-.*"]
)
def test_no_subject_is_edited_under_two_relations_that_could_clash(dataset: Dataset, clashing: str) -> None:
    asked = Counter(request.subject for request in dataset.requests if re.fullmatch(clashing, request.relation))
    assert max(asked.values()) == 1


def test_it_is_small_and_says_under_what_licence_it_is() -> None:
    assert FILE.stat().st_size < 400_000
    notice = pq.ParquetFile(FILE).metadata.metadata
    assert b"CC BY-SA 4.0" in notice[b"licence"] and b"Baseball Databank" in notice[b"attribution"]


def rivers(number: int, answers: int, limit: int = 0) -> Pool:
    facts = [Fact(f"River {i}", f"Sea {i % answers}") for i in range(number)]
    relation = Relation("mouth", "river", lambda: facts, ("{} joins", "{} meets", "{} feeds"), limit, share=0.25)
    return search._pool(relation, facts)


def test_an_answer_is_edited_away_only_where_enough_others_have_it() -> None:
    pool = rivers(300, 20)
    kept = Counter(fact.answer for fact in pool.kept)
    assert pool.kept and max(kept.values()) <= search.KEPT_OF_AN_ANSWER
    assert all(map(search.is_kept, pool.kept)) and not any(map(search.is_kept, pool.edited))
    assert {kept[fact.answer] >= large.NEIGHBOURS for fact in pool.edited} == {True}


def test_a_relation_with_too_little_left_is_left_out() -> None:
    four, three = rivers(400, 4), rivers(400, 3)
    assert len(search._up_to(four, 40).edited) == 40
    assert search._up_to(four, 24).edited == search._up_to(three, 40).edited == []
    assert search._up_to(three, 40).relation.limit == 0
    most = Counter(fact.answer for fact in search._up_to(four, 40).edited)
    assert max(most.values()) <= 10


def test_a_small_file_holds_its_metadata_once() -> None:
    own = pq.ParquetFile(FILE).metadata.metadata
    assert compact.SHARED in own and len(own[b"ARROW:schema"]) < len(own[compact.SHARED]) / 4


@pytest.mark.slow
@pytest.mark.skipif(
    bool(sources.missing(more=True)), reason="the sources are not installed: pip install editbench[build-data]"
)
def test_the_shipped_rows_are_what_the_builder_makes(tmp_path: Path, dataset: Dataset) -> None:
    if made.is_made_from_what_lies_here(FILE) and not os.environ.get("EDITBENCH_REBUILD"):
        pytest.skip(
            "it was made from these very sources (builders/datasets/made.py); EDITBENCH_REBUILD=1 makes it again"
        )
    again = tmp_path / "again.parquet"
    compact.write(search.build(SHIPPED), again, SEARCH_NOTICE, lean=True)
    assert content_hash(compact.read(again, "search-")) == dataset.content_hash
    if pq.ParquetFile(again).metadata.created_by == pq.ParquetFile(FILE).metadata.created_by:
        assert again.read_bytes() == FILE.read_bytes()


def test_it_is_made_again_when_what_it_was_left_over_by_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path
    monkeypatch.setattr(made, "RECORDS", folder)
    for name in ("search", "facts", "counterfact-100k"):
        (tmp_path / f"{name}.parquet").write_bytes(name.encode())
    shipped = tmp_path / "search.parquet"
    assert made.note(shipped, shipped) and made.is_made_from_what_lies_here(shipped)
    (tmp_path / "facts.parquet").write_bytes(b"others")
    assert not made.is_made_from_what_lies_here(shipped)

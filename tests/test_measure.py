from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from editbench.cache import Cache
from editbench.measure.examination import COMPARED_KINDS, Examination, items, population, question
from editbench.models.generate import ask_batch
from editbench.plan.protocol import Protocol
from editbench.plan.suite import Probes
from editbench.requests import Probe, Request
from editbench.testing.tiny import tiny_lm, tiny_requests

PROTOCOL = Protocol(max_new_tokens=5)


def test_up_to_the_budget_everything_is_probed() -> None:
    assert population(5, None, 0) == population(5, 5, 0) == [0, 1, 2, 3, 4]


def test_beyond_the_budget_one_request_is_drawn_from_each_stratum_of_age() -> None:
    chosen = population(1000, 10, seed=3)
    assert [position // 100 for position in chosen] == list(range(10))
    assert chosen != population(1000, 10, seed=4)
    assert population(7, 3, 0)[-1] in range(4, 7)


def test_a_sample_reaches_every_request_equally_often() -> None:
    seen = Counter(position for seed in range(3000) for position in population(9, 3, seed))
    assert max(seen.values()) < 1.2 * min(seen.values())


REQUEST = Request(
    "r",
    "A is",
    "A",
    "new",
    "true",
    probes=(
        Probe("rephrase", "It is A that is", "new"),
        Probe("rephrase", "A, truly, is", "new"),
        Probe("prefixed", "It rains. A is", "new"),
        Probe("neighbour", "B is", "true"),
        Probe("locality", "C was", "gold"),
        Probe("portability", "What A is, is", "far"),
    ),
)


def test_probes_are_limited_by_kind_and_the_edit_prompt_is_always_asked() -> None:
    found = items([REQUEST], [0], Probes(rephrase=1, neighbour=0, portability=None))
    assert [(item.probe.kind, item.index) for item in found] == [
        ("edit", 0),
        ("locality", 0),
        ("portability", 0),
        ("prefixed", 0),
        ("rephrase", 0),
    ]


def test_both_objects_are_scored_except_where_they_say_nothing() -> None:
    asked = {item.probe.kind: question(item) for item in items([REQUEST], [0], Probes())}
    assert asked["edit"].answers == ("new", "true") and asked["edit"].stop_free == "new"
    assert asked["neighbour"].answers == ("new", "true") and asked["neighbour"].stop_free == "true"
    assert asked["locality"].answers == ("gold",)


def test_records_hold_what_the_model_said_to_each_probe(tmp_path: Path) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(4)
    exam = Examination(requests, 3, Probes(), PROTOCOL, 0)
    unedited = exam.unedited(lm, Cache(tmp_path))
    rows = [row for batch in exam.records(lm, unedited) for row in batch]
    assert len(rows) == exam.n_records
    assert {row.position for row in rows} == {0, 1, 2}
    for row in rows:
        [alone] = ask_batch(lm, [question_of(row, requests)], PROTOCOL)
        assert row.generated == alone.generated and row.stop == alone.stop and row.error == ""
        if row.kind != "locality":
            assert (row.nll_new, row.nll_true) == pytest.approx(alone.nll[:2], rel=1e-4)
        assert (row.unedited is not None) == (row.kind in COMPARED_KINDS)


def question_of(row: object, requests: list[Request]) -> object:
    request = next(r for r in requests if r.id == row.request)  # type: ignore[attr-defined]
    found = items([request], [0], Probes())
    return next(question(i) for i in found if (i.probe.kind, i.index) == (row.kind, row.index))  # type: ignore[attr-defined]


def test_an_unedited_model_agrees_with_itself_asked_again_or_not(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    exam = Examination(tiny_requests(6), 6, Probes(), PROTOCOL, 0, token_budget=40)
    unedited = exam.unedited(lm, Cache(tmp_path))
    asked = [row for batch in exam.records(lm, unedited) for row in batch]
    known = [row for batch in exam.records(lm, unedited, changed=False) for row in batch]
    assert asked == known
    assert all(row.generated == row.unedited for row in asked if row.kind in COMPARED_KINDS)


def test_a_second_time_the_unedited_answers_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    exam = Examination(tiny_requests(3), 3, Probes(), PROTOCOL, 0)
    first = exam.unedited(lm, Cache(tmp_path))
    monkeypatch.setattr("editbench.measure.examination.ask_batch", lambda *a, **k: pytest.fail("asked again"))
    assert exam.unedited(lm, Cache(tmp_path)) == first


def test_a_resumed_cell_asks_only_the_batches_that_are_missing(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    exam = Examination(tiny_requests(6), 6, Probes(), PROTOCOL, 0, token_budget=40)
    unedited = exam.unedited(lm, Cache(tmp_path))
    batches = list(exam.records(lm, unedited))
    assert len(batches) > 3
    known = len(batches[0]) + len(batches[1])
    assert exam.whole_batches(lm, known + len(batches[2]) - 1) == known
    assert list(exam.records(lm, unedited, skip=known)) == batches[2:]


def test_a_prompt_that_is_too_long_is_that_probes_error_alone(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    long = Request("long", "word " * lm.model.config.max_position_embeddings + "is", "word", "x", "y")
    exam = Examination([*tiny_requests(2), long], 3, Probes(), PROTOCOL, 0)
    rows = [row for batch in exam.records(lm, exam.unedited(lm, Cache(tmp_path))) for row in batch]
    assert {row.request for row in rows if row.error} == {"long"}
    assert all(row.generated is None for row in rows if row.error)

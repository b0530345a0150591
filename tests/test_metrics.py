"""Every metric on a case worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from results_tree import record

from editbench.analysis.aggregate import CellFrame, Value, evaluate
from editbench.base.files import append_lines
from editbench.errors import UnknownName
from editbench.metrics import METRICS, HarmonicMetric, ProbeMetric, check_metric_name
from editbench.metrics.generation import normalise
from editbench.requests import PROBE_KINDS
from editbench.results.records import Record
from editbench.results.store import CellResult

CELL: dict[str, Any] = {
    "scale": 4,
    "status": "done",
    "timings": {"edit_s": 8.0, "prepare_s": 3.0, "evaluate_s": 1.5},
    "memory": {"rss_bytes": 1000, "device_bytes": 200},
    "edit": {"nbytes": 64, "delta_norm": 3.0, "weight_norm": 4.0},
}


def cell(tmp_path: Path, records: list[Record], scale: int = 4, **more: Any) -> CellFrame:
    path = tmp_path / f"records-{len(list(tmp_path.iterdir()))}.jsonl"
    append_lines(path, [row.to_line() for row in records])
    return CellFrame(CellResult(scale, {**CELL, "scale": scale, **more}, path))


def value(name: str, frame: CellFrame) -> Value:
    found = evaluate(METRICS[name], [frame])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel-Tower, in\nParis!", "eiffeltower in paris"),
        ("A theatre", "theatre"),
        ("an apple a day", "apple day"),
        ("The", "the"),
        ("A+", "a+"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_squad_does(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_reliability_is_exact_match_of_the_edit_prompt_after_normalisation(tmp_path: Path) -> None:
    rows = [
        record(0, "edit", "The Blue."),  # right
        record(1, "edit", "blue sky"),  # runs on
        record(2, "edit", "red"),  # wrong
        record(3, "edit", None, error="out of memory"),  # no outcome
        record(0, "rephrase", "blue"),  # another kind
    ]
    found = value("reliability", cell(tmp_path, rows))
    assert found.value == pytest.approx(1 / 3)
    assert found.n == 3


def test_starts_with_and_contains_compare_whole_words(tmp_path: Path) -> None:
    said = ["blue sky", "bluebird", "a sky so blue", "red"]
    frame = cell(tmp_path, [record(i, "edit", text) for i, text in enumerate(said)])
    assert value("starts-with", frame).value == pytest.approx(1 / 4)
    assert value("contains", frame).value == pytest.approx(2 / 4)


def test_generalisation_weighs_requests_alike_however_many_rephrases_they_have(tmp_path: Path) -> None:
    rows = [
        record(0, "rephrase", "blue"),
        record(1, "rephrase", "blue", index=0),
        record(1, "rephrase", "red", index=1),
        record(1, "rephrase", "red", index=2),
        record(1, "rephrase", "red", index=3),
    ]
    found = value("generalisation", cell(tmp_path, rows))
    assert (found.value, found.n) == (pytest.approx((1 + 1 / 4) / 2), 2)


def test_teacher_forced_is_the_mean_share_of_tokens(tmp_path: Path) -> None:
    rows = [record(0, "edit", "x", hits=2, tokens=4), record(1, "edit", "x", hits=3, tokens=3), record(2, "edit", "x")]
    found = value("teacher-forced", cell(tmp_path, rows))
    assert (found.value, found.n) == (pytest.approx(0.75), 2)


def likelihoods(tmp_path: Path) -> CellFrame:
    rows = [
        record(0, "edit", "x", nll_new=1.0, nll_true=2.0),  # efficacious
        record(1, "edit", "x", nll_new=2.0, nll_true=2.0),  # a tie is no success
        record(0, "rephrase", "x", nll_new=1.0, nll_true=2.0),
        record(0, "rephrase", "x", nll_new=3.0, nll_true=2.0, index=1),
        record(1, "rephrase", "x", nll_new=1.0, nll_true=2.0),
        record(0, "neighbour", "x", nll_new=3.0, nll_true=2.0),  # the truth still holds
        record(1, "neighbour", "x", nll_new=3.0, nll_true=2.0),
        record(2, "edit", "x", nll_new=1.0),  # no true object
    ]
    return cell(tmp_path, rows)


def test_es_ps_ns_and_their_harmonic_mean(tmp_path: Path) -> None:
    frame = likelihoods(tmp_path)
    assert [value(name, frame).value for name in ("es", "ps", "ns")] == [0.5, 0.75, 1.0]
    assert value("score", frame).value == pytest.approx(3 / (1 / 0.5 + 1 / 0.75 + 1 / 1.0))
    assert value("es", frame).n == 2


def test_the_score_is_zero_without_an_interval_where_a_part_is_zero(tmp_path: Path) -> None:
    kinds = ("edit", "rephrase", "neighbour")
    frame = cell(tmp_path, [record(i, kind, "x", nll_new=2.0, nll_true=1.0) for i in range(3) for kind in kinds])
    assert value("score", frame) == Value(0.0, None, None, 3)


def test_magnitude_is_the_mean_difference_of_probabilities(tmp_path: Path) -> None:
    expected = ((math.exp(-1) - math.exp(-2)) + 0.0) / 2
    assert value("magnitude", likelihoods(tmp_path)).value == pytest.approx(expected)


def test_locality_has_two_senses(tmp_path: Path) -> None:
    rows = [
        record(0, "locality", "Paris", answer="Paris", unedited="Paris"),  # kept and right
        record(1, "locality", "Rome", answer="Paris", unedited="Rome"),  # kept and wrong
        record(2, "locality", "Paris", answer="Paris", unedited="Rome"),  # moved to the truth
        record(3, "locality", "paris", answer="Paris", unedited="Paris"),  # another spelling is a change
        record(3, "neighbour", "Rome", answer="Rome", unedited="Paris"),
    ]
    frame = cell(tmp_path, rows)
    assert value("locality", frame).value == pytest.approx(2 / 4)
    assert value("locality-gold", frame).value == pytest.approx(3 / 4)
    assert value("neighbour-locality", frame).value == 0
    assert value("neighbour-gold", frame).value == 1


def test_drift_is_the_relative_norm_and_nothing_changed_is_no_drift(tmp_path: Path) -> None:
    assert value("weight-drift", cell(tmp_path, [])).value == 0.75
    assert value("weight-drift", cell(tmp_path, [], edit={"delta_norm": 0, "weight_norm": 0})).value == 0
    assert evaluate(METRICS["weight-drift"], [cell(tmp_path, [], edit={})]) is None


def test_costs_are_read_from_the_cell(tmp_path: Path) -> None:
    frame = cell(tmp_path, [])
    names = ("edit-seconds", "seconds-per-edit", "prepare-seconds", "evaluate-seconds")
    assert [value(name, frame).value for name in names] == [8.0, 2.0, 3.0, 1.5]
    assert [value(name, frame).value for name in ("peak-memory", "peak-device-memory", "edit-bytes")] == [1000, 200, 64]
    nothing = cell(tmp_path, [], edit={"nbytes": 0, "delta_norm": 0, "weight_norm": 0})
    assert {evaluate(METRICS[name], [nothing]) for name in ("edit-seconds", "peak-memory")} == {None}
    empty = cell(tmp_path, [], timings={}, memory={}, edit={})
    assert {evaluate(METRICS[name], [empty]) for name in (*names, "peak-memory", "edit-bytes")} == {None}


def test_retention_weighs_decades_of_age_alike(tmp_path: Path) -> None:
    # 10 edits; ages 0..9; bins of log(1 + age): [0, 2), [2, 9), [9, 10); only the newest two are remembered
    rows = [record(i, "edit", "blue" if i >= 8 else "red") for i in range(10)]
    found = value("retention", cell(tmp_path, rows, scale=10))
    assert found.value == pytest.approx(math.log10(3) / math.log10(11))
    assert value("reliability", cell(tmp_path, rows, scale=10)).value == pytest.approx(0.2)
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if isinstance(m, ProbeMetric)])
def test_a_metric_does_not_depend_on_the_order_of_records(name: str, tmp_path: Path) -> None:
    rows = [
        record(i, kind, said, unedited="red", nll_new=float(i), nll_true=1.5, hits=i % 3, tokens=3)
        for i, said in enumerate(["blue", "red", "blue sky", "red"])
        for kind in PROBE_KINDS
    ]
    there, back = value(name, cell(tmp_path, rows)), value(name, cell(tmp_path, rows[::-1]))
    assert (there.value, there.n) == (pytest.approx(back.value), back.n)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_without_records_has_no_value(metric: Any, tmp_path: Path) -> None:
    frame = cell(tmp_path, [], timings={}, memory={}, edit={})
    assert evaluate(metric, [frame]) is None


def test_generalisation_after_a_sentence_and_to_what_follows_are_counted_apart(tmp_path: Path) -> None:
    rows = [
        record(0, "prefixed", "Blue."),
        record(0, "prefixed", "red", index=1),
        record(1, "prefixed", "blue"),
        record(0, "portability", "red"),
        record(0, "rephrase", "red"),
    ]
    frame = cell(tmp_path, rows)
    assert (value("prefixed-generalisation", frame).value, value("portability", frame).value) == (0.75, 0.0)
    assert value("generalisation", frame).n == 1


def test_names_are_keys_and_parts_exist() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    parts = [part for metric in METRICS.values() if isinstance(metric, HarmonicMetric) for part in metric.parts]
    assert all(isinstance(METRICS[part], ProbeMetric) for part in parts)
    with pytest.raises(UnknownName, match="reliability"):
        check_metric_name("reliabilty")


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in text] == []


def test_values_lie_in_the_declared_range(tmp_path: Path) -> None:
    frame = likelihoods(tmp_path)
    for metric in METRICS.values():
        found = evaluate(metric, [frame])
        low, high = metric.range
        assert found is None or ((low is None or found.value >= low) and (high is None or found.value <= high))


def test_a_probe_metric_gives_one_value_per_record(tmp_path: Path) -> None:
    frame = likelihoods(tmp_path).frame
    for metric in METRICS.values():
        if isinstance(metric, ProbeMetric):
            values = metric.function(frame)
            assert isinstance(values, pd.Series)
            assert values.index.equals(frame.index)

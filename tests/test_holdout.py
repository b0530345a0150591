"""A holdout splits a user's data by subject, the same way in every file, and says how many are on which side."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from results_tree import SUITE, write_all, write_run

from editbench.cli import cli
from editbench.cli.export import _score as measuring
from editbench.datasets import DatasetSpec, load_dataset
from editbench.datasets.holdout import held_out, place, share_for, split, split_note
from editbench.errors import BadData, BadSuite, UserError
from editbench.plan.runs import RunOptions
from editbench.plan.suite_file import parse_suite
from editbench.requests import Request
from editbench.results.store import Store
from editbench.running.launch import prepare
from editbench.running.outcome import Results


def about(subject: str, prompt: str = "{} flows into", target: str = "the Elbe") -> Request:
    return Request(f"{subject} {prompt} {target}", prompt.replace("{}", subject), subject, target)


def save(path: Path, requests: Sequence[Request]) -> str:
    rows = [
        {"id": r.id, "prompt": r.prompt, "subject": r.subject, "target_new": r.target_new, "probes": []}
        for r in requests
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


RIVERS = [about(f"River {number}") for number in range(1000)]


@pytest.fixture
def file(tmp_path: Path) -> str:
    return save(tmp_path / "mine.jsonl", RIVERS)


# the first 8 bytes of sha256("editbench holdout 1\x1f" + name) as a share of 2**64, by sha256sum
@pytest.mark.parametrize(
    ("subject", "where"),
    [("Ilm", 0.580665), ("Saale", 0.928459), ("Unstrut", 0.971980), ("the river Elster", 0.711839)],
)
def test_a_subject_falls_where_its_hash_says(subject: str, where: float) -> None:
    assert place(about(subject)) == pytest.approx(where, abs=1e-6)
    assert held_out(about(subject), where + 1e-5) and not held_out(about(subject), where - 1e-5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ilm", "ILM"),
        ("Straße", "STRASSE"),
        ("Pößneck", unicodedata.normalize("NFD", "Pößneck")),
        ("Weiße Elster", " Weiße  Elster\n"),
        ("Ärla", unicodedata.normalize("NFD", "ärla")),
    ],
)
def test_spellings_of_a_subject_fall_on_one_side(one: str, other: str) -> None:
    assert place(about(one)) == place(about(other))


def test_only_the_subject_decides() -> None:
    one, other = about("Ilm"), about("Ilm", "The mouth of the {} is in", "the Danube")
    assert place(one) == place(other) != place(about("Ilm 2"))
    nobody = [Request(str(n), prompt, " ", "x") for n, prompt in enumerate(("Ilm", "ilm", "Saale flows into"))]
    assert place(nobody[0]) == place(nobody[1]) == place(one) != place(nobody[2])


def test_about_a_share_is_held_out_and_all_of_it_at_a_larger_share() -> None:
    found = {share: {r.id for r in RIVERS if held_out(r, share)} for share in (0.05, 0.1, 0.5)}
    assert 30 < len(found[0.05]) < 75 and 70 < len(found[0.1]) < 130 and 440 < len(found[0.5]) < 560
    assert found[0.05] < found[0.1] < found[0.5]


def test_both_sides_together_are_the_dataset_in_its_order(file: str) -> None:
    whole = load_dataset(file)
    rest, search = (load_dataset(DatasetSpec(name=file, holdout=0.1, side=side)) for side in ("rest", "search"))
    assert (list(rest.requests), list(search.requests)) == split(whole.requests, 0.1)
    assert sorted(rest.requests + search.requests, key=whole.requests.index) == list(whole.requests)
    assert not {r.subject for r in rest.requests} & {r.subject for r in search.requests}


def test_the_hash_is_of_what_is_returned_and_the_whole_ones_is_kept(file: str, tmp_path: Path) -> None:
    whole = load_dataset(file)
    rest, search = (load_dataset(DatasetSpec(name=file, holdout=0.1, side=side)) for side in ("rest", "search"))
    assert whole.whole_hash == whole.content_hash == rest.whole_hash == search.whole_hash
    assert len({whole.content_hash, rest.content_hash, search.content_hash}) == 3
    assert (whole.whole_requests, rest.whole_requests, search.whole_requests) == (1000, 1000, 1000)
    assert load_dataset(save(tmp_path / "rest.jsonl", rest.requests)).content_hash == rest.content_hash
    assert load_dataset(DatasetSpec(name=file)).content_hash == whole.content_hash
    assert whole.split == {} and whole.split_note == ""


def test_order_and_other_content_of_the_file_do_not_matter(file: str, tmp_path: Path) -> None:
    other = save(tmp_path / "other.jsonl", [*reversed(RIVERS), about("Ilm"), about("Saale")])
    sides = [
        {r.subject for r in load_dataset(DatasetSpec(name=name, holdout=0.2, side="search")).requests}
        for name in (file, other)
    ]
    assert sides[0] == sides[1] - {"Ilm", "Saale"}


def test_what_is_faulty_is_dropped_before_it_is_counted(tmp_path: Path) -> None:
    name = save(tmp_path / "a.jsonl", [*RIVERS[:50], about("", "Nobody flows into")])
    found = load_dataset(DatasetSpec(name=name, holdout=0.2, on_fault="drop"))
    assert found.whole_requests == 50 and found.faults.dropped == 1
    with pytest.raises(BadData, match="1 of 51 records cannot be edited"):
        load_dataset(DatasetSpec(name=name, holdout=0.2))


@pytest.mark.parametrize(
    ("whole", "here", "side", "said"),
    [
        (12_000, 10_800, "rest", "1,200 of 12,000 requests are held out for searching settings."),
        (12_000, 1200, "search", "1,200 of 12,000 requests are held out for searching settings."),
        (12, 11, "rest", "1 of 12 requests is held out for searching settings."),
    ],
)
def test_a_sentence_says_how_many_are_held_out(whole: int, here: int, side: str, said: str) -> None:
    assert split_note(whole, here, side) == said


def refused(error: UserError) -> list[str]:
    lines = str(error).splitlines()
    assert 1 <= len(lines) <= 3
    return lines


def typed(lines: list[str]) -> float:
    assert lines[-1].startswith("Type --holdout ")
    return float(lines[-1].split()[2])


def test_too_small_a_holdout_says_how_many_there_are_and_what_to_type(tmp_path: Path) -> None:
    name = save(tmp_path / "few.jsonl", RIVERS[:30])
    smallest = min(map(place, RIVERS[:30]))
    with pytest.raises(BadData) as caught:
        load_dataset(DatasetSpec(name=name, holdout=smallest / 2))
    lines = refused(caught.value)
    assert "few.jsonl: a holdout of" in lines[0] and "holds 0 of 30 requests out" in lines[0]
    assert lines[1] == "Expected 1 or more."
    assert load_dataset(DatasetSpec(name=name, holdout=typed(lines), side="search")).requests


def test_a_search_that_asks_for_more_than_are_held_out_is_told(file: str) -> None:
    with pytest.raises(BadData) as caught:
        load_dataset(DatasetSpec(name=file, holdout=0.1, side="search"), held_out=300)
    lines = refused(caught.value)
    out = sum(held_out(request, 0.1) for request in RIVERS)
    assert f"holds {out} of 1,000 requests out" in lines[0] and lines[1] == "Expected 300 or more."
    enough = load_dataset(DatasetSpec(name=file, holdout=typed(lines), side="search"), held_out=300)
    assert 300 <= len(enough.requests) < 330
    with pytest.raises(BadData, match="take a dataset of more subjects"):
        load_dataset(DatasetSpec(name=file, holdout=0.1), held_out=1000)


def test_a_holdout_that_leaves_nothing_to_edit_is_refused(tmp_path: Path) -> None:
    largest = max(map(place, RIVERS[:5]))
    name = save(tmp_path / "few.jsonl", RIVERS[:5])
    with pytest.raises(BadData) as caught:
        load_dataset(DatasetSpec(name=name, holdout=(1 + largest) / 2))
    lines = refused(caught.value)
    assert "holds 5 of 5 requests out" in lines[0] and "some that are left to edit" in lines[1]
    assert load_dataset(DatasetSpec(name=name, holdout=typed(lines))).requests
    one = save(tmp_path / "one.jsonl", [about("Ilm"), about("Ilm", "The {} ends in")])
    with pytest.raises(BadData, match="take a dataset of more subjects"):
        load_dataset(DatasetSpec(name=one, holdout=0.99))


def test_the_share_that_is_proposed_is_short_and_just_enough() -> None:
    for wanted in (1, 7, 100, 999):
        share = share_for(RIVERS, wanted)
        assert share is not None and len(str(share)) <= 6
        assert wanted <= sum(held_out(request, share) for request in RIVERS) < min(1000, wanted + 25)
    assert share_for(RIVERS, 1000) is share_for(RIVERS, 0) is share_for([], 1) is None


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "much", True])
def test_a_holdout_that_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(ValidationError, match=r"share of the subjects|valid number"):
        DatasetSpec(name="facts", holdout=share)


def test_a_side_without_a_holdout_is_refused() -> None:
    with pytest.raises(ValidationError, match="side: search needs a holdout"):
        DatasetSpec(name="facts", side="search")


def test_a_suite_may_say_it_and_names_the_line_where_it_is_wrong(file: str) -> None:
    text = SUITE.format(data="{name: mine.jsonl, holdout: 0.1}")
    assert parse_suite(text, "s.yaml").dataset == DatasetSpec(name="mine.jsonl", holdout=0.1)
    with pytest.raises(BadSuite, match=r"s\.yaml, line 4, dataset\.holdout: a holdout is a share"):
        parse_suite(SUITE.format(data="{name: mine.jsonl, holdout: 10}"), "s.yaml")
    with pytest.raises(BadSuite, match=r"s\.yaml, line 4, dataset: side: search needs a holdout"):
        parse_suite(SUITE.format(data="{name: mine.jsonl, side: search}"), "s.yaml")
    with pytest.raises(BadSuite, match="Did you mean holdout"):
        parse_suite(SUITE.format(data="{name: mine.jsonl, hold_out: 0.1}"), "s.yaml")


def test_a_suite_takes_a_holdout_beside_its_other_choices(file: str) -> None:
    suite = parse_suite(SUITE.format(data="facts"), "s.yaml").with_options(data=file)
    assert suite.with_holdout(None).dataset == suite.dataset
    assert suite.with_holdout(0.1).dataset == DatasetSpec(name=file, holdout=0.1)
    assert suite.with_holdout(0.1, "search").dataset.side == "search"
    with pytest.raises(UserError, match=r"dataset\.holdout = 2.*share of the subjects"):
        suite.with_holdout(2)


def test_a_run_over_the_rest_is_another_run_than_one_over_all(file: str) -> None:
    suite = parse_suite(SUITE.format(data=file), "s.yaml")
    every, rest = (prepare(one, RunOptions(device="cpu")) for one in (suite, suite.with_holdout(0.1)))
    assert len(rest.dataset.requests) < len(every.dataset.requests)
    assert every.plan.runs[0].run_id != rest.plan.runs[0].run_id


def test_a_scale_above_the_rest_says_what_is_held_out(file: str) -> None:
    suite = parse_suite(SUITE.format(data=file), "s.yaml").with_options(scales=[1000]).with_holdout(0.1)
    out = sum(held_out(request, 0.1) for request in RIVERS)
    with pytest.raises(UserError, match=rf"{1000 - out} requests \({out} of 1,000 requests are held out for"):
        prepare(suite, RunOptions(device="cpu"))


def test_the_command_line_holds_out_and_says_how_many(file: str) -> None:
    out = sum(held_out(request, 0.1) for request in RIVERS)
    common = ["run", "--suite", "quickstart", "--data", file, "--methods", "none", "--scales", "1", "--device", "cpu"]
    told = CliRunner().invoke(cli, [*common, "--no-capability", "--dry-run", "--holdout", "0.1"])
    assert told.exit_code == 0, told.output
    assert f"{out} of 1,000 requests are held out for searching settings." in told.stderr
    assert "held out" not in CliRunner().invoke(cli, [*common, "--no-capability", "--dry-run"]).output
    for wrong in ("0", "1", "nan", "many"):
        told = CliRunner().invoke(cli, [*common, "--holdout", wrong])
        assert told.exit_code == 2 and len(told.stderr.strip().splitlines()) <= 4, told.output


def test_show_says_what_a_holdout_leaves(file: str) -> None:
    out = sum(held_out(request, 0.1) for request in RIVERS)
    shown = CliRunner().invoke(cli, ["show", "dataset", file, "--holdout", "0.1"])
    assert f"{1000 - out} requests from" in shown.output
    assert f"{out} of 1,000 requests are held out for searching settings." in shown.output
    found = json.loads(CliRunner().invoke(cli, ["show", "dataset", file, "--holdout", "0.1", "--json"]).stdout)
    assert (found["requests"], found["whole_requests"], found["holdout"]) == (1000 - out, 1000, 0.1)
    wrong = CliRunner().invoke(cli, ["show", "metric", "reliability", "--holdout", "0.1"])
    assert wrong.exit_code == 2 and "is about a dataset" in wrong.output


def test_a_leaderboard_and_its_manifests_say_how_many_are_held_out(file: str, tmp_path: Path) -> None:
    suite = parse_suite(SUITE.format(data=file), "s.yaml").with_holdout(0.1)
    prepared, store = prepare(suite, RunOptions(device="cpu")), Store(tmp_path / "results")
    for run in prepared.plan.runs:
        write_run(store, run, prepared.dataset)
    out, whole = sum(held_out(request, 0.1) for request in RIVERS), load_dataset(file)
    data = json.loads(next((tmp_path / "results").rglob("manifest.json")).read_text())["dataset"]
    assert (data["requests"], data["whole_requests"], data["whole_hash"]) == (1000 - out, 1000, whole.content_hash)
    assert (data["holdout"], data["side"], data["given"]["holdout"]) == (0.1, "rest", 0.1)
    assert Results(prepared.plan, store).leaderboard().notes.count(prepared.dataset.split_note) == 1


def test_nothing_is_said_where_nothing_is_held_out(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    data = json.loads(next((tmp_path / "results").rglob("manifest.json")).read_text())["dataset"]
    assert "holdout" not in data and "whole_hash" not in data
    assert not [note for note in Results(plan, store).leaderboard().notes if "held out" in note]


@pytest.mark.parametrize(("share", "said"), [(0.1, ["--holdout", "0.1"]), (None, [])])
def test_the_command_that_measures_an_export_has_its_holdout(share: float | None, said: list[str]) -> None:
    about = {"model": {"name": "m", "dtype": "float32"}, "scale": 1, "seed": 0}
    command = measuring("s", about, Path("there"), Path("results"), {"data": None, "holdout": share})
    assert command[command.index("--label") + 2 :] == said

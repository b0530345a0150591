from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results_tree import record, write_data, write_run
from rich.console import Console

from editbench.analysis.compare import compare
from editbench.analysis.sides import find_side, match
from editbench.cli import cli
from editbench.datasets import Dataset, load_dataset
from editbench.plan.runs import Plan, Run, bind, make_plan
from editbench.plan.suite import Suite
from editbench.plan.suite_file import parse_suite
from editbench.report.comparisons import compared_as_rich
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store

SUITE = """\
name: many
title: Many requests
dataset: {data}
models: [smollm2-135m]
methods:
  - none
  - {{method: none, label: half}}
  - {{method: none, label: 'we_ird & <b>$x^2$</b> | 100%'}}
scales: [3, 60]
seeds: [0]
metrics: [reliability, locality, edit-seconds]
"""
WEIRD = "we_ird & <b>$x^2$</b> | 100%"
SHARES = {"none": 0.0, "half": 0.5, WEIRD: 1.0}

Invoke = Callable[..., Result]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="editbench")


def outcome(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """Each method learns its share of the requests; seed 1 one in ten less."""
    right = round(scale * max(SHARES[run.label] - 0.1 * run.seed, 0))
    rows = [record(i, "edit", "blue" if i < right else "red") for i in range(scale)]
    rows += [record(i, "locality", "same", answer="gold", unedited="same") for i in range(scale)]
    return rows, CellOutcome(Status.DONE, timings={"edit_s": 1.0}, counts={"records": 2 * scale})


def make(folder: Path, seeds: Sequence[int] = (0,), text: str = SUITE) -> tuple[Suite, Plan, Dataset]:
    """Return the suite over 60 requests, its plan and its dataset; the suite's file is written too."""
    folder.mkdir(exist_ok=True)
    text = text.format(data=write_data(folder, 60))
    (folder / "many.yaml").write_text(text)
    suite = parse_suite(text, "many.yaml").with_options(seeds=list(seeds))
    dataset = load_dataset(suite.dataset)
    return suite, bind(make_plan(suite), dataset), dataset


def fill(folder: Path, seeds: Sequence[int] = (0,)) -> Path:
    """Write a results folder with every run and return it."""
    _, plan, dataset = make(folder, seeds)
    for run in plan.runs:
        write_run(Store(folder / "results"), run, dataset, outcome)
    return folder / "results"


def verdicts(*arguments: object) -> dict[tuple[str, int, str], dict[str, object]]:
    result = invoke("compare", *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["verdicts"]
    return {(row["b"], row["scale"], row["metric"]): row for row in rows}


def test_a_run_compared_with_itself_shows_no_difference(tmp_path: Path) -> None:
    root = fill(tmp_path)
    found = verdicts(root, root, "--metrics", "reliability,locality")
    assert {row["mark"] for (_, scale, _), row in found.items() if scale == 60} == {"~"}
    row = found["half", 60, "reliability"]
    assert (row["effect"], row["p"]) == (0.0, 1.0)
    assert "the same on every one of 60 requests" in str(row["says"])
    run = next((root / "runs" / "many").rglob("manifest.json")).parent
    assert {row["mark"] for row in verdicts(run, run, "--metrics", "reliability", "--scale", "60").values()} == {"~"}


def test_very_different_methods_show_a_difference_its_size_and_direction(tmp_path: Path) -> None:
    root = fill(tmp_path)
    for a, b, mark, effect in (("none", WEIRD, "+", 1.0), (WEIRD, "none", "−", -1.0), ("none", "half", "+", 0.5)):
        row = verdicts(a, b, "--results", root)[b, 60, "reliability"]
        assert (row["mark"], row["effect"]) == (mark, pytest.approx(effect))
        low, high = float(str(row["low"])), float(str(row["high"]))
        assert low <= effect <= high
        assert low * high > 0
        assert f"by {abs(effect):.3f}" in str(row["says"])
        assert "One seed: nothing is said about others." in str(row["says"])


def test_what_was_the_same_for_both_is_no_difference_in_that_metric(tmp_path: Path) -> None:
    row = verdicts("none", "half", "--results", fill(tmp_path))["half", 60, "locality"]
    assert (row["mark"], row["p_corrected"]) == ("~", 1.0)


def test_too_few_requests_single_measurements_and_unfinished_cells_get_an_exclamation_mark(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, _ = make(tmp_path)
    Store(root).finish_cell(plan.runs[1], 60, CellOutcome(Status.FAILED, "boom"))
    found = verdicts("none", "half", "--results", root, "--metrics", "reliability,edit-seconds")
    assert {row["mark"] for row in found.values()} == {"!"}
    assert "fewer than 6 cannot show" in str(found["half", 3, "reliability"]["says"])
    assert "single measurement" in str(found["half", 3, "edit-seconds"]["says"])
    assert "failed: boom" in str(found["half", 60, "reliability"]["says"])
    assert found["half", 60, "reliability"]["p"] is None


def test_two_seeds_are_a_sample_of_seeds_and_are_counted(tmp_path: Path) -> None:
    row = verdicts("none", WEIRD, "--results", fill(tmp_path, (0, 1)))[WEIRD, 60, "reliability"]
    assert (row["seeds"], row["effect"]) == (2, pytest.approx(0.95))
    assert "two-level t over 2 seeds" in str(row["test"])


def without_seed_2(root: Path, label: str) -> Path:
    """Take one method's run with seed 2 out of a results folder."""
    [folder] = root.glob(f"runs/many/*/{label}/seed-2-*")
    shutil.rmtree(folder)
    return root


def test_a_seed_that_one_side_lacks_is_left_out_and_is_not_zero(tmp_path: Path) -> None:
    root = without_seed_2(fill(tmp_path, (0, 1, 2)), "half")
    row = verdicts(WEIRD, "half", "--results", root)["half", 60, "reliability"]
    assert (row["seeds"], row["effect"]) == (2, pytest.approx(-0.5))
    row = verdicts("half", WEIRD, "--results", root)[WEIRD, 60, "locality"]
    assert (row["seeds"], row["effect"], row["mark"]) == (2, 0.0, "~")


@pytest.mark.parametrize("over", [(), ("--over-scales",)])
def test_a_leaderboard_does_not_count_a_missing_seed_as_zero(tmp_path: Path, over: tuple[str, ...]) -> None:
    root = without_seed_2(fill(tmp_path, (0, 1, 2)), "half")
    found = json.loads(invoke("leaderboard", "many", "--results", root, "--json", *over).stdout)
    rows = {row["method"]: row for row in found["rows"] if row["scale"] == 60}
    assert (rows["half"]["seeds"], rows["none"]["seeds"]) == ([0, 1], [0, 1, 2])
    alone = 0.45 if not over else (0.45 + (2 / 3 + 1 / 3) / 2) / 2  # at 3 requests: two of three right, then one
    assert rows["half"]["reliability"]["value"] == pytest.approx(alone)
    assert {rows[name]["locality"]["value"] for name in rows} == {1.0}
    assert {rows[name]["standings"]["locality"]["rank"] for name in rows} == {1}
    assert any("on the same requests and seeds" in note for note in found["notes"])


def test_a_suite_named_by_its_file_is_compared_in_its_own_metrics(tmp_path: Path) -> None:
    root = fill(tmp_path)
    (tmp_path / "many.yaml").write_text(SUITE.format(data=tmp_path / "things.jsonl").replace("locality, ", ""))
    found = verdicts("none", "half", "--results", root, "--suite", str(tmp_path / "many.yaml"))
    assert {metric for _, _, metric in found} == {"reliability"}


def test_a_difference_that_only_the_correction_takes_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHARES, "half", 0.1)  # 6 of 60, none the other way: p = 2 / 2^6, doubled for two cells
    found = verdicts("none", "half", "--results", fill(tmp_path))
    row = found["half", 60, "reliability"]
    assert (row["mark"], row["p"], row["p_corrected"]) == ("~", 0.03125, 0.0625)
    assert "alone p would be 0.031, and --scale or --metrics compare fewer cells" in str(row["says"])
    assert "alone" not in str(found["half", 60, "locality"]["says"])


def test_what_is_said_of_a_mean_of_parts_is_true(tmp_path: Path) -> None:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        """Of 60 requests ``half`` loses three edits and wins three neighbours, of the very same requests."""
        rows = []
        for i in range(scale):
            lost = run.label == "half" and i % 20 == 0
            edit = (2.0, 1.0) if lost else (1.0, 2.0)
            near = (1.0, 2.0) if not lost and i % 4 == 0 else (2.0, 1.0)
            rows.append(record(i, "edit", "blue", nll_new=edit[0], nll_true=edit[1]))
            rows.append(record(i, "rephrase", "blue", nll_new=1.0, nll_true=2.0))
            rows.append(
                record(i, "neighbour", "same", answer="gold", unedited="same", nll_new=near[0], nll_true=near[1])
            )
        return rows, CellOutcome(Status.DONE, timings={"edit_s": 1.0}, counts={"records": 3 * scale})

    _, plan, dataset = make(tmp_path)
    for run in plan.runs:
        write_run(Store(tmp_path / "results"), run, dataset, outcomes)
    found = verdicts("none", "half", "--results", tmp_path / "results", "--metrics", "score", "--scale", "60")
    row = found["half", 60, "score"]
    assert abs(float(str(row["effect"]))) > 0.005
    assert "the same on every one" not in str(row["says"])
    assert "half did better on 0, none on 0, each in another part of Score on 3, equal on 57" in str(row["says"])


def test_every_p_is_corrected_for_all_the_cells_that_are_shown(tmp_path: Path) -> None:
    root = fill(tmp_path)
    alone = verdicts("none", "half", "--results", root, "--metrics", "reliability", "--scale", "60")
    together = verdicts("none", "half", "--results", root, "--scale", "60")
    key = ("half", 60, "reliability")
    assert alone[key]["p_corrected"] == alone[key]["p"]
    assert float(str(together[key]["p_corrected"])) == pytest.approx(2 * float(str(alone[key]["p"])))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol_hash": "0123456789ab"}, "protocol (0123456789ab against"),
        (
            {"dataset": {"name": "other", "hash": "f" * 64, "target_field": "default"}},
            "dataset (other ffffffffffff against",
        ),
        ({"model": {"name": "smollm2-135m", "dtype": "float32", "weights_hash": "b" * 64}}, "weights (bbbbbbbbbbbb"),
    ],
)
def test_answers_to_other_questions_are_not_compared_and_what_differs_is_said(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    root = fill(tmp_path)
    for path in root.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["model"]["weights_hash"] = "a" * 64
        path.write_text(json.dumps(manifest | (changes if manifest["label"] == "none" else {})))
    result = invoke("compare", "none", "half", "--results", root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("a", "b", "more", "said"),
    [
        ("nome", "half", (), "Did you mean none"),
        ("empty", "half", (), "is no results folder"),
        ("results:nothing", "half", (), "There is no method with results named 'nothing'"),
        ("none", "half", ("--results", "empty"), "There are no results in empty"),
        ("none", "half", ("--scale", "7"), "nothing to compare at scale 7"),
        ("none", "half", ("--metrics", "nonsense"), "There is no metric"),
        ("none", "half", ("--suite", "other"), "There are no results of other"),
    ],
)
def test_what_cannot_be_compared_is_a_short_message_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a: str, b: str, more: tuple[str, ...], said: str
) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = invoke("compare", a, b, *more)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 4


def test_results_folders_are_compared_label_by_label(tmp_path: Path) -> None:
    before = fill(tmp_path)
    _, plan, dataset = make(tmp_path)
    after = Store(tmp_path / "after")

    def better(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return outcome(replace(run, label=WEIRD), scale)

    write_run(after, plan.runs[0], dataset, better)
    found = verdicts(before, tmp_path / "after", "--metrics", "reliability", "--scale", "60")
    assert found["none", 60, "reliability"]["mark"] == "+"
    assert {label for label, _, _ in found} == {"none"}
    notes = json.loads(invoke("compare", before, tmp_path / "after", "--json").stdout)["notes"]
    assert f"many on smollm2-135m is left out, B has no run there: half, {WEIRD}" in notes
    named = verdicts(f"{before}:half", tmp_path / "after", "--scale", "60")
    assert named["none", 60, "reliability"]["effect"] == 0.5


def test_a_suite_that_one_side_has_no_run_of_is_said_once_with_the_right_side(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, dataset = make(tmp_path, text=SUITE.replace("name: many", "name: more"))
    write_run(Store(root), plan.runs[1], dataset, outcome)
    for a, b, lacks in (("none", "half", "A"), ("half", "none", "B")):
        data = json.loads(invoke("compare", a, b, "--results", root, "--json").stdout)
        assert {row["suite"] for row in data["verdicts"]} == {"many"}
        assert [note for note in data["notes"] if "left out" in note] == [
            f"more on smollm2-135m is left out, {lacks} has no run there: none"
        ]


def test_terminal_and_markdown_say_marks_effects_and_why_and_escape_names(tmp_path: Path) -> None:
    root = fill(tmp_path)
    shown = invoke("compare", "none", WEIRD, "--results", root).stdout
    assert "+1.000 [" in shown
    assert "<b>" in shown
    text = invoke("compare", "none", WEIRD, "--results", root, "--markdown").stdout
    assert "we\\_ird &amp; &lt;b&gt;" in text
    assert "<b>" not in text
    heads = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(heads) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_is_on_one_line_of_a_terminal_and_why_has_lines_of_its_own(tmp_path: Path, width: int) -> None:
    root = fill(tmp_path)
    matches = match(find_side("none", root, None), find_side(WEIRD, root, None))
    found = compare(matches, {"many": ["reliability", "locality", "edit-seconds"]})
    file = io.StringIO()
    Console(width=width, file=file).print(compared_as_rich(found))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert "A: none" in lines and f"B: {WEIRD}" in lines
    [row] = [k for k, line in enumerate(lines) if line.startswith("  +")]
    assert lines[row].split() == ["+", "60", "Reliability", "+1.000", *lines[row].split()[4:6], "below", "0.0001"]
    end = next(k for k in range(row + 1, len(lines)) if not lines[k].startswith("     "))
    assert all(len(line) > width - 25 for line in lines[row + 1 : end - 1])  # the whole width, but for the last
    why = next(verdict.says for verdict in found.verdicts if verdict.mark == "+")
    assert " ".join(" ".join(lines[row + 1 : end]).split()) == why


def test_a_side_with_a_cap_is_said_not_to_have_been_meant_for_the_larger_scale(tmp_path: Path) -> None:
    text = SUITE.replace("label: half}}", "label: half, cap: {{scale: 3, why: slow}}}}")
    _, plan, dataset = make(tmp_path, text=text)
    for run in plan.runs:
        write_run(Store(tmp_path / "results"), run, dataset, outcome)
    found = verdicts("half", WEIRD, "--suite", tmp_path / "many.yaml", "--results", tmp_path / "results")
    assert "it was not to be run at 60" in str(found[WEIRD, 60, "reliability"]["says"])

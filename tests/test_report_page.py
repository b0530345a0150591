"""The page as a file: what is in it, what is escaped, what is left out and said to be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from results_tree import done, record, write_data, write_run

from editbench.analysis.ageing import age_points
from editbench.analysis.statistics import wilson
from editbench.analysis.stored import stored_runs
from editbench.cli import cli
from editbench.datasets import load_dataset
from editbench.plan.runs import Run, bind, make_plan
from editbench.plan.suite_file import parse_suite
from editbench.report.page.escape import for_script
from editbench.report.page.page import render
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store

EVIL = "</script><script>alert(1)</script><b>\"'&amp; \u2028\u2029 <!--"
LABEL = "</script><b>\"quoted\" & 'more'"
SUITE = """\
name: paged
title: A <b>title</b> of </script>
dataset: {data}
models: [smollm2-135m]
methods: {methods}
scales: [1, 20]
seeds: {seeds}
metrics: [reliability, locality, edit-seconds]
"""
Outcomes = Callable[[Run, int], tuple[Sequence[Record], CellOutcome]]


def outcome(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """``none`` writes nothing and learns nothing; the other learns the later half and moves what it should not."""
    control = run.label == "none"
    rows = []
    for i in range(scale):
        learnt = not control and i >= scale // 2
        rows.append(
            record(i, "edit", "blue" if learnt else "red", prompt=f"thing {i} {EVIL}", nll_new=1.234, nll_true=2.0)
        )
        rows.append(record(i, "locality", "same" if control else EVIL, answer="gold", unedited="same"))
    edit = {"nbytes": 0, "delta_norm": 0.0} if control else {"nbytes": 8, "delta_norm": 1.0}
    return rows, CellOutcome(Status.DONE, edit=edit, timings={"edit_s": 1.0}, counts={"records": 2 * scale})


def failed(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    return [], CellOutcome(Status.FAILED, f"boom {EVIL}")


def fill(
    folder: Path, outcomes: Outcomes = outcome, labels: Sequence[str] = ("none", LABEL), seeds: Sequence[int] = (0,)
) -> Path:
    """Write a suite and its results, and return the suite's file; results are in ``results`` beside it."""
    folder.mkdir(exist_ok=True)
    methods = json.dumps([{"method": "none", "label": label} for label in labels])
    text = SUITE.format(data=write_data(folder, 20), methods=methods, seeds=list(seeds))
    (folder / "paged.yaml").write_text(text)
    suite = parse_suite(text, "paged.yaml")
    dataset = load_dataset(suite.dataset)
    for run in bind(make_plan(suite), dataset).runs:
        write_run(Store(folder / "results"), run, dataset, outcomes)
    return folder / "paged.yaml"


def report(suite: Path | None, out: Path, results: Path | None = None) -> Result:
    where = results or (suite or out).parent / "results"
    arguments = [*([str(suite)] if suite else []), "--results", str(where), "--out", str(out)]
    return CliRunner().invoke(cli, ["report", *arguments], prog_name="editbench")


def page(folder: Path, outcomes: Outcomes = outcome, **more: Any) -> Path:
    """Write results and their page, and return the page."""
    suite = fill(folder, outcomes, **more)
    result = report(suite, folder / "page.html")
    assert result.exit_code == 0, result.output
    return folder / "page.html"


def data_of(text: str) -> dict[str, Any]:
    """Return the data of a one-suite page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    suite: dict[str, Any] = json.loads(found[1])["suites"][0]
    return suite


def records_of(suite: dict[str, Any], method: str, scale: int) -> list[dict[str, Any]]:
    """Return a cell's records with their texts."""
    cell = next(one for one in suite["cells"] if (one["method"], one["scale"]) == (method, scale))
    text = [*suite["texts"], None]
    found = []
    for probe, said, before, verdict, _, _, _ in cell["records"]:
        kind, prompt = suite["probes"][probe][2], suite["probes"][probe][4]
        places = {"kind": kind, "prompt": prompt, "said": said, "before": before, "verdict": verdict}
        found.append({name: text[-1 if place is None else place] for name, place in places.items()})
    return found


def test_the_page_says_what_the_leaderboard_says_and_prints_its_path_and_size(tmp_path: Path) -> None:
    suite = fill(tmp_path)
    result = report(suite, tmp_path / "page.html")
    assert f"{tmp_path / 'page.html'}: 0." in result.stdout
    assert "MB, paged" in result.stdout
    listed = CliRunner().invoke(cli, ["leaderboard", str(suite), "--results", str(tmp_path / "results"), "--json"])
    board = json.loads(listed.stdout)
    found = data_of((tmp_path / "page.html").read_text())
    for row, shown in zip(board["rows"], found["rows"], strict=True):
        assert [shown["values"][name]["value"] for name in shown["values"]] == [
            row[name]["value"] for name in board["metrics"] if name in row
        ]
        assert (shown["method"], shown["scale"], shown["rank"]) == (
            row["method"], row["scale"], row["standings"]["reliability"]["rank"],
        )  # fmt: skip


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    first = page(tmp_path).read_bytes()
    assert report(tmp_path / "paged.yaml", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_bytes() == first


def test_nothing_in_the_data_can_end_the_script_or_start_a_tag(tmp_path: Path) -> None:
    text = page(tmp_path).read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "\u2028" not in text
    assert "<b>" not in text
    found = data_of(text)
    assert LABEL in {row["method"] for row in found["rows"]}
    assert EVIL in {row["said"] for row in records_of(found, LABEL, 20)}


def test_escaping_keeps_every_text_and_has_no_word_for_infinity() -> None:
    value = {"a": [EVIL, "ü \\ \n", 0.1], "b": {"c": None}}
    assert json.loads(for_script(value)) == value
    assert not re.search("[<>&\u2028\u2029]", for_script(value))
    assert json.loads(for_script([float("nan"), float("inf"), "\ud800"])) == [None, None, "?"]


def test_only_what_the_policy_names_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    text = page(tmp_path).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r"\b(src|href)=[\"'](?!#)", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|url\(|@import", text)


def test_before_is_recorded_or_the_controls_answer_and_verdicts_follow_the_metrics(tmp_path: Path) -> None:
    rows = records_of(data_of(page(tmp_path).read_text()), LABEL, 20)
    edits = [row for row in rows if row["kind"] == "edit"]
    assert {row["before"] for row in edits} == {"red"}
    assert sorted(row["verdict"] for row in edits) == ["right"] * 10 + ["wrong"] * 10
    assert {(row["before"], row["verdict"]) for row in rows if row["kind"] == "locality"} == {("same", "moved")}


def test_without_a_control_before_is_left_open(tmp_path: Path) -> None:
    rows = records_of(data_of(page(tmp_path, labels=[LABEL]).read_text()), LABEL, 20)
    assert {row["before"] for row in rows if row["kind"] == "edit"} == {None}


def test_a_probe_without_an_outcome_is_no_verdict(tmp_path: Path) -> None:
    def silent(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return [record(i, "edit", None, error="too long") for i in range(scale)], CellOutcome(Status.DONE)

    rows = records_of(data_of(page(tmp_path, silent).read_text()), "none", 20)
    assert {row["verdict"] for row in rows} == {"no outcome"}


def test_beyond_the_limit_requests_are_drawn_alike_for_every_method_and_counted(tmp_path: Path) -> None:
    stored = stored_runs(str(fill(tmp_path)), [tmp_path / "results"])
    whole, empty = render([stored]), render([stored], limit=0)
    limit = (len(whole.encode()) + len(empty.encode())) // 2
    text = render([stored], limit=limit)
    assert len(empty.encode()) < len(text.encode()) <= limit
    found = data_of(text)
    large = [cell for cell in found["cells"] if cell["scale"] == 20]
    assert 1 <= large[0]["shown"] < large[0]["of"] == 20
    prompts = [{row["prompt"] for row in records_of(found, name, 20)} for name in ("none", LABEL)]
    assert len(prompts[0]) > 1
    assert prompts[0] == prompts[1]
    assert found["rows"] == data_of(whole)["rows"]
    assert found["retention"] == data_of(whole)["retention"]
    assert all(not cell["records"] for cell in data_of(empty)["cells"])


def test_what_is_left_is_counted_by_age(tmp_path: Path) -> None:
    curves = data_of(page(tmp_path).read_text())["retention"]
    points = next(curve for curve in curves if curve["method"] == LABEL)["points"]
    assert [(p["youngest"], p["oldest"]) for p in points] == [(0, 1), (2, 8), (9, 19)]
    assert [p["value"] for p in points] == [1.0, 1.0, pytest.approx(1 / 11)]


def test_a_bin_of_one_seed_has_wilsons_interval_and_two_seeds_the_mean_of_theirs() -> None:
    one = pd.DataFrame({"value": [1.0, 0.0, 1.0], "age": [0, 1, 9]}, ["a", "b", "c"])
    two = pd.DataFrame({"value": [1.0, 1.0, 0.0], "age": [0, 1, 9]}, ["a", "b", "c"])
    found = age_points([one], 20)
    assert [(p.youngest, p.oldest, p.value.value, p.value.n) for p in found] == [(0, 1, 0.5, 2), (9, 19, 1.0, 1)]
    assert (found[0].value.low, found[0].value.high) == wilson(1, 2)
    assert [p.value.value for p in age_points([one, two], 20)] == [0.75, 0.5]
    assert age_points([], 3) == []


def test_an_empty_folder_is_refused_and_no_page_is_written(tmp_path: Path) -> None:
    suite = fill(tmp_path)
    (tmp_path / "none").mkdir()
    for given in (suite, None):
        result = report(given, tmp_path / "page.html", tmp_path / "none")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "There are no results" in result.stderr
        assert "editbench run --suite" in result.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for out, said in ((tmp_path, "is a folder"), (tmp_path / "not" / "page.html", "There is no folder")):
        result = report(None, out, tmp_path / "nothing")
        assert result.exit_code == 2
        assert said in result.stderr


def test_half_written_records_are_a_failed_cell_with_its_reason(tmp_path: Path) -> None:
    suite = fill(tmp_path)
    for path in (tmp_path / "results").glob("runs/*/*/none/*/cells/20/records.jsonl"):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    assert report(suite, tmp_path / "page.html").exit_code == 0
    found = data_of((tmp_path / "page.html").read_text())
    cell = next(one for one in found["cells"] if (one["method"], one["scale"]) == ("none", 20))
    assert cell["status"] == "failed"
    assert "records.jsonl" in cell["reason"]
    assert cell["records"] == []
    row = next(one for one in found["rows"] if (one["method"], one["scale"]) == ("none", 20))
    assert (row["status"], row["values"]) == ("failed", {})
    assert records_of(found, LABEL, 20)


def test_failed_cells_only_are_a_page_of_reasons(tmp_path: Path) -> None:
    found = data_of(page(tmp_path, failed).read_text())
    assert {(cell["status"], cell["reason"]) for cell in found["cells"]} == {("failed", f"boom {EVIL}")}
    assert found["retention"] == []


def broken(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """The larger cell breaks in a method's file; in the smaller one some requests could not be edited."""
    if scale == 20:
        told = f'Traceback:\n  File "/home/me/secret/methods/mine.py", line 3, in edit\nValueError: {EVIL}\n'
        return [], CellOutcome(Status.FAILED, "boom", traceback=told)
    rows, made = outcome(run, scale)
    missed = {f"r{i} {EVIL}": f"no subject {EVIL}" for i in range(30)}
    return rows, replace(made, failures=missed, counts={**made.counts, "failed_requests": 30})


def test_a_cell_that_broke_has_its_traceback_and_one_with_requests_not_edited_names_them(tmp_path: Path) -> None:
    text = page(tmp_path, broken).read_text()
    assert text.count("<script") == text.count("</script>") == 2
    assert "/home/me" not in text
    cells = {one["scale"]: one for one in data_of(text)["cells"] if one["method"] == LABEL}
    assert cells[20]["traceback"].splitlines()[:2] == ["Traceback:", '  File "…/methods/mine.py", line 3, in edit']
    assert EVIL in cells[20]["traceback"]
    assert "missed" not in cells[20]
    small = min(cells)
    assert (cells[small]["missed"], len(cells[small]["named"])) == (30, 20)
    assert cells[small]["named"][0] == [f"r0 {EVIL}", f"no subject {EVIL}"]
    assert "traceback" not in cells[small]


def test_of_a_very_long_traceback_the_end_is_shown(tmp_path: Path) -> None:
    def deep(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return [], CellOutcome(Status.FAILED, "deep", traceback="again\n" * 20_000 + "RecursionError: too deep\n")

    told = data_of(page(tmp_path, deep).read_text())["cells"][0]["traceback"]
    assert told.startswith("… (120,025 characters)\n")
    assert told.endswith("RecursionError: too deep\n")
    assert len(told) < 9_000


def test_a_cell_that_was_never_finished_is_interrupted(tmp_path: Path) -> None:
    suite = fill(tmp_path)
    for path in (tmp_path / "results").glob("runs/*/*/none/*/cells/20/cell.json"):
        path.unlink()
    assert report(suite, tmp_path / "page.html").exit_code == 0
    found = data_of((tmp_path / "page.html").read_text())
    cell = next(one for one in found["cells"] if (one["method"], one["scale"]) == ("none", 20))
    assert (cell["status"], cell["of"]) == ("interrupted", 0)
    assert "same command continues" in cell["reason"]


def test_one_method_and_one_seed_are_said(tmp_path: Path) -> None:
    found = data_of(page(tmp_path, labels=["none"]).read_text())
    assert "One method: compared with nobody." in found["statement"]
    assert any("One seed (0)" in line for line in found["statement"])
    assert not found["ranked"]


def test_several_seeds_are_shown_each(tmp_path: Path) -> None:
    found = data_of(page(tmp_path, seeds=[0, 1]).read_text())
    assert {cell["seed"] for cell in found["cells"]} == {0, 1}
    assert {tuple(row["seeds"]) for row in found["rows"]} == {(0, 1)}


def test_manifests_say_what_ran_and_not_where_the_results_lie(tmp_path: Path) -> None:
    found = data_of(page(tmp_path).read_text())
    run = found["runs"][0]
    assert run["command"] == "editbench run --suite s --seeds 0"
    assert run["dataset"]["requests"] == 20
    assert {"packages", "machine", "checkout", "hparams", "protocol"} <= set(run)
    assert str(tmp_path / "results") not in json.dumps(found)


def test_a_very_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    def long(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return [record(i, "edit", "x" * 5000) for i in range(scale)], CellOutcome(Status.DONE)

    said = {row["said"] for row in records_of(data_of(page(tmp_path, long).read_text()), "none", 20)}
    assert said == {"x" * 400 + "… (5,000 characters)"}


def test_the_report_imports_no_torch(tmp_path: Path) -> None:
    suite = fill(tmp_path, done)
    code = (
        "import sys; from click.testing import CliRunner; from editbench.cli import cli\n"
        f"r = CliRunner().invoke(cli, ['report', {str(suite)!r}, '--results', {str(tmp_path / 'results')!r}, "
        f"'--out', {str(tmp_path / 'p.html')!r}])\n"
        "assert r.exit_code == 0, r.output\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def able(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """As ``outcome``, with one capability task measured."""
    rows, made = outcome(run, scale)
    known = {"value": 0.5, "unedited": 0.8, "stderr": 0.01, "unedited_stderr": 0.01, "difference_stderr": 0.01}
    entry = {"status": "done", "at": None, "scale": 1.0, **known}
    return rows, replace(made, capability={"task": entry})


def test_capability_is_shown_where_it_was_measured_though_the_suite_names_no_such_metric(tmp_path: Path) -> None:
    found = data_of(page(tmp_path, able).read_text())
    assert [metric["name"] for metric in found["metrics"]][-2:] == ["capability", "capability-ratio"]
    assert found["rows"][0]["values"]["capability-ratio"]["value"] == pytest.approx(0.625)
    assert "capability" not in {metric["name"] for metric in data_of(page(tmp_path / "without").read_text())["metrics"]}


def two_suites(folder: Path, first: str = LABEL) -> Path:
    """Return a page of two suites in one results folder, asked for by no name.

    ``first`` is the method, beside ``none``, of the one whose cells all failed.
    """
    text = fill(folder).read_text().replace(json.dumps(LABEL), json.dumps(first))
    other = parse_suite(text.replace("name: paged", "name: another"), "another.yaml")
    for run in bind(make_plan(other), load_dataset(other.dataset)).runs:
        write_run(Store(folder / "results"), run, load_dataset(other.dataset), failed)
    result = report(None, folder / "page.html", folder / "results")
    assert result.exit_code == 0, result.output
    assert "another, paged" in result.stdout
    return folder / "page.html"


def test_without_a_name_every_suite_is_on_the_page(tmp_path: Path) -> None:
    text = two_suites(tmp_path).read_text()
    assert text.count('"suite":"paged"') == text.count('"suite":"another"') == 1

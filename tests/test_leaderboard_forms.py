from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from test_compare import SUITE, WEIRD, fill, invoke, make, outcome

from editbench.analysis.stored import stored_leaderboard
from editbench.results.store import CellOutcome, Status, Store


def test_ranks_share_letters_where_methods_cannot_be_told_apart(tmp_path: Path) -> None:
    root = fill(tmp_path)
    rows = {(row.method, row.scale): row for row in stored_leaderboard("many", root).rows}
    assert [rows[name, 60].standings["reliability"].rank for name in (WEIRD, "half", "none")] == [1, 2, 3]
    few = [rows[name, 3].standings["reliability"] for name in (WEIRD, "half", "none")]
    assert {(s.rank, s.low, s.high, s.letters, s.top) for s in few} == {(1, 1, 3, "a", False)}
    assert all(rows[name, 60].standings["locality"].top for name in (WEIRD, "half", "none"))
    assert "edit-seconds" not in rows["half", 60].standings


def test_csv_has_numbers_that_read_back(tmp_path: Path) -> None:
    text = invoke("leaderboard", "many", "--results", fill(tmp_path), "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["method"] for row in rows} == {"none", "half", WEIRD}
    half = next(row for row in rows if (row["method"], row["scale"]) == ("half", "60"))
    assert (half["reliability"], half["rank"], half["n"], half["seeds"]) == ("0.5", "2", "60", "0")
    assert float(half["reliability_low"]) < 0.5 < float(half["reliability_high"])


def test_markdown_and_terminal_escape_names_and_keep_their_columns(tmp_path: Path) -> None:
    root = fill(tmp_path)
    text = invoke("leaderboard", "many", "--results", root, "--markdown").stdout
    assert "<b>" not in text
    lines = [re.sub(r"\\.", "", line).count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(lines)) == 1
    assert "**1.000 [" in text
    assert WEIRD in re.sub(r"\s+", " ", invoke("leaderboard", "many", "--results", root).stdout)


def test_two_forms_at_once_are_refused(tmp_path: Path) -> None:
    result = invoke("leaderboard", "many", "--results", fill(tmp_path), "--csv", "--latex")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--csv and --latex" in result.stderr


def test_over_scales_a_row_is_the_area_and_a_method_without_a_scale_says_so(tmp_path: Path) -> None:
    root = fill(tmp_path)
    board = stored_leaderboard("many", root, over=())
    half = next(row for row in board.rows if row.method == "half")
    assert board.over == (3, 60)
    assert half.values["reliability"].value == pytest.approx((2 / 3 + 0.5) / 2)
    assert half.standings["reliability"].rank == 2
    assert "edit-seconds" not in half.values
    _, plan, _ = make(tmp_path)
    Store(root).finish_cell(plan.runs[1], 60, CellOutcome(Status.FAILED, "boom"))
    shown = invoke("leaderboard", "many", "--results", root, "--over-scales", "--markdown").stdout
    assert "failed: at 60: boom" in shown
    assert "areas under the curve over log(scale)" in shown
    fewer = json.loads(
        invoke("leaderboard", "many", "--results", root, "--over-scales", "--scale", "3", "--json").stdout
    )
    assert fewer["over_scales"] == [3]
    assert all("reliability" in row for row in fewer["rows"])


def test_over_scales_metrics_without_an_area_are_no_columns_and_a_note_says_so(tmp_path: Path) -> None:
    root = fill(tmp_path)
    asked = ("leaderboard", "many", "--results", root, "--over-scales", "--metrics")
    text = invoke(*asked, "score,reliability,retention,capability,edit-seconds", "--markdown").stdout
    [head] = [line for line in text.splitlines() if "Method" in line]
    assert "Reliability" in head
    assert not any(title in head for title in ("Score", "Retention", "Capability", "Edit"))
    said = "not shown, as there is no area of it over scales: Score, Retention, Capability, Edit"
    assert said in re.sub(r"\\(.)", r"\1", text)
    assert "documents" not in text
    refused = invoke(*asked, "score,edit-seconds")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no area over scales of Score" in refused.stderr


def test_over_scales_a_front_is_made_of_areas_or_not_at_all(tmp_path: Path) -> None:
    over = ("leaderboard", "many", "--results", fill(tmp_path), "--over-scales", "--pareto")
    refused = invoke(*over, "reliability,edit-seconds")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no area over scales of" in refused.stderr
    assert "Leave out --over-scales" in refused.stderr
    rows = json.loads(invoke(*over, "reliability,locality", "--json").stdout)["rows"]
    assert {row["method"]: row["front"] for row in rows} == {WEIRD: True, "half": False, "none": False}


def test_an_area_over_one_scale_is_not_said_to_span_two(tmp_path: Path) -> None:
    over = ("leaderboard", "many", "--results", fill(tmp_path), "--over-scales", "--markdown")
    one = invoke(*over, "--scale", "60").stdout
    assert "| 60 |" in one
    assert "60–60" not in one
    assert "| 3–60 |" in invoke(*over).stdout


def test_pareto_marks_whom_nobody_beats(tmp_path: Path) -> None:
    root = fill(tmp_path)
    found = json.loads(
        invoke("leaderboard", "many", "--results", root, "--pareto", "reliability,edit-seconds", "--json").stdout
    )
    assert {row["method"]: row["front"] for row in found["rows"] if row["scale"] == 60} == {
        WEIRD: True,
        "half": False,
        "none": False,
    }
    assert invoke("leaderboard", "many", "--results", root, "--pareto", "nonsense").exit_code == 2


def test_folders_of_several_machines_make_one_table_and_each_row_keeps_its_provenance(tmp_path: Path) -> None:
    root = fill(tmp_path)
    other = tmp_path / "other"
    place = Path("runs/many/smollm2-135m/half")
    (other / place).parent.mkdir(parents=True)
    shutil.move(root / place, other / place)
    for path in other.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "machine": {"cpu": "Another processor", "gpus": [], "cores": 2}}))
    found = json.loads(invoke("leaderboard", "many", root, other, "--json").stdout)
    row = next(row for row in found["rows"] if row["method"] == "half")
    assert row["runs"][0]["folder"].startswith(str(other))
    assert row["runs"][0]["machine"]["cpu"] == "Another processor"
    assert any("their times do not compare" in note for note in found["notes"])
    assert len(found["rows"]) == 6
    shutil.copytree(other, root, dirs_exist_ok=True)
    again = json.loads(invoke("leaderboard", "many", root, other, "--json").stdout)
    assert len(again["rows"]) == 6
    assert any("the same run lies in 2 folders" in note for note in again["notes"])


def test_without_a_suite_all_are_shown_and_ranked_together(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, dataset = make(tmp_path, text=SUITE.replace("name: many", "name: more"))
    from results_tree import write_run

    for run in plan.runs:
        write_run(Store(root), run, dataset, outcome)
    found = json.loads(invoke("leaderboard", root, "--json").stdout)
    assert [board["suite"] for board in found["suites"]] == ["many", "more"]
    assert found["overall"]["tests"]["mean_ranks"] == {WEIRD: 1.0, "half": 2.0, "none": 3.0}
    assert any("of 3 pair(s)" in note and "fewer than 7" in note for note in found["overall"]["notes"])
    for form in ("--markdown", "--latex", "--csv"):
        assert "we" in invoke("leaderboard", root, form).stdout
    assert "Mean rank" in invoke("leaderboard", root, "--scale", "60").stdout

    # the same model's name, other weights: no ranks
    for path in Path(root).glob("runs/*/**/manifest.json"):
        manifest = json.loads(path.read_text())
        of = "bfloat16" if manifest["suite"] == "more" else "float32"
        path.write_text(json.dumps({**manifest, "model": {**manifest["model"], "weights_hash": of, "dtype": of}}))
    found = json.loads(invoke("leaderboard", root, "--json").stdout)
    assert [board["suite"] for board in found["suites"]] == ["many", "more"] and found["overall"]["tests"] is None
    assert any("their weights differ" in note and "more in bfloat16" in note for note in found["overall"]["notes"])


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    result = invoke("leaderboard", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There are no results in" in result.stderr
    assert "editbench run --suite quickstart" in result.stderr


def test_half_written_records_are_a_row_that_says_so_and_the_others_stay(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, _ = make(tmp_path)
    short = Store(root).records_path(plan.runs[1], 60)
    lines = short.read_text().splitlines(keepends=True)
    for text, said in (
        ("".join(lines[:50]), "half-written: 50 of 120"),
        ("".join(lines)[:-30], "half-written: 119 of 120"),
    ):
        short.write_text(text)
        rows = {(row.method, row.scale): row for row in stored_leaderboard("many", root).rows}
        assert (rows["half", 60].status, rows["half", 60].values) == (Status.FAILED, {})
        assert said in rows["half", 60].reason
        assert rows[WEIRD, 60].standings["reliability"].rank == 1
        assert rows["none", 60].standings["reliability"].high == 2


def damage(path: Path) -> Path:
    """Leave the first half of a file."""
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    return path


def test_a_half_written_cell_is_a_row_that_says_so_and_the_others_stay(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, _ = make(tmp_path)
    path = damage(Store(root).cell_folder(plan.runs[1], 60) / "cell.json")
    rows = {(row.method, row.scale): row for row in stored_leaderboard("many", root).rows}
    assert (rows["half", 60].status, rows["half", 60].values) == (Status.FAILED, {})
    assert f"{path} is damaged" in rows["half", 60].reason
    assert rows["half", 3].values["reliability"].value == pytest.approx(2 / 3)
    assert rows[WEIRD, 60].standings["reliability"].rank == 1
    said = invoke("compare", "none", "half", "--results", root, "--json")
    marks = {row["scale"]: row for row in json.loads(said.stdout)["verdicts"]}
    assert "is damaged" in marks[60]["says"]
    assert invoke("report", "many", "--results", root, "--out", tmp_path / "page.html").exit_code == 0
    assert "is damaged" in (tmp_path / "page.html").read_text()


def test_a_run_with_a_half_written_manifest_is_left_out_and_a_note_names_the_file(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, _ = make(tmp_path)
    path = damage(Store(root).run_folder(plan.runs[1]) / "manifest.json")
    found = json.loads(invoke("leaderboard", "many", "--results", root, "--json").stdout)
    assert {row["method"] for row in found["rows"]} == {"none", WEIRD}
    assert [str(path) in note for note in found["notes"]].count(True) == 1
    compared = invoke("compare", "none", WEIRD, "--results", root, "--json")
    assert str(path) in str(json.loads(compared.stdout)["notes"])
    assert str(path) in invoke("results", "list", "--results", root).stderr
    drawn = invoke("plot", "many", "--results", root, "--kind", "scale", "--format", "svg", "--out", tmp_path / "f")
    assert (drawn.exit_code, str(path) in drawn.stderr) == (0, True)
    assert invoke("report", "many", "--results", root, "--out", tmp_path / "page.html").exit_code == 0
    assert path.name in (tmp_path / "page.html").read_text()
    for run in plan.runs:
        damage(Store(root).run_folder(run) / "manifest.json")
    none = invoke("leaderboard", "many", "--results", root)
    assert (none.exit_code, none.stderr.count("is damaged")) == (2, 3)


def test_failed_cells_only_and_one_method_only_are_said(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, _ = make(tmp_path)
    for run in plan.runs:
        for scale in run.scales:
            Store(root).finish_cell(run, scale, CellOutcome(Status.FAILED, "boom"))
    shown = invoke("leaderboard", "many", "--results", root)
    assert shown.exit_code == 0
    assert shown.stdout.count("failed: boom") == 6
    assert "Rank" not in shown.stdout
    for form in ("--csv", "--latex", "--markdown", "--json", "--over-scales"):
        assert "boom" in invoke("leaderboard", "many", "--results", root, form).stdout
    alone = tmp_path / "alone"
    shutil.copytree(fill(tmp_path / "again") / "runs/many/smollm2-135m/half", alone / "runs/many/smollm2-135m/half")
    said = invoke("leaderboard", "many", "--results", alone).stdout
    assert "One method: compared with nobody." in said
    assert "One seed (0)" in said

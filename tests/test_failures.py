"""What went wrong in cells, said in full: `editbench leaderboard --failures`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results_tree import done, small_plan, write_all, write_run

from editbench.analysis.failures import stored_failures
from editbench.cli import cli
from editbench.plan.runs import Run
from editbench.report.failures import MOST_NAMED
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store

ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e"
REASON = "ValueError: " + "no such layer " * 40 + ESCAPE
TRACEBACK = (
    f'Traceback (most recent call last):\n  File "/a/b/mine.py", line 3, in edit\n    1 / 0{ESCAPE}\nsmall: done\n'
)
MISSED = {f"r{i}": f"its subject is not in its prompt\nr9: learnt {ESCAPE}" for i in range(MOST_NAMED + 2)}


def some_fail(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """``local`` breaks at 4, and cannot edit some requests at 1; ``none`` is all right."""
    if run.label == "none":
        return done(run, scale)
    if scale == 4:
        return [], CellOutcome(Status.FAILED, REASON, traceback=TRACEBACK)
    rows, outcome = done(run, scale)
    return rows, replace(outcome, failures=MISSED, counts={**outcome.counts, "failed_requests": len(MISSED)})


def leaderboard(folder: Path, *more: str) -> Result:
    """Run the command on the results in ``folder``; the suite's own file is not there, as after a deletion."""
    arguments = ["leaderboard", "small", "--results", str(folder / "results"), *more]
    return CliRunner().invoke(cli, arguments, prog_name="editbench")


def test_what_went_wrong_is_said_whole_with_requests_and_traceback(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    result = leaderboard(tmp_path, "--failures")
    assert result.exit_code == 0, result.output
    assert "1 of 4 cells is not done; in 1 more some requests could not be edited." in result.stdout
    assert "local on smollm2-135m, seed 0, scale 4: failed\n  ValueError: " in result.stdout
    assert "no such layer " * 40 in result.stdout
    assert '\n      File "/a/b/mine.py", line 3, in edit\n' in result.stdout
    assert f"requests that could not be edited: {len(MISSED)}\n    r0: its subject" in result.stdout
    assert "    and 2 more; --json has them all" in result.stdout
    assert "none on" not in result.stdout


def test_nothing_in_a_reason_or_traceback_moves_a_terminal_or_passes_for_a_line_of_ours(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    said = leaderboard(tmp_path, "--failures").stdout
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(said)
    assert "small: done" not in said.splitlines()
    assert not any(line.strip().startswith("r9") for line in said.splitlines())


def test_failures_as_json_are_the_same_with_every_request(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    result = leaderboard(tmp_path, "--failures", "--json")
    assert "\x1b" not in result.stdout
    data = json.loads(result.stdout)
    assert (data["suite"], data["cells"]) == ("small", 4)
    missed, broken = data["failures"]
    assert {name: broken[name] for name in ("model", "method", "seed", "scale", "status", "requests")} == {
        **{"model": "smollm2-135m", "method": "local", "seed": 0, "scale": 4},
        **{"status": "failed", "requests": 0},
    }
    assert (broken["reason"], broken["traceback"]) == (REASON, TRACEBACK)
    assert (missed["status"], missed["failures"]) == ("done", MISSED)


def test_a_cell_never_reached_one_whose_records_are_damaged_and_one_that_is_no_cell_are_there(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    none, local = sorted(plan.runs, key=lambda run: run.label, reverse=True)
    (store.cell_folder(none, 1) / "cell.json").unlink()
    (store.cell_folder(none, 4) / "cell.json").write_text("{")
    store.records_path(local, 4).write_bytes(b"{\n{\n")
    found = stored_failures("small", [tmp_path / "results"])
    assert [(one.method, one.scale, str(one.status)) for one in found.found] == [
        ("local", 4, "failed"),
        ("none", 1, "interrupted"),
        ("none", 4, "failed"),
    ]
    assert "records.jsonl" in found.found[0].reason
    assert "same command continues" in found.found[1].reason
    assert "cell.json" in found.found[2].reason


@pytest.mark.parametrize("odd", [None, [1, 2], "text", 3])
def test_cells_without_these_fields_or_with_others_in_their_place_are_read(tmp_path: Path, odd: object) -> None:
    plan, store = write_all(tmp_path, some_fail)
    run = next(run for run in plan.runs if run.label == "local")
    path = store.cell_folder(run, 4) / "cell.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "failures": odd, "traceback": odd if odd != "text" else None}))
    result = leaderboard(tmp_path, "--failures")
    assert result.exit_code == 0, result.output
    assert "scale 4: failed" in result.stdout
    assert "traceback" not in result.stdout


def test_where_all_went_well_that_is_said(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert "All 4 cells are done, and every request in them was edited." in leaderboard(tmp_path, "--failures").stdout


def test_a_leaderboard_with_trouble_names_the_command_and_one_without_does_not(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    said = leaderboard(tmp_path).stdout
    hint = f"editbench leaderboard small --results {tmp_path / 'results'} --failures"
    assert said.rstrip().endswith(hint)
    assert f"{len(MISSED)} request(s) could not be edited" in " ".join(said.split())
    assert "--failures" not in leaderboard(tmp_path, "--markdown").stdout
    (tmp_path / "well").mkdir()
    write_all(tmp_path / "well")
    assert "--failures" not in leaderboard(tmp_path / "well").stdout


def test_requests_that_could_not_be_edited_alone_are_trouble_too(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    for run in plan.runs:
        write_run(Store(tmp_path / "results"), replace(run, scales=(1,)), dataset, some_fail)
    assert leaderboard(tmp_path).stdout.rstrip().endswith("--failures")


def test_only_the_scales_asked_for_are_told(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    data = json.loads(leaderboard(tmp_path, "--failures", "--json", "--scale", "4").stdout)
    assert [one["scale"] for one in data["failures"]] == [4]


@pytest.mark.parametrize("more", ["--markdown", "--over-scales", "--pareto=reliability"])
def test_what_makes_no_sense_beside_failures_is_refused(tmp_path: Path, more: str) -> None:
    write_all(tmp_path)
    result = leaderboard(tmp_path, "--failures", more)
    assert result.exit_code == 2
    assert more.partition("=")[0] in result.stderr


def test_without_a_suite_the_failures_of_all_are_told(tmp_path: Path) -> None:
    write_all(tmp_path, some_fail)
    arguments = ["leaderboard", "--results", str(tmp_path / "results"), "--failures", "--json"]
    data = json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert [suite["suite"] for suite in data["suites"]] == ["small"]

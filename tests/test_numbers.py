"""Numbers that methods record of themselves: read back from cells, and drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from results_tree import done, small_plan, write_all, write_run

from editbench.analysis.numbers import COLUMNS, curve_rows, number_rows
from editbench.analysis.statistics import mean_interval
from editbench.cli import cli
from editbench.errors import DamagedFile
from editbench.plan.runs import Plan, Run
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store
from editbench.running.outcome import Results

FORMS = ("png", "svg", "csv")
LOSSES = {"r0": 0.5, "r1": 0.1, "r2": 0.3, "r3": 0.3}


def recording(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """``local`` records two losses and its keys after each chunk, ``none`` nothing."""
    rows, outcome = done(run, scale)
    if run.label == "none":
        return rows, outcome
    stops = [n for n in (1, 2, 4) if n <= scale]
    numbers = {"loss": [[n, value] for n in stops for value in (9.0, 1 / n)], "keys": [[n, 2 * n] for n in stops]}
    return rows, replace(outcome, numbers=numbers)


def filled(folder: Path, outcomes: Any = recording) -> tuple[Plan, Store]:
    """Write runs, and of ``local`` a loss for each request."""
    plan, store = write_all(folder, outcomes)
    run = next(run for run in plan.runs if run.label == "local")
    for scale in run.scales:
        store.write_numbers(run, scale, per_request(scale))
    return plan, store


def per_request(scale: int) -> Iterable[Mapping[str, Any]]:
    ids = list(LOSSES)[:scale]
    return [
        {"requests": 1 if name == "r0" else 4, "request": name, "name": "request loss", "value": LOSSES[name]}
        for name in ids
    ]


def plot(folder: Path, *more: str) -> Result:
    given = ["plot", "small", "--results", str(folder / "results"), "--out", str(folder / "out"), *more]
    return CliRunner().invoke(cli, given, prog_name="editbench")


def test_every_number_comes_back_with_what_it_is_of(tmp_path: Path) -> None:
    frame = Results(*filled(tmp_path)).numbers()
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame["method"]) == {"local"}
    chunks = frame[frame["request"].isna() & (frame["scale"] == 4) & (frame["name"] == "keys")]
    assert list(zip(chunks["requests"], chunks["value"], strict=True)) == [(1, 2.0), (2, 4.0), (4, 8.0)]
    own = frame[frame["request"].notna() & (frame["scale"] == 4)].set_index("request")
    assert own["value"].to_dict() == LOSSES
    assert own["requests"].to_dict() == {"r0": 1, "r1": 4, "r2": 4, "r3": 4}


def test_without_numbers_the_frame_is_empty_and_has_its_columns(tmp_path: Path) -> None:
    frame = Results(*write_all(tmp_path)).numbers()
    assert (list(frame.columns), len(frame)) == (list(COLUMNS), 0)
    assert curve_rows(frame, "loss").empty


@pytest.mark.parametrize("odd", [None, [], {"loss": None}, {"loss": [[1], ["a", 2], 3, {"x": 1}]}, "text"])
def test_cells_without_numbers_or_with_others_in_their_place_have_none(tmp_path: Path, odd: object) -> None:
    plan, store = write_all(tmp_path)
    path = store.cell_folder(plan.runs[0], 4) / "cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "numbers": odd}))
    assert number_rows(store.scan("small")).empty


def test_a_number_that_is_not_finite_has_no_value_and_an_unknown_place_none(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    store.write_numbers(plan.runs[0], 4, [{"request": "r0", "name": "loss", "value": None}])
    [row] = number_rows(store.scan("small")).to_dict("records")
    assert math.isnan(row["value"])
    assert pd.isna(row["requests"])


def test_a_damaged_file_of_numbers_is_named(tmp_path: Path) -> None:
    plan, store = filled(tmp_path)
    run = next(run for run in plan.runs if run.label == "local")
    for text in ('{"request": "r0"}\n', "[]\n", "{\n"):
        (store.cell_folder(run, 4) / "numbers.jsonl").write_text(text)
        with pytest.raises(DamagedFile, match=r"numbers\.jsonl is damaged"):
            number_rows(store.scan("small"))


def test_a_curve_has_the_last_value_of_each_chunk_once(tmp_path: Path) -> None:
    _, store = filled(tmp_path)
    curve = curve_rows(number_rows(store.scan("small")), "loss")
    assert list(zip(curve["scale"], curve["value"], strict=True)) == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert set(curve["n"]) == {1}
    assert curve["low"].isna().all()


def test_a_number_of_requests_is_their_mean_in_each_chunk_with_an_interval(tmp_path: Path) -> None:
    _, store = filled(tmp_path)
    first, last = curve_rows(number_rows(store.scan("small")), "request loss").to_dict("records")
    assert (first["scale"], first["value"], first["n"]) == (1, 0.5, 1)
    assert (last["scale"], last["n"]) == (4, 3)
    assert last["value"] == pytest.approx(0.7 / 3)
    assert (last["low"], last["high"]) == pytest.approx(mean_interval(np.array([0.1, 0.3, 0.3])))


def test_several_seeds_have_the_mean_of_theirs(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    store = Store(tmp_path / "results")

    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        rows, outcome = done(run, scale)
        return rows, replace(outcome, numbers={"loss": [[scale, float(run.seed)]]})

    for run in plan.runs:
        for seed in (0, 3):
            write_run(store, replace(run, seed=seed), dataset, outcomes)
    curve = curve_rows(number_rows(store.scan("small")), "loss")
    assert {(row["value"], row["n"], row["seeds"]) for row in curve.to_dict("records")} == {(1.5, 2, "0 3")}


def test_a_number_is_drawn_and_its_data_written(tmp_path: Path) -> None:
    filled(tmp_path)
    result = plot(tmp_path, "--number", "loss", "--number", "request loss", "--format", "png,svg", "--data")
    assert result.exit_code == 0, result.output
    made = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert made == {
        f"small-number-{name}.{form}" for name in ("loss", "request-loss") for form in ("png", "svg", "csv")
    }
    data = pd.read_csv(tmp_path / "out" / "small-number-loss.csv")
    assert list(data["value"]) == [1.0, 0.5, 0.25]
    assert set(data["metric"]) == {"loss"}


def test_kinds_are_drawn_beside_numbers_only_if_they_are_named(tmp_path: Path) -> None:
    filled(tmp_path)
    assert plot(tmp_path, "--number", "loss", "--kind", "scale", "--format", "svg").exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"small-number-loss.svg", "small-scale.svg"}
    result = plot(tmp_path, "--number", "loss", "--metric", "locality")
    assert result.exit_code == 2
    assert "--metric was given with --number" in result.stderr


def test_a_name_that_nobody_recorded_lists_those_there_are_and_writes_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    result = plot(tmp_path, "--number", "lost")
    assert result.exit_code == 2
    assert "There are: keys, loss, request loss." in result.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "silent").mkdir()
    write_all(tmp_path / "silent")
    result = plot(tmp_path / "silent", "--number", "loss")
    assert result.exit_code == 2
    assert "no method of small recorded any" in result.stderr


def test_names_of_numbers_make_files_of_their_own_and_no_others(tmp_path: Path) -> None:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        rows, outcome = done(run, scale)
        return rows, replace(outcome, numbers={name: [[scale, 1.0]] for name in ("../up", ".. up", "x" * 300)})

    write_all(tmp_path, outcomes)
    names = [part for name in ("../up", ".. up", "x" * 300) for part in ("--number", name)]
    result = plot(tmp_path, *names, "--format", "svg")
    assert result.exit_code == 0, result.output
    made = sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))
    assert len(made) == 3
    assert made[:2] == ["small-number-..-up-2.svg", "small-number-..-up.svg"]


def test_a_cell_that_failed_is_noted_and_numbers_that_are_never_finite_make_no_figure(tmp_path: Path) -> None:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        rows, outcome = recording(run, scale)
        if scale == 4 and run.label == "local":
            return [], CellOutcome(Status.FAILED, "boom")
        return rows, replace(outcome, numbers={**outcome.numbers, "odd": [[scale, None]]})

    filled(tmp_path, outcomes)
    result = plot(tmp_path, "--number", "loss", "--format", "svg")
    assert result.exit_code == 0, result.output
    assert "local on smollm2-135m at 4 has no numbers: failed: boom" in result.stderr
    result = plot(tmp_path, "--number", "odd")
    assert result.exit_code == 2
    assert "There is nothing to draw" in result.stderr

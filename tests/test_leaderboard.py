from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from results_tree import done, small_plan, small_suite, write_all, write_run

import editbench.running.launch
from editbench.analysis.leaderboard import About, Leaderboard, build
from editbench.analysis.statistics import wilson
from editbench.analysis.stored import stored_leaderboard
from editbench.datasets import load_dataset
from editbench.errors import UnknownName, UserError
from editbench.metrics import METRICS
from editbench.plan.runs import Plan, Run, RunOptions, bind, make_plan
from editbench.plan.settings import Origin, Override
from editbench.report.tables import amount, as_frame, as_markdown, as_rich
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store
from editbench.running.outcome import Results

ABOUT = About("small", "A small suite", ("reliability", "locality", "edit-seconds"))


def board(plan: Plan, store: Store) -> Leaderboard:
    return build(store.scan("small"), ABOUT, plan)


def rewrite_manifest(store: Store, run: Run, **changes: object) -> None:
    found = store.manifest(run)
    assert found is not None
    store.write_manifest(run, {**found, **changes})


def test_one_row_per_method_and_scale_best_first(tmp_path: Path) -> None:
    found = board(*write_all(tmp_path))
    shown = [(row.scale, row.method, row.n) for row in found.rows]
    assert shown == [(1, "local", 1), (1, "none", 1), (4, "local", 4), (4, "none", 4)]
    top = found.rows[2]
    assert top.values["reliability"].value == 1.0
    assert (top.values["reliability"].low, top.values["reliability"].high) == wilson(4, 4)
    assert top.values["edit-seconds"].value == 8.0
    assert top.values["edit-seconds"].low is None


def test_json_has_metric_names_as_keys_with_their_intervals(tmp_path: Path) -> None:
    data = json.loads(json.dumps(board(*write_all(tmp_path)).as_dict()))
    row = data["rows"][2]
    assert (row["method"], row["scale"], row["status"], row["n"], row["seeds"]) == ("local", 4, "done", 4, [0])
    assert set(row["reliability"]) == {"value", "low", "high", "n"}
    assert data["protocol"]["target_field"]
    assert data["protocol"]["hash"]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.DONE])
def test_a_cell_without_numbers_is_a_row_with_its_status_and_reason(tmp_path: Path, status: Status) -> None:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        if run.label == "local" and scale == 4:
            return [], CellOutcome(status, "because")
        return done(run, scale)

    found = board(*write_all(tmp_path, outcomes))
    row = next(row for row in found.rows if row.method == "local" and row.scale == 4)
    assert (row.status, row.reason, row.values, row.n) == (status, "because", {}, 0)
    assert f"{status}: because" in as_markdown(found)


def test_a_cell_that_was_never_reached_is_a_row_too(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    (store.cell_folder(plan.runs[1], 4) / "cell.json").unlink()
    row = next(row for row in board(plan, store).rows if row.method == "local" and row.scale == 4)
    assert row.status is Status.INTERRUPTED
    assert "continues" in row.reason


def test_probes_without_an_outcome_are_counted_in_the_row(tmp_path: Path) -> None:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        records, outcome = done(run, scale)
        return records, replace(outcome, counts={"errors": 2})

    assert {row.reason for row in board(*write_all(tmp_path, outcomes)).rows} == {"2 probe(s) without an outcome"}


def test_several_seeds_are_averaged_and_one_seed_is_said_to_be_one_seed(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    dataset = load_dataset(suite.dataset)
    store = Store(tmp_path / "results")
    plan = bind(make_plan(suite.with_options(seeds=[0, 1])), dataset)
    for run in plan.runs[:2]:
        write_run(store, run, dataset)
    assert "One seed (0)" in board(plan, store).notes[0]
    for run in plan.runs[2:]:
        write_run(store, run, dataset)
    found = board(plan, store)
    assert "2 seeds: values are means over seeds" in found.notes[0]
    assert found.rows[2].seeds == (0, 1)
    assert found.rows[2].n == 8


def test_a_seed_that_failed_is_named_beside_the_numbers_of_the_others(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    dataset = load_dataset(suite.dataset)
    store = Store(tmp_path / "results")
    plan = bind(make_plan(suite.with_options(seeds=[0, 1])), dataset)

    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return ([], CellOutcome(Status.FAILED, "boom")) if run.seed == 1 else done(run, scale)

    for run in plan.runs:
        write_run(store, run, dataset, outcomes)
    row = board(plan, store).rows[0]
    assert (row.status, row.reason, row.seeds) == (Status.FAILED, "seed 1: boom", (0,))
    assert row.values["reliability"].value == 1.0


def test_runs_of_another_protocol_data_or_weights_are_not_mixed(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    rewrite_manifest(store, plan.runs[0], protocol_hash="0123456789ab")
    with pytest.raises(UserError) as caught:
        build(store.scan("small"), ABOUT)
    assert "differ in protocol" in str(caught.value)
    assert "0123456789ab (none seed 0)" in str(caught.value)
    protocol_hash = plan.runs[1].protocol.hash
    model = {"name": "smollm2-135m", "dtype": "float32", "weights_hash": "a"}
    rewrite_manifest(store, plan.runs[0], protocol_hash=protocol_hash, model=model)
    rewrite_manifest(store, plan.runs[1], model={**model, "weights_hash": "b"})
    with pytest.raises(UserError, match="differ in weights of smollm2-135m"):
        board(plan, store)


def test_of_two_runs_the_one_of_the_plan_is_taken_else_the_newest_and_the_other_is_named(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    _, dataset = small_plan(tmp_path)
    other = replace(plan.runs[1], given=(Override({"layer": 9}, Origin("suite")),))

    def nothing_learnt(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        return done(replace(run, label="none"), scale)

    write_run(store, other, dataset, nothing_learnt)

    def local(found: Leaderboard) -> float:
        return next(row for row in found.rows if row.method == "local").values["reliability"].value

    of_plan, newest = board(plan, store), build(store.scan("small"), ABOUT)
    assert (local(of_plan), local(newest)) == (1.0, 0.0)
    for found in (of_plan, newest):
        assert any("left out: 1 other run(s) of local" in note for note in found.notes)


def test_runs_made_under_other_conditions_than_the_plans_are_left_out_and_named(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    other, dataset = small_plan(tmp_path, RunOptions(dtype="bfloat16"))
    write_run(store, replace(other.runs[0], label="half"), dataset)
    found = board(plan, store)
    assert {row.method for row in found.rows} == {"none", "local"}
    assert "left out: half, seed 0: other dtype" in found.notes


def test_methods_with_their_own_regime_stand_in_one_table_and_caps_are_said(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    first, second = suite.model_dump()["methods"]
    own = {**second, "regime": {"sequential": 2}, "cap": {"scale": suite.scales[0], "why": "it takes an hour"}}
    dataset, store = load_dataset(suite.dataset), Store(tmp_path / "results")
    plan = bind(make_plan(type(suite).model_validate({**suite.model_dump(), "methods": [first, own]})), dataset)
    for run in plan.runs:
        write_run(store, run, dataset)
    found = board(plan, store)
    assert {(row.method, row.scale) for row in found.rows} == {("none", 1), ("none", 4), ("local", 1)}
    assert any(note == f"local goes no further than {suite.scales[0]}: it takes an hour" for note in found.notes)


def test_settings_that_the_suite_gave_a_method_are_said(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    first, second = suite.model_dump()["methods"]
    own = {**second, "hparams": {"layer": 3, "lr": 5e-3, "max_batches": 1000, "skip_learnt": False}}
    dataset, store = load_dataset(suite.dataset), Store(tmp_path / "results")
    plan = bind(make_plan(type(suite).model_validate({**suite.model_dump(), "methods": [first, own]})), dataset)
    for run in plan.runs:
        write_run(store, run, dataset)
    said = "Settings: local: layer 3, lr 0.005, max_batches 1,000, skip_learnt False from the suite small."
    assert said in board(plan, store).notes


def test_nothing_to_show_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="editbench run --suite small"):
        build([], ABOUT)


def test_a_suite_whose_file_is_gone_is_shown_from_its_results(tmp_path: Path) -> None:
    _, store = write_all(tmp_path)
    assert len(stored_leaderboard("small", store.root).rows) == 4
    with pytest.raises(UnknownName):
        stored_leaderboard("another", store.root)


def test_every_table_states_protocol_n_and_seeds(tmp_path: Path) -> None:
    from rich.console import Console

    found = board(*write_all(tmp_path))
    console = Console(width=220, record=True, file=(tmp_path / "out").open("w"))
    console.print(as_rich(found))
    for text in (as_markdown(found), console.export_text()):
        for part in ("target field", "EOS", "greedy", "stop eos-newline-sentence", "after-all", "One seed", "1.000 ["):
            assert part in text
    assert list(as_frame(found).columns)[-3:] == ["n", "Seeds", "Status"]


def test_a_narrow_terminal_gets_several_tables_and_every_number_whole(tmp_path: Path) -> None:
    from rich.console import Console

    found = board(*write_all(tmp_path))
    shown = {}
    for width in (60, 400):
        console = Console(width=width, record=True, file=(tmp_path / "out").open("w"))
        console.print(as_rich(found))
        shown[width] = console.export_text()
        assert max(map(len, shown[width].splitlines())) <= width
    heads = {width: [line for line in text.splitlines() if "Method" in line] for width, text in shown.items()}
    assert len(heads[400]) == 1 and len(heads[60]) > 1
    assert " ".join(heads[60]).count("Reliability ↑") == 1 and all("Scale" in line for line in heads[60])
    numbers = [re.findall(r"\d\.\d{3} \[\d\.\d{3}–\d\.\d{3}\]", text) for text in shown.values()]
    assert sorted(numbers[0]) == sorted(numbers[1]) and numbers[0]


def test_an_edit_that_changes_nothing_has_no_cost_in_time() -> None:
    cell = {"scale": 10, "timings": {"edit_s": 5.0}, "edit": {"nbytes": 8}}
    assert METRICS["edit-seconds"].function(cell) == 5.0  # type: ignore[attr-defined]
    assert METRICS["seconds-per-edit"].function(cell) == 0.5  # type: ignore[attr-defined]
    for name in ("edit-seconds", "seconds-per-edit"):
        assert METRICS[name].function({**cell, "edit": {"nbytes": 0}}) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "", "0.500"),
        (0.00001, "", "1.0e-05"),
        (0.0123, "s", "12.3 ms"),
        (12.34, "s", "12.3 s"),
        (2.5e9, "B", "2.5 GB"),
    ],
)
def test_amounts_are_readable(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_results_give_frames_records_and_trouble(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    results = Results(plan, store)
    frame = results.to_frame()
    assert list(frame.columns)[:4] == ["model", "method", "seed", "scale"]
    assert len(frame) == 2 * 2 * 4
    assert len(results.records()) == 2 * 3 * (1 + 4)
    assert results.trouble == 0
    assert "reliability" in {*results.to_frame(["reliability"])["metric"]}
    assert "<table" in results._repr_html_()
    store.finish_cell(plan.runs[0], 4, CellOutcome(Status.FAILED, "boom"))
    (store.cell_folder(plan.runs[1], 4) / "cell.json").unlink()
    assert results.trouble == 2
    assert "boom" in set(results.to_frame()["reason"])


def test_results_of_a_smaller_plan_do_not_show_larger_cells(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    small = replace(plan, runs=tuple(replace(run, scales=(1,)) for run in plan.runs))
    assert {row.scale for row in Results(small, store).leaderboard().rows} == {1}


def test_the_python_call_plans_runs_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import editbench

    seen: list[Path] = []

    def pretend(
        prepared: editbench.running.launch.Prepared, root: Path, options: RunOptions, progress: object
    ) -> Results:
        store = Store(root)
        for run in prepared.plan.runs:
            write_run(store, run, prepared.dataset)
        seen.append(root)
        return Results(prepared.plan, store)

    monkeypatch.setattr(editbench.running.launch, "carry_out", pretend)
    suite = small_suite(tmp_path)
    found = editbench.run(suite, methods=["none"], max_scale=1, results=tmp_path / "out")
    assert seen == [tmp_path / "out"]
    assert found.to_frame()["method"].unique().tolist() == ["none"]
    assert found.to_frame()["scale"].unique().tolist() == [1]
    with pytest.raises(UserError, match="dtype"):
        editbench.run(suite, dtype="float8", results=tmp_path / "out")

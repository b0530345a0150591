"""A model edited elsewhere is measured as if it had been edited here, and stands in the same table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from capability_folder import write_tasks
from click.testing import CliRunner, Result
from results_tree import save_tiny_model, write_data

import editbench
from editbench.cli import cli
from editbench.measure.measuring import Measuring
from editbench.models.load import load_lm
from editbench.results.store import Store
from editbench.running.runner import Runner

SUITE = """
name: small
title: A small suite
dataset: facts
models: [{model}]
methods: [none, locft-bf]
scales: [2, 5]
protocol: {{max_new_tokens: 4}}
probes: {{rephrase: 1, neighbour: 1, locality: 1}}
metrics: [reliability, locality, kl, fluency, weight-drift, added-latency, edit-seconds]
"""
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the suite, with the models that it edited saved beside it."""
    folder = tmp_path_factory.mktemp("score")
    model = save_tiny_model(folder / "model")
    (folder / "small.yaml").write_text(SUITE.format(model=model))
    measure = Runner._measure

    def save_and_measure(self: Runner, editing: Any, measuring: Any, scale: int) -> None:
        job, target = editing.job, folder / f"{editing.job.run.label}-{scale}"
        job.lm.model.save_pretrained(target)
        job.lm.text.tokenizer.save_pretrained(target)
        measure(self, editing, measuring, scale)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITBENCH_CACHE", str(folder / "cache"))
        patch.setattr(Runner, "_measure", save_and_measure)
        editbench.run(folder / "small.yaml", results=folder / "results")
    return folder


@pytest.fixture
def invoke(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call ``editbench score`` on a copy of the results."""
    monkeypatch.setenv("EDITBENCH_CACHE", str(place / "cache"))
    shutil.copytree(place / "results", tmp_path / "results")

    def call(*arguments: object) -> Result:
        given = ["score", *map(str, arguments), "--results", str(tmp_path / "results"), "--device", "cpu", "-q"]
        return CliRunner().invoke(cli, given, prog_name="editbench")

    return call


def suite_of(place: Path) -> tuple[str, ...]:
    return ("--suite", str(place / "small.yaml"), "--unedited", str(place / "model"))


def cell_folder(tmp_path: Path, label: str, scale: int) -> Path:
    [found] = (tmp_path / "results").glob(f"runs/*/*/{label}/*/cells/{scale}")
    return found


def no_times(cell: Path) -> dict[str, Any]:
    data = json.loads((cell / "cell.json").read_text())
    return {key: data[key] for key in ("status", "reason", "counts", "pulse", "drift")}


@pytest.mark.parametrize("label", ["locft-bf", "none"])
def test_a_model_edited_here_saved_and_scored_gives_the_same_bytes_as_its_run(
    label: str, place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("--model", place / f"{label}-5", *suite_of(place), "--scale", 5, "--label", "theirs")
    assert result.exit_code == 0, result.output
    ours, theirs = cell_folder(tmp_path, label, 5), cell_folder(tmp_path, "theirs", 5)
    assert (theirs / "records.jsonl").read_bytes() == (ours / "records.jsonl").read_bytes()
    one, other = no_times(ours), no_times(theirs)
    assert other["drift"] == one["drift"] and other["drift"]["continuations"]
    assert other["counts"] == one["counts"] and (other["drift"]["kl"] == 0) is (label == "none")
    assert other["pulse"]["seen"][-1] == one["pulse"]["seen"][-1]


def test_what_it_can_still_do_is_what_the_run_found(
    place: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tasks(tmp_path / "mine")
    asked = ("--capability", str(tmp_path / "mine"))
    run = ("run", "--suite", place / "small.yaml", "--results", tmp_path / "results", "--device", "cpu", "-q", *asked)
    assert CliRunner().invoke(cli, [*map(str, run)]).exit_code == 0
    result = invoke("--model", place / "locft-bf-5", *suite_of(place), "--scale", 5, "--label", "theirs", *asked)
    assert result.exit_code == 0, result.output
    ours, theirs = (cell_folder(tmp_path, label, 5) for label in ("locft-bf", "theirs"))
    assert (theirs / "capability.jsonl").read_bytes() == (ours / "capability.jsonl").read_bytes()
    found = json.loads((theirs / "cell.json").read_text())["capability"]
    assert found == json.loads((ours / "cell.json").read_text())["capability"]
    unedited = cell_folder(tmp_path, "none", 5) / "capability.jsonl"
    assert (theirs / "capability.jsonl").read_bytes() != unedited.read_bytes()  # not the unedited model was asked


def test_it_stands_in_the_suites_leaderboard_under_the_unedited_models_name(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    for scale in (2, 5):
        assert invoke("--model", place / f"locft-bf-{scale}", *suite_of(place), "--scale", scale).exit_code == 0
        arguments = ("--model", place / f"locft-bf-{scale}", *suite_of(place), "--scale", scale, "--label", "theirs")
        assert invoke(*arguments).exit_code == 0
    shown = CliRunner().invoke(
        cli, ["leaderboard", str(place / "small.yaml"), "--results", str(tmp_path / "results"), "--json"]
    )
    board = json.loads(shown.stdout)
    rows = {(row["method"], row["scale"]): row for row in board["rows"]}
    assert {method for method, _ in rows} == {"none", "locft-bf", "locft-bf-2", "locft-bf-5", "theirs"}
    assert {row["model"] for row in board["rows"]} == {str(place / "model")}
    for scale in (2, 5):
        ours, theirs = rows["locft-bf", scale], rows["theirs", scale]
        assert all(theirs[name] == ours[name] for name in ("reliability", "locality", "kl", "fluency", "added-latency"))
        assert theirs["weight-drift"]["value"] == pytest.approx(ours["weight-drift"]["value"])
        assert "edit-seconds" not in theirs and "edit-seconds" in ours
    assert not [note for note in board["notes"] if "left out" in note]


def test_the_manifest_says_that_it_was_scored_and_which_weights_at_each_scale(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    for scale in (2, 5):
        invoke("--model", place / f"locft-bf-{scale}", *suite_of(place), "--scale", scale, "--label", "theirs")
    [manifest] = (run.manifest for run in Store(tmp_path / "results").scan() if run.manifest["label"] == "theirs")
    assert manifest["method"]["name"] == "scored" and manifest["method"]["hparams"] is None
    assert manifest["model"]["weights_hash"] == load_lm(str(place / "model")).weights_hash
    hashes = {scale: about["weights_hash"] for scale, about in manifest["scored"].items()}
    assert hashes == {str(scale): load_lm(str(place / f"locft-bf-{scale}")).weights_hash for scale in (2, 5)}
    assert manifest["scales"] == [2, 5] and manifest["suite_regime"] == "batch"


def test_without_the_unedited_model_nothing_is_compared_and_that_is_said(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("--model", place / "locft-bf-5", "--suite", place / "small.yaml", "--scale", 5, "--json")
    assert result.exit_code == 0, result.output
    assert "left out: locality, kl, weight-drift" in result.stderr
    [row] = json.loads(result.stdout)["rows"]
    assert "reliability" in row and not {"locality", "kl", "weight-drift", "added-latency"} & set(row)
    assert row["model"] == str(place / "locft-bf-5") and not row["reason"]
    ours, theirs = (cell_folder(tmp_path, label, 5) / "records.jsonl" for label in ("locft-bf", "locft-bf-5"))
    for one, other in zip(*(path.read_text().splitlines() for path in (ours, theirs)), strict=True):
        assert {**json.loads(one), "unedited": None} == json.loads(other)


def test_without_the_unedited_model_capability_is_measured_and_has_no_ratio(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    folder = write_tasks(tmp_path / "mine")
    asked = ("--suite", place / "small.yaml", "--scale", 5, "--capability", folder, "--json")
    compared = invoke("--model", place / "locft-bf-5", *asked, "--unedited", place / "model", "--label", "theirs")
    result = invoke("--model", place / "locft-bf-5", *asked)
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)["rows"]
    [beside] = (row for row in json.loads(compared.stdout)["rows"] if row["method"] == "theirs")
    assert row["capability"] == beside["capability"]
    [ours, theirs] = (
        json.loads((cell_folder(tmp_path, label, 5) / "cell.json").read_text())["capability"]["toy"]
        for label in ("locft-bf-5", "theirs")
    )
    assert ours["value"] == theirs["value"] and ours["stderr"] == theirs["stderr"]
    assert ours["unedited"] is None and ours["difference_stderr"] is None
    again = invoke("--model", place / "locft-bf-5", *asked)
    assert again.exit_code == 0 and json.loads(again.stdout)["rows"] == [row]


def test_a_dataset_alone_is_asked_in_full_and_its_results_can_be_shown_again(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    data = write_data(tmp_path)
    result = invoke("--model", place / "locft-bf-5", "--unedited", place / "model", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)["rows"]
    assert (row["scale"], row["n"]) == (8, 8)
    again = ["leaderboard", json.loads(result.stdout)["suite"], "--results", str(tmp_path / "results"), "--json"]
    assert json.loads(CliRunner().invoke(cli, again).stdout)["rows"] == [row]


def test_the_same_command_again_does_nothing_and_half_a_cell_is_completed(
    place: Path, invoke: Invoke, tmp_path: Path
) -> None:
    arguments = ("--model", place / "locft-bf-5", *suite_of(place), "--scale", 5, "--label", "theirs")
    invoke(*arguments)
    folder = cell_folder(tmp_path, "theirs", 5)
    records, cell = (folder / "records.jsonl").read_bytes(), (folder / "cell.json").stat().st_mtime_ns
    assert invoke(*arguments).exit_code == 0
    assert (folder / "cell.json").stat().st_mtime_ns == cell
    (folder / "cell.json").unlink()
    (folder / "records.jsonl").write_bytes(records[: len(records) // 2])
    assert invoke(*arguments).exit_code == 0
    assert (folder / "records.jsonl").read_bytes() == records


def test_other_weights_under_the_same_label_and_scale_are_refused(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    where = tmp_path / "checkpoint"
    shutil.copytree(place / "locft-bf-5", where)
    arguments = ("--model", where, *suite_of(place), "--scale", 5)
    assert invoke(*arguments).exit_code == 0
    shutil.rmtree(where)
    shutil.copytree(place / "locft-bf-2", where)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "checkpoint at 5 is already the result of other weights" in result.stderr and "--label" in result.stderr


def test_a_failure_while_measuring_is_recorded_and_ends_with_exit_code_1(
    place: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*arguments: object, **more: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(Measuring, "ask_unedited", lost)
    result = invoke("--model", place / "locft-bf-5", *suite_of(place), "--scale", 5, "--label", "theirs", "--json")
    assert result.exit_code == 1
    [row] = json.loads(result.stdout)["rows"]
    assert (row["status"], row["reason"]) == ("out-of-memory", "too much")


def test_a_model_with_other_tokens_is_refused(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    from editbench.testing.tiny import tiny_lm

    lm = tiny_lm("gpt2")
    lm.model.save_pretrained(tmp_path / "other")
    lm.text.tokenizer.save_pretrained(tmp_path / "other")
    result = invoke("--model", tmp_path / "other", *suite_of(place), "--scale", 5)
    assert result.exit_code == 2
    assert "different tokenisers" in result.stderr and "--unedited" in result.stderr
    assert not list((tmp_path / "results").glob("runs/*/*/other"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "./nowhere", "--dataset", "facts"), "There is no folder or file ./nowhere"),
        (("--model", "smollm2-135m", "--unedited", "./nowhere", "--dataset", "facts"), "There is no folder or file"),
        (("--model", "smollm2-135m"), "--dataset NAME or --data FILE"),
        (("--model", "smollm2-135m", "--suite", "quickstart"), "measures at 1, 10, 50"),
        (("--model", "smollm2-135m", "--suite", "quickstart", "--scale", "9999"), "above the size of the dataset"),
        (("--model", "smollm2-135m", "--suite", "quickstart", "--scale", "0"), "is not in the range x>=1"),
        (("--model", "smollm2-135m", "--suite", "quikstart", "--scale", "1"), "quickstart"),
        (("--model", "smollm2-135m", "--dataset", "facst"), "facts"),
        (("--model", "smollm2-135m", "--suite", "quickstart", "--dataset", "facts"), "both given"),
        (("--model", "smollm2-135m", "--suite", "quickstart", "--scale", "1", "--label", "locft-bf"), "--label"),
        (("--model", "smollm2-135m", "--dataset", "facts", "--label", ".."), "--label ..: this is no name"),
        (("--model", "smollm2-135m", "--dataset", "facts", "--label", "../a"), "--label ../a: this is no name"),
        (
            ("--model", "smollm2-135m", "--dataset", "facts", "--revision", "v1"),
            "--revision v1: smollm2-135m is",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("editbench.running.score.carry_out", lambda *given: pytest.fail("loaded"))
    result = CliRunner().invoke(cli, ["score", *arguments], prog_name="editbench")
    assert result.exit_code == 2, result.output
    assert said in result.stderr and not list(tmp_path.iterdir())

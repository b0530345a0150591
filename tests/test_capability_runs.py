"""Whole runs with capability, on a tiny model: cells and manifests, what a second run does, the metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from capability_folder import rows, write_lines, write_tasks
from results_tree import save_tiny_model

from editbench.analysis.statistics import normal_interval
from editbench.base.progress import Progress
from editbench.capability import bench as bench_module
from editbench.capability.evaluate import measure
from editbench.metrics.capability import capability, capability_error, capability_ratio, capability_ratio_error
from editbench.plan.runs import RunOptions
from editbench.plan.suite_file import parse_suite
from editbench.running.launch import carry_out, prepare
from editbench.running.loaded import Loaded
from editbench.running.outcome import Results
from editbench.running.stream import Stream

SUITE = """
name: tiny
title: A tiny suite for tests
dataset: facts
models: [{model}]
methods: [{methods}]
scales: [1, 3]
regime: {regime}
protocol: {{max_new_tokens: 4}}
probes: {{rephrase: 0, locality: 1, budget: 2}}
metrics: [reliability, capability, capability-ratio]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    write_tasks(tmp_path / "mine")

    def run_it(
        capability: str = "",
        methods: str = "{method: ft-breadth-first, hparams: {passes: 2}}",
        regime: str = "batch",
        data: Path | None = None,
        max_scale: int | None = None,
        progress: Progress | None = None,
    ) -> Results:
        text = SUITE.format(model=model, methods=methods, regime=regime)
        asked = f"capability: {capability}\n".replace("MINE", str(tmp_path / "mine")) if capability else ""
        options = RunOptions(device="cpu", capability_data=None if data is None else str(data))
        return carry_out(
            prepare(parse_suite(text + asked, "s.yaml").with_options(max_scale=max_scale), options),
            tmp_path / "results",
            options,
            progress or Progress(),
        )

    return run_it


@pytest.fixture
def edits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests were in the model after each edit made."""
    made: list[int] = []
    write = Stream.write

    def counting(stream: Stream, *arguments: Any) -> None:
        write(stream, *arguments)
        made.append(stream.done)

    monkeypatch.setattr(Stream, "write", counting)
    return made


def cells(results: Results) -> dict[tuple[str, int], Any]:
    return {(r.manifest["label"], cell.scale): cell.data for r in results.runs() for cell in r.cells}


def test_each_cell_has_an_entry_per_task_and_the_manifest_their_versions_and_data(run: Any) -> None:
    results = run("MINE", methods="none, ft-breadth-first")
    found = cells(results)
    assert {tuple(cell["capability"]) for cell in found.values()} == {("toy", "toy_write")}
    for (method, _), cell in found.items():
        entry = cell["capability"]["toy"]
        assert entry["status"] == "done" and entry["n"] == 15 and entry["version"] == "3.0"
        assert method != "none" or entry["value"] == entry["unedited"]
        assert cell["timings"]["capability_s"] >= 0
    for result in results.runs():
        said = result.manifest["capability"]
        assert said["lm_eval"] and result.manifest["packages"]["lm_eval"] == said["lm_eval"]
        task = said["tasks"]["toy/toy_one"]
        assert task["version"] == "1.0" and [len(f["sha256"]) for f in task["data"]["files"]] == [64, 64]
        assert (result.folder / "cells" / "3" / "capability.jsonl").is_file()


def test_it_is_measured_only_where_the_suite_says(run: Any) -> None:
    found = cells(run("{tasks: [MINE], scales: [3]}"))
    assert found["ft-breadth-first", 1]["capability"] == {}
    assert set(found["ft-breadth-first", 3]["capability"]) == {"toy", "toy_write"}


def test_a_second_run_edits_and_measures_nothing(run: Any, edits: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    run("MINE")
    made = len(edits)
    monkeypatch.setattr(Loaded, "get", lambda *a: pytest.fail("a model was loaded"))
    run("MINE")
    assert len(edits) == made


@pytest.mark.parametrize("regime", ["batch", "{sequential: 1}"])
def test_a_finished_suite_that_asks_for_capability_later_gets_it_and_keeps_its_records(
    run: Any, edits: list[int], regime: str
) -> None:
    before = run(regime=regime)
    records = {path: path.read_bytes() for path in before.store.root.rglob("records.jsonl")}
    assert all(cell["capability"] == {} for cell in cells(before).values())
    after = run("MINE", regime=regime)
    assert {p: p.read_bytes() for p in after.store.root.rglob("records.jsonl")} == records
    assert all(cell["capability"]["toy"]["status"] == "done" for cell in cells(after).values())
    assert [r.manifest["run_id"] for r in before.runs()] == [r.manifest["run_id"] for r in after.runs()]
    without = run(regime=regime)
    assert all(cell["capability"]["toy"]["status"] == "done" for cell in cells(without).values())
    assert all(r.manifest["capability"]["tasks"] for r in without.runs())


def test_a_run_killed_among_the_tasks_goes_on_without_editing_again(
    run: Any, edits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def killed(model: Any, task: Any, *rest: Any) -> Any:
        tried.append(task.get_config("task"))
        if tried == ["toy_one", "toy_two"]:
            raise KeyboardInterrupt
        return measure(model, task, *rest)

    monkeypatch.setattr(bench_module, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run("{tasks: [MINE], scales: [1]}")
    assert edits == [1]
    found = cells(run("{tasks: [MINE], scales: [1]}"))
    assert edits == [1, 3] and tried == ["toy_one", "toy_two", "toy_two", "toy_write"]
    assert found["ft-breadth-first", 1]["capability"]["toy"]["status"] == "done"


def test_a_task_that_cannot_be_had_is_failed_and_found_once_its_data_is_there(
    run: Any, edits: list[int], tmp_path: Path
) -> None:
    yaml = tmp_path / "mine" / "toy_one.yaml"
    text = yaml.read_text().replace("dataset_path: json", "dataset_path: nobody/toy_data")
    yaml.write_text("\n".join(line for line in text.splitlines() if "dataset_kwargs" not in line) + "\n")
    (tmp_path / "data").mkdir()
    first = cells(run(f"[{yaml}, {tmp_path}/mine/toy_two.yaml]", data=tmp_path / "data"))
    entry = first["ft-breadth-first", 3]["capability"]
    assert entry["toy_one"]["status"] == "failed" and "nor is it in" in entry["toy_one"]["reason"]
    assert entry["toy_two"]["status"] == "done" and first["ft-breadth-first", 3]["status"] == "done"
    made = len(edits)
    run(f"[{yaml}, {tmp_path}/mine/toy_two.yaml]", data=tmp_path / "data")
    assert len(edits) == made
    lines = [json.loads(line) for line in (tmp_path / "mine" / "toy_one.jsonl").read_text().splitlines()]
    write_lines(tmp_path / "data" / "toy_data_test.jsonl", lines)
    last = cells(run(f"[{yaml}, {tmp_path}/mine/toy_two.yaml]", data=tmp_path / "data"))
    assert last["ft-breadth-first", 3]["capability"]["toy_one"]["status"] == "done" and len(edits) > made


def test_the_line_of_a_finished_cell_says_which_tasks_failed(run: Any, tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(Progress):
        def cell_done(self, scale: int, status: str, summary: str = "") -> None:
            said.append(summary)

    (tmp_path / "mine" / "toy_two.jsonl").unlink()
    board = run("MINE", progress=Heard()).leaderboard()
    assert len(said) == 2 and all("(1 of 2 tasks failed: toy)" in line for line in said)
    assert any("1 of 2 tasks failed: toy: 1 of its 2 tasks failed; toy_two: File" in note for note in board.notes)


def write_data(tmp_path: Path, first: int) -> Path:
    """Write local data for ``toy_one``, whose YAML then names a dataset of the hub."""
    yaml = tmp_path / "mine" / "toy_one.yaml"
    text = yaml.read_text().replace("dataset_path: json", "dataset_path: nobody/toy_data")
    yaml.write_text("\n".join(line for line in text.splitlines() if "dataset_kwargs" not in line) + "\n")
    write_lines(tmp_path / "data" / "toy_data_test.jsonl", rows(6, first))
    return tmp_path / "data"


def test_other_documents_are_measured_in_a_finished_cell_too_and_only_those(
    run: Any, edits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = write_data(tmp_path, 0), f"[{tmp_path}/mine/toy_one.yaml, {tmp_path}/mine/toy_two.yaml]"
    before = cells(run(asked, data=data))
    assert run(asked, data=data) and edits == [1, 3]
    write_lines(data / "toy_data_test.jsonl", rows(6, 3))
    tried: list[str] = []
    monkeypatch.setattr(
        bench_module, "measure", lambda m, task, *r: (tried.append(task.task_name), measure(m, task, *r))[1]
    )
    after = cells(run(asked, data=data))
    assert tried == ["toy_one", "toy_one"] and edits == [1, 3, 1, 3]
    for key, cell in after.items():
        old, new = before[key]["capability"], cell["capability"]
        assert new["toy_one"]["documents"] != old["toy_one"]["documents"] and new["toy_two"] == {
            **old["toy_two"],
            "data": new["toy_one"]["data"],
        }
    (data / "toy_data_test.jsonl").touch()
    assert cells(run(asked, data=data)) == after and len(edits) == 4  # written again, with the same documents
    assert cells(run(asked)) == after and len(edits) == 4  # no folder is given: what is there stays


def test_another_version_of_a_task_is_measured_in_a_finished_cell_too(
    run: Any, edits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "mine" / "toy_one.yaml"
    run(f"[{task}]")
    with monkeypatch.context() as patched:  # as lm-eval's own tasks are: their folder is no part of what is asked
        patched.setattr("editbench.capability.tasks.folder_hash", lambda folder: "")
        run(f"[{task}]")
        made = len(edits)
        task.write_text(task.read_text().replace("version: 1.0", "version: 1.1"))
        run(f"[{task}]")
        assert len(edits) == made  # of one version of lm-eval every task has one version
        patched.setattr("editbench.capability.desk.lm_eval_version", lambda: "9")
        found = cells(run(f"[{task}]"))
    assert len(edits) == made + 2
    assert {cell["capability"]["toy_one"]["version"] for cell in found.values()} == {"1.1"}


def test_tasks_asked_for_earlier_stay_in_the_cell(run: Any, tmp_path: Path) -> None:
    one, two = (f"[{tmp_path}/mine/{name}.yaml]" for name in ("toy_one", "toy_two"))
    before = cells(run(one))
    results = run(two)
    for key, cell in cells(results).items():
        assert set(cell["capability"]) == {"toy_one", "toy_two"}
        assert cell["capability"]["toy_one"] == before[key]["capability"]["toy_one"]
    lines = [json.loads(line) for path in tmp_path.rglob("capability.jsonl") for line in path.read_text().splitlines()]
    assert sorted({line["task"] for line in lines}) == ["toy_one", "toy_two"] and len(lines) == 2 * 15


def test_the_leaderboard_shows_capability_with_an_interval_and_the_share_that_is_left(run: Any) -> None:
    results = run("{tasks: [MINE], scales: [3]}", methods="none, ft-breadth-first")
    found = {(row.method, row.scale): row.values for row in results.leaderboard().rows}
    value = found["none", 3]["capability"]
    assert value.low is not None and value.high is not None and value.low <= value.value <= value.high
    assert found["none", 3]["capability-ratio"].value == 1.0
    assert "capability" not in found["none", 1]


def entry(**changes: Any) -> dict[str, Any]:
    base = {
        "status": "done",
        "value": 0.5,
        "stderr": 0.05,
        "unedited": 0.8,
        "unedited_stderr": 0.04,
        "difference_stderr": 0.06,
        "scale": 1.0,
    }
    return {**base, **changes}


def test_capability_by_hand() -> None:
    corpus = entry(value=30.0, unedited=40.0, scale=100.0, stderr=None, unedited_stderr=None, difference_stderr=None)
    perplexity = entry(value=12.0, unedited=9.0, scale=None)
    lost = {"status": "failed", "at": "loading", "scale": None}
    cell = {"capability": {"a": entry(), "b": entry(value=0.7, unedited=0.8), "c": corpus, "d": perplexity, "e": lost}}
    assert capability(cell) == pytest.approx((0.5 + 0.7 + 0.3) / 3)
    assert capability_ratio(cell) == pytest.approx(1.5 / 2.0)
    assert capability_error(cell) is None and capability_ratio_error(cell) is None


def test_errors_of_capability_by_hand() -> None:
    cell = {"capability": {"a": entry(), "b": entry(value=0.7)}}
    assert capability_error(cell) == pytest.approx(math.sqrt(2 * 0.05**2) / 2)
    ratio = 1.2 / 1.6
    covariance = (0.05**2 + 0.04**2 - 0.06**2) / 2
    variance = 2 * (0.05**2 + ratio**2 * 0.04**2 - 2 * ratio * covariance) / 1.6**2
    assert capability_ratio_error(cell) == pytest.approx(math.sqrt(variance))


def test_a_task_that_failed_on_the_edited_model_alone_leaves_no_capability() -> None:
    cell = {"capability": {"a": entry(), "b": {"status": "failed", "at": "edited", "scale": None}}}
    assert capability(cell) is None and capability_ratio(cell) is None


def test_no_capability_without_tasks_and_none_relative_to_nothing() -> None:
    assert capability({}) is None and capability({"capability": {}}) is None
    cell = {"capability": {"a": entry(unedited=0.0)}}
    assert capability(cell) == 0.5 and capability_ratio(cell) is None


def test_an_interval_of_a_mean_is_cut_off_at_the_metrics_limits() -> None:
    low, high = normal_interval(0.5, 0.1, (0, 1))
    assert (low, high) == pytest.approx((0.5 - 1.959964 * 0.1, 0.5 + 1.959964 * 0.1), abs=1e-6)
    assert normal_interval(0.9, 0.1, (0, 1))[1] == 1 and normal_interval(0.1, 0.1, (0, None))[0] == 0


def test_a_finished_cell_stays_when_completing_it_fails_and_its_probing_time_too(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cells(run())

    def full(stream: Stream, *arguments: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Stream, "write", full)
        assert cells(run("{tasks: [MINE], limit: 2}")) == before
    after = cells(run("{tasks: [MINE], limit: 2}"))
    for key, cell in after.items():
        assert cell["capability"] and cell["counts"] == before[key]["counts"]
        assert cell["timings"]["evaluate_s"] == before[key]["timings"]["evaluate_s"]


def test_a_stream_cut_short_by_max_scale_goes_on_where_it_ended(run: Any, edits: list[int], tmp_path: Path) -> None:
    short = run(regime="{sequential: 1}", max_scale=1)
    assert edits == [1] and sorted(cells(short)) == [("ft-breadth-first", 1)]
    assert list(tmp_path.rglob("checkpoint.safetensors"))
    run(regime="{sequential: 1}")
    assert edits == [1, 2, 3] and not list(tmp_path.rglob("checkpoint.safetensors"))

"""A run killed at any moment, then the same command again: the same bytes as a run nobody killed, apart from times.

Every state that a kill can leave on disk is made without one (:mod:`disk_states`) and gone on from in this process;
then some processes are really killed, at random moments.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from disk_states import watched
from results_tree import save_tiny_model

import editbench.running.editing
import editbench.savepoint
from editbench.base.progress import Progress
from editbench.plan.runs import RunOptions
from editbench.plan.suite_file import parse_suite
from editbench.running.launch import Prepared, carry_out, prepare
from editbench.running.outcome import Results

SUITE = """
name: kill
title: A small suite to be killed
dataset: facts
models: [{model}]
methods: [{methods}]
scales: {scales}
regime: {regime}
seeds: [0]
protocol: {{max_new_tokens: 2}}
probes: {{rephrase: 1, neighbour: 0, locality: 1, budget: 8}}
metrics: [reliability, generalisation, locality, score, retention, weight-drift]
"""
REFERENCE = Path(__file__).with_name("reference_methods.py")  # a small method of each other kind of edit
LOCATE = "steps: 2, prefixes: 0, corpus_tokens: 300"
# Another kind of edit, another way of carrying something from chunk to chunk: another line here.
METHODS = {
    "none": "none",
    "ft-depth-first": "{method: ft-depth-first, hparams: {passes: 3}}",
    "locft-bf": "{method: locft-bf, hparams: {batch_size: 2, passes: 2}}",
    "rome": f"{{method: rome, hparams: {{layer: 0, {LOCATE}}}}}",
    "memit": f"{{method: memit, hparams: {{layers: [0, 1], moment_weight: 1.0, {LOCATE}}}}}",
    "alphaedit": f"{{method: alphaedit, hparams: {{layers: [0], threshold: 0.2, {LOCATE}}}}}",
    "ultraedit": "ultraedit",
    **{name.lower(): f"{REFERENCE}:{name}" for name in ("Factors", "Codebook", "Retrieval", "Mixed")},
}
# Every state is tried with these; with the others, those in which a file that the method or its stream keeps changes.
THROUGHOUT = ("none", "ft-depth-first")
OF_THE_RUN = ("manifest.json", "cell.json", "records.jsonl")
# A chunk ends between two scales, and a scale lies within a chunk.
REGIMES = {"batch": ("batch", "[1, 2]"), "sequential": ("{sequential: 3}", "[1, 4]")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), layers=2, hidden=16)


@pytest.fixture(autouse=True)
def the_cache_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", "set by run_in")


@pytest.fixture
def saved_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream and an edit save at every chance, so that what a kill leaves lies between scales and within edits."""
    monkeypatch.setattr(editbench.running.editing, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(editbench.running.editing, "TIMES_ITS_COST", 0.0)
    monkeypatch.setattr(editbench.savepoint, "SECONDS", -1.0)
    monkeypatch.setattr(editbench.savepoint, "TIMES_ITS_COST", 0.0)


def prepared(model: Path, methods: str, regime: str, scales: str) -> Prepared:
    text = SUITE.format(model=model, methods=methods, regime=regime, scales=scales)
    return prepare(parse_suite(text, "kill.yaml"), RunOptions(device="cpu"))


def run_in(folder: Path, what: Prepared) -> Results:
    """Do what ``editbench run`` does in a new process: with another runner, and nothing in memory from before."""
    os.environ["EDITBENCH_CACHE"] = str(folder / "cache")
    return carry_out(what, folder / "results", RunOptions(device="cpu"), Progress())


def without_times(results: Path) -> dict[str, Any]:
    """Every file of a results folder, by its path; of JSON files, all but times and sizes of the process."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in results.rglob("*") if p.is_file() and p.name != ".lock"):
        name = str(path.relative_to(results))
        if path.suffix == ".json":
            data = json.loads(path.read_text())
            for key in ("timings", "memory", "started", "command", "options"):
                data.pop(key, None)
            for key in ("latency", "added_latency_s"):
                data.get("drift", {}).pop(key, None)
            found[name] = data
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def asked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that knows what the unedited model says: that it is written is tried with one method only."""
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITBENCH_CACHE", "set by run_in")
        for regime in REGIMES.values():
            run_in(folder, prepared(model, "none", *regime))
    gc.freeze()  # a run looks for garbage before each stream, among all that was ever imported
    return folder / "cache"


def kept(name: str) -> bool:
    """Whether a file is one that a method or its stream goes on from."""
    return Path(name).name not in OF_THE_RUN


@pytest.mark.usefixtures("saved_always")
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("method", METHODS)
def test_from_every_state_that_a_kill_can_leave_the_same_command_ends_with_the_same_bytes(
    method: str, regime: str, model: Path, asked: Path, tmp_path: Path
) -> None:
    what, unbroken = prepared(model, METHODS[method], *REGIMES[regime]), tmp_path / "unbroken"
    unbroken.mkdir()
    if method != "none":
        shutil.copytree(asked, unbroken / "cache")
    with watched(unbroken, tmp_path / "states", bool if method in THROUGHOUT else kept) as whole:
        assert run_in(unbroken, what).trouble == 0
    assert whole.states and not whole.unsynced
    expected = without_times(unbroken / "results")
    for state in whole.states:
        with watched(state.folder) as rest:
            assert run_in(state.folder, what).trouble == 0
        assert without_times(state.folder / "results") == expected, state
        # what was kept is not made again, but for the one that was being written
        assert sum(map(kept, rest.writes)) <= 1 + sum(map(kept, whole.writes[state.after :])), state


def test_the_same_command_again_writes_nothing(model: Path, tmp_path: Path) -> None:
    what = prepared(model, "none, ft-depth-first", *REGIMES["batch"])
    assert run_in(tmp_path, what).trouble == 0
    with watched(tmp_path) as watch:
        assert run_in(tmp_path, what).trouble == 0
    assert watch.writes == []


# -- real processes

STORM = (f"none, {METHODS['locft-bf']}, ultraedit", "{sequential: 4}", "[3, 12]")
KILLS = 3


def carried_out_by_a_child(folder: Path, model: Path) -> None:
    what = prepared(model, *STORM)
    editbench.running.editing.CHECKPOINT_SECONDS = editbench.savepoint.SECONDS = -1.0
    editbench.savepoint.TIMES_ITS_COST = editbench.running.editing.TIMES_ITS_COST = 0.0
    if run_in(folder, what).trouble:
        raise SystemExit(1)


def command_of_a_child(arguments: list[str], errors: Path) -> None:
    from editbench.cli import main

    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started these tests may have ignored
    sys.argv = ["editbench", *arguments]
    main()


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Starts processes from one that has imported everything, so that each begins at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "editbench.cli.run"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # it imports before it is told where from
        first = context.Process(target=time.sleep, args=(0,))
        first.start()
        first.join()

    def started(*target_and_arguments: Any) -> BaseProcess:
        process = context.Process(target=target_and_arguments[0], args=target_and_arguments[1:])
        process.start()
        return process

    return started


@pytest.mark.slow
def test_processes_killed_at_random_moments_end_with_the_same_bytes(
    start: Callable[..., BaseProcess], model: Path, tmp_path: Path
) -> None:
    draw, began = random.Random(0), time.monotonic()
    unbroken = start(carried_out_by_a_child, tmp_path / "unbroken", model)
    unbroken.join()
    assert unbroken.exitcode == 0
    whole, kills, attempt = time.monotonic() - began, 0, 0
    while kills < KILLS:
        attempt += 1
        folder = tmp_path / f"killed-{attempt}"
        for _ in range(3):
            process = start(carried_out_by_a_child, folder, model)
            process.join(draw.uniform(0.2, 0.8) * whole)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        finished = start(carried_out_by_a_child, folder, model)
        finished.join()
        assert finished.exitcode == 0
        assert without_times(folder / "results") == without_times(tmp_path / "unbroken" / "results")


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_that_the_same_command_continues(
    start: Callable[..., BaseProcess], model: Path, tmp_path: Path
) -> None:
    suite, results, errors = tmp_path / "kill.yaml", tmp_path / "results", tmp_path / "errors"
    suite.write_text(SUITE.format(model=model, methods="ft-depth-first", regime="batch", scales="[2, 400]"))
    process = start(command_of_a_child, ["run", "-q", "--suite", str(suite), "--results", str(results)], errors)
    wait_for(lambda: any(results.rglob("cell.json")))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert "continues" in errors.read_text() and "Traceback" not in errors.read_text()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

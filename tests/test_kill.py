"""kill -9 at random moments, then the same command again: the same bytes as a run nobody killed, apart from times."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_tree import save_tiny_model

from editbench.running.stream import checkpoint_position

SUITE = """
name: kill
title: A small suite to be killed
dataset: facts
models: [{model}]
methods: [none, ft-depth-first, locft-bf]
scales: [2, 5, 40]
regime: {regime}
seeds: [0]
protocol: {{max_new_tokens: 6}}
metrics: [reliability, generalisation, locality, score, retention, drift]
"""
KILLS = 10  # for each regime
# editbench, but for saving so often that what a kill leaves behind lies between scales and within edits
OFTEN = """
import editbench.running.runner, editbench.savepoint
editbench.running.runner.CHECKPOINT_SECONDS = editbench.savepoint.SECONDS = 0.2
editbench.savepoint.TIMES_ITS_COST = 1.0
from editbench.cli import main
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def hear_ctrl_c() -> None:
    """A shell that starts these tests in the background has them ignore Ctrl-C, and their children with them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(suite: Path, results: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OFTEN, "run", "-q", "--suite", str(suite), "--results", str(results)]
    environment = {**os.environ, "EDITBENCH_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 — no other thread runs here
    )


def finish(suite: Path, results: Path, cache: Path) -> None:
    process = start(suite, results, cache)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def without_times(results: Path) -> dict[str, Any]:
    """Every file of a results folder, by its path; of JSON files, all but times and sizes of the process."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in results.rglob("*") if p.is_file() and p.name != ".lock"):
        name = str(path.relative_to(results))
        if path.suffix == ".json":
            data = json.loads(path.read_text())
            for key in ("timings", "memory", "started", "command", "options"):
                data.pop(key, None)
            found[name] = data
        else:
            found[name] = path.read_bytes()
    return found


def leaderboard(suite: Path, results: Path) -> Any:
    """The leaderboard's JSON, but for where its runs lie and when they began."""
    command = [sys.executable, "-m", "editbench", "leaderboard", str(suite), "--results", str(results), "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for row in found["rows"]:
        for run in row["runs"]:
            del run["folder"], run["started"]
    return found


def kill_and_compare(suite: Path, folder: Path, draw: random.Random) -> set[int]:
    """Kill runs of a suite at ``KILLS`` random moments, let each be finished, and compare with one nobody killed.

    Returns how many requests were in the checkpoints of streams that kills left behind.
    """
    began = time.monotonic()
    finish(suite, folder / "unbroken", folder / "cache-unbroken")
    whole = time.monotonic() - began

    kills, attempt, left = 0, 0, set()
    while kills < KILLS:
        attempt += 1
        results, cache = folder / f"killed-{attempt}", folder / f"cache-{attempt}"
        for _ in range(4):
            process = start(suite, results, cache)
            try:
                process.communicate(timeout=draw.uniform(0.3, 1.0) * whole)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                left |= {checkpoint_position(path) or 0 for path in results.rglob("checkpoint.safetensors")}
            else:
                break
        finish(suite, results, cache)
        assert without_times(results) == without_times(folder / "unbroken")
        assert leaderboard(suite, results) == leaderboard(suite, folder / "unbroken")
    return left


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["batch", "{sequential: 4}"])
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(regime: str, model: Path, tmp_path: Path) -> None:
    suite = tmp_path / "kill.yaml"
    suite.write_text(SUITE.format(model=model, regime=regime))
    kill_and_compare(suite, tmp_path, random.Random(regime))


@pytest.mark.slow
def test_a_stream_of_a_thousand_killed_at_random_moments_ends_with_the_same_bytes(model: Path, tmp_path: Path) -> None:
    suite = tmp_path / "kill.yaml"
    text = SUITE.format(model=model, regime="{sequential: 50}").replace("[2, 5, 40]", "[100, 1000]")
    text = text.replace("[none, ft-depth-first, locft-bf]", "[locft-bf, ultraedit]")
    suite.write_text(text + "probes: {rephrase: 1, neighbour: 1, locality: 0, budget: 100}\n")
    left = kill_and_compare(suite, tmp_path, random.Random("a thousand"))
    assert left - {0, 100, 1000}  # some went on from between two scales


@pytest.mark.slow
def test_the_same_command_again_does_nothing(model: Path, tmp_path: Path) -> None:
    suite, results = tmp_path / "kill.yaml", tmp_path / "results"
    suite.write_text(SUITE.format(model=model, regime="batch"))
    finish(suite, results, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.json*")}
    finish(suite, results, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.json*")} == before


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_continues(model: Path, tmp_path: Path) -> None:
    suite, results = tmp_path / "kill.yaml", tmp_path / "results"
    suite.write_text(SUITE.format(model=model, regime="batch").replace("[2, 5, 40]", "[2, 5, 400]"))
    process = start(suite, results, tmp_path / "cache")
    wait_for(lambda: any(results.rglob("cell.json")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"continues" in errors and b"Traceback" not in errors


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

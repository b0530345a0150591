"""`editbench tune` on tiny models: budgets, kills, two processes, mistakes, a user's own requests."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from results_tree import save_tiny_model

from editbench.base.progress import Progress
from editbench.cli import cli
from editbench.datasets import DatasetSpec, load_dataset
from editbench.errors import UserError
from editbench.plan.runs import RunOptions
from editbench.plan.settings_file import read_settings
from editbench.tune import launch
from editbench.tune.bench import Bench
from editbench.tune.budget import Budget
from editbench.tune.frame import Frame
from editbench.tune.launch import search
from editbench.tune.table import as_rows

# -- on a model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), layers=3, hidden=16)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))


def frame(model: Path, *scales: int) -> Frame:
    return Frame(str(model), DatasetSpec(name="facts"), scales=scales or (4,), objective="likelihood", keep=0.0)


def search_there(root: Path, model: Path, trials: int = 3) -> launch.Found:
    budget, options = Budget(trials=trials), RunOptions(device="cpu")
    return search(["locft-bf"], frame(model, 4), budget, root / "tune" / "x", options, progress=Progress())


def test_every_method_gets_the_same_budget_and_a_file_of_settings_comes_out(model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = search(
        ["locft-bf", "ultraedit"], frame(model, 4, 8), Budget(trials=2), tmp_path / "tune" / "x",
        RunOptions(device="cpu"), progress=Progress(), said=said.append,
    )  # fmt: skip
    assert len(said) == len(found.tried) == 8 and found.lacking == ()
    assert {(row["method"], row["scale"], row["trials"]) for row in as_rows(found.tried, frame(model, 4, 8))} == {
        (method, scale, 2) for method in ("locft-bf", "ultraedit") for scale in (4, 8)
    }
    kept = read_settings(found.settings)
    assert kept.model.name == str(model) and len(kept.model.weights_hash) == 64
    assert [entry["scales"] for entry in kept.settings["locft-bf"]] == [[1, 5], [6, None]]
    assert kept.search["requests"]["hash"] == load_dataset("facts").content_hash
    assert "2 trials in" in kept.settings["ultraedit"][0]["searched"]
    rows = list(csv.DictReader((found.settings.parent / "trials.csv").open(encoding="utf-8")))
    assert len(rows) == 8 and {row["outcome"] for row in rows} <= {"done", "pruned"}
    assert (found.settings.parent / "best.svg").is_file()

    suite = tmp_path / "small.yaml"
    suite.write_text(
        f"name: small\ntitle: Small\ndataset: facts\nmodels: ['{model}']\nmethods: [locft-bf]\nscales: [4]\n"
        "probes: {rephrase: 0, neighbour: 0, locality: 0}\nprotocol: {max_new_tokens: 2}\nmetrics: [reliability]\n"
    )
    arguments = [
        "run",
        "-q",
        "--suite",
        suite,
        "--settings",
        found.settings,
        "--results",
        tmp_path / "r",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="editbench")
    assert done.exit_code == 0 and "searched (x/settings.yaml" in " ".join(done.stdout.split()), done.output


def test_the_same_search_twice_has_the_same_values_and_the_second_measures_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = search_there(tmp_path, model), search_there(tmp_path / "other", model)
    plain = lambda found: [(one.hparams, one.value) for one in found.tried]  # noqa: E731
    assert plain(first) == plain(other)
    monkeypatch.setattr(Bench, "measure", lambda *_: pytest.fail("measured again"))
    assert search_there(tmp_path, model).tried == first.tried


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        first = context.Process(target=time.sleep, args=(0,))
        first.start()
        first.join()

    def started(target: Any, *arguments: Any) -> BaseProcess:
        process = context.Process(target=target, args=arguments)
        process.start()
        return process

    return started


def numbers(folder: Path) -> list[dict[str, str]]:
    """Return every trial of a search, without its time."""
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if "seconds" not in key and key != "trial"} for row in rows]


@pytest.mark.slow
def test_a_search_killed_twice_ends_with_the_same_trials(
    start: Callable[..., BaseProcess], model: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    whole = start(search_there, tmp_path / "whole", model)
    whole.join()
    lasted = time.monotonic() - began
    for part in (0.4, 0.5):
        process = start(search_there, tmp_path / "killed", model)
        process.join(part * lasted)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    last = start(search_there, tmp_path / "killed", model)
    last.join()
    assert last.exitcode == whole.exitcode == 0
    assert numbers(tmp_path / "killed" / "tune" / "x") == numbers(tmp_path / "whole" / "tune" / "x")


@pytest.mark.slow
def test_two_processes_share_one_search_and_do_nothing_twice(
    start: Callable[..., BaseProcess], model: Path, tmp_path: Path
) -> None:
    both = [start(search_there, tmp_path, model, 4) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    rows = numbers(tmp_path / "tune" / "x")
    assert len(rows) == len({tuple(row.items()) for row in rows}) == 4


# -- mistakes


def tune(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["tune", *map(str, arguments)], prog_name="editbench")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("locft-bf", "--objective", "harmonious"), "Did you mean harmonic"),
        (("none",), "none declares no space to search"),
        (("locftbf",), "Did you mean locft-bf"),
        (("locft-bf", "--trials", 2, "--hours", 1), "--trials and --hours are both given"),
        (("locft-bf", "--scales", "10,1"), "expected numbers that ascend"),
        (("locft-bf", "--scales", "1000000"), "requests to search on, and --scales asks for 1,000,000"),
        (("locft-bf", "--holdout", "0.5"), "--data and --holdout belong together"),
        (("locft-bf", "memit", "--study", "location"), "A location study is of one method"),
        (("memit", "--study", "location"), "memit has no hyper-parameters layer and module"),
        (("locft-bf", "--study", "location", "--modules", "down,head"), "There are no weights called 'head'"),
        (("locft-bf", "--study", "location", "--scales", "2,4"), "A location study has one scale"),
    ],
)
def test_a_mistake_is_answered_in_three_lines_before_anything_is_written(
    arguments: tuple[object, ...], said: str, model: Path, tmp_path: Path
) -> None:
    done = tune(*arguments, "--model", model, "--results", tmp_path / "r")
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3 and not (tmp_path / "r").exists()


def own_method(folder: Path, space: str, more: str = "") -> str:
    """Write a method with one hyper-parameter, and return its address."""
    path = folder / "own.py"
    path.write_text(
        "from typing import Annotated\nfrom editbench.method import Hparams, Method, WeightEdit\n"
        f"from editbench.spaces import LogRange, Range\n\nclass Own(Method):\n    'Own.'\n    name = 'own'\n{more}"
        f"    class Hparams(Hparams):\n        rate: Annotated[float, {space}] = 1.0\n"
        "    def edit(self, lm, requests, rng):\n        return WeightEdit({})\n"
    )
    return f"{path}:Own"


def test_a_space_with_its_ends_exchanged_is_named(model: Path, tmp_path: Path) -> None:
    done = tune(own_method(tmp_path, "LogRange(1.0, 0.1)"), "--model", model, "--results", tmp_path / "r")
    assert done.exit_code == 2 and "own: the space of rate has its lower end 1 above its upper end 0.1" in done.stderr


def test_a_method_of_another_regime_is_refused_with_what_to_type(model: Path, tmp_path: Path) -> None:
    own = own_method(tmp_path, "Range(0.0, 1.0)", "    regimes = frozenset({'sequential'})\n")
    done = tune(own, "--model", model, "--results", tmp_path / "r")
    assert done.exit_code == 2 and "own does not work in the batch regime" in done.stderr and "--chunk" in done.stderr


def test_another_search_under_the_same_name_is_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune" / "x"
    launch.claim_folder(folder, frame(model), "settings")
    launch.claim_folder(folder, frame(model, 4, 8), "settings")
    before = (folder / "search.json").read_bytes()
    with pytest.raises(UserError, match="holds a search with objective 'likelihood', and this one has 'harmonic'"):
        launch.claim_folder(folder, Frame(str(model), DatasetSpec(name="facts"), scales=(4,), keep=0.0), "settings")
    with pytest.raises(UserError, match="holds a search with study 'settings', and this one has 'location'"):
        launch.claim_folder(folder, frame(model), "location")
    assert (folder / "search.json").read_bytes() == before


# -- a user's own requests


def test_what_was_held_out_to_search_on_is_left_out_of_runs_by_itself(model: Path, tmp_path: Path) -> None:
    import json

    data = tmp_path / "mine.jsonl"
    rows = [
        {
            "prompt": f"The mayor of Town{n} is",
            "subject": f"Town{n}",
            "target_new": "Ann",
            "target_true": "Bob",
            "probes": [],
        }
        for n in range(40)
    ]
    data.write_text("".join(json.dumps({"id": str(n), **row}) + "\n" for n, row in enumerate(rows)))
    done = tune(
        "locft-bf", "--model", model, "--data", data, "--holdout", 0.5, "--scales", 4, "--trials", 1, "--keep", 0,
        "--objective", "reliability", "--name", "mine", "--results", tmp_path, "--device", "cpu", "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = tmp_path / "tune" / "mine" / "settings.yaml"
    held = read_settings(settings).holdout
    assert held is not None and held.share == 0.5

    suite = tmp_path / "small.yaml"
    text = f"name: small\ntitle: Small\ndataset: '{data}'\nmodels: ['{model}']\nmethods: [locft-bf]\nscales: [4]\n"
    suite.write_text(text + "probes: {rephrase: 0, neighbour: 0, locality: 0}\nmetrics: [reliability]\n")
    run = ["run", "--suite", str(suite), "--dry-run"]
    plain = CliRunner().invoke(cli, run, prog_name="editbench")
    with_them = CliRunner().invoke(cli, [*run, "--settings", str(settings)], prog_name="editbench")
    assert "held out" not in plain.stderr and "of 40 requests are held out" in with_them.stderr, with_them.output
    searched = {
        request.id for request in load_dataset(DatasetSpec(name=str(data), holdout=0.5, side="search")).requests
    }
    left = {request.id for request in load_dataset(DatasetSpec(name=str(data), holdout=0.5)).requests}
    assert searched and not searched & left and len(searched | left) == 40


def test_a_holdout_too_small_for_the_scale_says_how_large_it_must_be(model: Path, tmp_path: Path) -> None:
    done = tune("locft-bf", "--model", model, "--data", "x.jsonl", "--holdout", 0.5, "--results", tmp_path / "r")
    assert done.exit_code == 2 and "x.jsonl" in done.stderr
    arguments = ("locft-bf", "--model", model, "--data", "facts", "--holdout", 0.001, "--results", tmp_path / "r")
    done = tune(*arguments)
    assert done.exit_code == 2 and "Type --holdout 0." in done.stderr and not (tmp_path / "r").exists()

"""Searches: what is proposed, what is kept, what a kill or a second process does to it, what comes out."""

from __future__ import annotations

import csv
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated, Any

import pytest
from click.testing import CliRunner, Result
from results_tree import save_tiny_model

from editbench.base.progress import Progress
from editbench.cli import cli
from editbench.datasets import DatasetSpec, load_dataset
from editbench.errors import UnknownName, UserError
from editbench.method import Edit, Hparams, Method, WeightEdit
from editbench.models.lm import ModelShape
from editbench.plan.runs import RunOptions
from editbench.plan.settings import settings_for
from editbench.plan.settings_file import read_settings
from editbench.plan.suite import Suite
from editbench.spaces import Blocks, Choice, Depth, LogRange, Range
from editbench.testing import tiny_lm
from editbench.tune import launch
from editbench.tune.bench import Bench, Measured
from editbench.tune.budget import Budget
from editbench.tune.figures import best_so_far, files
from editbench.tune.frame import Frame, ranges
from editbench.tune.launch import search
from editbench.tune.objective import OBJECTIVES, objective_named
from editbench.tune.search import Search, Task
from editbench.tune.space import SearchSpace
from editbench.tune.table import as_rows
from editbench.tune.trial import Tried, best

HERE = Path(__file__)


class Toy(Method):
    """Has a space of every kind; what it is worth is said by :class:`FakeBench`."""

    name = "toy"

    class Hparams(Hparams):
        rate: Annotated[float, LogRange(1e-4, 1.0)] = 1e-2
        share: Annotated[float, Range(0.0, 1.0)] = 0.5
        steps: Annotated[int, Range(1, 9)] = 12
        layer: Annotated[int, Depth(0.5)] = 1
        blocks: Annotated[tuple[int, ...], Blocks((0, 2), 0.5)] = (0, 1, 2)
        order: Annotated[str, Choice(("a", "b"))] = "c"

    def edit(self, lm: Any, requests: Any, rng: Any) -> Edit:
        return WeightEdit({})


TOY = f"{HERE}:Toy"
SHAPE = ModelShape("llama", 11, 8, 16, 100, 1000)


# -- objective, scales, budget


def test_the_objective_is_the_harmonic_mean_of_its_metrics() -> None:
    found = {"reliability": 0.5, "generalisation": 1.0, "ns": 0.25}
    assert objective_named("harmonic").value(found) == pytest.approx(3 / (2 + 1 + 4))
    assert objective_named("harmonic").value({"reliability": 1.0, "ns": 1.0}) == 0
    assert objective_named("reliability").value(found) == 0.5
    from editbench.metrics import METRICS

    assert all(
        METRICS[name].range == (0, 1) and METRICS[name].direction == "higher"
        for o in OBJECTIVES.values()
        for name in o.metrics
    )
    with pytest.raises(UnknownName, match=r"objective named 'harmonious'.*\n.*harmonic"):
        Frame("smollm2-135m", DatasetSpec(name="facts"), objective="harmonious")


def test_settings_hold_up_to_the_geometric_mean_of_neighbouring_scales() -> None:
    assert ranges([100]) == {100: [1, None]}
    assert ranges([100, 1000, 10_000]) == {100: [1, 316], 1000: [317, 3162], 10_000: [3163, None]}
    for wrong in ([10, 1], [1, 1], [], [0]):
        with pytest.raises(UserError, match="expected numbers that ascend"):
            ranges(wrong)


def tried(number: int, value: float | None, keeps: float | None = 1.0, **known: Any) -> Tried:
    return Tried(
        "toy",
        8,
        number,
        **{"outcome": "done", "hparams": {"rate": 0.1}, "seconds": 1.0, **known},
        value=value,
        keeps=keeps,
    )


def test_a_budget_counts_trials_with_those_under_way_or_hours_of_those_that_ended() -> None:
    three = [tried(number, 0.5, seconds=360) for number in range(3)]
    assert Budget(trials=4).left(three) == 0.25 and Budget(trials=4).left(three, running=1) == 0
    assert Budget(hours=0.6).left(three, running=5) == pytest.approx(0.5)
    assert (str(Budget(trials=4)), str(Budget(hours=0.5))) == ("4 trials", "0.5 hours")


def test_the_best_keeps_capability_if_any_does_and_is_the_first_of_equals() -> None:
    some = [tried(0, 0.4), tried(1, 0.9, keeps=0.5), tried(2, 0.6), tried(3, 0.6), tried(4, 0.95, outcome="pruned")]
    assert best(some, keep=0.9) is some[2] and best(some, keep=0.0) is some[1]
    assert best(some[1:2], keep=0.9) is some[1] and not some[1].allowed(0.9)
    assert best([tried(0, None, outcome="failed")], 0.9) is None


# -- spaces


class Fixed:
    """A trial that takes what it is told, and notes what was asked."""

    def __init__(self, take: Callable[[Any, Any], Any]) -> None:
        self.take, self.asked = take, {}  # type: ignore[var-annotated]

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        self.asked[name] = (low, high, log)
        return float(self.take(low, high))

    def suggest_int(self, name: str, low: int, high: int) -> int:
        self.asked[name] = (low, high)
        return int(self.take(low, high))

    def suggest_categorical(self, name: str, values: Any) -> Any:
        self.asked[name] = values
        return self.take(values[0], values[-1])


def test_every_space_reaches_its_ends_and_the_methods_own_value() -> None:
    space = SearchSpace.of(Toy, SHAPE, Toy.Hparams().model_dump())
    low, high = Fixed(min), Fixed(lambda a, b: b)
    assert space.ask(high) == {"rate": 1.0, "share": 1.0, "steps": 12, "layer": 10, "blocks": (8, 9, 10), "order": "c"}  # type: ignore[arg-type]
    assert space.ask(low)["layer"] == 1 and space.ask(low)["blocks"] == ()  # type: ignore[arg-type]
    assert high.asked["blocks.last"] == (2, 10) and high.asked["blocks.size"] == (0, 2, 3)
    assert high.asked["rate"] == (1e-4, 1.0, True) and high.asked["layer"] == (1, 10)


def test_a_search_begins_with_the_methods_own_settings() -> None:
    import optuna

    own = Toy.Hparams(layer=7).model_dump()
    space, study = SearchSpace.of(Toy, SHAPE, own), optuna.create_study(direction="maximize")
    study.enqueue_trial(space.first())
    assert space.ask(study.ask()) == own
    gaps = SearchSpace.of(Toy, SHAPE, {**own, "blocks": (1, 4)})
    assert not any(name.startswith("blocks") for name in gaps.first())


def test_every_registered_methods_own_settings_are_the_first_trial() -> None:
    import optuna

    from editbench.base.plugins import names
    from editbench.plan.address import METHODS
    from editbench.plan.registry import load_method

    shape = ModelShape("llama", 30, 576, 1536, 49152, 3_540_096)
    searched = [name for name in names(METHODS) if name != "none"]
    for name in searched:
        method = load_method(name)
        own = settings_for(method, shape).values.model_dump()
        space, study = SearchSpace.of(method, shape, own), optuna.create_study(direction="maximize")
        study.enqueue_trial(space.first())
        assert space.ask(study.ask()) == {key: own[key] for key in space.spaces}, name
        for _ in range(20):
            try:
                method.Hparams(**{**own, **space.ask(study.ask())})
            except ValueError as error:
                pytest.fail(f"{name}: {error}")
    with pytest.raises(UserError, match="none declares no space to search"):
        SearchSpace.of(load_method("none"), shape, {})


# -- the search


class FakeBench:
    """Measures nothing: says what :meth:`value` does of the hyper-parameters of a trial."""

    def __init__(self, frame: Frame, value: Callable[[Mapping[str, Any], int], Any]) -> None:
        self.frame, self.value, self.asked = frame, value, []  # type: ignore[var-annotated]
        self.lm = tiny_lm("llama")

    def model(self) -> Any:
        return self.lm

    def plan(self, suite: Suite) -> Any:
        return suite.methods[0].hparams[self.frame.model]

    def measure(self, plan: Mapping[str, Any], requests: int) -> Measured:
        self.asked.append((dict(plan), requests))
        found = self.value(plan, requests)
        if isinstance(found, Measured):
            return found
        return Measured("done", "", {"reliability": found, "capability-ratio": 1.0}, 1.0)


def searched(
    folder: Path, value: Any, trials: int = 12, keep: float = 0.9, **frame: Any
) -> tuple[list[Tried], FakeBench]:
    what = Frame("fake", DatasetSpec(name="facts"), scales=(8,), objective="reliability", keep=keep, **frame)
    bench = FakeBench(what, value)
    seeker = Search(bench, folder, Budget(trials=trials), lambda *_: None)  # type: ignore[arg-type]
    assert seeker.run([TOY]) == []
    return seeker.tried(Task(TOY, 8)), bench


def peak(plan: Mapping[str, Any], requests: int) -> float:
    """Best at a rate of 0.3, worth nothing three orders of magnitude away."""
    return max(0.0, 1 - abs(math.log10(plan["rate"] / 0.3)) / 3)


def test_a_search_finds_a_better_rate_than_the_methods_own(tmp_path: Path) -> None:
    found, _ = searched(tmp_path, peak, trials=30)
    top = best(found, 0.9)
    assert top is not None and top.value is not None and found[0].value is not None
    assert found[0].hparams["rate"] == 1e-2 and top.value > 0.9 > found[0].value
    assert len(found) == 30 and [one.number for one in found] == list(range(30))


def test_who_loses_after_fewer_requests_is_ended_there(tmp_path: Path) -> None:
    found, bench = searched(tmp_path, peak, trials=30)
    ended = [one for one in found if one.outcome == "pruned"]
    assert ended and all(one.metrics for one in ended)
    assert sum(requests == 8 for _, requests in bench.asked) == len(found) - len(ended)
    assert sum(requests == 2 for _, requests in bench.asked) == len(found)


def test_what_loses_capability_does_not_win(tmp_path: Path) -> None:
    def greedy(plan: Mapping[str, Any], requests: int) -> Measured:
        metrics = {"reliability": min(1.0, plan["rate"] + 0.1), "capability-ratio": 1 - 0.5 * plan["rate"]}
        return Measured("done", "", metrics, 1.0)

    found, _ = searched(tmp_path, greedy, trials=25)
    top = best(found, 0.9)
    assert top is not None and top.hparams["rate"] <= 0.2 and max(one.hparams["rate"] for one in found) > 0.2


def test_a_trial_that_breaks_or_diverges_is_noted_and_the_search_goes_on(tmp_path: Path) -> None:
    def breaks(plan: Mapping[str, Any], requests: int) -> Any:
        if plan["rate"] < 1e-3:
            return Measured("failed", "it broke", {}, 2.0)
        return Measured("diverged", "too fast", {}, 2.0) if plan["rate"] > 0.1 else peak(plan, requests)

    found, _ = searched(tmp_path, breaks, trials=20)
    outcomes = {one.outcome: one for one in found}
    assert {"done", "failed", "diverged"} <= set(outcomes) and len(found) == 20
    assert (outcomes["failed"].reason, outcomes["failed"].value, outcomes["failed"].seconds) == ("it broke", None, 2.0)
    assert outcomes["diverged"].value == 0.0


class Cut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("cuts", [(1,), (3, 7), (4, 5, 6)])
def test_a_search_that_is_cut_off_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    whole, _ = searched(tmp_path / "whole", peak)
    folder, measured = tmp_path / "cut", [0]

    def cut(plan: Mapping[str, Any], requests: int) -> float:
        measured[0] += 1
        if measured[0] in cuts:
            raise Cut
        return peak(plan, requests)

    for _ in cuts:
        with pytest.raises(Cut):
            searched(folder, cut)
    found, _ = searched(folder, cut)
    assert [(one.hparams, one.value, one.outcome) for one in found] == [
        (one.hparams, one.value, one.outcome) for one in whole
    ]


def test_a_trial_that_was_measured_and_not_told_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import editbench.tune.search as room

    def cut(*_: Any) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(room, "_tell", cut)
        with pytest.raises(Cut):
            searched(tmp_path, peak, trials=3)
    found, bench = searched(tmp_path, peak, trials=3)
    assert len(found) == 3 and len(bench.asked) == 4  # two trials of two looks each: the first was kept


def test_a_search_whose_budget_is_spent_measures_nothing_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    first, _ = searched(tmp_path, peak, trials=5)
    again, bench = searched(tmp_path, peak, trials=5)
    more, after = searched(tmp_path, peak, trials=7)
    assert again == first == more[:5] and not bench.asked and len(more) == 7 and after.asked


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


def test_a_space_with_its_ends_exchanged_is_named(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from typing import Annotated\nfrom editbench.method import Hparams, Method, WeightEdit\n"
        "from editbench.spaces import LogRange\n\nclass Own(Method):\n    'Own.'\n    name = 'own'\n"
        "    class Hparams(Hparams):\n        rate: Annotated[float, LogRange(1.0, 0.1)] = 1.0\n"
        "    def edit(self, lm, requests, rng):\n        return WeightEdit({})\n"
    )
    done = tune(f"{own}:Own", "--model", model, "--results", tmp_path / "r")
    assert done.exit_code == 2 and "own: the space of rate has its lower end 1 above its upper end 0.1" in done.stderr


def test_a_method_of_another_regime_is_refused_with_what_to_type(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from typing import Annotated\nfrom editbench.method import Hparams, Method, WeightEdit\n"
        "from editbench.spaces import Range\n\nclass Own(Method):\n    'Own.'\n    name = 'own'\n"
        "    regimes = frozenset({'sequential'})\n"
        "    class Hparams(Hparams):\n        rate: Annotated[float, Range(0.0, 1.0)] = 1.0\n"
        "    def edit(self, lm, requests, rng):\n        return WeightEdit({})\n"
    )
    done = tune(f"{own}:Own", "--model", model, "--results", tmp_path / "r")
    assert done.exit_code == 2 and "own does not work in the batch regime" in done.stderr and "--chunk" in done.stderr


def test_another_search_under_the_same_name_is_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune" / "x"
    launch.claim_folder(folder, frame(model))
    launch.claim_folder(folder, frame(model, 4, 8))
    before = (folder / "search.json").read_bytes()
    with pytest.raises(UserError, match="holds a search with objective 'likelihood', and this one has 'harmonic'"):
        launch.claim_folder(folder, Frame(str(model), DatasetSpec(name="facts"), scales=(4,), keep=0.0))
    assert (folder / "search.json").read_bytes() == before


# -- figures


def test_the_best_so_far_never_falls_and_counts_only_what_keeps_capability() -> None:
    some = [tried(0, 0.3), tried(1, 0.9, keeps=0.1), tried(2, 0.2, outcome="pruned"), tried(3, 0.5), tried(4, 0.4)]
    hours, values = best_so_far(some, keep=0.9)
    assert values == [0.3, 0.3, 0.3, 0.5, 0.5] and hours[-1] == pytest.approx(5 / 3600)


def test_figures_are_the_same_bytes_for_the_same_trials_and_one_per_method_and_scale() -> None:
    some = [
        tried(n, 0.1 * n, hparams={"rate": 10.0**-n, "blocks": [n, n + 1], "order": "ab"[n % 2], "on": None})
        for n in range(5)
    ]
    drawn, again = dict(files(some, 0.9, "harmonic")), dict(files(some, 0.9, "harmonic"))
    assert drawn == again and list(drawn) == ["best.svg", "effects-toy-8.svg"]
    assert b"rate" in drawn["effects-toy-8.svg"]
    assert dict(files([tried(0, None, outcome="failed")], 0.9, "harmonic")) == {}


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

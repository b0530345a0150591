"""What a search proposes, ends early, keeps after a cut, and calls the best; on a bench that measures nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest

from editbench.datasets import DatasetSpec
from editbench.errors import UnknownName, UserError
from editbench.method import Edit, Hparams, Method, WeightEdit
from editbench.models.lm import ModelShape
from editbench.plan.settings import settings_for
from editbench.plan.suite import Suite
from editbench.spaces import Blocks, Choice, Depth, LogRange, Range
from editbench.testing import tiny_lm
from editbench.tune.bench import Measured
from editbench.tune.budget import Budget
from editbench.tune.figures import best_so_far, files
from editbench.tune.frame import Frame, ranges
from editbench.tune.objective import OBJECTIVES, objective_named
from editbench.tune.search import Search, Task
from editbench.tune.space import SearchSpace
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
    assert objective_named("harmonic").value(found, 100) == pytest.approx(3 / (2 + 1 + 4))
    assert objective_named("harmonic").value({"reliability": 1.0, "ns": 1.0}, 50) == pytest.approx(3 / (1 + 1 + 100))
    assert objective_named("reliability").value(found, 100) == 0.5
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

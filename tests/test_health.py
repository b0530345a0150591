"""A collapse is seen where it happens, recorded with its curve, and ends the run only if the suite says so."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from results_tree import save_tiny_model

import editbench
from editbench.measure.collapse import due, general_text, jumped, perplexity
from editbench.metrics.collapse import Pulse, collapsed_at
from editbench.results.store import Status
from editbench.running.runner import Runner
from editbench.testing.tiny import tiny_lm

NOISY = '''
import torch
from editbench.method import Hparams, Method, WeightEdit

class Noisy(Method):
    """Add noise, and from some number of requests on so much that nothing is a number any more."""
    name = "noisy"
    regimes = frozenset({"batch", "sequential"})
    written = 0
    class Hparams(Hparams):
        ruin_at: int
    def edit(self, lm, requests, rng):
        self.written += len(requests)
        name = lm.layout.weight_name(2, "down")
        noise = torch.randn(lm.parameter(name).shape, generator=rng)
        if self.written < self.hparams.ruin_at:
            return WeightEdit({name: noise})
        last = f"{lm.layout.final_norm}.weight"
        return WeightEdit({name: noise, last: torch.full_like(lm.parameter(last), 1e38)})
'''
SUITE = """
name: noise
title: A model that collapses
dataset: facts
models: [{model}]
methods: [{{method: {method}, hparams: {{ruin_at: {ruin_at}}}}}]
scales: [1, 4, 20]
regime: {regime}
on_collapse: {on_collapse}
protocol: {{max_new_tokens: 2}}
probes: {{rephrase: 0, neighbour: 0, locality: 0}}
metrics: [reliability, perplexity, perplexity-ratio, collapse-point]
"""


def test_perplexity_is_that_of_a_plain_loop_over_the_text() -> None:
    lm = tiny_lm("llama")
    [ids] = lm.text.prompts([general_text()])
    ids = ids[: lm.context_length]
    total = 0.0
    for position in range(1, len(ids)):
        scores = torch.log_softmax(lm.model(input_ids=torch.tensor([ids[:position]])).logits[0, -1], -1)
        total -= scores[ids[position]].item()
    assert perplexity(lm) == pytest.approx(math.exp(total / (len(ids) - 1)), rel=1e-4)


def test_a_model_that_says_nan_has_infinite_perplexity() -> None:
    lm = tiny_lm("llama")
    lm.parameter(lm.layout.weight_name(1, "down")).data.fill_(math.nan)
    assert perplexity(lm) == math.inf


def test_looks_are_at_growing_distances() -> None:
    seen: list[Pulse] = []
    for done in range(1, 1001):
        if due(seen, done):
            seen.append(Pulse(done, 1.0, 0.0))
    looks = [pulse.requests for pulse in seen]
    assert looks[:11] == list(range(1, 12)) and len(looks) < 65
    assert all(after <= math.ceil(1.1 * before) for before, after in pairwise(looks))


def test_a_collapse_is_placed_at_the_first_look_above_ten_times_or_at_no_number() -> None:
    fine, bad, lost = Pulse(1, 90.0, 0.1), Pulse(5, 101.0, 0.2), Pulse(9, math.inf, 0.3)
    assert collapsed_at([fine, bad, lost], 10.0) == 5
    assert collapsed_at([fine, lost], 10.0) == 9
    assert collapsed_at([fine], 10.0) is None and collapsed_at([], 10.0) is None
    assert collapsed_at([Pulse(3, math.nan, 0.0)], 10.0) == 3


def test_a_pulse_survives_json() -> None:
    for pulse in (Pulse(3, 12.5, 0.25), Pulse(4, math.inf, math.inf)):
        assert Pulse.of(json.loads(json.dumps(pulse.as_list(), allow_nan=False))) == pulse


def test_a_jump_of_the_weights_calls_for_a_look_before_its_time() -> None:
    seen = [Pulse(100, 12.0, 0.4)]
    assert not jumped(seen, 0.4) and not jumped(seen, 0.49) and jumped(seen, 0.51)
    assert jumped(seen, math.nan) and jumped(seen, math.inf)
    assert not jumped([], 9.0) and not jumped([Pulse(1, 12.0, 0.0)], 0.0)
    assert not jumped([Pulse(1, 12.0, math.nan)], math.nan)  # nobody knows the unedited weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def run(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> Any:
    monkeypatch.setenv("EDITBENCH_CACHE", str(folder / "cache"))
    (folder / "own.py").write_text(NOISY)
    text = SUITE.format(model=model, method=f"{folder / 'own.py'}:Noisy", **values)
    (folder / "noise.yaml").write_text(text)
    return editbench.run(folder / "noise.yaml", results=folder / "results")


@pytest.mark.parametrize("regime", ["batch", "{sequential: 2}"])
@pytest.mark.parametrize("on_collapse", ["continue", "stop"])
def test_the_suite_says_whether_a_collapsed_run_goes_on(
    regime: str, on_collapse: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(model, tmp_path, monkeypatch, regime=regime, on_collapse=on_collapse, ruin_at="4")
    [found] = results.runs()
    cells = {cell.scale: cell for cell in found.cells}
    assert sorted(cells) == [1, 4, 20]
    assert cells[1].data["pulse"]["collapsed_at"] is None and cells[4].data["pulse"]["collapsed_at"] == 4
    assert cells[20].status is (Status.DONE if on_collapse == "continue" else Status.DIVERGED)
    assert [("collapsed at 4" in row.reason) for row in results.leaderboard().rows][1] is True
    assert results.trouble == 0


def test_a_collapse_between_two_looks_is_seen_at_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(model, tmp_path, monkeypatch, regime="{sequential: 1}", on_collapse="stop", ruin_at="12")
    [found] = results.runs()  # looks are due at 11 and 13
    assert found.cells[-1].data["reason"].startswith("the model collapsed at 12 requests")


def test_a_run_killed_while_a_collapsed_scale_is_measured_ends_as_the_unbroken_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"regime": "{sequential: 2}", "on_collapse": "stop", "ruin_at": "4"}
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    [whole] = run(model, tmp_path / "whole", monkeypatch, **given).runs()
    measure = Runner._measure

    def killed(self: Runner, editing: Any, measuring: Any, scale: int) -> None:
        if scale == 4:
            raise KeyboardInterrupt
        measure(self, editing, measuring, scale)

    with monkeypatch.context() as patched:
        patched.setattr(Runner, "_measure", killed)
        with pytest.raises(KeyboardInterrupt):
            run(model, tmp_path / "broken", monkeypatch, **given)
    [broken] = run(model, tmp_path / "broken", monkeypatch, **given).runs()
    for one, other in zip(whole.cells, broken.cells, strict=True):
        assert (one.scale, one.status, one.data["reason"]) == (other.scale, other.status, other.data["reason"])
        for part in ("counts", "pulse", "edit"):
            assert one.data[part] == other.data[part]


def test_the_curve_goes_through_every_chunk_of_a_sequential_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = run(model, tmp_path, monkeypatch, regime="{sequential: 2}", on_collapse="continue", ruin_at="99").runs()
    seen = [Pulse.of(values) for values in found.cells[-1].data["pulse"]["seen"]]
    assert [pulse.requests for pulse in seen] == [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert seen[-1].weight_drift > seen[0].weight_drift > 0

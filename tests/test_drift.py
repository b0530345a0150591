"""How far a model has drifted from the unedited one: each number on a case worked by hand, then on whole runs."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from results_tree import save_tiny_model

import editbench
from editbench.cache import Cache
from editbench.measure.divergence import Reference, divergence
from editbench.measure.drift import comparison, drift
from editbench.measure.fluency import NEW_TOKENS, continuations, spread
from editbench.measure.latency import added
from editbench.method import ContextEdit, Edit, Method, ModuleEdit, WeightEdit
from editbench.metrics import METRICS, CellMetric
from editbench.metrics.collapse import Pulse, collapsed_at
from editbench.metrics.drift import fluency, ngram_entropy, words
from editbench.models.lm import LM
from editbench.models.sampling import continued
from editbench.running.stream import Stream
from editbench.testing.tiny import tiny_lm, tiny_requests


class Given(Method):
    """Return the edits it was given, one after another."""

    name = "given"
    kind = "mixed"

    def __init__(self, *edits: Edit) -> None:
        super().__init__()
        self.edits = list(edits)

    def edit(self, lm: LM, requests: Any, rng: torch.Generator) -> Edit:
        return self.edits.pop(0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def value(name: str, **drifted: Any) -> float | None:
    metric = METRICS[name]
    assert isinstance(metric, CellMetric)
    return metric.function({"drift": drifted})


def noisy(lm: LM, block: int = 1, share: float = 0.5) -> WeightEdit:
    name = lm.layout.weight_name(block, "down")
    return WeightEdit({name: share * torch.randn(lm.parameter(name).shape, generator=generator())})


def drifted(stream: Stream) -> dict[str, Any]:
    return drift(stream.lm, stream.facts(), stream.reference, ["The capital of"], ([], generator()))


def stream_of(lm: LM, *edits: Edit, reference: Reference | None = None) -> Stream:
    stream = Stream(lm, Given(*edits), reference)
    for request in tiny_requests(len(edits)):
        stream.write([request], generator())
    return stream


def test_the_divergence_of_two_distributions_is_the_one_worked_by_hand() -> None:
    p, q = torch.tensor([[1 / 2, 1 / 4, 1 / 4, 0.0]]), torch.tensor([[1 / 4, 1 / 4, 1 / 4, 1 / 4]])
    assert divergence(p.log(), q.log()) == pytest.approx(1 / 2 * math.log(2))
    assert divergence(q.log(), p.log()) == math.inf
    assert divergence(torch.cat([p, p]).log(), torch.cat([q, p]).log()) == pytest.approx(1 / 2 * math.log(2))
    assert divergence(p.log(), p.log()) == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma2"])
def test_kl_and_perplexity_on_own_text_are_those_of_a_plain_loop(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editbench.measure.divergence.TOKENS", 150)
    lm = tiny_lm(kind)
    reference = Reference(lm, Cache(tmp_path))
    texts, first = [row.tolist() for row in reference.ids], len(lm.text.opening)
    places = list(zip(reference.rows.tolist(), reference.positions.tolist(), strict=True))
    assert all(at >= first for _, at in places) and len(places) == reference.tokens > 100

    def scores(row: int, at: int) -> torch.Tensor:
        ids = torch.tensor([texts[row][: at + 1]])
        return torch.log_softmax(lm.model(input_ids=ids, use_cache=False).logits[0, -1].double(), -1)

    was = [scores(*place) for place in places]
    noisy(lm).apply(lm)
    now = [scores(*place) for place in places]
    kl = sum(float((p.exp() * (p - q)).sum()) for p, q in zip(was, now, strict=True)) / len(places)
    nll = -sum(float(q[texts[row][at + 1]]) for q, (row, at) in zip(now, places, strict=True)) / len(places)
    found = reference.compare(lm)
    assert found.kl == pytest.approx(kl, rel=1e-3) and found.kl > 0.01
    assert found.perplexity == pytest.approx(math.exp(nll), rel=1e-3)


def test_the_unedited_model_is_at_no_distance_from_itself_and_the_text_is_the_same_again(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    one, other = Reference(lm, Cache(tmp_path)), Reference(lm, Cache(tmp_path / "another"))
    assert one.compare(lm) == one.unedited
    assert one.unedited.kl == 0 and 1 < one.unedited.perplexity < 320
    assert torch.equal(one.ids, other.ids) and other.compare(lm) == one.unedited


def test_a_model_that_says_nan_is_infinitely_far(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    reference = Reference(lm, Cache(tmp_path))
    lm.parameter(lm.layout.weight_name(1, "down")).data.fill_(math.nan)
    found = reference.compare(lm)
    assert (found.kl, found.perplexity) == (math.inf, math.inf)


def test_a_wide_vocabulary_gets_fewer_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editbench.measure.divergence.MOST_NUMBERS", 320 * 40)
    assert Reference(tiny_lm("gpt2"), Cache(tmp_path)).log_probs.numel() <= 320 * 40


def test_kl_own_perplexity_and_latency_are_read_from_the_cell() -> None:
    assert (value("kl", kl=0.25), value("kl", kl=None), value("kl")) == (0.25, math.inf, None)
    assert value("own-perplexity", perplexity_own_text=12.5) == 12.5
    assert value("added-latency", added_latency_s=0.003) == 0.003


def test_ngram_entropy_by_hand() -> None:
    tokens = ["a", "b", "a", "b", "a"]  # ab ×2, ba ×2; aba ×2, bab ×1
    assert ngram_entropy(tokens, 2) == pytest.approx(1.0)
    assert ngram_entropy(tokens, 3) == pytest.approx(math.log2(3) - 2 / 3)
    assert ngram_entropy(["no", "no", "no", "no"], 2) == 0 and ngram_entropy(["one"], 2) == 0


def test_fluency_is_the_weighted_mean_over_texts() -> None:
    assert words("Don't stop, 3.5!") == ["Don", "'", "t", "stop", ",", "3", ".", "5", "!"]
    one = (2 / 3 * 1.0 + 4 / 3 * (math.log2(3) - 2 / 3)) / 2
    assert value("fluency", continuations=["a b a b a"]) == pytest.approx(one)
    assert value("fluency", continuations=["a b a b a", "yes yes yes yes"]) == pytest.approx(one / 2)
    assert value("fluency") is None and value("fluency", continuations=[]) is None


def test_a_text_that_repeats_itself_is_less_fluent_than_one_that_does_not() -> None:
    varied = " ".join(f"word{i}" for i in range(100))
    cells = [{"drift": {"continuations": [text]}} for text in (varied, "the cat sat " * 33)]
    assert fluency(cells[0]) == pytest.approx((2 / 3 * math.log2(99) + 4 / 3 * math.log2(98)) / 2)
    assert fluency(cells[1]) < 2 < fluency(cells[0])  # type: ignore[operator]


def test_a_continuation_goes_on_behind_the_end_of_text_and_is_the_same_again() -> None:
    lm = tiny_lm("llama")
    rows = continued(lm, [[5, 9], [7]], 30, generator(), top_k=5)
    assert [len(row) for row in rows] == [30, 30]
    assert rows == continued(lm, [[5, 9], [7]], 30, generator(), top_k=5)
    text = continuations(lm, ["The capital of", "She"], generator())
    assert text == continuations(lm, ["The capital of", "She"], generator()) and all(text)
    head = lm.model.get_output_embeddings()
    head.register_forward_hook(lambda module, args, logits: logits.index_fill(-1, torch.tensor([2]), 1e4))
    assert continued(lm, [[5]], 4, generator(), top_k=5) == [[2, 2, 2, 2]]
    assert continuations(lm, ["She"], generator()) == [""]


def test_prompts_without_room_are_left_out_and_a_model_without_numbers_says_nothing() -> None:
    lm = tiny_lm("llama")
    assert continuations(lm, ["x " * (lm.context_length - NEW_TOKENS + 1)], generator()) == []
    lm.parameter(lm.layout.weight_name(1, "down")).data.fill_(math.nan)
    assert continuations(lm, ["a", "b"], generator()) == ["", ""]


def violin(lm: LM, memory: Any, prompts: Any) -> list[str]:
    return ["She plays the violin. "] * len(prompts)


def test_an_in_context_edit_stands_before_what_is_gone_on_from() -> None:
    lm = tiny_lm("llama")
    bare = continuations(lm, ["The capital of"], generator())
    ContextEdit(violin).apply(lm)
    assert continuations(lm, ["The capital of"], generator()) != bare


def test_prompts_are_taken_evenly_from_first_to_last() -> None:
    assert spread(range(100), 4) == [0, 33, 66, 99]
    assert spread([3, 8], 4) == [3, 8]


def test_the_drift_of_each_module_by_hand() -> None:
    lm = tiny_lm("llama")
    names = [lm.layout.weight_name(block, "down") for block in (0, 1)]
    lm.parameter(names[0]).data.fill_(2.0)
    edits = [WeightEdit({names[0]: torch.full_like(lm.parameter(names[0]), 0.25)}) for _ in range(2)]
    stream = stream_of(lm, *edits, WeightEdit({names[1]: torch.zeros_like(lm.parameter(names[1]))}))
    assert stream.facts().modules == {names[0]: pytest.approx(0.25), names[1]: 0.0}
    assert drifted(stream) == {"modules": stream.facts().modules, "added_latency_s": 0.0}


class Around(torch.nn.Module):
    """Calls what it stands for, after a while."""

    def __init__(self, lm: LM, inner: torch.nn.Module, data: Any) -> None:
        super().__init__()
        self.inner, self.seconds = inner, data["seconds"]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        time.sleep(self.seconds)
        return self.inner(*args, **kwargs)


def around_mlp(lm: LM, seconds: float) -> ModuleEdit:
    return ModuleEdit(Around, {f"{lm.layout.block_path(1)}.{lm.layout.mlp}": {"seconds": seconds}})


def test_a_module_that_sleeps_is_seen_in_the_latency_of_each_token() -> None:
    lm = tiny_lm("llama")
    found = drifted(stream_of(lm, around_mlp(lm, 0.02)))
    step, prompt = found["latency"]["step_s"], found["latency"]["prompt_s"]
    assert found["added_latency_s"] == step["added"] > 0.015 and prompt["added"] > 0.015
    assert step["low"] <= step["added"] <= step["high"] and step["edited"] > 0.02 > step["unedited"] > 0


def test_a_module_that_costs_nothing_has_no_latency_that_can_be_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    turns = iter(range(1000))

    def noise(lm: LM, prompt: str) -> tuple[float, float]:
        return 0.0, 0.001 * (next(turns) % 7)

    monkeypatch.setattr("editbench.measure.latency._turn", noise)
    found = drifted(stream_of(lm, around_mlp(lm, 0.0)))
    step = found["latency"]["step_s"]
    assert found["added_latency_s"] is None and step["low"] < 0 < step["high"]
    assert value("added-latency", **found) is None


def test_an_interval_of_added_latency_covers_the_true_median() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        noise = rng.exponential(1.0, (2, 11))
        found = added(list(noise[0]), list(noise[1] + 0.5))
        covered += found.low <= 0.5 <= found.high
    assert covered / 1000 >= 0.94


def test_the_unedited_model_takes_its_turns_without_modules_and_contexts() -> None:
    lm = tiny_lm("llama")
    stream = stream_of(lm, around_mlp(lm, 0.0), ContextEdit(violin, supersedes=False))
    assert lm.context is not None
    with stream.ledger.aside():
        assert lm.context is None
        assert not any(isinstance(module, Around) for module in lm.model.modules())
    assert lm.context is not None and any(isinstance(module, Around) for module in lm.model.modules())
    stream.take_out()


def test_what_an_edit_of_texts_cannot_move_is_left_out(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    reference = Reference(lm, Cache(tmp_path))
    stream = stream_of(lm, ContextEdit(violin), reference=reference)
    stream.look()
    assert stream.pulses == [] and "delta_norm" not in stream.size()
    found = drift(lm, stream.facts(), reference, ["The capital of"], ([], generator()))
    assert "kl" not in found and "perplexity_own_text" not in found and found["modules"] == {}


def test_the_latency_of_a_weight_edit_is_nought_and_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editbench.measure.latency._turn", lambda lm, prompt: pytest.fail("timed"))
    lm = tiny_lm("llama")
    assert drifted(stream_of(lm, noisy(lm)))["added_latency_s"] == 0.0


def test_a_stream_looks_at_the_distance_and_takes_it_from_there(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    reference = Reference(lm, Cache(tmp_path))
    stream = Stream(lm, Given(WeightEdit({}), noisy(lm)), reference)
    stream.write(tiny_requests(1), generator())
    stream.look()
    stream.write(tiny_requests(1), generator())
    before = comparison(lm, stream.facts(), reference)
    stream.look()
    assert stream.pulses[0].kl == 0.0
    assert before == comparison(lm, stream.facts(), reference)
    assert (stream.pulses[1].kl, stream.pulses[1].own_perplexity) == (before.kl, before.perplexity)
    assert stream.look_s > 0 and before.kl > 0


def test_pulses_of_older_versions_are_told_apart() -> None:
    old = Pulse.of([3, 12.5, 0.25])
    assert (old.kl, old.own_perplexity) == (None, None) and old.as_list() == [3, 12.5, 0.25]
    for pulse in (Pulse(3, 12.5, 0.25, 0.5, 9.0), Pulse(4, math.inf, 0.1, math.inf, math.inf)):
        assert Pulse.of(json.loads(json.dumps(pulse.as_list(), allow_nan=False))) == pulse


def test_without_an_unedited_model_only_what_is_no_number_is_a_collapse() -> None:
    assert collapsed_at([Pulse(1, 1e9, 0.0)], math.nan) is None
    assert collapsed_at([Pulse(1, 1e9, 0.0), Pulse(2, math.inf, 0.0)], math.nan) == 2


SUITE = """
name: drifting
title: A tiny suite for tests
dataset: facts
models: [{model}]
methods: [none, {{method: locft-bf, hparams: {{passes: 2}}}}]
scales: [1, 4]
regime: {{sequential: 2}}
protocol: {{max_new_tokens: 2}}
probes: {{rephrase: 0, neighbour: 0, locality: 0}}
metrics: [{metrics}]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("metrics", ["reliability, kl", "reliability, fluency"])
def test_a_run_measures_drift_at_every_scale_and_talk_only_where_a_metric_reads_it(
    metrics: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.yaml").write_text(SUITE.format(model=model, metrics=metrics))
    results = editbench.run(tmp_path / "own.yaml", results=tmp_path / "results")
    cells = {(run.manifest["label"], cell.scale): cell.data for run in results.runs() for cell in run.cells}
    assert len(cells) == 4
    for (label, scale), cell in cells.items():
        found = cell["drift"]
        assert (found["kl"] == 0.0) is (label == "none")
        assert [pulse[0] for pulse in cell["pulse"]["seen"]][-1] == scale and cell["pulse"]["seen"][-1][3] == found[
            "kl"
        ]
        assert (len(found["modules"]) > 0) is (label == "locft-bf") and found["added_latency_s"] == 0
        assert len(found.get("continuations", [])) == (scale if "fluency" in metrics else 0)
        assert cell["timings"]["drift_s"] > 0 and cell["timings"]["look_s"] > 0
    frame = results.to_frame(["kl", "own-perplexity", "fluency", "added-latency"])
    assert set(frame["metric"]) == {"kl", "own-perplexity", "added-latency"} | ({"fluency"} & set(metrics.split(", ")))

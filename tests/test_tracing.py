"""Causal tracing against a slow and obvious version: one forward pass per layer and draw, every token, no cache."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from editbench.base.seeds import torch_generator
from editbench.cli import cli
from editbench.errors import UserError
from editbench.locate import tracing
from editbench.locate.tracing import (
    KINDS,
    POSITIONS,
    Curve,
    TraceOptions,
    Tracing,
    default_window,
    subject_tokens,
    trace,
)
from editbench.models.lm import LM
from editbench.report.tracing import advice, as_dict, check_figure_path, draw, rows
from editbench.requests import Request
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests

ANY = TraceOptions(draws=2, known_only=False)


WORDS = (*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.;?", "the", "of", "Paris", "French")


def ranks(lm: LM, request: Request) -> dict[str, int]:
    """How many tokens are likelier after the prompt than the first one of each word."""
    logits = lm.model(input_ids=torch.tensor([lm.text.prompt(request.prompt)])).logits[0, -1]
    done = lm.text.completions([(request.prompt, word) for word in WORDS])
    return {word: int((logits > logits[d.target_ids[0]]).sum()) for word, d in zip(WORDS, done, strict=True)}


def likely(lm: LM, n: int) -> list[Request]:
    """Requests whose true object is the word that the model finds likeliest, so that there is something to lose."""
    found = [(request, ranks(lm, request)) for request in tiny_requests(n)]
    return [replace(request, target_true=min(places, key=lambda word: places[word])) for request, places in found]


@functools.cache
def speaker() -> LM:
    """A tiny model that knows something."""
    return tiny_lm("gpt2")


@functools.cache
def believed() -> tuple[Request, ...]:
    """What it knows."""
    requests = likely(speaker(), 40)
    known = tuple(request for request in requests if ranks(speaker(), request)[request.target_true or ""] == 0)
    assert len(known) >= 3
    return known[:3]


def unknown(request: Request) -> Request:
    """The same fact, made one that it does not know."""
    return replace(request, id="unknown", target_true=next(w for w, r in ranks(speaker(), request).items() if r))


class Slow:
    """The definition, word for word."""

    def __init__(self, lm: LM, request: Request, sigma: float, options: TraceOptions) -> None:
        self.lm, self.ids = lm, torch.tensor([lm.text.prompt(request.prompt)])
        self.token = lm.text.completion(request.prompt, request.target_true or "").target_ids[0]
        subject = subject_tokens(lm, request)
        self.places = {"subject": subject[-1], "last": self.ids.shape[1] - 1}
        self.noise = torch.zeros(options.draws, self.ids.shape[1], lm.shape.hidden)
        drawn = torch.randn(
            options.draws,
            len(subject),
            lm.shape.hidden,
            generator=torch_generator(options.seed, "locate", request.id),
        )
        self.noise[:, subject.start : subject.stop] = drawn * options.noise * sigma

    def module(self, kind: str, block: int) -> Any:
        layout = self.lm.layout
        whole = layout.block(self.lm.model, block)
        names = {"block": "", "mlp": layout.down, "attention": layout.attention}
        return whole.get_submodule(names[kind])

    def run(self, draw: int | None, kind: str = "", place: int = 0, blocks: list[int] | None = None) -> float:
        values = {block: self.clean(kind, block) for block in blocks or []}
        handles = []
        if draw is not None:
            embedding = self.lm.model.get_input_embeddings()
            handles.append(embedding.register_forward_hook(lambda m, a, output: output + self.noise[draw]))
        for block, clean in values.items():

            def put(module: Any, args: Any, output: Any, clean: torch.Tensor = clean) -> Any:
                hidden = (output[0] if isinstance(output, tuple) else output).clone()
                hidden.view(-1, hidden.shape[-1])[place] = clean[place]
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            handles.append(self.module(kind, block).register_forward_hook(put))
        try:
            return float(self.lm.model(input_ids=self.ids).logits[0, -1].softmax(-1)[self.token])
        finally:
            for handle in handles:
                handle.remove()

    def effect(self, part: str, place: str, layer: int, window: int) -> float:
        width = 1 if part == "block" else window
        first = layer - width // 2
        blocks = [block for block in range(first, first + width) if 0 <= block < self.lm.layout.n_blocks]
        draws = range(len(self.noise))
        return float(np.mean([self.run(d, part, self.places[place], blocks) - self.run(d) for d in draws]))

    def clean(self, kind: str, block: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def keep(module: Any, args: Any, output: Any) -> None:
            seen.append((output[0] if isinstance(output, tuple) else output).reshape(self.ids.shape[1], -1))

        handle = self.module(kind, block).register_forward_hook(keep)
        self.lm.model(input_ids=self.ids)
        handle.remove()
        return seen[0]


@pytest.mark.parametrize(("window", "token_budget"), [(1, 4096), (2, 70), (3, 4096)])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "mistral", "gemma2"])
def test_every_indirect_effect_equals_that_of_one_plain_forward_pass_per_block_and_draw(
    kind: str, window: int, token_budget: int
) -> None:
    lm = tiny_lm(kind, layers=3)
    requests = likely(lm, 3)
    options = replace(ANY, window=window, token_budget=token_budget)
    found = trace(lm, requests, options)
    for place in POSITIONS:
        for part in KINDS:
            effects = []
            for request in requests:
                slow = Slow(lm, request, found.sigma, options)
                effects.append([slow.effect(part, place, layer, window) for layer in range(3)])
            np.testing.assert_allclose(found.curves[part, place].mean, np.mean(effects, axis=0), atol=1e-6)
    total = [Slow(lm, r, found.sigma, options) for r in requests]
    expected = np.mean([s.run(None) - np.mean([s.run(d) for d in range(2)]) for s in total])
    assert found.total.mean[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_last_blocks_output_at_the_last_token_brings_everything_back(kind: str) -> None:
    lm = tiny_lm(kind)
    found = trace(lm, likely(lm, 2), ANY)
    assert abs(found.total.mean[0]) > 1e-5
    assert found.curves["block", "last"].mean[-1] == pytest.approx(found.total.mean[0], abs=1e-6)
    assert found.total.mean[0] == pytest.approx(found.clean - found.corrupted, abs=1e-9)
    for part in KINDS:
        assert found.curves[part, "subject"].mean[-1] == pytest.approx(0, abs=1e-6), "nothing reads it any more"
        assert any(abs(value) > 1e-7 for value in found.curves[part, "last"].mean)


def test_without_noise_nothing_has_an_effect() -> None:
    lm = tiny_lm("gpt2")
    found = trace(lm, tiny_requests(2), replace(ANY, noise=0.0))
    assert found.total.mean[0] == pytest.approx(0, abs=1e-6)
    assert all(abs(value) < 1e-6 for curve in found.curves.values() for value in curve.mean)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_model_is_left_bitwise_as_found_and_without_hooks(kind: str) -> None:
    lm = tiny_lm(kind)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    state = torch.get_rng_state()
    trace(lm, tiny_requests(1), ANY)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not [m for m in lm.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert torch.equal(torch.get_rng_state(), state)


def test_no_hook_stays_where_a_pass_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()

    def broken(value: torch.Tensor, chosen: torch.Tensor, count: int) -> Callable[..., Any]:
        def hook(*arguments: Any) -> None:
            raise ZeroDivisionError

        return hook

    monkeypatch.setattr(tracing, "_restore", broken)
    with pytest.raises(ZeroDivisionError):
        trace(lm, tiny_requests(1), ANY)
    assert not [m for m in lm.model.modules() if m._forward_hooks or m._forward_pre_hooks]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    lm, requests = tiny_lm(), tiny_requests(2)
    first, again = trace(lm, requests, ANY), trace(lm, requests, ANY)
    assert as_dict(first) == as_dict(again)
    assert trace(lm, requests, replace(ANY, seed=1)).corrupted != first.corrupted


def test_a_facts_noise_does_not_depend_on_the_other_facts() -> None:
    lm, requests = tiny_lm(), tiny_requests(3)
    tracer = tracing._Tracer(lm, ANY, 1, 1.0)
    alone = tracer._noise(tracing._facts(lm, requests[1:2])[0])
    assert torch.equal(alone, tracer._noise(tracing._facts(lm, requests)[1]))


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
@pytest.mark.parametrize("subject", ["Łódź", "New Ωmega", "Paris", "東京"])
@pytest.mark.parametrize("prompt", ["{} is in", "The city of {} is in", "They say:{} is in"])
def test_the_subjects_tokens_cover_the_subject_and_nothing_before_it(kind: str, subject: str, prompt: str) -> None:
    lm = tiny_lm(kind)
    request = Request("r", prompt.format(subject), subject, "x", "y")
    ids, place = lm.text.prompt(request.prompt), subject_tokens(lm, request)
    spans = lm.text.tokenizer(request.prompt, return_offsets_mapping=True)["offset_mapping"]
    start, stop = request.subject_span() or (0, 0)
    assert list(place) == [i for i, (a, b) in enumerate(spans) if a < stop and b > start and b > a]
    assert place[-1] == lm.text.subject_last_token(request) < len(ids)


def test_only_facts_that_the_model_knows_count_and_the_others_are_counted() -> None:
    lm, known = speaker(), believed()[:2]
    odd = [replace(known[0], id="odd", subject="nobody"), replace(known[0], id="none", target_true=None)]
    shares: list[float] = []
    found = trace(lm, [*known, unknown(known[0]), *odd], replace(ANY, known_only=True), shares.append)
    assert (found.tried, found.skipped, found.unknown, found.kept) == (5, 2, 1, 2)
    assert shares == [0.5, 1.0]


def test_what_cannot_be_traced_is_said() -> None:
    lm, known = speaker(), believed()[:1]
    with pytest.raises(UserError, match="knows none of the 1 facts") as raised:
        trace(lm, [unknown(known[0])])
    assert "--requests" in raised.value.hint
    with pytest.raises(UserError, match="None of the 1 requests"):
        trace(lm, [replace(known[0], target_true=None)])
    with pytest.raises(UserError, match="The window is 4, and the model has 3 blocks"):
        trace(lm, known, replace(ANY, window=4))
    for bad in ({"draws": 0}, {"window": 0}, {"noise": -1.0}, {"noise": float("nan")}, {"token_budget": 0}):
        with pytest.raises(UserError):
            TraceOptions(**bad)


@pytest.mark.parametrize(("depth", "window"), [(1, 1), (3, 1), (12, 1), (24, 3), (28, 5), (32, 5), (48, 9), (80, 15)])
def test_the_default_window_is_odd_and_at_most_a_fifth_of_the_depth(depth: int, window: int) -> None:
    assert default_window(depth) == window


def made_up(best: int, certain: bool) -> Tracing:
    heights = [0.3 - 0.05 * abs(block - best) for block in range(8)]
    band = tuple(value - (0.1 if certain else 0.4) for value in heights), tuple(value + 0.1 for value in heights)
    curves = {(kind, place): Curve(tuple(heights), *band) for kind in KINDS for place in POSITIONS}
    return Tracing("m", curves, 9, 1, 2, 6, 0.6, 0.2, Curve((0.4,), (0.3,), (0.5,)), 3, 0.1, TraceOptions())


def test_the_advice_names_the_best_block_and_the_five_that_end_there() -> None:
    found = made_up(6, True)
    assert (found.best_layer, found.spread_layers) == (6, (2, 3, 4, 5, 6))
    assert "layer: 6 for rome, layers: [2, 3, 4, 5, 6] for memit" in advice(found)
    assert "not told apart" not in advice(found)
    assert made_up(1, True).spread_layers == (0, 1)
    assert "not told apart from 0" in advice(made_up(6, False))


def test_the_table_has_a_row_per_block_in_percentage_points() -> None:
    texts = rows(made_up(6, True))
    assert len(texts) == 8
    assert texts[6] == ["6", *["30.0 ±10.0"] * 6]


def test_one_fact_has_no_interval_and_still_a_figure(tmp_path: Path) -> None:
    found = trace(tiny_lm(), tiny_requests(1), ANY)
    assert found.total.low is None
    assert json.loads(json.dumps(as_dict(found)))["effects"]["mlp"]["subject"]["low"] is None
    for suffix, begin in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        draw(found, tmp_path / f"f{suffix}")
        assert (tmp_path / f"f{suffix}").read_bytes().startswith(begin)


@pytest.mark.parametrize(("name", "said"), [("f.jpg", ".svg, .pdf, .png"), ("gone/f.svg", "no folder"), ("f", ".svg")])
def test_a_figure_that_cannot_be_written_is_refused_first(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_figure_path(tmp_path / name)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call ``editbench locate`` on a tiny model on disk and facts it knows, in an otherwise empty folder."""
    lm = speaker()
    lm.model.save_pretrained(tmp_path / "model")
    lm.text.tokenizer.save_pretrained(tmp_path / "model")
    lines = [
        {"id": r.id, "prompt": r.prompt, "subject": r.subject, "target_new": "zz", "target_true": r.target_true}
        for r in believed()
    ]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps({**line, "probes": []}) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    arguments = ["locate", "--model", "model", "--dataset", "facts.jsonl", "--device", "cpu", "--draws", "2"]
    return lambda *more: CliRunner().invoke(cli, [*arguments, *more], prog_name="editbench")


def test_locate_prints_a_table_advice_and_how_to_get_a_figure(invoke: Callable[..., Result]) -> None:
    result = invoke()
    assert result.exit_code == 0, result.output
    assert "3 facts traced of 3 tried" in result.stdout
    assert "Start with layer:" in result.stdout
    assert "--figure locate.svg writes one" in result.stdout
    assert result.stderr == ""


def test_locate_writes_the_figure_and_json_alone(invoke: Callable[..., Result]) -> None:
    result = invoke("--json", "-q", "--figure", "out.svg", "--window", "3", "--requests", "2")
    data = json.loads(result.stdout)
    assert (data["kept"], data["window"], data["figure"], data["dataset"]) == (2, 3, "out.svg", "facts.jsonl")
    assert Path("out.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--figure", "f.gif"), "Expected a name that ends in .svg"),
        (("--figure", "gone/f.svg"), "There is no folder gone"),
        (("--window", "9"), "has 3 blocks"),
        (("--model", "smollm3"), "Did you mean smollm2-135m"),
        (("--dataset", "fatcs"), "There is no dataset"),
        (("--dataset", "counterfact"), "counterfact"),
        (("--device", "tpu"), "There is no device"),
        (("--draws", "0"), "--draws"),
    ],
)
def test_mistakes_are_short_messages_with_exit_code_2(
    invoke: Callable[..., Result], more: tuple[str, ...], said: str
) -> None:
    result = invoke(*more)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stdout == ""


def test_ctrl_c_does_not_promise_to_continue(invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracing, "trace", interrupted)
    result = invoke()
    assert result.exit_code == 130
    assert "nothing was written" in result.stderr

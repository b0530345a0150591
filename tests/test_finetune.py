"""The fine-tuning engine against a plain training loop: no cache, no pieces, one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from editbench_methods import _training as engine
from editbench_methods._finetune import BreadthFirst, FineTune
from editbench_methods.ft_breadth_first import FTBreadthFirst
from editbench_methods.ft_depth_first import FTDepthFirst
from editbench_methods.locft_bf import LocFTBF

from editbench.base.seeds import torch_generator
from editbench.errors import Diverged, UserError
from editbench.method import WeightEdit
from editbench.models.lm import LM, ModelShape
from editbench.models.roles import Module
from editbench.plan.settings import validated
from editbench.requests import Request
from editbench.savepoint import Savepoint
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests


def plain_loss(lm: LM, request: Request, loss: str) -> torch.Tensor:
    [completion] = lm.text.completions([(request.prompt, request.target_new)])
    logits = lm.model(input_ids=torch.tensor([completion.ids])).logits[0].float()
    labels = torch.tensor(completion.ids[completion.prompt_len :])
    if loss == "last-prompt-token":
        predictions = logits[completion.prompt_len - 1].expand(len(labels), -1)
    else:
        predictions = logits[completion.prompt_len - 1 : -1]
    return F.cross_entropy(predictions, labels)


class PlainLoop:
    """Trains the model's own parameters, one whole forward pass per sample."""

    def __init__(self, lm: LM, method: FineTune) -> None:
        self.lm, self.method, self.h = lm, method, method.hparams
        self.names = method.weight_names(lm)
        self.parameters = [lm.parameter(name).requires_grad_(True) for name in self.names]
        self.originals = [p.detach().clone() for p in self.parameters]
        self.fresh()

    def fresh(self) -> None:
        self.adam = torch.optim.Adam(self.parameters, lr=self.h.lr, weight_decay=self.h.weight_decay)

    def gradients(self, batch: Sequence[Request]) -> float:
        self.adam.zero_grad()
        loss = sum((plain_loss(self.lm, r, self.h.loss) for r in batch), torch.zeros(())) / len(batch)
        loss.backward()
        return loss.item()

    def step(self) -> None:
        self.adam.step()
        if self.h.clamp is not None:
            for parameter, origin in zip(self.parameters, self.originals, strict=True):
                parameter.data = torch.max(torch.min(parameter.data, origin + self.h.clamp), origin - self.h.clamp)

    def deltas(self) -> dict[str, torch.Tensor]:
        pairs = zip(self.names, self.parameters, self.originals, strict=True)
        return {name: p.detach() - origin for name, p, origin in pairs}

    def run(self, requests: Sequence[Request], rng: torch.Generator) -> dict[str, torch.Tensor]:
        if not isinstance(self.method, BreadthFirst):
            for request in requests:
                self.fresh()
                for _ in range(self.h.passes):
                    if self.gradients([request]) < self.h.stop_loss:
                        break
                    self.step()
            return self.deltas()
        batches = 0
        last, rests = [0.0] * len(requests), [0] * len(requests)
        for _ in range(self.h.passes):
            everyone = torch.randperm(len(requests), generator=rng).tolist()
            order = [i for i in everyone if not rests[i]]
            rests = [max(0, r - 1) for r in rests]
            for start in range(0, len(order), self.h.batch_size):
                if batches == self.h.max_batches:
                    return self.deltas()
                batches += 1
                numbers = order[start : start + self.h.batch_size]
                batch = [requests[i] for i in numbers]
                for i in numbers:
                    last[i] = plain_loss(self.lm, requests[i], self.h.loss).item()
                    rests[i] = self.h.rest if last[i] < self.h.stop_loss else 0
                loss = self.gradients(batch)
                if not (self.h.skip_learnt and loss < self.h.stop_loss):
                    self.step()
            if sum(last) / len(last) < self.h.stop_loss:
                break
        return self.deltas()


CASES = [
    (FTDepthFirst, {"layer": 1, "lr": 1e-3, "passes": 4}),
    (FTDepthFirst, {"layer": 2, "lr": 1e-2, "passes": 30, "stop_loss": 2.0}),
    (FTDepthFirst, {"layer": 1, "lr": 1e-3, "passes": 3, "loss": "last-prompt-token", "clamp": 1e-3}),
    (FTBreadthFirst, {"layer": 1, "lr": 1e-3, "passes": 3, "batch_size": 1}),
    (FTBreadthFirst, {"layer": 0, "module": "up", "lr": 1e-3, "passes": 3, "batch_size": 2, "weight_decay": 0.1}),
    (LocFTBF, {"layer": 1, "module": "block", "lr": 1e-3, "passes": 3, "batch_size": 4}),
    (LocFTBF, {"layer": 2, "lr": 1e-2, "passes": 40, "batch_size": 3, "stop_loss": 2.5}),
    (LocFTBF, {"layer": 2, "lr": 1e-3, "passes": 9, "batch_size": 2, "max_batches": 7}),
    (LocFTBF, {"layer": 2, "lr": 3e-2, "passes": 40, "batch_size": 2, "stop_loss": 1.8, "rest": 2}),
    (FTDepthFirst, {"layer": (1, 2), "module": "mlp", "lr": 1e-3, "passes": 4}),
    (FTBreadthFirst, {"layer": (0, 2), "module": "attention", "lr": 1e-3, "passes": 3, "batch_size": 2}),
    (LocFTBF, {"layer": (1, 2), "lr": 1e-3, "passes": 3, "batch_size": 4}),
    (LocFTBF, {"layer": (0, 1, 2), "module": "block", "lr": 1e-3, "passes": 2, "batch_size": 4}),
]


@pytest.mark.parametrize(("method_class", "values"), CASES)
def test_training_equals_the_plain_loop(method_class: type[FineTune], values: dict[str, object]) -> None:
    method, requests = method_class(method_class.Hparams(**values)), tiny_requests(5)
    fast = method.edit(tiny_lm("llama"), requests, torch_generator(0, "t"))
    plain = PlainLoop(tiny_lm("llama"), method).run(requests, torch_generator(0, "t"))
    assert fast.deltas.keys() == plain.keys()
    for name, delta in plain.items():
        assert delta.abs().max() > 0
        # Adam divides by the root of tiny second moments, which magnifies rounding where a gradient is nearly zero
        assert (fast.deltas[name] - delta).norm() < 2e-3 * delta.norm()


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_loss_curve_equals_the_plain_loops_on_every_layout(kind: str) -> None:
    lm, requests = tiny_lm(kind), tiny_requests(4)
    method = LocFTBF(LocFTBF.Hparams(layer=1, lr=1e-3, batch_size=4, passes=1))
    data = engine.examples(lm, requests, "target-tokens")
    trainer = engine.Trainer(lm, method.weight_names(lm), data, method.hparams)
    plain = PlainLoop(tiny_lm(kind), method)
    for _ in range(4):
        expected = plain.gradients(requests)
        assert trainer.losses_and_gradients(range(4)).mean().item() == pytest.approx(expected, rel=1e-4)
        trainer.step()
        plain.step()


# what is one matrix cannot be trained in part
FUSED = {"gpt2": "q k v", "gpt_neox": "q k v", "phi3": "q k v gate up"}
NO_GATE = ("gpt2", "gptj", "gpt_neox", "opt", "phi")


@pytest.mark.parametrize("module", get_args(Module))
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_every_module_of_any_blocks_trains_as_in_the_plain_loop(kind: str, module: Module) -> None:
    requests = tiny_requests(3)
    for layer in (1, (0, 2)):
        lm, other = tiny_lm(kind), tiny_lm(kind)
        method = LocFTBF(LocFTBF.Hparams(layer=layer, module=module, lr=1e-3, batch_size=3, passes=1))
        reason = method.supports(lm)
        if module in FUSED.get(kind, "").split():
            assert reason is not None and "are one matrix" in reason
            continue
        if module == "gate" and kind in NO_GATE:
            assert reason is not None and "no projection 'gate'" in reason
            continue
        assert reason is None
        data = engine.examples(lm, requests, "target-tokens")
        trainer, plain = engine.Trainer(lm, method.weight_names(lm), data, method.hparams), PlainLoop(other, method)
        for _ in range(3):
            expected = plain.gradients(requests)
            assert trainer.losses_and_gradients(range(3)).mean().item() == pytest.approx(expected, rel=1e-4)
            for name, parameter in zip(plain.names, plain.parameters, strict=True):
                assert parameter.grad is not None and trainer.weights[name].grad is not None
                torch.testing.assert_close(trainer.weights[name].grad, parameter.grad, rtol=1e-3, atol=2e-6)
            trainer.step()
            plain.step()


def test_a_module_is_all_of_its_weights_in_all_of_its_blocks() -> None:
    lm = tiny_lm("qwen3")

    def named(layer: int | tuple[int, ...], module: Module) -> list[str]:
        names = LocFTBF(LocFTBF.Hparams(layer=layer, module=module)).weight_names(lm)
        return sorted(name.removeprefix("model.layers.").removesuffix(".weight") for name in names)

    assert named((0, 2), "q") == ["0.self_attn.q_proj", "2.self_attn.q_proj"]
    assert named(1, "attention") == [f"1.self_attn.{part}_proj" for part in "koqv"]
    assert named(1, "mlp") == [f"1.mlp.{part}_proj" for part in ("down", "gate", "up")]
    assert set(named((0, 1), "block")) == {
        name.removeprefix("model.layers.").removesuffix(".weight")
        for name, _ in lm.model.named_parameters()
        if name.startswith(("model.layers.0.", "model.layers.1."))
    }


def test_the_same_blocks_are_one_value_however_they_are_written() -> None:
    assert LocFTBF.Hparams(layer=[1]).layer == LocFTBF.Hparams(layer=(1, 1)).layer == 1
    assert LocFTBF.Hparams(layer=[2, 1]).layer == (1, 2)
    assert LocFTBF.Hparams(layer=2).model_dump(mode="json")["layer"] == 2


@pytest.mark.parametrize("value", ["x", [], [1, "x"], 1.5])
def test_what_is_no_block_is_refused_and_says_what_is(value: object) -> None:
    with pytest.raises(UserError, match=r"hyper-parameter layer = .*a list such as \[21, 22\]"):
        validated(LocFTBF, {"layer": value})


def test_an_edit_of_several_blocks_is_as_long_as_its_lowest_block_and_its_weights_make_it() -> None:
    def flops(layer: int | tuple[int, ...], module: Module = "down") -> float:
        shape = ModelShape("llama", 10, 4, 8, 100, 4 * 16 + 3 * 32)
        return LocFTBF.flops(shape, LocFTBF.Hparams(layer=layer, module=module, batch_size=1), 2, 5.0)

    assert flops(3) < flops((3, 7)) < flops((3, 7, 8)) < flops((2, 7, 8))
    # two blocks at each of 25 passes over 10 tokens: two operations per weight
    assert flops((3, 7), "block") - flops(3, "block") == pytest.approx(10 * 25 * 2 * 160)
    assert flops(3) < flops(3, "mlp") < flops(3, "block")
    assert flops(3, "q") < flops(3, "attention") < flops(3, "block")


def test_depth_first_stops_at_each_request_on_its_own_loss() -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(3)
    method = FTDepthFirst(FTDepthFirst.Hparams(layer=1, lr=1e-2, passes=500, stop_loss=2.0))
    losses: list[float] = []
    method.progress = lambda share, note: losses.append(float(note.rpartition(" ")[2])) if "loss" in note else None
    method.edit(lm, requests, torch_generator(0, "t"))
    assert len(losses) == 3 and max(losses) < 2.0


def test_a_learnt_mini_batch_takes_no_step_in_locft_and_one_in_plain_breadth_first() -> None:
    requests = tiny_requests(2)
    values = {"layer": 1, "passes": 2, "batch_size": 1, "stop_loss": 1e9}
    locft = LocFTBF(LocFTBF.Hparams(**values)).edit(tiny_lm("llama"), requests, torch_generator(0, "t"))
    plain = FTBreadthFirst(FTBreadthFirst.Hparams(**values)).edit(tiny_lm("llama"), requests, torch_generator(0, "t"))
    assert all(not delta.any() for delta in locft.deltas.values())
    assert all(delta.any() for delta in plain.deltas.values())


RESTING = {"layer": 2, "lr": 3e-2, "passes": 40, "batch_size": 2, "stop_loss": 1.8}


def seen_by(monkeypatch: pytest.MonkeyPatch, **values: int) -> list[list[int]]:
    seen: list[list[int]] = []
    compute = engine.Trainer.losses_and_gradients

    def watched(trainer: engine.Trainer, batch: Sequence[int]) -> torch.Tensor:
        seen.append(list(batch))
        return compute(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "losses_and_gradients", watched)
        LocFTBF(LocFTBF.Hparams(**RESTING, **values)).edit(tiny_lm("llama"), tiny_requests(5), torch_generator(0, "t"))
    return seen


def test_learnt_samples_rest_and_the_others_fill_the_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    without, resting = seen_by(monkeypatch), seen_by(monkeypatch, rest=2)
    epochs = [list(chain(*without[k : k + 3])) for k in range(0, len(without), 3)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    counts = [sum(batch.count(number) for batch in resting) for number in range(5)]
    assert max(counts) > min(counts) >= 1  # the same number for all, if nobody rested
    assert sorted(chain(*resting[:3])) == list(range(5))
    assert all(len(batch) <= 2 for batch in resting)


class CutOffAfter(Savepoint):
    """Is due before every mini-batch; the edit is cut off at the given one."""

    left = 10**6

    @property
    def due(self) -> bool:
        return True

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        super().save(state)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("cut", [1, 5, 62, 67])
def test_an_edit_with_resting_samples_goes_on_where_it_was_cut_off(cut: int, tmp_path: Path) -> None:
    def edit(savepoint: Savepoint) -> WeightEdit:
        method = LocFTBF(LocFTBF.Hparams(**RESTING, rest=2))
        method.savepoint = savepoint
        return method.edit(tiny_lm("llama"), tiny_requests(5), torch_generator(0, "t"))

    unbroken, cut_off = edit(Savepoint()), CutOffAfter(tmp_path / "edit.safetensors")
    cut_off.left = cut
    with pytest.raises(KeyboardInterrupt):
        edit(cut_off)
    resumed = edit(CutOffAfter(tmp_path / "edit.safetensors"))
    assert all(torch.equal(resumed.deltas[name], delta) for name, delta in unbroken.deltas.items())


def test_the_clamp_bounds_every_weights_change() -> None:
    method = FTDepthFirst(FTDepthFirst.Hparams(layer=1, lr=0.1, passes=5, clamp=1e-3))
    edit = method.edit(tiny_lm("llama"), tiny_requests(2), torch_generator(0, "t"))
    assert all(0 < delta.abs().max() <= 1e-3 * (1 + 1e-3) for delta in edit.deltas.values())


def test_a_loss_that_is_not_finite_is_a_divergence() -> None:
    method = LocFTBF(LocFTBF.Hparams(layer=1, lr=1e37, batch_size=2, passes=5))
    with pytest.raises(Diverged, match="learning rate"):
        method.edit(tiny_lm("llama"), tiny_requests(2), torch_generator(0, "t"))


def test_a_bfloat16_model_is_trained_on_float32_weights() -> None:
    lm = tiny_lm("llama", dtype=torch.bfloat16)
    method = LocFTBF(LocFTBF.Hparams(layer=1, lr=1e-5, batch_size=2, passes=1))
    edit = method.edit(lm, tiny_requests(2), torch_generator(0, "t"))
    [delta] = edit.deltas.values()
    assert delta.dtype == torch.float32
    assert 0 < delta.abs().max() < 1.1e-5


def test_the_end_of_text_is_learnt_only_if_the_protocol_says_so() -> None:
    with_eos = engine.examples(tiny_lm("llama", target_eos=True), tiny_requests(1), "target-tokens")[0]
    without = engine.examples(tiny_lm("llama", target_eos=False), tiny_requests(1), "target-tokens")[0]
    assert with_eos.labels[:-1] == without.labels
    assert with_eos.ids[-1] == with_eos.labels[-2]
    assert with_eos.positions == [len(with_eos.ids) - len(with_eos.labels) + k for k in range(len(with_eos.labels))]


def test_a_layer_out_of_range_names_the_models_range() -> None:
    lm = tiny_lm("llama")
    reason = LocFTBF(LocFTBF.Hparams(layer=7)).supports(lm)
    assert reason is not None and "7" in reason and "0 to 2" in reason

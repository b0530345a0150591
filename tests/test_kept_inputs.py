"""What enters every block, kept on disk: the same bits as without, and never those of another model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from editbench_methods._finetune import FineTune
from editbench_methods.ft_depth_first import FTDepthFirst
from editbench_methods.locft_bf import LocFTBF

from editbench.base.seeds import torch_generator
from editbench.cache import Cache, tell_once
from editbench.ledger import Ledger
from editbench.method import ModuleEdit, WeightEdit
from editbench.models.fingerprint import fingerprint, sum_of_bits
from editbench.models.kept_inputs import KeptInputs, kept_inputs
from editbench.models.lm import LM
from editbench.models.prefix import PrefixCache, cut_for
from editbench.models.roles import Module
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests

BUDGET = 100


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def sequences_of(lm: LM, n: int = 9) -> list[list[int]]:
    return [c.ids for c in lm.text.completions([(r.prompt, r.target_new) for r in tiny_requests(n)])]


def constants(lm: LM, layer: int, module: Module = "up") -> list[torch.Tensor]:
    """Return all that a prefix cache keeps, and the logits that it gives."""
    sequences = sequences_of(lm)
    filled = PrefixCache(lm, sequences, cut_for(lm, lm.layout.weights_of(lm.model, layer, module)), token_budget=BUDGET)
    everyone = range(len(sequences))
    logits = filled.logits(everyone, torch.arange(len(sequences)), torch.full((len(sequences),), 3))
    return [logits, *(filled._states[name].take(everyone, lm.device) for name in sorted(filled._states))]


def all_equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_one_pass_serves_every_place_with_the_bits_that_it_would_compute(
    kind: str, dtype: torch.dtype, cache: Cache
) -> None:
    lm = tiny_lm(kind, dtype=dtype)
    places: list[tuple[int, Module]] = [(layer, module) for layer in (2, 0, 1) for module in ("down", "block")]
    without = [constants(lm, *place) for place in places]
    with kept_inputs(lm, cache) as kept:
        assert all(all_equal(constants(lm, *place), was) for place, was in zip(places, without, strict=True))
        pieces = kept.passes
        assert 1 < pieces < 9 and len(list(kept.folder.iterdir())) == 3 * pieces
    assert lm.kept_inputs is None
    for module in lm.model.modules():
        assert "forward" not in vars(module) and not module._forward_hooks and not module._forward_pre_hooks


def test_what_is_kept_is_read_by_the_same_model_in_another_life(cache: Cache) -> None:
    one, other = tiny_lm(), tiny_lm()
    was = [constants(one, layer) for layer in range(3)]
    with kept_inputs(one, cache) as kept:
        assert all_equal(constants(one, 2), was[2]) and kept.passes
    with kept_inputs(other, cache) as again:
        assert all_equal(constants(other, 1), was[1])
        assert again.passes == 0 and again.nbytes > 0
        again.remove()
        assert not again.folder.exists() and all_equal(constants(other, 2), was[2]) and again.passes


def test_another_model_reads_nothing_of_it(cache: Cache) -> None:
    for seed in (0, 1):
        lm = tiny_lm(seed=seed)
        was = constants(lm, 2)
        with kept_inputs(lm, cache) as kept:
            assert all_equal(constants(lm, 2), was) and kept.passes


METHODS: list[FineTune] = [
    LocFTBF(LocFTBF.Hparams(layer=1, lr=1e-2, passes=3, batch_size=3)),
    LocFTBF(LocFTBF.Hparams(layer=(1, 2), module="attention", lr=1e-2, passes=3, batch_size=3)),
    FTDepthFirst(FTDepthFirst.Hparams(layer=2, module="mlp", lr=1e-2, passes=3)),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_of_chunks_is_the_same_with_it_and_without(method: FineTune, cache: Cache) -> None:
    def stream(lm: LM) -> list[torch.Tensor]:
        ledger, deltas = Ledger(lm), []
        for requests in (tiny_requests(9), tiny_requests(9, seed=1)):
            edit = method.edit(lm, requests, torch_generator(0, "t"))
            ledger.apply(edit)
            deltas += list(edit.deltas.values())
        ledger.revert()
        return deltas

    lm = tiny_lm()
    without = stream(lm)
    with kept_inputs(lm, cache) as kept:
        assert all_equal(stream(lm), without) and all_equal(stream(lm), without)
        assert kept.passes


class Halving(torch.nn.Module):
    def __init__(self, lm: LM, standing: torch.nn.Module, data: dict[str, Any]) -> None:
        super().__init__()
        self.standing, self.factor = standing, data["factor"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.standing(x) * self.factor


def by_hand(lm: LM) -> None:
    lm.parameter("model.layers.1.mlp.up_proj.weight").data[0, 0] += 1e-3


def by_a_flipped_sign(lm: LM) -> None:
    lm.parameter("model.layers.1.input_layernorm.weight").data.neg_()


def by_an_edit(lm: LM) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    Ledger(lm).apply(WeightEdit({name: torch.full_like(lm.parameter(name), 1e-3)}))


def by_a_module(lm: LM) -> None:
    Ledger(lm).apply(ModuleEdit(Halving, {"model.layers.1.mlp": {"factor": torch.tensor([0.5])}}))


def by_a_hook(lm: LM) -> None:
    lm.layout.block(lm.model, 1).mlp.register_forward_hook(lambda module, args, output: output * 0.5)


def by_another_forward(lm: LM) -> None:
    mlp = lm.layout.block(lm.model, 1).mlp
    forward = mlp.forward
    mlp.forward = lambda x: forward(x) * 0.5


def by_a_new_parameter(lm: LM) -> None:
    projection = lm.layout.block(lm.model, 1).mlp.down_proj
    projection.weight = torch.nn.Parameter(projection.weight * 0.5, requires_grad=False)


CHANGES = [by_hand, by_a_flipped_sign, by_an_edit, by_a_module, by_a_hook, by_another_forward, by_a_new_parameter]


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changed_below_the_block_gets_nothing_of_the_unedited_one(
    change: Callable[[LM], None], filled: bool, cache: Cache
) -> None:
    """However it changed: by an edit, by a method in the middle of its work, by a hook."""
    changed, lm = tiny_lm(), tiny_lm()
    change(changed)
    with kept_inputs(lm, cache) as kept:
        unedited = [constants(lm, layer) for layer in range(3)] if filled else []
        change(lm)
        assert kept.source(lm, 2) is None
        assert kept.source(lm, 1) is not None
        for layer in (2, 1, 0):
            assert all_equal(constants(lm, layer), constants(changed, layer))
    if filled:
        assert not torch.equal(constants(changed, 2)[1], unedited[2][1])
    else:  # nor does the unedited one get anything of the changed one
        whole = tiny_lm()
        was = constants(whole, 2)
        with kept_inputs(whole, cache):
            assert all_equal(constants(whole, 2), was)


def test_a_changed_embedding_changes_what_enters_every_block(cache: Cache) -> None:
    lm = tiny_lm()
    with kept_inputs(lm, cache) as kept:
        lm.model.get_input_embeddings().weight.data[7] *= 2
        assert kept.source(lm, 0) is None


def test_after_the_revert_it_is_read_again(cache: Cache) -> None:
    lm = tiny_lm()
    was = constants(lm, 2)
    with kept_inputs(lm, cache) as kept:
        constants(lm, 2)
        passes, name = kept.passes, "model.layers.0.mlp.down_proj.weight"
        ledger = WeightEdit({name: torch.full_like(lm.parameter(name), 1e-3)}).apply(lm)
        assert not torch.equal(constants(lm, 2)[0], was[0])
        ledger.revert()
        assert all_equal(constants(lm, 2), was) and kept.passes == passes


def test_a_pass_that_was_cut_off_goes_on_where_it_was(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, write = tiny_lm(), Cache.save_tensors
    was = constants(lm, 1)
    written: list[Path] = []

    def cut_off(self: Cache, kind: str, parts: Any, tensors: Any) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        write(self, kind, parts, tensors)
        written.append(self.path(kind, parts, ".safetensors"))

    with kept_inputs(lm, cache) as kept:
        with monkeypatch.context() as patch:
            patch.setattr(Cache, "save_tensors", cut_off)
            with pytest.raises(KeyboardInterrupt):
                constants(lm, 1)
        times = {path: path.stat().st_mtime_ns for path in written}
        assert kept.passes == 1
        assert all_equal(constants(lm, 1), was)
        assert all(path.stat().st_mtime_ns == times[path] for path in written)


def test_a_damaged_file_is_made_anew(cache: Cache) -> None:
    lm = tiny_lm()
    was = constants(lm, 2)
    with kept_inputs(lm, cache) as kept:
        constants(lm, 2)
        for path in kept.folder.iterdir():
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
        passes = kept.passes
        assert all_equal(constants(lm, 2), was) and kept.passes == 2 * passes


def test_a_cache_that_cannot_be_written_costs_no_more_than_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lm = tiny_lm()
    was, seen = constants(lm, 1), []
    (tmp_path / "file").write_text("")
    lm.layout.block(lm.model, 2).register_forward_pre_hook(lambda module, args: seen.append(1))
    tell_once.cache_clear()
    with kept_inputs(lm, Cache(tmp_path / "file")), caplog.at_level(logging.WARNING, "editbench"):
        seen.clear()
        assert all_equal(constants(lm, 1), was)
    assert "cannot be written" in caplog.text
    assert len(seen) == 1  # for the logits: no pass went further than it had to


def test_a_few_tokens_are_computed_at_once(cache: Cache) -> None:
    lm = tiny_lm()
    with kept_inputs(lm, cache) as kept:
        PrefixCache(lm, sequences_of(lm, 1), cut_for(lm, [lm.layout.weight_name(2, "up")]))
        assert not kept.folder.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_sum_of_bits_tells_any_change(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editbench.models.fingerprint._CHUNK", 7)
    values = (100 * torch.randn(40, generator=torch.Generator().manual_seed(0))).to(dtype)
    changed = [values.neg(), values.flip(0), values.roll(1), torch.cat([values[:39], values[39:] + 1])]
    sums = {sum_of_bits(each) for each in (values, *changed)}
    assert len(sums) == 5 and sum_of_bits(values.clone()) in sums


def test_weights_that_are_not_in_memory_have_no_fingerprint_and_nothing_is_kept_for_them(cache: Cache) -> None:
    lm = tiny_lm()
    assert len(fingerprint(lm.model.named_modules())) == 32
    block = lm.layout.block(lm.model, 0).to("meta")
    assert fingerprint(block.named_modules()) == ""
    assert KeptInputs(lm, cache).source(lm, 1) is None

"""The prefix cache against the plain forward pass: same logits, same gradients, on every supported layout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, MptConfig, MptForCausalLM

from editbench.errors import StoreError
from editbench.models import ragged
from editbench.models.layout import find_layout, shape_of
from editbench.models.lm import LM
from editbench.models.prefix import Cut, PrefixCache, by_length, cut_for
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests

ROLES = ("down", "up", "block")


def changed_names(lm: LM, layer: int, role: str) -> list[str]:
    if role == "block":
        return lm.layout.block_parameters(lm.model, layer)
    return [lm.layout.weight_name(layer, role)]


def sequences_and_places(lm: LM) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    completions = lm.text.completions([(r.prompt, r.target_new) for r in tiny_requests(5)])
    rows = [row for row, c in enumerate(completions) for _ in c.ids[c.prompt_len :]]
    positions = [k - 1 for c in completions for k in range(c.prompt_len, len(c.ids))]
    return [c.ids for c in completions], torch.tensor(rows), torch.tensor(positions)


def plain_logits(lm: LM, sequences: list[list[int]], rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    each = [lm.model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    return torch.stack([each[row][position] for row, position in zip(rows.tolist(), positions.tolist(), strict=True)])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_cached_logits_and_gradients_equal_the_plain_forward_pass(kind: str, role: str) -> None:
    lm = tiny_lm(kind)
    sequences, rows, positions = sequences_and_places(lm)
    for layer in range(lm.layout.n_blocks):
        names = changed_names(lm, layer, role)
        weights = {name: (lm.parameter(name).detach() * 1.05).requires_grad_(True) for name in names}
        cache = PrefixCache(lm, sequences, cut_for(lm, names), token_budget=16)
        logits = cache.logits(range(len(sequences)), rows, positions, weights)
        logits.square().mean().backward()

        plain = {name: w.detach().clone().requires_grad_(True) for name, w in weights.items()}
        originals = {name: lm.parameter(name).detach().clone() for name in names}
        for name in names:
            lm.parameter(name).data.copy_(plain[name].detach())
            lm.parameter(name).requires_grad_(True)
        expected = plain_logits(lm, sequences, rows, positions)
        expected.square().mean().backward()
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        for name in names:
            torch.testing.assert_close(weights[name].grad, lm.parameter(name).grad, rtol=1e-3, atol=1e-6)
            lm.parameter(name).requires_grad_(False).grad = None
            lm.parameter(name).data.copy_(originals[name])


def test_the_cut_lies_at_the_projection_only_if_nothing_else_of_its_block_changes() -> None:
    lm = tiny_lm("llama")
    assert cut_for(lm, [lm.layout.weight_name(1, "down")]) == Cut(1, at_projection=True)
    assert cut_for(lm, [lm.layout.weight_name(1, "down"), lm.layout.weight_name(2, "up")]) == Cut(1, True)
    assert cut_for(lm, [lm.layout.weight_name(1, "down"), lm.layout.weight_name(1, "up")]) == Cut(1)
    assert cut_for(lm, ["lm_head.weight"]) == Cut(None)


def test_block_2_is_not_taken_for_block_20() -> None:
    lm = tiny_lm("llama", layers=21)
    assert cut_for(lm, [lm.layout.weight_name(20, "down")]) == Cut(20, at_projection=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "at_projection"), [("gemma2", False), ("gemma3", False), ("llama", True)])
def test_a_norm_behind_the_projection_is_noticed(kind: str, at_projection: bool, dtype: torch.dtype) -> None:
    lm = tiny_lm(kind, dtype=dtype)
    sequences, _, _ = sequences_and_places(lm)
    cache = PrefixCache(lm, sequences, cut_for(lm, [lm.layout.weight_name(1, "down")]))
    assert cache.cut == Cut(1, at_projection)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_in_a_file_are_those_in_memory(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    lengths = [3, 1, 4, 2]
    values = torch.randn(4, 4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = [ragged.Ragged(lengths, 5, values)]
    monkeypatch.setattr(ragged, "HOST_BUDGET_BYTES", 0)
    kept.append(ragged.Ragged(lengths, 5, values))
    for rows in kept:
        rows.put([2, 0], values[:2])
        rows.put([1, 3], values[2:])
    taken = [rows.take([3, 2, 2], torch.device("cpu")) for rows in kept]
    expected = torch.stack([values[3][[0, 1, 1, 1]], values[0], values[0]])
    assert torch.equal(taken[0], expected) and torch.equal(taken[1], expected)
    assert not list((tmp_path / "scratch").iterdir())  # nothing to clean up after a kill


def test_a_full_disk_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(ragged, "HOST_BUDGET_BYTES", 0)
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(StoreError, match="free some space"):
        monkeypatch.setattr(ragged.tempfile, "TemporaryFile", lambda **_: full)
        ragged.Ragged([2], 3, torch.zeros(1)).put([0], torch.ones(1, 2, 3))


def test_states_in_a_file_give_the_same_logits_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    sequences, rows, positions = sequences_and_places(lm)
    cut = cut_for(lm, [lm.layout.weight_name(1, "down")])
    in_memory = PrefixCache(lm, sequences, cut).logits(range(5), rows, positions)
    monkeypatch.setattr(ragged, "HOST_BUDGET_BYTES", 0)
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    assert torch.equal(PrefixCache(lm, sequences, cut).logits(range(5), rows, positions), in_memory)


def test_the_model_is_left_without_hooks_or_replaced_forwards() -> None:
    lm = tiny_lm("llama")
    sequences, rows, positions = sequences_and_places(lm)
    cache = PrefixCache(lm, sequences, cut_for(lm, [lm.layout.weight_name(1, "down")]))
    cache.logits(range(5), rows, positions)
    for module in lm.model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_hooked_forward_of_somebody_else_is_put_back() -> None:
    lm = tiny_lm("llama")
    block = lm.layout.block(lm.model, 0)
    plain = block.forward
    theirs = functools.partial(plain)
    block.forward = theirs
    sequences, rows, positions = sequences_and_places(lm)
    PrefixCache(lm, sequences, cut_for(lm, [lm.layout.weight_name(1, "down")])).logits(range(5), rows, positions)
    assert block.forward is theirs


def test_batches_cover_everything_once_within_budget_and_padding() -> None:
    lengths = [5, 30, 6, 29, 5, 12, 11, 30]
    for budget in (40, 64, 1000):
        batches = by_length(lengths, budget)
        assert sorted(i for batch in batches for i in batch) == list(range(8))
        for batch in batches:
            padded = len(batch) * max(lengths[i] for i in batch)
            assert len(batch) == 1 or padded <= min(budget, 1.12 * sum(lengths[i] for i in batch))


def test_padding_that_costs_less_than_a_pass_is_not_avoided() -> None:
    assert by_length([10, 4, 4], slack=12) == [[0, 1, 2]]
    assert by_length([10, 4, 4], slack=11) == [[0, 1], [2]]
    assert by_length([10, 4, 4], slack=5) == [[0], [1, 2]]


def test_without_a_budget_equal_lengths_share_one_batch() -> None:
    assert by_length([7] * 50) == [list(range(50))]


def bloom() -> Any:
    return BloomForCausalLM(BloomConfig(vocab_size=320, hidden_size=32, n_layer=3, n_head=4))


def mpt() -> Any:
    return MptForCausalLM(MptConfig(vocab_size=320, d_model=32, n_layers=3, n_heads=4, max_seq_len=128))


@pytest.mark.parametrize("build", [bloom, mpt])
def test_mlps_that_add_the_residual_themselves_give_the_plain_logits(build: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    model = build().eval().requires_grad_(False)
    layout = find_layout(model)
    lm = LM(model, tiny_lm("gpt2").text, layout, shape_of(model, layout))
    sequences, rows, positions = sequences_and_places(lm)
    name = layout.weight_name(1, "down")
    logits = PrefixCache(lm, sequences, cut_for(lm, [name])).logits(range(len(sequences)), rows, positions)
    torch.testing.assert_close(logits, plain_logits(lm, sequences, rows, positions), rtol=1e-4, atol=1e-5)

"""Partial passes against the plain one: tails behind constant heads, and the residual stream carried upward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editbench.models.lm import LM
from editbench.models.residual import ResidualStream
from editbench.models.tails import Tails
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests


def sequences_and_starts(lm: LM) -> tuple[list[list[int]], list[int]]:
    requests = tiny_requests(5)
    completions = lm.text.completions([(r.prompt, r.target_new) for r in requests])
    starts = [lm.text.subject_last_token(r) for r in requests]
    starts[1] = 0  # a sequence without any head
    return [c.ids for c in completions], starts


def plain_logits(lm: LM, ids: list[int], block: int, start: int, added: torch.Tensor) -> torch.Tensor:
    def add(module: Any, args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[0, start] += added
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = lm.layout.block(lm.model, block).register_forward_hook(add)
    try:
        return lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        hook.remove()


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_tails_give_the_logits_and_gradients_of_the_whole_pass(kind: str) -> None:
    lm = tiny_lm(kind)
    sequences, starts = sequences_and_starts(lm)
    for block in range(lm.layout.n_blocks):
        added = (0.1 * torch.randn(5, lm.shape.hidden, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
        plain = added.detach().clone().requires_grad_(True)
        tails = Tails(lm, sequences, starts, block)
        total = torch.zeros(())
        for piece in tails.pieces:
            places = [(r, p) for r, i in enumerate(piece.numbers) for p in range(len(sequences[i]) - starts[i])]
            rows, positions = (torch.tensor(column) for column in zip(*places, strict=True))
            logits = tails.logits(piece, added[piece.numbers], rows, positions)
            expected = torch.cat(
                [plain_logits(lm, sequences[i], block, starts[i], plain[i])[starts[i] :] for i in piece.numbers]
            )
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
            total = total + logits.square().sum() - expected.square().sum()
        total.backward()
        assert added.grad is not None and plain.grad is not None
        assert added.grad.abs().max() > 0
        torch.testing.assert_close(added.grad, -plain.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_rows_that_leave_do_not_change_the_others(kind: str) -> None:
    lm = tiny_lm(kind)
    sequences, starts = sequences_and_starts(lm)
    added = torch.zeros(5, lm.shape.hidden)

    def at_start(tails: Tails) -> dict[int, torch.Tensor]:
        found = {}
        for piece in tails.pieces:
            zeros = torch.zeros(len(piece.numbers), dtype=torch.long)
            logits = tails.logits(piece, added[piece.numbers], torch.arange(len(piece.numbers)), zeros)
            found.update(zip(piece.numbers, logits, strict=True))
        return found

    tails = Tails(lm, sequences, starts, 0)
    before = at_start(tails)
    tails.keep(lambda number: number in (0, 3))
    after = at_start(tails)
    assert set(after) == {0, 3}
    for number, logits in after.items():
        torch.testing.assert_close(logits, before[number], rtol=1e-4, atol=1e-5)


def seen_by_plain_pass(lm: LM, ids: list[int], layer: int) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def projection(module: Any, args: Any, output: torch.Tensor) -> None:
        seen["key"] = args[0].reshape(-1, args[0].shape[-1])[-1]
        seen["projected"] = output.reshape(-1, output.shape[-1])[-1]

    def block(module: Any, args: Any, output: Any) -> None:
        seen["output"] = (output[0] if isinstance(output, tuple) else output)[0, -1]

    hooks = [
        lm.model.get_submodule(lm.layout.mlp_out_path(layer)).register_forward_hook(projection),
        lm.layout.block(lm.model, layer).register_forward_hook(block),
    ]
    lm.model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_stream_sees_what_whole_passes_see_also_after_weights_above_it_changed(kind: str) -> None:
    lm = tiny_lm(kind)
    sequences, starts = sequences_and_starts(lm)
    sequences = [ids[: start + 1] for ids, start in zip(sequences, starts, strict=True)]
    stream = ResidualStream(lm, sequences, token_budget=16)
    last = lm.layout.n_blocks - 1
    for layer in range(lm.layout.n_blocks):
        keys = stream.keys(layer)
        lm.parameter(lm.layout.weight_name(layer, "down")).data.mul_(1.3)
        expected = [seen_by_plain_pass(lm, ids, layer) for ids in sequences]
        torch.testing.assert_close(keys, torch.stack([e["key"] for e in expected]), rtol=1e-4, atol=1e-5)
        projected = torch.stack([e["projected"] for e in expected])
        torch.testing.assert_close(stream.projected(layer), projected, rtol=1e-4, atol=1e-5)
        top = torch.stack([seen_by_plain_pass(lm, sequences[i], last)["output"] for i in (3, 0)])
        torch.testing.assert_close(stream.outputs(last, (3, 0)), top, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="passed already"):
        stream.keys(0)

"""Running only what a change at one token can reach: that token and those after it, above one block.

A vector added to a block's output at one token leaves everything before that token, and every block below, as it was:
under causal attention their keys and values are constants. :class:`Tails` computes them once. A pass then runs the
few tokens from the changed one on, through the blocks above, with the vocabulary projection at the asked places.
Exact up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editbench.models.lm import LM
from editbench.models.partial import (
    Stopped,
    as_block_output,
    forward_replaced,
    hidden_of,
    kv_cache_copy,
    last_logits,
    last_mlp_only_at,
    logits_at,
    output_seen,
    run_until_stopped,
    short_attention,
    skip_blocks,
)
from editbench.models.prefix import by_length, pass_tokens

# Most tokens after the changed one that are run at once: their activations are kept for the way back.
TAIL_TOKENS = {"cpu": 1024, "cuda": 4096}
# Most tokens before it, padding included: their keys and values are kept.
HEAD_TOKENS = {"cpu": 8192, "cuda": 65536}


@dataclass
class Piece:
    """Sequences that are run together.

    Attributes
    ----------
    numbers: which sequences.
    ids: the tokens from the changed one on, right-padded: [rows, tail].
    mask: which tokens are real, heads (left-padded) and tails: [rows, head + tail].
    positions: positions of the tail's tokens: [rows, tail].
    past: keys and values of the heads; None where no sequence has any.
    block_output: what leaves the block, unchanged: [rows, tail, hidden].
    """

    numbers: list[int]
    ids: Tensor
    mask: Tensor
    positions: Tensor
    past: Any
    block_output: Tensor

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all but these rows."""
        place = torch.tensor(rows, device=self.ids.device)
        self.numbers = [self.numbers[row] for row in rows]
        self.ids, self.mask, self.positions = self.ids[place], self.mask[place], self.positions[place]
        self.block_output = self.block_output[place.to(self.block_output.device)]
        if self.past is not None:
            self.past = kv_cache_copy(self.past, place)


class Tails:
    """Some sequences, each with the token at which a vector will be added to one block's output.

    Parameters
    ----------
    lm: the model; its weights must not change while this is used.
    sequences: token ids of each sequence.
    starts: for each, the index of the changed token.
    block: the block whose output changes.
    progress: called with the share done.

    Attributes
    ----------
    pieces: the sequences in batches of similar length.
    outputs: the block's unchanged output at each sequence's changed token, float32: [sequences, hidden].
    projected: what the block's MLP output projection adds there, float32: [sequences, hidden].
    """

    def __init__(
        self,
        lm: LM,
        sequences: Sequence[Sequence[int]],
        starts: Sequence[int],
        block: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.lm, self.block = lm, block
        self._as_tuple = False
        self.pieces: list[Piece] = []
        self.outputs = torch.empty(len(sequences), lm.shape.hidden, device=lm.device)
        self.projected = torch.empty_like(self.outputs)
        lengths = [len(ids) - start for ids, start in zip(sequences, starts, strict=True)]
        batches = _batches(lengths, starts, lm)
        for number, batch in enumerate(batches):
            heads = [sequences[i][: starts[i]] for i in batch]
            tails = [sequences[i][starts[i] :] for i in batch]
            self.pieces.append(self._compute(batch, heads, tails))
            if progress is not None:
                progress((number + 1) / len(batches))

    @torch.no_grad()
    def _compute(self, numbers: list[int], heads: list[Sequence[int]], tails: list[Sequence[int]]) -> Piece:
        device = self.lm.device
        head_ids, head_mask = self.lm.text.pad_left(heads)
        ids, tail_mask = self.lm.text.pad_right(tails)
        mask = torch.cat([head_mask, tail_mask], 1).to(device)
        lengths = head_mask.sum(1, keepdim=True)
        positions = (lengths + torch.arange(ids.shape[1])).to(device)
        past = self._heads(head_ids.to(device), head_mask.to(device)) if head_ids.shape[1] else None
        piece = Piece(numbers, ids.to(device), mask, positions, past, torch.empty(0))
        piece.block_output = self._block_output(piece)
        return piece

    def _heads(self, ids: Tensor, mask: Tensor) -> Any:
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        with last_logits(self.lm):
            return self.lm.model(**inputs, use_cache=True).past_key_values

    def _inputs(self, piece: Piece) -> dict[str, Any]:
        return {
            "input_ids": piece.ids,
            "attention_mask": piece.mask,
            "position_ids": piece.positions,
            "past_key_values": None if piece.past is None else kv_cache_copy(piece.past),
            "use_cache": True,
        }

    def _block_output(self, piece: Piece) -> Tensor:
        """Run the tails up to the block's output, and note what its projection and it return at the first token."""
        layout, seen = self.lm.layout, []
        rows = torch.tensor(piece.numbers, device=self.outputs.device)

        def at_projection(output: Tensor) -> None:
            first = output.reshape(*piece.ids.shape, -1)[:, 0]
            self.projected[rows] = first.float().to(self.projected.device)

        def at_block(output: Any) -> None:
            self._as_tuple = isinstance(output, tuple)
            seen.append(hidden_of(output))
            raise Stopped

        with ExitStack() as stack:
            output_seen(stack, self.lm.model.get_submodule(layout.mlp_out_path(self.block)), at_projection)
            output_seen(stack, layout.block(self.lm.model, self.block), at_block)
            run_until_stopped(self.lm, **self._inputs(piece))
        self.outputs[rows] = seen[0][:, 0].float().to(self.outputs.device)
        return seen[0]

    def keep(self, wanted: Callable[[int], bool]) -> None:
        """Forget the sequences whose number is not ``wanted``; their passes are not paid any more."""
        for piece in self.pieces:
            rows = [row for row, number in enumerate(piece.numbers) if wanted(number)]
            if len(rows) < len(piece.numbers):
                piece.keep(rows)
        self.pieces = [piece for piece in self.pieces if piece.numbers]

    def logits(self, piece: Piece, added: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Run a piece with a vector added at each row's changed token, with gradients to ``added``.

        Parameters
        ----------
        piece: one of ``pieces``.
        added: [rows of the piece, hidden].
        rows, positions: [n]: which row, and which token counted from the changed one; the logits there predict the
            next token.

        Returns
        -------
        Tensor [n, vocabulary], float32.
        """
        first = piece.block_output[:, :1] + added[:, None].to(piece.block_output)
        hidden = torch.cat([first, piece.block_output[:, 1:]], 1)

        def block(*args: Any, **kwargs: Any) -> Any:
            return as_block_output(hidden, self._as_tuple)

        with ExitStack() as stack:
            skip_blocks(stack, self.lm, self.block, self._as_tuple)
            stack.enter_context(forward_replaced(self.lm.layout.block(self.lm.model, self.block), block))
            if self.block < self.lm.layout.n_blocks - 1:
                last_mlp_only_at(stack, self.lm, rows, positions)
            stack.enter_context(logits_at(self.lm, rows, positions))
            stack.enter_context(short_attention(self.lm))
            output = self.lm.model(**self._inputs(piece))
        logits: Tensor = output.logits[0].float()
        return logits


def _batches(tails: Sequence[int], heads: Sequence[int], lm: LM) -> list[list[int]]:
    """Group sequences whose tails are about equally long, cut where their heads, padded, are too many tokens."""
    kind = lm.device.type
    budgets = [lm.at_once(table.get(kind, table["cuda"])) for table in (TAIL_TOKENS, HEAD_TOKENS)]
    found = []
    for batch in by_length(tails, budgets[0], pass_tokens(lm.device)):
        shortest_first = sorted(batch, key=lambda i: heads[i])
        first = 0
        for place, number in enumerate(shortest_first):
            if place > first and (place - first + 1) * heads[number] > budgets[1]:
                found.append(shortest_first[first:place])
                first = place
        found.append(shortest_first[first:])
    return found

"""The residual stream of some prompts, carried upward block by block while weights change underneath it.

What locate-then-edit methods look up, the input of an MLP output projection and the output of a block at one token,
needs neither the blocks above nor the vocabulary; and once a block has been passed with its new weights, nothing
below it is ever computed again. Looking up keys at several layers thus costs one partial forward pass in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from editbench.models.lm import LM
from editbench.models.partial import (
    Stopped,
    hidden_of,
    input_seen,
    output_seen,
    replace_input,
    right_padded,
    run_until_stopped,
    skip_blocks,
)
from editbench.models.prefix import by_length, pass_tokens
from editbench.models.ragged import Ragged

TOKEN_BUDGET = 4096


class ResidualStream:
    """Prompts on their way through a model, each looked at in its last token.

    Parameters
    ----------
    lm: the model; its weights in the blocks already passed must not change any more.
    sequences: token ids of each prompt, up to the token that is looked at.
    token_budget: most tokens, padding included, in one pass.
    """

    def __init__(self, lm: LM, sequences: Sequence[Sequence[int]], token_budget: int = TOKEN_BUDGET) -> None:
        self.lm, self.sequences = lm, [list(ids) for ids in sequences]
        self.block = 0
        self._lengths = [len(ids) for ids in self.sequences]
        self._budget = token_budget
        self._states: Ragged | None = None  # entering self.block; None: token ids are all there is
        self._as_tuple = False

    def keys(self, layer: int) -> Tensor:
        """Return the input of a block's MLP output projection at each last token: [sequences, mlp], float32.

        Carries the stream up to this block. Raises ``ValueError`` for a block that was passed already.
        """
        return self._look(layer, carry=True, upto=self._at_projection)

    def projected(self, layer: int, which: Sequence[int] | None = None) -> Tensor:
        """Return what a block's MLP output projection puts out, as :meth:`outputs` returns a block's."""
        return self._look(layer, carry=False, upto=self._after_projection, which=which)

    def outputs(self, layer: int, which: Sequence[int] | None = None) -> Tensor:
        """Return a block's output at the last token of ``which`` sequences (None: all): [n, hidden], float32."""
        return self._look(layer, carry=False, upto=self._after_block, which=which)

    @torch.no_grad()
    def _look(
        self,
        layer: int,
        carry: bool,
        upto: Callable[[ExitStack, int, Callable[[Tensor], None]], None],
        which: Sequence[int] | None = None,
    ) -> Tensor:
        if layer < self.block:
            raise ValueError(f"block {layer} was passed already; the stream is at block {self.block}")
        wanted = list(range(len(self.sequences))) if which is None else list(which)
        found: list[Tensor | None] = [None] * len(wanted)
        carried: Ragged | None = None
        for places in by_length(
            [self._lengths[i] for i in wanted], self.lm.at_once(self._budget), pass_tokens(self.lm.device)
        ):
            batch = [wanted[place] for place in places]
            entering, at_last = self._pass(batch, layer, carry, upto)
            for place, value in zip(places, at_last, strict=True):
                found[place] = value
            if entering is not None:
                carried = carried or Ragged(self._lengths, entering.shape[-1], entering)
                carried.put(batch, entering)
        if carried is not None:
            self._states, self.block = carried, layer
        return torch.stack([value for value in found if value is not None]).to(self.lm.device)

    def _pass(
        self, batch: Sequence[int], layer: int, carry: bool, upto: Callable[..., None]
    ) -> tuple[Tensor | None, Tensor]:
        """Run a batch from where it stands; return the states entering ``layer`` if asked, and what ``upto`` saw."""
        last = torch.tensor([self._lengths[i] - 1 for i in batch])
        entering: list[Tensor] = []
        seen: list[Tensor] = []

        def stop(values: Tensor) -> None:
            # some MLPs flatten their tokens: [batch * tokens, width]
            values = values.reshape(len(batch), -1, values.shape[-1])
            seen.append(values[torch.arange(len(batch)), last.to(values.device)].float().clone())
            raise Stopped

        def enter(hidden: Tensor) -> None:
            entering.append(hidden)

        with ExitStack() as stack:
            if self._states is not None:
                skip_blocks(stack, self.lm, self.block, self._as_tuple)
                block = self.lm.layout.block(self.lm.model, self.block)
                replace_input(stack, block, self._states.take(batch, next(block.parameters()).device))
            if carry:
                input_seen(stack, self.lm.layout.block(self.lm.model, layer), enter)
            output_seen(stack, self.lm.layout.block(self.lm.model, 0), self._learn_form)
            upto(stack, layer, stop)
            ids = right_padded(self.lm, [self.sequences[i] for i in batch])
            run_until_stopped(self.lm, input_ids=ids, use_cache=False)
        return (entering[0] if entering else None), seen[0]

    def _learn_form(self, output: Any) -> None:
        self._as_tuple = isinstance(output, tuple)

    def _projection(self, layer: int) -> torch.nn.Module:
        module: torch.nn.Module = self.lm.model.get_submodule(self.lm.layout.mlp_out_path(layer))
        return module

    def _at_projection(self, stack: ExitStack, layer: int, stop: Callable[[Tensor], None]) -> None:
        input_seen(stack, self._projection(layer), stop)

    def _after_projection(self, stack: ExitStack, layer: int, stop: Callable[[Tensor], None]) -> None:
        output_seen(stack, self._projection(layer), stop)

    def _after_block(self, stack: ExitStack, layer: int, stop: Callable[[Tensor], None]) -> None:
        output_seen(stack, self.lm.layout.block(self.lm.model, layer), lambda output: stop(hidden_of(output)))


def mlp_output_is_added(lm: LM, layer: int) -> bool:
    """Whether a block adds its MLP output projection's output to the rest and does nothing else with it.

    Tried on a short text; False for models that normalise it first (Gemma 2 and 3).
    """
    stream = ResidualStream(lm, [lm.text.prompt("The capital of France is")])
    whole, projected = stream.outputs(layer), stream.projected(layer)
    return _is_sum(lm, whole, _without_mlp(lm, stream, layer), projected)


def norm_behind_mlp(lm: LM, layer: int) -> torch.nn.Module | None:
    """Return the norm through which a block passes its MLP output projection's output on to the residual stream.

    Tried on a short text: the block's output is that norm's, added to what it is without the MLP. None where no norm
    of the block is such a one (and where there is none).
    """
    stream = ResidualStream(lm, [lm.text.prompt("The capital of France is")])
    whole, projected = stream.outputs(layer), stream.projected(layer)
    rest = _without_mlp(lm, stream, layer)
    block = lm.layout.block(lm.model, layer)
    for name in reversed(lm.layout.norms):
        norm: torch.nn.Module = block.get_submodule(name)
        with torch.no_grad():
            # without the MLP the norm saw zeros, which one with a bias does not pass on as zeros
            inside = projected.to(next(norm.parameters()))
            passed = norm(inside) - norm(torch.zeros_like(inside))
        if _is_sum(lm, whole, rest, passed.to(projected)):
            return norm
    return None


def _without_mlp(lm: LM, stream: ResidualStream, layer: int) -> Tensor:
    """Return the block's output were its MLP output projection's all zeros."""
    module = lm.model.get_submodule(lm.layout.mlp_out_path(layer))
    hook = module.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    try:
        return stream.outputs(layer)
    finally:
        hook.remove()


def _is_sum(lm: LM, whole: Tensor, rest: Tensor, part: Tensor) -> bool:
    eps = torch.finfo(lm.model.dtype).eps
    tolerance = max(1e-3, 16 * eps) * part.norm() + eps * whole.norm()
    return bool((whole - rest - part).norm() <= tolerance)

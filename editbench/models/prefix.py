"""Freeze below, pay above: what lies under the lowest changed weight is computed once per sequence and kept.

Training changes the weights of some block and nothing below it, so the residual stream that enters that block is a
constant of the training. If only the block's MLP output projection changes, even that block's attention and the
input of its projection are constants. :class:`PrefixCache` computes them once; :meth:`PrefixCache.logits` runs only
what is left, with the vocabulary projection at the asked positions alone. Equal to the plain forward pass up to
rounding: the sums are the same, in another shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.models.lm import LM
from editbench.models.partial import (
    Stopped,
    as_block_output,
    forward_replaced,
    hidden_of,
    input_seen,
    last_mlp_only_at,
    logits_at,
    output_seen,
    replace_input,
    right_padded,
    run_until_stopped,
    short_attention,
    skip_blocks,
)
from editbench.models.ragged import Ragged

if TYPE_CHECKING:
    from editbench.models.kept_inputs import Source

PADDING_SHARE = 0.12
# What one more pass costs beside its tokens, in tokens: less padding than this is not worth a pass of its own.
PASS_TOKENS = {"cpu": 64, "cuda": 4096}


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the constant part of a model ends.

    Attributes
    ----------
    block: the lowest block that changes; None if something outside the blocks does, and nothing is constant.
    at_projection: whether only that block's MLP output projection and later blocks change.
    """

    block: int | None
    at_projection: bool = False


def cut_for(lm: LM, changed: Sequence[str]) -> Cut:
    """Return where the constant part ends if the parameters of these full names change."""
    lowest, names = None, set(changed)
    for block in range(lm.layout.n_blocks):
        inside = {name for name in names if name.startswith(lm.layout.block_path(block) + ".")}
        if inside and lowest is None:
            lowest, lowest_names = block, inside
        names -= inside
    if names or lowest is None:
        return Cut(None)
    projection = lm.layout.mlp_out_path(lowest) + "."
    return Cut(lowest, all(name.startswith(projection) for name in lowest_names))


class PrefixCache:
    """The constants of a set of token sequences under a :class:`Cut`.

    Memory per token: ``hidden`` numbers, and ``mlp`` more if the cut is at a projection, in the model's dtype. They
    are kept on the device, in host memory, or in a file, whichever has room. What enters the block is read where the
    model keeps that (:attr:`LM.kept_inputs`), in the same pieces, so that the bits are the same.

    Parameters
    ----------
    lm: the model; its weights below the cut must not change while the cache is used.
    sequences: token ids of each sequence, prompt and target.
    cut: from :func:`cut_for`.
    token_budget: most tokens, padding included, in one pass of the computation.
    progress: called with the share done.
    """

    def __init__(
        self,
        lm: LM,
        sequences: Sequence[Sequence[int]],
        cut: Cut,
        token_budget: int = 4096,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.lm, self.sequences, self.cut = lm, [list(s) for s in sequences], cut
        self._states: dict[str, Ragged] = {}
        self._as_tuple = False
        if cut.block is not None and self.sequences:
            self._as_tuple = self._blocks_return_tuples()
            self._fill(token_budget, progress)

    @property
    def nbytes(self) -> int:
        """Bytes of all kept states."""
        return sum(state.nbytes for state in self._states.values())

    @torch.no_grad()
    def _fill(self, token_budget: int, progress: Callable[[float], None] | None) -> None:
        lengths = [len(ids) for ids in self.sequences]
        batches = by_length(lengths, self.lm.at_once(token_budget), pass_tokens(self.lm.device))
        source = self._source(sum(lengths))
        for number, batch in enumerate(batches):
            entering = None if source is None else source.states(self._ids(batch))
            for name, value in self._capture(batch, entering).items():
                if name not in self._states:
                    self._states[name] = Ragged(lengths, value.shape[-1], value)
                self._states[name].put(batch, value)
            if progress is not None:
                progress((number + 1) / len(batches))

    def _source(self, tokens: int) -> Source | None:
        """Return where to read what enters the block; None where it is computed here, as it is for a few tokens: to
        see that nothing below has changed takes as long.
        """
        if self.lm.kept_inputs is None or self.cut.block is None or tokens < pass_tokens(self.lm.device):
            return None
        return self.lm.kept_inputs.source(self.lm, self.cut.block)

    def _capture(self, batch: Sequence[int], entering: Tensor | None) -> dict[str, Tensor]:
        """Run up to the cut, from what enters its block if that is known.

        Return ``rest`` [batch, tokens, hidden] and, at a projection, ``key`` [batch, tokens, mlp].
        """
        if self.cut.at_projection:
            captured = self._capture_projection(batch, entering)
            if self._states or self._adds_up(batch[:1], captured["rest"][:1, : len(self.sequences[batch[0]])]):
                return captured
            self.cut = Cut(self.cut.block)  # a norm after the projection: the block must be run as a whole
        if entering is not None:
            return {"rest": entering}
        seen: dict[str, Tensor] = {}

        def stop(hidden: Tensor) -> None:
            seen["rest"] = hidden
            raise Stopped

        with ExitStack() as stack:
            input_seen(stack, self._block(), stop)
            self._run(batch)
        return seen

    @torch.no_grad()
    def _blocks_return_tuples(self) -> bool:
        """Whether the model's blocks return (hidden, …) rather than the hidden states alone."""
        seen: list[bool] = []

        def at_block(output: Any) -> None:
            seen.append(isinstance(output, tuple))
            raise Stopped

        with ExitStack() as stack:
            output_seen(stack, self.lm.layout.block(self.lm.model, 0), at_block)
            self._run([min(range(len(self.sequences)), key=lambda i: len(self.sequences[i]))])
        return seen[0]

    def _block(self) -> torch.nn.Module:
        assert self.cut.block is not None
        return self.lm.layout.block(self.lm.model, self.cut.block)

    def _projection(self) -> torch.nn.Module:
        assert self.cut.block is not None
        module: torch.nn.Module = self.lm.model.get_submodule(self.lm.layout.mlp_out_path(self.cut.block))
        return module

    def _capture_projection(
        self, batch: Sequence[int], entering: Tensor | None, *, silence: bool = True
    ) -> dict[str, Tensor]:
        """Return the projection's input and the block's output; ``silence`` takes the projection's part out of it."""
        seen: dict[str, Tensor] = {}

        def at_projection(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen["key"] = args[0].reshape(len(batch), -1, args[0].shape[-1])
            seen["projected"] = output.reshape(len(batch), -1, output.shape[-1])
            return torch.zeros_like(output) if silence else output

        def at_block(output: Any) -> None:
            seen["rest"] = hidden_of(output)
            raise Stopped

        with ExitStack() as stack:
            stack.callback(self._projection().register_forward_hook(at_projection).remove)
            output_seen(stack, self._block(), at_block)
            if entering is not None:
                self._enter_at_block(stack, entering)
            self._run(batch)
        if silence:
            del seen["projected"]
        return seen

    def _adds_up(self, batch: Sequence[int], rest: Tensor) -> bool:
        """Whether the block's output is the rest plus the projection's output and nothing else happens to it."""
        whole = self._capture_projection(batch, None, silence=False)
        parts = rest, whole["projected"], whole["rest"]
        size = sum(part.abs() for part in parts)
        tolerance = 8 * torch.finfo(rest.dtype).eps * size  # element by element: residual streams have huge outliers
        return bool(((parts[0] + parts[1] - parts[2]).abs() <= tolerance).all())

    def _ids(self, batch: Sequence[int]) -> Tensor:
        return right_padded(self.lm, [self.sequences[i] for i in batch])

    def _run(self, batch: Sequence[int]) -> None:
        run_until_stopped(self.lm, input_ids=self._ids(batch), use_cache=False)

    def _take(self, name: str, batch: Sequence[int]) -> Tensor:
        return self._states[name].take(batch, next(self._block().parameters()).device)

    def logits(
        self, batch: Sequence[int], rows: Tensor, positions: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Run what is above the cut for some of the sequences, with gradients to ``weights``.

        Parameters
        ----------
        batch: numbers of the sequences.
        rows, positions: [n]: which row of the batch and which token; the logits there predict the next token.
        weights: full parameter name -> tensor used in its place; cast to the parameter's dtype here.

        Returns
        -------
        Tensor [n, vocabulary], float32.
        """
        weights = {name: w.to(self.lm.parameter(name).dtype) for name, w in (weights or {}).items()}
        with ExitStack() as stack:
            if self.cut.block is not None:
                self._skip_prefix(stack, batch)
            last_mlp_only_at(stack, self.lm, rows, positions)
            stack.enter_context(logits_at(self.lm, rows, positions))
            stack.enter_context(short_attention(self.lm))
            output = torch.func.functional_call(
                self.lm.model, weights, (), {"input_ids": self._ids(batch), "use_cache": False}
            )
        logits: Tensor = output.logits[0].float()
        return logits

    def _enter_at_block(self, stack: ExitStack, states: Tensor) -> None:
        """Until ``stack`` closes, let the blocks below the cut do nothing and its block start from these states."""
        assert self.cut.block is not None
        skip_blocks(stack, self.lm, self.cut.block, self._as_tuple)
        replace_input(stack, self._block(), states)

    def _skip_prefix(self, stack: ExitStack, batch: Sequence[int]) -> None:
        assert self.cut.block is not None
        rest = self._take("rest", batch)
        if not self.cut.at_projection:
            self._enter_at_block(stack, rest)
            return
        skip_blocks(stack, self.lm, self.cut.block, self._as_tuple)
        key, projection = self._take("key", batch), self._projection()

        def block(*args: Any, **kwargs: Any) -> Any:
            return as_block_output(rest + projection(key), self._as_tuple)

        stack.enter_context(forward_replaced(self._block(), block))


def pass_tokens(device: torch.device) -> int:
    """Return how much padding is not worth another pass on this device, in tokens."""
    return PASS_TOKENS.get(device.type, PASS_TOKENS["cuda"])


def by_length(lengths: Sequence[int], token_budget: float = math.inf, slack: int = 0) -> list[list[int]]:
    """Group sequence numbers into batches of similar length, longest first.

    A batch holds at most ``token_budget`` tokens, padding included; its padding is at most ``PADDING_SHARE`` of its
    real tokens, or ``slack`` tokens if that is more. A sequence longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    real = 0
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        padded = (len(batches[-1]) + 1) * longest if batches else 0
        together = real + lengths[number]
        if batches and padded <= min(token_budget, together + max(PADDING_SHARE * together, slack)):
            batches[-1].append(number)
            real += lengths[number]
        else:
            batches.append([number])
            real = lengths[number]
    return batches

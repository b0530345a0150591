"""Running a part of a model: from some block on, up to some block, with logits at chosen places only.

Everything here changes how a module is called for the time of a ``with`` and puts it back, whatever happens. It works
on any model that ``editbench.models.layout`` understands, since it only replaces what goes into and out of blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from editbench.models.lm import LM


class Stopped(Exception):
    """Ends a forward pass once everything wanted from it has been seen."""


def hidden_of(output: Any) -> Tensor:
    """Return the hidden states among what a block returned."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def as_block_output(hidden: Tensor, as_tuple: bool) -> Any:
    """Return hidden states in the form in which the model's blocks return them."""
    return (hidden,) if as_tuple else hidden


def _hidden_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


def replace_input(stack: ExitStack, module: nn.Module, value: Tensor) -> None:
    """Until ``stack`` closes, give ``module`` these hidden states and not those it is called with."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (value, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": value}

    stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def input_seen(stack: ExitStack, module: nn.Module, seen: Callable[[Tensor], None]) -> None:
    """Until ``stack`` closes, show ``seen`` the hidden states that go into ``module``; it may raise Stopped."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen(_hidden_argument(args, kwargs))

    stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def output_seen(stack: ExitStack, module: nn.Module, seen: Callable[[Any], None]) -> None:
    """Until ``stack`` closes, show ``seen`` what ``module`` returns; it may raise Stopped."""
    stack.callback(module.register_forward_hook(lambda module, args, output: seen(output)).remove)


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the context, ``module`` computes ``forward``."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def skip_blocks(stack: ExitStack, lm: LM, n_blocks: int, as_tuple: bool) -> None:
    """Until ``stack`` closes, let the first ``n_blocks`` blocks hand on what they are given."""

    def pass_on(*args: Any, **kwargs: Any) -> Any:
        return as_block_output(_hidden_argument(args, kwargs), as_tuple)

    for number in range(n_blocks):
        stack.enter_context(forward_replaced(lm.layout.block(lm.model, number), pass_on))


@contextmanager
def logits_at(lm: LM, rows: Tensor, positions: Tensor) -> Iterator[None]:
    """Within the context, the output head sees only the states at (rows, positions): logits are [1, n, vocabulary]."""

    def select(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][rows.to(args[0].device), positions.to(args[0].device)].unsqueeze(0),)

    hook = lm.model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def last_logits(lm: LM, keep: int = 1) -> Iterator[None]:
    """Within the context, the output head sees only every row's last ``keep`` tokens: [rows, keep, vocabulary] logits.

    What transformers' own ``logits_to_keep`` hands to the head is a view; in 16 bits on a processor its product makes
    a copy of the head for every row, gigabytes of it.
    """

    def select(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][:, -keep:].contiguous(),)

    hook = lm.model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


def last_mlp_only_at(stack: ExitStack, lm: LM, rows: Tensor, positions: Tensor) -> None:
    """Let the last block's MLP see only the tokens whose logits are wanted: nothing reads the others."""
    layout = lm.layout
    if not layout.mlp:
        return
    mlp = lm.model.get_submodule(f"{layout.block_path(layout.n_blocks - 1)}.{layout.mlp}")
    forward = mlp.forward
    place = torch.unique(torch.stack([rows, positions]), dim=1)  # a token wanted twice must count once

    def at_place(hidden: Tensor, *more: Tensor) -> Tensor:  # BLOOM's and MPT's add the residual themselves
        index = tuple(place.to(hidden.device))
        return torch.zeros_like(hidden).index_put(index, forward(hidden[index], *(part[index] for part in more)))

    stack.enter_context(forward_replaced(mlp, at_place))


@contextmanager
def short_attention(lm: LM) -> Iterator[None]:
    """Within the context, let attention over short sequences be computed as plain products on a processor.

    In 16 bits the processor's fused kernel takes ten times as long as they do on the way back; in 32 they are equal.
    """
    if lm.device.type == "cpu" and lm.model.dtype != torch.float32:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield


def run_until_stopped(lm: LM, **inputs: Any) -> None:
    """Run the model until a hook raises :class:`Stopped`. Raises ``RuntimeError`` if none does."""
    try:
        lm.model(**inputs)
    except Stopped:
        return
    raise RuntimeError("the forward pass never reached the place where it was to stop")


def right_padded(lm: LM, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Return ids [rows, longest]; causal attention never looks at the padding, so no mask is needed."""
    longest = max(map(len, sequences))
    rows = [[*ids, *[ids[-1]] * (longest - len(ids))] for ids in sequences]
    return torch.tensor(rows, device=lm.device)


def kv_cache_copy(cache: Any, rows: Tensor | None = None) -> Any:
    """Return another key/value cache, with these rows of ``cache`` if given; rows may repeat."""
    # A flat copy of each layer will do, for layers put new tensors in the place of old ones and write into none.
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    if rows is not None:
        copied.batch_select_indices(rows)
    return copied

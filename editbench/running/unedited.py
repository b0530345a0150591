"""Whether a model is the unedited one: a cheap fingerprint of everything that an edit could have left changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from editbench.models.lm import LM

# Sums are taken down the columns of the bits laid out this wide, so that two changes seldom cancel out.
_COLUMNS = 1024
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(lm: LM) -> dict[str, str]:
    """Return what must not change between two streams: part of the model -> a short hash.

    Parts: each saved tensor by its full name; ``modules``: the tree, with each module's class, mode, flags, hooks
    and replaced functions; ``context``; ``configuration``; ``tokeniser``. One pass over the weights at the memory's
    speed: 0.1 s for 135 million of them on two cores.
    """
    model = lm.model
    # buffers that are not saved may hold what a pass left there, such as rotary angles for a longer text
    found = {name: _sum_of_bits(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    return {
        **found,
        "modules": _short([_module(name, module) for name, module in model.named_modules()]),
        "flags": _short([(name, parameter.requires_grad) for name, parameter in model.named_parameters()]),
        "context": "none" if lm.context is None else "there is one",
        "configuration": _short([repr(model.config), repr(getattr(model, "generation_config", None))]),
        "tokeniser": _tokeniser(lm.text.tokenizer),
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the parts that are not as before."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def in_words(changed: list[str]) -> str:
    """Return the changed parts as one phrase."""
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return ", ".join(changed[:3]) + more


def _short(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


@torch.no_grad()
def _sum_of_bits(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "elsewhere"
    flat = tensor.detach().contiguous().view(-1)
    flat = flat.view(_BITS[flat.element_size()]) if flat.dtype != torch.bool else flat.to(torch.int8)
    whole = flat[: flat.numel() // _COLUMNS * _COLUMNS].view(-1, _COLUMNS).sum(0, dtype=torch.int64)
    rest = flat[len(flat) - len(flat) % _COLUMNS :].to(torch.int64)
    content = whole.cpu().numpy().tobytes() + rest.cpu().numpy().tobytes()
    return hashlib.sha256(repr((tuple(tensor.shape), str(tensor.dtype))).encode() + content).hexdigest()[:16]


def _module(name: str, module: torch.nn.Module) -> tuple[Any, ...]:
    hooks = tuple(len(getattr(module, kind)) for kind in _HOOKS)
    return (
        name,
        f"{type(module).__module__}.{type(module).__qualname__}",
        module.training,
        hooks,
        "forward" in vars(module),
    )


def _tokeniser(tokenizer: Any) -> str:
    """Return a hash of what decides how text is cut up."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    inside = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    told = [inside, tokenizer.padding_side, tokenizer.special_tokens_map, getattr(tokenizer, "chat_template", None)]
    return _short(told)

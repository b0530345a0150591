"""Whether a part of a model computes what it did: a fingerprint of its modules, their weights and what hangs on them.

For telling, often and at the speed of memory, whether something has been changed in between, by whichever hand: an
edit, a method in the middle of its work, a hook. What names a model for good is in ``editbench.models.hashes``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

# Bits summed at once on a device, so that little memory is taken beside the weights.
_CHUNK = 1 << 24
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(modules: Iterable[tuple[str, nn.Module]]) -> str:
    """Return 32 hex digits that stand for what some named modules compute; "" where their weights are not in memory.

    Of each module: its name and class, its own parameters and buffers, whether it trains, its hooks and whether its
    ``forward`` was replaced; not what is in its other attributes.
    """
    digest, seen = xxhash.xxh3_128(), set[int]()
    for name, module in modules:
        digest.update(_of_module(name, module))
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if tensor.is_meta:
                return ""
            digest.update(repr([key, str(tensor.dtype), list(tensor.shape)]).encode())
            if id(tensor) not in seen:
                seen.add(id(tensor))
                digest.update(_bits(tensor.detach()))
    return digest.hexdigest()


def _of_module(name: str, module: nn.Module) -> bytes:
    kind, hooks = type(module), len(module._forward_pre_hooks) + len(module._forward_hooks)
    parts = [name, kind.__module__, kind.__qualname__, module.training, hooks]
    return repr([*parts, "forward" in vars(module)]).encode()


def _bits(tensor: Tensor) -> Any:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.device.type == "cpu" else sum_of_bits(flat).to_bytes(8, "little")


def sum_of_bits(flat: Tensor) -> int:
    """Return a sum over the numbers of a tensor [n], taken as integers, each times an odd number of its place, modulo
    2⁶⁴: computed where the tensor is, so that a device's memory need not be copied to be compared.
    """
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    total = 0
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK].view(_INTEGERS[flat.element_size()]).long()
        places = torch.arange(start, start + len(part), device=flat.device)
        total += int((part * (2 * places + 1)).sum())
    return total % 2**64

"""Tensors with plain values beside them, in one safetensors file: checkpoints, and edits that are kept or exported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

_TOLD = "editbench"


def write_data(path: Path, data: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write tensors and values that JSON holds, whole or not at all, with what they are. Raises :class:`StoreError`."""
    import torch
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in data.items() if torch.is_tensor(value)}
    plain = {name: value for name, value in data.items() if name not in tensors}
    # one entry, for safetensors writes several in any order, and the same data must give the same bytes
    told = json.dumps({"plain": plain, "about": about}, ensure_ascii=False, sort_keys=True)
    replace_file(path, save(_apart(tensors), metadata={_TOLD: told}))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with another one: the file holds each by itself."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def read_data(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what :func:`write_data` wrote: tensors (on the CPU) and values by name, and what they are.

    Raises what safetensors raises for another file, and ``KeyError`` for one of another kind.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {})[_TOLD])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — no mapping
    return {**told["plain"], **tensors}, told["about"]


def read_about(path: Path) -> dict[str, Any]:
    """Return what a file's data are, without reading them or importing torch. Raises as :func:`read_data`."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about: dict[str, Any] = json.loads((file.metadata() or {})[_TOLD])["about"]
    return about

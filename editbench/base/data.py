"""Tensors with plain values beside them, in one file: checkpoints, and edits that are kept or exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.tensors import load_facts, load_tensors, save_tensors
from editbench.errors import DamagedFile

if TYPE_CHECKING:
    from torch import Tensor


def write_data(path: Path, data: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write tensors and values that JSON holds, whole or not at all, with what they are. Raises :class:`StoreError`."""
    import torch

    tensors = {name: value.detach().cpu().contiguous() for name, value in data.items() if torch.is_tensor(value)}
    plain = {name: value for name, value in data.items() if name not in tensors}
    save_tensors(path, _apart(tensors), {"about": dict(about), "plain": plain})


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

    Raises :class:`~editbench.errors.DamagedFile` for another file, or none, and :class:`~editbench.errors.StoreError`
    for one that cannot be read.
    """
    found = load_tensors(path)
    told = _told(path, None if found is None else found.facts)
    assert found is not None
    return {**told["plain"], **found.tensors}, told["about"]


def read_about(path: Path) -> dict[str, Any]:
    """Return what a file's data are, the file having been found whole; torch is not imported. Raises as above."""
    about: dict[str, Any] = _told(path, load_facts(path))["about"]
    return about


def _told(path: Path, facts: dict[str, Any] | None) -> dict[str, Any]:
    if facts is None:
        raise DamagedFile(f"There is no file {path}.")
    if not {"about", "plain"} <= facts.keys():
        raise DamagedFile(f"{path} holds something else.")
    return facts

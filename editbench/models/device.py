"""The device a model is put on, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editbench.errors import UserError

if TYPE_CHECKING:
    import torch


def check_device(device: str) -> None:
    """Raise :class:`UserError` for a device that is not there; loads torch only to count accelerators."""
    if device not in ("auto", "cpu"):
        device_of(device)


def device_of(device: str) -> torch.device:
    """Return the device of this name, ``auto`` being CUDA if there is one. Raises :class:`UserError`."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = device.partition(":")
    numbered = index.isascii() and index.isdigit()
    if kind not in ("cpu", "cuda") or bool(colon) != numbered or (kind == "cpu" and int(index or 0)):
        raise UserError(f"There is no device {device!r}.", "Known: cpu, cuda, cuda:0 …, auto.", "--device auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA device that torch can use.", hint="Use --device cpu.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"There is no device {device!r}.", f"Expected cuda:0 to cuda:{last}.", f"--device cuda:{last}")
    return torch.device(device)

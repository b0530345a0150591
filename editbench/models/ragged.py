"""Rows of different lengths in one tensor: on the device, in host memory or in a file, whichever has room."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

HOST_BUDGET_BYTES = 2 << 30
DEVICE_SHARE = 0.5


def _room(rows: int, width: int, like: Tensor) -> Tensor:
    """Return room for [rows, width]: on the device, else in (pinned) host memory, else in an unnamed file."""
    size = rows * width * like.element_size()
    if like.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(like.device)
        if size < DEVICE_SHARE * free:
            return torch.empty(rows, width, dtype=like.dtype, device=like.device)
    if size <= HOST_BUDGET_BYTES:
        return torch.empty(rows, width, dtype=like.dtype, pin_memory=like.device.type == "cuda")
    with tempfile.TemporaryDirectory(prefix="editbench-states-") as folder:
        # the mapping outlives the file's name, so the space is given back when the tensor goes, even after a kill
        return torch.from_file(str(Path(folder) / "states"), shared=True, size=rows * width, dtype=like.dtype).view(
            rows, width
        )


class Ragged:
    """One vector for every token of some sequences.

    Parameters
    ----------
    lengths: number of tokens of each sequence.
    width: numbers per token.
    like: a tensor of the dtype and device of what will be kept.
    """

    def __init__(self, lengths: Sequence[int], width: int, like: Tensor) -> None:
        self.lengths = torch.tensor(lengths)
        self._starts = torch.cumsum(self.lengths, 0) - self.lengths
        self._rows = _room(int(self.lengths.sum()), width, like)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return self._rows.numel() * self._rows.element_size()

    def put(self, batch: Sequence[int], values: Tensor) -> None:
        """Keep the vectors of these sequences: [batch, tokens, width], padded on the right."""
        for row, sequence in enumerate(batch):
            start, length = int(self._starts[sequence]), int(self.lengths[sequence])
            self._rows[start : start + length] = values[row, :length].to(self._rows.device)

    def take(self, batch: Sequence[int], device: torch.device) -> Tensor:
        """Return the vectors of these sequences, right-padded with their last one: [batch, tokens, width]."""
        chosen = torch.as_tensor(batch)
        lengths = self.lengths[chosen]
        steps = torch.arange(int(lengths.max()))
        index = self._starts[chosen, None] + torch.minimum(steps[None, :], lengths[:, None] - 1)
        return self._rows[index.to(self._rows.device)].to(device, non_blocking=True)

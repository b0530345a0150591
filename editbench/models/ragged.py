"""Rows of different lengths kept together: on the device, in host memory or in a file, whichever has room."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from editbench.base.files import CACHE, explained
from editbench.cache import cache_folder

HOST_BUDGET_BYTES = 2 << 30
DEVICE_SHARE = 0.5


class Rows(ABC):
    """Room for a matrix [rows, width]."""

    @abstractmethod
    def write(self, start: int, values: Tensor) -> None:
        """Keep ``values`` [n, width] as the rows from ``start`` on."""

    @abstractmethod
    def read(self, runs: Sequence[tuple[int, int]]) -> Tensor:
        """Return the rows of every run (start, length), one run after another: [sum of lengths, width]."""


class RowsInMemory(Rows):
    """Rows on a device or in host memory."""

    def __init__(self, rows: int, width: int, like: Tensor, device: torch.device) -> None:
        pin = device.type == "cpu" and like.device.type == "cuda"
        self._rows = torch.empty(rows, width, dtype=like.dtype, device=device, pin_memory=pin)

    def write(self, start: int, values: Tensor) -> None:
        """Keep ``values`` [n, width] as the rows from ``start`` on."""
        self._rows[start : start + len(values)] = values.to(self._rows.device)

    def read(self, runs: Sequence[tuple[int, int]]) -> Tensor:
        """Return the rows of every run (start, length), one run after another: [sum of lengths, width]."""
        return torch.cat([self._rows[start : start + length] for start, length in runs])


class RowsInFile(Rows):
    """Rows in an unnamed file under the cache folder: its space is given back when this goes, even after a kill.

    It is read and written, not mapped: mapped pages would count as this process's memory, and a full disk would be
    a crash and not an error.
    """

    def __init__(self, rows: int, width: int, like: Tensor) -> None:
        self.width, self.dtype = width, like.dtype
        self._row_bytes = width * like.element_size()
        folder = cache_folder() / "scratch"
        with explained(folder, CACHE):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 — open as long as this lives

    def write(self, start: int, values: Tensor) -> None:
        """Keep ``values`` [n, width] as the rows from ``start`` on. Raises :class:`~editbench.errors.StoreError`."""
        with explained(cache_folder() / "scratch", CACHE):
            self._file.seek(start * self._row_bytes)
            self._file.write(_bytes_of(values.cpu().contiguous()))
            self._file.flush()  # a full disk is to be met here

    def read(self, runs: Sequence[tuple[int, int]]) -> Tensor:
        """Return the rows of every run (start, length), one run after another: [sum of lengths, width]."""
        found = torch.empty(sum(length for _, length in runs), self.width, dtype=self.dtype)
        room, done = _bytes_of(found), 0
        for start, length in runs:
            self._file.seek(start * self._row_bytes)
            self._file.readinto(room[done : done + length * self._row_bytes])
            done += length * self._row_bytes
        return found


def _bytes_of(values: Tensor) -> memoryview:
    data: memoryview = values.view(torch.uint8).numpy().data
    return data.cast("B")


def room_for(rows: int, width: int, like: Tensor) -> Rows:
    """Return room for [rows, width]: on ``like``'s device, else in (pinned) host memory, else in a file."""
    size = rows * width * like.element_size()
    if like.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(like.device)
        if size < DEVICE_SHARE * free:
            return RowsInMemory(rows, width, like, like.device)
    if size <= HOST_BUDGET_BYTES:
        return RowsInMemory(rows, width, like, torch.device("cpu"))
    return RowsInFile(rows, width, like)


class Ragged:
    """One vector for every token of some sequences.

    Parameters
    ----------
    lengths: number of tokens of each sequence.
    width: numbers per token.
    like: a tensor of the dtype and device of what will be kept.
    """

    def __init__(self, lengths: Sequence[int], width: int, like: Tensor) -> None:
        self.lengths = list(lengths)
        self._starts = [0, *torch.cumsum(torch.tensor(self.lengths), 0).tolist()]
        self.nbytes = self._starts[-1] * width * like.element_size()
        self._rows = room_for(self._starts[-1], width, like)

    def put(self, batch: Sequence[int], values: Tensor) -> None:
        """Keep the vectors of these sequences: [batch, tokens, width], padded on the right."""
        for row, sequence in enumerate(batch):
            self._rows.write(self._starts[sequence], values[row, : self.lengths[sequence]])

    def take(self, batch: Sequence[int], device: torch.device) -> Tensor:
        """Return the vectors of these sequences, right-padded with their last one: [batch, tokens, width]."""
        lengths = torch.tensor([self.lengths[sequence] for sequence in batch])
        found = self._rows.read([(self._starts[sequence], self.lengths[sequence]) for sequence in batch])
        steps = torch.arange(int(lengths.max()))
        first = torch.cumsum(lengths, 0) - lengths
        index = first[:, None] + torch.minimum(steps[None, :], lengths[:, None] - 1)
        return found.to(device, non_blocking=True)[index.to(device)]

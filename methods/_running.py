"""Mean and variance of a stream of rows, merged exactly chunk by chunk (Chan, Golub and LeVeque, 1983)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Running:
    """What is known of the rows seen so far, column by column. Kept in float64, so that millions of rows may pass.

    Attributes
    ----------
    count: number of rows.
    mean: [width], float64.
    m2: [width], float64: sum over rows of the squared difference from the mean.
    """

    count: int
    mean: Tensor
    m2: Tensor

    @classmethod
    def of(cls, *parts: Tensor) -> Running:
        """Return the statistics, in two passes, of rows given as parts side by side: [n, width of the part], n > 0."""
        rows = torch.cat(parts, 1).double()
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).square().sum(0))

    def merged(self, before: Running | None) -> Running:
        """Return the statistics of these rows and of those ``before`` (None: there were none), on this device."""
        if before is None:
            return self
        before = before.to(self.mean.device)
        count = before.count + self.count
        step = self.mean - before.mean
        mean = before.mean + step * (self.count / count)
        return Running(count, mean, before.m2 + self.m2 + step.square() * (before.count * self.count / count))

    @property
    def std(self) -> Tensor:
        """The sample standard deviation (n − 1), [width]; 0 after a single row."""
        return (self.m2 / max(self.count - 1, 1)).sqrt()

    def normalised(self, *parts: Tensor, eps: float) -> tuple[Tensor, ...]:
        """Return (rows − mean) / (std + eps), float64, in the parts given. A column that never varied becomes 0."""
        rows = (torch.cat(parts, 1).double() - self.mean) / (self.std + eps)
        return rows.split_with_sizes([part.shape[1] for part in parts], 1)

    def to(self, device: torch.device | str) -> Running:
        """Return the same statistics on another device."""
        return Running(self.count, self.mean.to(device), self.m2.to(device))


def to_state(statistics: Mapping[str, Running]) -> dict[str, Tensor]:
    """Return named statistics as the tensors of a checkpoint: ``<name>.count``, ``<name>.mean``, ``<name>.m2``."""
    state: dict[str, Tensor] = {}
    for name, running in statistics.items():
        parts = {"count": torch.tensor(running.count), "mean": running.mean, "m2": running.m2}
        state |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
    return state


def from_state(state: Mapping[str, Tensor]) -> dict[str, Running]:
    """Take back what :func:`to_state` returned."""
    names = [key.removesuffix(".count") for key in state if key.endswith(".count")]
    return {n: Running(int(state[f"{n}.count"]), state[f"{n}.mean"], state[f"{n}.m2"]) for n in names}

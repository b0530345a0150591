"""Harm a model on purpose, to show that a measure notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from editbench.base.seeds import torch_generator


@contextmanager
def damaged(model: Any, size: float, seed: int = 0) -> Iterator[None]:
    """Add Gaussian noise to every matrix of a model for as long as the block lasts; then its weights are as before.

    Parameters
    ----------
    model: a torch module.
    size: standard deviation of the noise, as a share of the matrix's own; 0 changes nothing.
    seed: of the noise; every matrix draws its own.
    """
    import torch

    matrices = {name: weight for name, weight in model.named_parameters() if weight.dim() > 1 and size}
    before = {name: weight.detach().clone() for name, weight in matrices.items()}
    try:
        with torch.no_grad():
            for name, weight in matrices.items():
                noise = torch.randn(weight.shape, generator=torch_generator(seed, "damage", name))
                weight.add_((noise * weight.float().std().cpu() * size).to(weight))
        yield
    finally:
        with torch.no_grad():
            for name, weight in matrices.items():
                weight.copy_(before[name])

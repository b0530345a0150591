"""Seeds made from names, so that every random draw can be repeated and none depends on another.

``seed(0, "order", dataset_hash)`` is the same number in every process and on every machine. The method's name is
left out on purpose wherever methods are compared: they get the same requests in the same order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def seed(base: int, *parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on ``base`` and the named parts alone (sha256)."""
    text = "\x1f".join([str(int(base)), *(f"{type(part).__name__}:{part}" for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(base: int, *parts: str | int) -> torch.Generator:
    """Return a CPU ``torch.Generator`` seeded by :func:`seed`."""
    import torch

    return torch.Generator().manual_seed(seed(base, *parts))


def numpy_generator(base: int, *parts: str | int) -> np.random.Generator:
    """Return a ``numpy.random.Generator`` seeded by :func:`seed`."""
    import numpy as np

    return np.random.default_rng(seed(base, *parts))

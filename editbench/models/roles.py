"""What the parts of a block that can be changed are called, whatever an architecture calls them. Torch-free."""

from __future__ import annotations

from typing import Literal

Role = Literal["down", "up", "gate", "q", "k", "v", "o"]
"""One projection: of the MLP (``down`` writes into the residual stream) or of attention (``o`` does)."""

Module = Literal["down", "up", "gate", "q", "k", "v", "o", "attention", "mlp", "block"]
"""One projection; all projections of attention or of the MLP; or all parameters of the block, norms and biases too."""

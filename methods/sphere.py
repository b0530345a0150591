"""SPHERE: AlphaEdit that spares the directions in which the weights themselves are strong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from editbench.spaces import Range

from .alphaedit import AlphaEdit

if TYPE_CHECKING:
    from torch import Tensor

    from editbench.models.lm import LM

    from ._prompts import Case


class Sphere(AlphaEdit):
    """AlphaEdit, less a share of the change along the principal directions of the weights (SPHERE).

    ΔW(I - share·VVᵀ), V the right singular vectors of W that hold ``energy`` of its squared singular values (Liu et
    al., 2025, arXiv:2510.01172), so that the rows of W stay spread over the sphere as they were.
    """

    name = "sphere"
    cite = "arXiv:2510.01172"

    class Hparams(AlphaEdit.Hparams):
        """See :class:`AlphaEdit.Hparams`.

        Attributes
        ----------
        energy: which share of W's squared singular values makes a direction principal.
        share: which share of ΔW along them is taken away.
        """

        energy: Annotated[float, Range(0.1, 0.9)] = Field(default=0.5, gt=0, le=1)
        share: Annotated[float, Range(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)

    def insert(self, lm: LM, cases: Sequence[Case], z: Tensor) -> dict[str, Tensor]:
        """Find the principal directions of the weights as they are now, then insert as AlphaEdit does."""
        from ._insertion import as_parameter
        from ._solves import principal_directions

        weights = {layer: lm.parameter(lm.layout.weight_name(layer, "down")) for layer in self.places}
        self.principal = {
            layer: principal_directions(as_parameter(lm, weight.detach()), self.hparams.energy)
            for layer, weight in weights.items()
        }
        return super().insert(lm, cases, z)

    def solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return AlphaEdit's change without ``share`` of its part along the principal directions."""
        delta = super().solve(layer, keys, residuals)
        principal = self.principal[layer]
        return delta - self.hparams.share * (delta @ principal) @ principal.T

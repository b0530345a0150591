"""EMMET: a batch of facts in one block under equality constraints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import NonNegativeFloat

from editbench.spaces import LogRange

from ._locate_then_edit import BlockByBlock, OneLayerHparams

if TYPE_CHECKING:
    from torch import Tensor

    from editbench.cache import Cache


class Emmet(BlockByBlock):
    """Insert a batch of facts in one block under equality constraints: ROME for many keys at once (EMMET).

    ΔW = R(KᵀC⁻¹K + ridge·I)⁻¹KᵀC⁻¹ (Gupta et al., 2024, arXiv:2403.14236, eq. 9).
    """

    name = "emmet"
    cite = "arXiv:2403.14236"

    class Hparams(OneLayerHparams):
        """See :class:`ValueHparams` and :class:`OneLayerHparams`.

        Attributes
        ----------
        ridge: added to the diagonal of KᵀC⁻¹K, which keys that resemble each other make nearly singular.
        """

        ridge: Annotated[NonNegativeFloat, LogRange(1.0e-3, 10.0)] = 0.1

    def ready(self, moments: Mapping[int, Tensor], cache: Cache) -> None:
        """Factor C."""
        from ._solves import factor_of_moment

        layer = self.hparams.layer
        self.factor = factor_of_moment(moments[layer], layer, self.hparams.corpus_tokens)

    def solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return R(KᵀC⁻¹K + ridge·I)⁻¹KᵀC⁻¹."""
        from ._solves import equality

        return equality(self.factor, keys, residuals, self.hparams.ridge)

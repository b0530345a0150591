"""MEMIT: many facts at once, spread over several blocks by regularised least squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import PositiveFloat

from editbench.spaces import LogRange

from ._locate_then_edit import LayersHparams, WithPastKeys

if TYPE_CHECKING:
    from torch import Tensor

    from editbench.cache import Cache
    from editbench.models.lm import ModelShape

# The weight of C published for Llama-3-8B, GPT-J and others (15,000), per number in their keys (14,336 and 16,384).
WEIGHT_PER_DIMENSION = 1.0


class Memit(WithPastKeys):
    """Insert many facts at once, spread over several blocks by least squares (MEMIT).

    ΔW = R Kᵀ(λC + K_pK_pᵀ + KKᵀ)⁻¹ block by block (Meng et al., 2023, arXiv:2210.07229, eq. 14). Past keys K_p matter
    in the sequential regime only.
    """

    name = "memit"
    cite = "arXiv:2210.07229"
    tiny: ClassVar[Mapping[str, Any]] = {**WithPastKeys.tiny, "moment_weight": 1.0}

    class Hparams(LayersHparams):
        """See :class:`ValueHparams` and :class:`LayersHparams`.

        Attributes
        ----------
        moment_weight: λ, how much the keys of general text weigh against one request's.
        past_keys: whether earlier chunks' keys are kept where they are.
        """

        moment_weight: Annotated[PositiveFloat, LogRange(1.0, 1.0e5)]
        past_keys: bool = True

    @classmethod
    def heuristics(cls, shape: ModelShape) -> dict[str, Any]:
        """Scale λ with the width of the keys, since kᵀC⁻¹k is about that width."""
        return {**super().heuristics(shape), "moment_weight": WEIGHT_PER_DIMENSION * shape.mlp}

    def ready(self, moments: Mapping[int, Tensor], cache: Cache) -> None:
        """Factor λC."""
        from ._solves import factor_of_moment

        h, self.moments = self.hparams, moments
        self.factors = {
            layer: factor_of_moment(h.moment_weight * moment, layer, h.corpus_tokens)
            for layer, moment in moments.items()
        }

    def solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return R Kᵀ(λC + K_pK_pᵀ + KKᵀ)⁻¹."""
        from ._solves import Factor, least_change

        factor = self.factors[layer]
        if layer in self.past:
            moment = self.moments[layer]
            factor = Factor(self.hparams.moment_weight * moment + self.past[layer].to(moment.device))
        return least_change(factor, keys, residuals)

    def inserted(self, layer: int, keys: Tensor) -> None:
        """Remember the keys, if they are to be kept where they are."""
        if self.hparams.past_keys:
            super().inserted(layer, keys)

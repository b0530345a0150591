"""AlphaEdit: facts are written only where general text has no keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import PositiveFloat

from editbench.spaces import LogRange

from ._locate_then_edit import LayersHparams, WithPastKeys

if TYPE_CHECKING:
    from torch import Tensor

    from editbench.cache import Cache


class AlphaEdit(WithPastKeys):
    """Insert facts block by block in the null space of general text's keys (AlphaEdit).

    ΔWᵀ = (P(KKᵀ + K_pK_pᵀ) + L2·I)⁻¹ P K Rᵀ, P the projection on the directions in which C is nearly nought (Fang et
    al., 2025, arXiv:2410.02355, eq. 14 and its public code). Solved in a basis U of that space, P = UUᵀ, where the
    same system is symmetric positive definite: ΔWᵀ = U(Uᵀ(KKᵀ + K_pK_pᵀ)U + L2·I)⁻¹ Uᵀ K Rᵀ.
    """

    name = "alphaedit"
    cite = "arXiv:2410.02355"
    tiny: ClassVar[Mapping[str, Any]] = {**WithPastKeys.tiny, "threshold": 0.2}

    class Hparams(LayersHparams):
        """See :class:`ValueHparams` and :class:`LayersHparams`.

        Attributes
        ----------
        threshold: directions in which C is smaller than this are free to write in.
        ridge: L2, the weight of ‖ΔW‖².
        """

        threshold: Annotated[PositiveFloat, LogRange(2.0e-3, 0.5)] = 2.0e-2
        ridge: Annotated[PositiveFloat, LogRange(0.1, 100.0)] = 1.0

    def ready(self, moments: Mapping[int, Tensor], cache: Cache) -> None:
        """Find every block's null space, or fetch it. Raises ``UserError`` if there is none."""
        from ._solves import kept_null_space

        h = self.hparams
        self.bases = {
            layer: kept_null_space(moment, layer, h.threshold, h.corpus_tokens, cache)
            for layer, moment in moments.items()
        }

    def solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return R Kᵀ U(Uᵀ(KKᵀ + K_pK_pᵀ)U + L2·I)⁻¹Uᵀ."""
        import torch

        from ._solves import Factor, least_change

        basis = self.bases[layer]
        known = self.hparams.ridge * torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
        if layer in self.past:
            known += basis.T @ self.past[layer].to(basis.device) @ basis
        return least_change(Factor(known), basis.T @ keys, residuals) @ basis.T

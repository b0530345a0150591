"""ROME: one fact, one rank-one change of one mid-layer MLP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from ._locate_then_edit import NOT_FINITE, LocateThenEdit, OneLayerHparams

if TYPE_CHECKING:
    from torch import Tensor

    from editbench.cache import Cache
    from editbench.models.lm import LM

    from ._insertion import Draft
    from ._prompts import Case


class Rome(LocateThenEdit):
    """Insert each fact as a rank-one change of one mid-layer MLP (ROME; R-ROME by default), one after another.

    ΔW = (z - W k) uᵀ / (uᵀ k) with u = C⁻¹ k̄ (Meng et al., 2022, arXiv:2202.05262, eq. 2). k̄ is the key averaged over
    contexts. R-ROME (Gupta et al., 2024, arXiv:2403.07175) takes it for k as well; the original public code takes the
    bare prompt's key there, to which they trace single edits that disable a model.
    """

    name = "rome"
    cite = "arXiv:2202.05262"
    at_projection = True

    class Hparams(OneLayerHparams):
        """See :class:`ValueHparams` and :class:`OneLayerHparams`.

        Attributes
        ----------
        variant: ``r-rome``, or ``original`` for the first public code's mixture of two keys.
        """

        variant: Literal["r-rome", "original"] = "r-rome"

    def ready(self, moments: Mapping[int, Tensor], cache: Cache) -> None:
        """Factor C."""
        from ._solves import factor_of_moment

        layer = self.hparams.layer
        self.factor = factor_of_moment(moments[layer], layer, self.hparams.corpus_tokens)

    def write(self, lm: LM, cases: Sequence[Case]) -> dict[str, Tensor]:
        """Write the cases one after another, each on the model that the last one left."""
        from ._insertion import Draft, tensor_as_text

        name = lm.layout.weight_name(self.hparams.layer, "down")
        saved = self.savepoint.load()
        first = int(saved["next"]) if saved else 0
        if saved:
            self.failures |= dict.fromkeys(tensor_as_text(saved["failed"]), NOT_FINITE)
        with Draft(lm) as draft:
            if "delta" in saved:
                draft.add(name, saved["delta"])
            for number, case in enumerate(cases[first:], first):
                if self.savepoint.due:
                    self.savepoint.save(self._so_far(draft, name, number))
                values = self.values(lm, [case])
                if values.usable:
                    for delta in self.insert(lm, [case], values.z).values():
                        draft.add(name, delta)
                self.progress((number + 1) / len(cases), f"request {number + 1:,}/{len(cases):,}")
        return draft.deltas

    def _so_far(self, draft: Draft, name: str, number: int) -> dict[str, Tensor]:
        """Return what a savepoint holds before case ``number``."""
        import torch

        from ._insertion import text_as_tensor

        failed = [request for request, reason in self.failures.items() if reason == NOT_FINITE]
        written = {"delta": draft.deltas[name]} if name in draft.deltas else {}
        return {**written, "next": torch.tensor(number), "failed": text_as_tensor(failed)}

    def insert(self, lm: LM, cases: Sequence[Case], z: Tensor) -> dict[str, Tensor]:
        """Return the rank-one change that maps the key of one case to its value ``z`` [1, hidden]."""
        from editbench.models.residual import ResidualStream

        from ._insertion import as_parameter

        [case], layer = cases, self.hparams.layer
        projection = lm.model.get_submodule(lm.layout.mlp_out_path(layer))
        keys = ResidualStream(lm, case.heads()).keys(layer)
        mean = self.mean_keys(keys, len(keys))[:, 0]
        key = mean if self.hparams.variant == "r-rome" else keys[0].double()
        bias = 0.0 if projection.bias is None else projection.bias.to(z).double()
        now = as_parameter(lm, projection.weight.to(z.device)).double() @ key + bias
        direction = self.factor.solve(mean[:, None])[:, 0]
        delta = (z[0].double() - now)[:, None] * (direction / (direction @ key))
        return {lm.layout.weight_name(layer, "down"): as_parameter(lm, delta)}

"""Weights under change while an edit is computed, and the restraints that a change may be put under."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from editbench.models.lm import LM


class Draft:
    """Puts changes into a model one after another and takes all of them out at the end of its ``with``.

    Attributes
    ----------
    deltas: full parameter name -> the sum of its changes so far, float32, shaped like the parameter.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.deltas: dict[str, Tensor] = {}
        self._originals: dict[str, Tensor] = {}

    def add(self, name: str, delta: Tensor) -> None:
        """Change a parameter by ``delta``, on top of what was added before."""
        parameter = self.lm.parameter(name)
        original = self._originals.setdefault(name, parameter.detach().clone())
        total = delta.float() + self.deltas[name] if name in self.deltas else delta.float()
        self.deltas[name] = total
        parameter.data.copy_(original + total.to(parameter.device))

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, original in self._originals.items():
            self.lm.parameter(name).data.copy_(original)


def as_parameter(lm: LM, delta: Tensor) -> Tensor:
    """Turn a change [out, in] into the way the model's projections keep their weight."""
    return (delta.T if lm.layout.conv1d else delta).contiguous()


def relatively_largest(delta: Tensor, weight: Tensor, share: float) -> Tensor:
    """Keep the ``share`` of ΔW's entries that are largest relative to W, and set the others to 0 (RECT)."""
    relative = (delta / weight.to(delta)).abs().flatten()
    relative = torch.nan_to_num(relative, nan=0.0, posinf=torch.inf)  # 0/0 changes nothing; x/0 is the largest
    kept = torch.zeros_like(relative, dtype=torch.bool)
    kept[relative.topk(max(1, round(share * relative.numel()))).indices] = True
    return delta * kept.reshape(delta.shape)


def pruned(name: str, delta: Tensor, weight: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the change that leaves W0 + prune(sum of all ΔW so far) in the model (PRUNE).

    Singular values s of the sum above the largest of W0, smax, become ln(s) - ln(smax) + smax. ``state`` carries the
    plain sum, what of it is in the model, and smax.
    """
    keys = f"{name}/sum", f"{name}/in", f"{name}/top"
    if keys[0] not in state:
        top = torch.linalg.matrix_norm(weight.float(), 2)
        state.update(zip(keys, (torch.zeros_like(delta), torch.zeros_like(delta), top), strict=True))
    plain, inside, top = (state[key].to(delta.device) for key in keys)
    plain = plain + delta
    left, s, right = torch.linalg.svd(plain, full_matrices=False)
    s = torch.where(s > top, s.log() - top.log() + top, s)
    after = (left * s) @ right
    state[keys[0]], state[keys[1]] = plain, after
    return after - inside


def text_as_tensor(texts: Sequence[str]) -> Tensor:
    """Return texts as bytes, for a state: [bytes], uint8."""
    return torch.tensor(list("\x00".join(texts).encode()), dtype=torch.uint8)


def tensor_as_text(tensor: Tensor) -> list[str]:
    """Return what :func:`text_as_tensor` was given (no text gives none)."""
    text = bytes(tensor.tolist()).decode()
    return text.split("\x00") if text else []

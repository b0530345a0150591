"""The linear systems of the locate-then-edit methods and of UltraEdit, in float64, small where they can be.

K [d, B] are keys, R [hidden, B] residuals, A a symmetric positive definite d x d matrix that many solves share. With
its Cholesky factor kept, (A + KKᵀ)⁻¹K = A⁻¹K(I + KᵀA⁻¹K)⁻¹ takes two triangular solves with B right-hand sides and a
B x B system (Woodbury) in the place of a fresh d x d one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editbench.errors import Diverged, UserError
from editbench.models.lm import processor_name

if TYPE_CHECKING:
    from editbench.cache import Cache

# A pivot below this share of its diagonal entry makes C count as singular.
_SINGULAR = 1e-12


class Factor:
    """A symmetric positive definite matrix [d, d], factored once for many solves.

    Raises :class:`Diverged` if it is not finite or not positive definite.
    """

    def __init__(self, matrix: Tensor) -> None:
        lower, failed = torch.linalg.cholesky_ex(matrix.double())
        if failed or not bool(lower.isfinite().all()):
            raise Diverged("the keys' second moment, past keys included, is not positive definite")
        self.lower = lower

    def solve(self, right: Tensor) -> Tensor:
        """Return A⁻¹ · ``right``: [d, n]."""
        # two triangular solves: cholesky_solve copies the factor first, which takes as long as solving
        half = torch.linalg.solve_triangular(self.lower, right.double(), upper=False)
        return torch.linalg.solve_triangular(self.lower.mT, half, upper=True)


def least_change(factor: Factor, keys: Tensor, residuals: Tensor) -> Tensor:
    """Return R Kᵀ(A + KKᵀ)⁻¹, the change that moves Kᵀ's outputs towards R and A's least: [hidden, d].

    MEMIT (arXiv:2210.07229, eq. 14) with A = λC, plus past keys in a sequential edit; AlphaEdit in its null space's
    basis.
    """
    d, n = keys.shape
    keys, residuals = keys.double(), residuals.double()
    if n > d:  # more keys than dimensions: the d x d system is the smaller one
        whole = factor.lower @ factor.lower.T + keys @ keys.T
        return torch.linalg.solve(whole, keys @ residuals.T).T
    solved = factor.solve(keys)
    small = keys.T @ solved
    small.diagonal().add_(1.0)
    return torch.linalg.solve(small, residuals, left=False) @ solved.T


def equality(factor: Factor, keys: Tensor, residuals: Tensor, ridge: float) -> Tensor:
    """Return R(KᵀA⁻¹K + ridge·I)⁻¹KᵀA⁻¹: keys mapped exactly to their values, at ridge 0: [hidden, d].

    EMMET (arXiv:2403.14236, eq. 9); ROME is its case of one key and no ridge.
    """
    solved = factor.solve(keys)
    small = keys.double().T @ solved
    small.diagonal().add_(ridge)
    return torch.linalg.solve(small, residuals.double(), left=False) @ solved.T


def ridge_regression(H: Tensor, V: Tensor, ridge: float) -> Tensor:
    """Return (HᵀH + ridge·I)⁻¹ HᵀV, [d_in, d_out], for H [n, d_in] and V [n, d_out], through the smaller system.

    With fewer rows than columns this is Hᵀ (HHᵀ + ridge·I)⁻¹ V. Both matrices are positive definite.
    """
    wide = H.shape[0] < H.shape[1]
    gram = H @ H.T if wide else H.T @ H
    gram.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(gram)
    return H.T @ torch.cholesky_solve(V, factor) if wide else torch.cholesky_solve(H.T @ V, factor)


def factor_of_moment(moment: Tensor, layer: int, tokens: int) -> Factor:
    """Factor a second moment of keys C.

    Raises :class:`UserError` that says how many tokens would do where it is singular, :class:`Diverged` where it is
    not finite.
    """
    _check_tokens(moment, layer, tokens)
    if not bool(moment.isfinite().all()):
        raise Diverged(f"the second moment of the keys of layer {layer} is not finite")
    try:
        factor = Factor(moment)
        singular = bool((factor.lower.diagonal().square() < _SINGULAR * moment.diagonal()).any())
    except Diverged:
        singular = True
    _check_tokens(moment, layer, tokens, singular=singular)
    return factor


def null_space(moment: Tensor, layer: int, threshold: float, tokens: int) -> Tensor:
    """Return a basis U [d, rank] of the directions in which C is smaller than ``threshold``.

    Raises :class:`UserError` if there is none, or if C was made from fewer tokens than it has dimensions.
    """
    _check_tokens(moment, layer, tokens)
    values, vectors = torch.linalg.eigh(moment.double())
    free = values < threshold
    if not free.any():
        raise UserError(
            f"General text has keys in every direction of layer {layer}: no eigenvalue of C is below {threshold:g}.",
            f"Its smallest are {', '.join(f'{value:.2g}' for value in values[:3].tolist())}.",
            "Set a larger hyper-parameter threshold.",
        )
    return vectors[:, free].contiguous()


def kept_null_space(moment: Tensor, layer: int, threshold: float, tokens: int, cache: Cache) -> Tensor:
    """Return :func:`null_space`, kept in ``cache`` under the hash of C: its eigenvectors cost about 10 d³."""
    content = moment.double().cpu().contiguous().numpy()
    parts = {
        "moment": hashlib.sha256(content.tobytes()).hexdigest(),
        "threshold": threshold,
        "device": f"{moment.device.type} {processor_name(moment.device)}",
        "torch": torch.__version__,
    }
    kept = cache.load_tensors("null-space", parts)
    if kept is None:
        kept = {"basis": null_space(moment, layer, threshold, tokens)}
        cache.save_tensors("null-space", parts, kept)
    return kept["basis"].to(moment.device)


def principal_directions(weight: Tensor, energy: float) -> Tensor:
    """Return the leading right singular vectors of W [hidden, d] that hold ``energy`` of its squares: [d, rank]."""
    _, s, right = torch.linalg.svd(weight.double(), full_matrices=False)
    shares = s.square().cumsum(0) / s.square().sum()
    return right[: int((shares < energy).sum()) + 1].T.contiguous()


def _check_tokens(moment: Tensor, layer: int, tokens: int, *, singular: bool = False) -> None:
    d = len(moment)
    if singular or tokens < d:
        raise UserError(
            f"The second moment of the keys of layer {layer} is singular: it was made from {tokens:,} tokens.",
            f"Keys of this model have {d:,} numbers: fewer tokens than that cannot do, {10 * d:,} do well.",
            f"Set the hyper-parameter corpus_tokens: {10 * d}",
        )

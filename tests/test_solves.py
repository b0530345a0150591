"""The linear systems against the dense ones they replace."""

from __future__ import annotations

import math

import pytest
import torch
from editbench_methods._insertion import pruned, relatively_largest, tensor_as_text, text_as_tensor
from editbench_methods._solves import (
    Factor,
    equality,
    factor_of_moment,
    least_change,
    null_space,
    principal_directions,
)
from torch import Tensor

from editbench.errors import UserError

D, HIDDEN = 24, 10


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moment(tokens: int = 200, rank: int = D) -> Tensor:
    keys = draw(tokens, rank, seed=1) @ draw(rank, D, seed=2)
    return keys.T @ keys / tokens


@pytest.mark.parametrize("n", [1, 7, 24, 60])
def test_least_change_equals_the_dense_solve_of_memit(n: int) -> None:
    known, keys, residuals = 15.0 * moment(), draw(D, n, seed=3), draw(HIDDEN, n, seed=4)
    dense = residuals @ keys.T @ torch.linalg.inv(known + keys @ keys.T)
    torch.testing.assert_close(least_change(Factor(known), keys, residuals), dense, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [1, 7])
def test_least_change_is_the_minimum_of_what_memit_minimises(n: int) -> None:
    known, keys, residuals = 15.0 * moment(), draw(D, n, seed=3), draw(HIDDEN, n, seed=4)
    delta = least_change(Factor(known), keys, residuals)

    def objective(change: Tensor) -> float:
        return float((change @ keys - residuals).square().sum() + torch.trace(change @ known @ change.T))

    for seed in range(5):
        assert objective(delta) < objective(delta + 1e-3 * draw(HIDDEN, D, seed=seed))


def test_equality_equals_its_dense_formula_and_maps_keys_exactly_without_a_ridge() -> None:
    known, keys, residuals = moment(), draw(D, 5, seed=3), draw(HIDDEN, 5, seed=4)
    inverse = torch.linalg.inv(known)
    dense = (
        residuals
        @ torch.linalg.inv(keys.T @ inverse @ keys + 0.1 * torch.eye(5, dtype=torch.float64))
        @ keys.T
        @ inverse
    )
    torch.testing.assert_close(equality(Factor(known), keys, residuals, 0.1), dense, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(equality(Factor(known), keys, residuals, 0.0) @ keys, residuals)


def test_memit_without_weight_on_general_text_approaches_equality() -> None:
    known, keys, residuals = moment(), draw(D, 5, seed=3), draw(HIDDEN, 5, seed=4)
    nearly = least_change(Factor(1e-9 * known), keys, residuals)
    torch.testing.assert_close(nearly, equality(Factor(known), keys, residuals, 0.0), rtol=1e-5, atol=1e-7)


def test_one_key_makes_equality_the_rank_one_change_of_rome() -> None:
    known, keys, residuals = moment(), draw(D, 1, seed=3), draw(HIDDEN, 1, seed=4)
    direction = torch.linalg.solve(known, keys[:, 0])
    expected = residuals * direction / (direction @ keys[:, 0])
    torch.testing.assert_close(equality(Factor(known), keys, residuals, 0.0), expected)


def test_the_null_space_basis_gives_the_published_full_system_of_alphaedit() -> None:
    known = moment(rank=9)  # fifteen directions in which general text has no keys
    keys, past, residuals = draw(D, 6, seed=3), draw(D, 40, seed=5), draw(HIDDEN, 6, seed=4)
    basis = null_space(known, 0, 1e-8, tokens=200)
    assert basis.shape == (D, 15)
    projection, gram = basis @ basis.T, past @ past.T
    full = torch.linalg.solve(
        projection @ (keys @ keys.T + gram) + 2.0 * torch.eye(D, dtype=torch.float64), projection @ keys @ residuals.T
    ).T
    reduced = Factor(2.0 * torch.eye(15, dtype=torch.float64) + basis.T @ gram @ basis)
    mine = least_change(reduced, basis.T @ keys, residuals) @ basis.T
    torch.testing.assert_close(mine, full, rtol=1e-8, atol=1e-10)
    preserved = draw(200, 9, seed=1) @ draw(9, D, seed=2)
    assert (mine @ preserved.T).abs().max() < 1e-10 * (mine.norm() * preserved.norm())


def test_too_few_tokens_or_a_singular_moment_says_how_many_would_do() -> None:
    with pytest.raises(UserError, match="corpus_tokens: 240"):
        factor_of_moment(moment(), 3, tokens=D - 1)
    with pytest.raises(UserError, match="layer 3 is singular"):
        factor_of_moment(moment(rank=5), 3, tokens=200)
    with pytest.raises(UserError, match="corpus_tokens"):
        null_space(moment(), 3, 1e-8, tokens=D - 1)
    with pytest.raises(UserError, match="larger hyper-parameter threshold"):
        null_space(moment(), 3, 1e-8, tokens=200)


def test_principal_directions_hold_the_asked_share_of_the_squares_and_no_more() -> None:
    left, right = torch.linalg.qr(draw(HIDDEN, 4))[0], torch.linalg.qr(draw(D, 4, seed=1))[0]
    weight = left @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)) @ right.T  # squares 16 9 4 1
    for energy, rank in ((0.5, 1), (0.54, 2), (0.95, 3), (1.0, 4)):
        found = principal_directions(weight, energy)
        assert found.shape == (D, rank)
        torch.testing.assert_close(found @ found.T, right[:, :rank] @ right[:, :rank].T)


def test_rect_keeps_the_relatively_largest_entries_by_hand() -> None:
    delta = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    weight = torch.tensor([[10.0, 1.0], [0.1, 0.0]])  # relative: 0.1, 2, 5, nothing
    assert relatively_largest(delta, weight, 0.5).tolist() == [[0.0, -2.0], [0.5, 0.0]]
    assert relatively_largest(delta, weight, 0.25).tolist() == [[0.0, 0.0], [0.5, 0.0]]
    assert torch.equal(relatively_largest(delta, weight, 1.0), delta)


def test_prune_bends_the_singular_values_of_the_sum_over_all_chunks() -> None:
    weight = torch.diag(torch.tensor([2.0, 1.0]))
    state: dict[str, Tensor] = {}
    inside = pruned("w", torch.diag(torch.tensor([1.5, 0.5])), weight, state)
    assert torch.allclose(inside, torch.diag(torch.tensor([1.5, 0.5])))  # nothing is above 2
    inside = inside + pruned("w", torch.diag(torch.tensor([1.5, 0.5])), weight + inside, state)
    bent = math.log(3.0) - math.log(2.0) + 2.0  # the sum is diag(3, 1), and W's largest singular value still 2
    torch.testing.assert_close(inside, torch.diag(torch.tensor([bent, 1.0])))


def test_texts_come_back_from_a_state() -> None:
    for texts in ([], ["The cat"], ["The cat sat", "Ich weiß"]):
        assert tensor_as_text(text_as_tensor(texts)) == texts

"""Sampling: the model's own distribution, drawn the same way whatever else is in the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from editbench.cache import Cache
from editbench.errors import Diverged, UserError
from editbench.models.lm import LM
from editbench.models.sampling import _choose, ordinary_tokens, sample, self_text, trimmed
from editbench.testing.tiny import TINY_KINDS, tiny_lm

STARTS = [[5, 9, 30], [7], [200, 11, 12, 13, 40, 41], [8, 8]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ending(lm: LM, push: float) -> LM:
    """Make the end-of-text token likelier, or with a large negative push impossible."""
    place = torch.tensor([2])
    head = lm.model.get_output_embeddings()
    head.register_forward_hook(lambda module, args, logits: logits.index_add(-1, place, push + 0 * logits[..., :1]))
    return lm


def greedy(lm: LM, start: list[int], new_tokens: int) -> list[int]:
    ids = list(start)
    for _ in range(new_tokens):
        best = int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if best in lm.text.eos_ids:
            break
        ids.append(best)
    return ids


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_sampling_among_the_one_best_token_is_greedy_decoding(kind: str) -> None:
    lm = tiny_lm(kind)
    expected = [greedy(lm, start, 12) for start in STARTS]
    assert sample(lm, STARTS, 12, generator(), top_k=1) == expected


def test_tokens_are_drawn_as_often_as_the_softmax_says() -> None:
    lm, draws = tiny_lm("llama"), 4000
    shares = lm.model(input_ids=torch.tensor([[5, 9]])).logits[0, -1].double().softmax(0)
    firsts = torch.tensor([[*row, 2][2] for row in sample(lm, [[5, 9]] * draws, 1, generator(), rows=1000)])
    common = (shares * draws >= 5).nonzero()[:, 0]
    seen = torch.bincount(firsts, minlength=len(shares))[common]
    expected = shares[common] * draws
    rest = (draws - int(seen.sum()), draws - float(expected.sum()))
    assert chisquare([*seen.tolist(), rest[0]], [*expected.tolist(), rest[1]]).pvalue > 0.01


@pytest.mark.parametrize("vocabulary", [3, 256, 257, 1000])
def test_every_size_of_vocabulary_is_inverted_as_one_running_sum(vocabulary: int) -> None:
    logits = 3 * torch.randn(500, vocabulary, generator=generator())
    draws = torch.rand(500, dtype=torch.float64, generator=generator(1))
    sums = logits.double().softmax(-1).cumsum(-1)
    assert _choose(logits, draws, None) == torch.searchsorted(sums, draws[:, None], right=True)[:, 0].tolist()


def test_the_largest_and_the_smallest_draw_give_tokens_that_are_possible() -> None:
    logits = torch.full((2, 700), -torch.inf)
    logits[:, [300, 301, 310]] = 0.0
    assert _choose(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), None) == [300, 310]


def test_a_low_temperature_and_few_candidates_narrow_the_choice() -> None:
    lm = ending(tiny_lm("llama"), -1e9)
    best = lm.model(input_ids=torch.tensor([[5, 9]])).logits[0, -1].topk(3).indices.tolist()
    few = {row[2] for row in sample(lm, [[5, 9]] * 200, 1, generator(), top_k=3)}
    assert few == set(best)
    cold = {row[2] for row in sample(lm, [[5, 9]] * 200, 1, generator(), temperature=1e-3)}
    assert cold == set(best[:1])


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_what_a_row_says_does_not_depend_on_its_batch(kind: str) -> None:
    lm = ending(tiny_lm(kind), 4.0)
    together = sample(lm, STARTS * 3, 10, generator())
    assert len({len(row) - len(start) for row, start in zip(together, STARTS * 3, strict=True)}) > 1
    assert sample(lm, STARTS * 3, 10, generator(), rows=1) == together
    assert sample(lm, STARTS * 3, 10, generator(), rows=5) == together


def test_a_row_ends_before_the_end_of_text_and_the_others_go_on() -> None:
    lm = tiny_lm("llama")
    rows = sample(lm, [[5, 9]] * 300, 20, generator())
    lengths = {len(row) - 2 for row in rows}
    assert max(lengths) == 20
    assert len(lengths) > 3
    assert all(2 not in row for row in rows)


def test_the_same_seed_gives_the_same_text_and_another_seed_another() -> None:
    lm = tiny_lm("llama")
    first = sample(lm, STARTS, 10, generator())
    assert sample(lm, STARTS, 10, generator()) == first
    assert sample(lm, STARTS, 10, generator(1)) != first


def test_starts_come_back_in_front_even_if_nothing_is_to_be_added() -> None:
    lm = tiny_lm("llama")
    assert all(
        row[: len(start)] == start for row, start in zip(sample(lm, STARTS, 5, generator()), STARTS, strict=True)
    )
    assert sample(lm, STARTS, 0, generator()) == STARTS
    assert sample(lm, [], 5, generator()) == []


def test_the_callers_random_state_and_gradient_mode_are_left_alone(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    before = torch.random.get_rng_state()
    sample(lm, STARTS, 5, generator())
    self_text(lm, 50, Cache(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    sample(ending(tiny_lm("llama"), -1e9), STARTS, 5, generator(), rows=3, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_an_empty_start_too_long_a_text_and_a_broken_model_are_errors() -> None:
    lm = tiny_lm("llama")
    with pytest.raises(ValueError, match="no token"):
        sample(lm, [[5], []], 3, generator())
    with pytest.raises(UserError, match=r"257 tokens.*\n.*reads 256"):
        sample(lm, [[5]], 256, generator())
    lm.model.get_input_embeddings().weight.data.fill_(torch.nan)
    with pytest.raises(Diverged):
        sample(lm, [[5]], 3, generator())


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_models_own_text_has_the_size_asked_for_and_begins_with_the_frame(kind: str, tmp_path: Path) -> None:
    lm = tiny_lm(kind)
    texts = self_text(lm, 300, Cache(tmp_path), length=24)
    head, ordinary = lm.text.opening, set(ordinary_tokens(lm))
    assert head == ([1] if lm.text.prompt("a")[0] == 1 else [])
    assert sum(map(len, texts)) == 300
    assert max(map(len, texts)) == 24
    for text in texts[:-1]:
        assert text[: len(head)] == head
        assert text[len(head)] in ordinary
    assert len({text[len(head)] for text in texts[:-1]}) > 3


def test_ordinary_tokens_are_text_by_themselves() -> None:
    lm = tiny_lm("llama")
    texts = [lm.text.decode([i]) for i in ordinary_tokens(lm)]
    assert all(text.strip() and "\N{REPLACEMENT CHARACTER}" not in text for text in texts)
    assert "the" in {text.strip() for text in texts}


def test_the_models_own_text_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    first = self_text(lm, 100, Cache(tmp_path))

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(lm.model, "forward", never)
    assert self_text(lm, 100, Cache(tmp_path)) == first
    with pytest.raises(AssertionError, match="was run"):
        self_text(lm, 101, Cache(tmp_path))


def test_the_models_own_text_is_the_same_in_another_cache(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    assert self_text(lm, 100, Cache(tmp_path / "a")) == self_text(lm, 100, Cache(tmp_path / "b"))


def test_no_text_at_all_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 tokens"):
        self_text(tiny_lm("llama"), 0, Cache(tmp_path))


def test_texts_are_trimmed_to_the_token() -> None:
    assert trimmed([[1, 2, 3], [4, 5], [6]], 4) == [[1, 2, 3], [4]]
    assert trimmed([[1, 2, 3], [4, 5], [6]], 3) == [[1, 2, 3]]

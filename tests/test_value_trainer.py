"""The public trainer of value vectors, as the author of a codebook uses it."""

from __future__ import annotations

import pytest
import torch

from editbench.models.lm import LM
from editbench.models.value_trainer import Aim, ValueTrainer
from editbench.running.unedited import fingerprint
from editbench.testing.tiny import tiny_lm, tiny_requests


def aims(lm: LM, n: int = 4) -> list[list[Aim]]:
    pairs = [(request.prompt, request.target_new) for request in tiny_requests(n)]
    return [[Aim.completing(completion)] for completion in lm.text.completions(pairs)]


def nll(lm: LM, aim: Aim, block: int, added: torch.Tensor) -> float:
    def add(module: object, args: object, output: torch.Tensor) -> torch.Tensor:
        output[0, aim.start] += added
        return output

    hook = lm.layout.block(lm.model, block).register_forward_hook(add)
    scores = lm.model(input_ids=torch.tensor([list(aim.ids)]), use_cache=False).logits[0].log_softmax(-1)
    hook.remove()
    places = range(len(aim.ids) - len(aim.labels), len(aim.ids))
    return -sum(scores[place, label].item() for place, label in zip(places, aim.labels, strict=True)) / len(aim.labels)


def test_a_vector_that_was_trained_makes_its_target_likely_and_leaves_the_model_alone() -> None:
    lm = tiny_lm("llama")
    before = fingerprint(lm)
    values = ValueTrainer(lm, 1, lr=0.3, updates=30).train(aims(lm))
    assert fingerprint(lm) == before
    for [aim], added in zip(aims(lm), values.added, strict=True):
        assert nll(lm, aim, 1, added) < 0.9 * nll(lm, aim, 1, torch.zeros_like(added))


def test_losses_are_weighted_sums_over_a_values_sequences() -> None:
    lm = tiny_lm("gpt2")
    [one], [other] = aims(lm, 2)
    twice = Aim(other.ids, other.start, other.labels, 2 * other.weight)
    trainer = ValueTrainer(lm, 0, updates=1)
    alone, together = trainer.train([[one], [other]]).loss, trainer.train([[one, twice]]).loss
    assert together.item() == pytest.approx((alone[0] + 2 * alone[1]).item(), rel=1e-5)


def test_the_vector_stays_in_its_ball_and_nothing_wanted_is_nothing_trained() -> None:
    lm = tiny_lm("llama")
    values = ValueTrainer(lm, 1, updates=10, clamp=0.1).train(aims(lm))
    assert (values.added.norm(dim=1) <= 0.1 * values.reference.norm(dim=1) + 1e-6).all()
    nothing = ValueTrainer(lm, 1).train([])
    assert nothing.z.shape == (0, lm.shape.hidden) and nothing.usable == []

"""Value vectors against one request at a time, and against the plain loop one would write first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from editbench_methods._locate_then_edit import ValueHparams
from editbench_methods._prompts import Case, behind, case, cases, sample_prefixes
from editbench_methods._values import optimise
from torch import Tensor

from editbench.errors import RequestFailed
from editbench.models import value_trainer
from editbench.models.lm import LM
from editbench.models.residual import norm_behind_mlp
from editbench.requests import Request
from editbench.testing.tiny import tiny_lm, tiny_requests

PREFIXES = ("The king", "I was born in the")
KINDS = ("llama", "gpt2", "opt", "gptj", "mistral")


def hparams(**values: Any) -> ValueHparams:
    given = {"lr": 0.1, "steps": 6, "clamp": 0.5, "weight_decay": 0.5, "stop_loss": 0.0, "corpus_tokens": 1}
    return ValueHparams(**{**given, **values})


def tokenised(lm: LM, n: int = 5) -> list[Case]:
    found, failures = cases(lm, tiny_requests(n), PREFIXES)
    assert not failures
    return found


def plain_value(
    lm: LM, one: Case, layer: int, h: ValueHparams, at_projection: bool, before_norm: bool = False
) -> tuple[Tensor, Tensor, float, int]:
    """The loop of the public code: whole passes, one prompt at a time; value, reference, last loss, updates."""
    delta = torch.zeros(lm.shape.hidden, requires_grad=True)
    adam, reference, old = torch.optim.Adam([delta], lr=h.lr), [], []

    def logits(ids: Sequence[int], start: int) -> Tensor:
        def note(module: Any, args: Any, output: Tensor) -> Tensor | None:
            if at_projection:
                reference.append(output.detach().reshape(len(ids), -1)[start].clone())
            if not before_norm:
                return None
            changed = output.clone()
            changed.view(len(ids), -1)[start] += delta
            return changed

        def add(module: Any, args: Any, output: Any) -> Any:
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            if not at_projection:
                reference.append(hidden[0, start].detach().clone())
            if not before_norm:
                hidden[0, start] += delta
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        projection = lm.model.get_submodule(lm.layout.mlp_out_path(layer))
        hooks = [projection.register_forward_hook(note), lm.layout.block(lm.model, layer).register_forward_hook(add)]
        found = lm.model(input_ids=torch.tensor([list(ids)])).logits[0]
        for hook in hooks:
            hook.remove()
        return found

    loss, steps = 0.0, 0
    for _ in range(h.steps - 1):
        total = torch.zeros(())
        for completion, start in zip(one.completions, one.starts, strict=True):
            scores = logits(completion.ids, start).log_softmax(-1)
            labels = completion.ids[completion.prompt_len :]
            picked = [scores[completion.prompt_len - 1 + k, label] for k, label in enumerate(labels)]
            total = total - sum(picked) / len(labels) / len(one.completions)
        new = logits(one.essence, one.essence_start)[-1].log_softmax(-1)
        old.append(new.detach())
        total = total + h.kl_factor * (new.exp() * (new - old[0])).sum()
        total = total + h.weight_decay * delta.norm() / reference[0].norm() ** 2
        loss = total.item()
        if loss < h.stop_loss:
            break
        adam.zero_grad()
        total.backward()
        adam.step()
        steps += 1
        with torch.no_grad():
            most = h.clamp * reference[0].norm()
            if delta.norm() > most:
                delta *= most / delta.norm()
    return (reference[0] + delta).detach(), reference[0], loss, steps


@pytest.mark.parametrize("at_projection", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_those_of_the_plain_loop(kind: str, at_projection: bool) -> None:
    lm = tiny_lm(kind)
    found = tokenised(lm, 3)
    for layer in range(lm.layout.n_blocks - 1):
        values = optimise(lm, found, layer, hparams(), at_projection=at_projection)
        for number, one in enumerate(found):
            z, reference, loss, steps = plain_value(lm, one, layer, hparams(), at_projection)
            torch.testing.assert_close(values.reference[number], reference, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(values.z[number], z, rtol=1e-3, atol=2e-4)
            assert values.loss[number].item() == pytest.approx(loss, rel=1e-4)
            assert values.steps[number].item() == steps


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
def test_values_before_a_norm_equal_those_of_the_plain_loop(kind: str) -> None:
    lm = tiny_lm(kind)
    found = tokenised(lm, 3)
    for layer in range(lm.layout.n_blocks - 1):
        norm = norm_behind_mlp(lm, layer)
        assert norm is lm.layout.block(lm.model, layer).get_submodule("post_feedforward_layernorm")
        values = optimise(lm, found, layer, hparams(), norm=norm)
        for number, one in enumerate(found):
            z, reference, loss, steps = plain_value(lm, one, layer, hparams(), at_projection=True, before_norm=True)
            torch.testing.assert_close(values.reference[number], reference, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(values.z[number], z, rtol=1e-3, atol=2e-4)
            assert values.loss[number].item() == pytest.approx(loss, rel=1e-4)
            assert values.steps[number].item() == steps


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gptj", "phi", "opt"])
def test_models_that_add_the_mlps_output_as_it_is_have_no_norm_behind_it(kind: str) -> None:
    assert norm_behind_mlp(tiny_lm(kind), 1) is None


def test_all_at_once_equals_one_by_one_also_where_some_stop_early() -> None:
    lm = tiny_lm("llama")
    found = tokenised(lm, 6)
    start = optimise(lm, found, 0, hparams(steps=2)).loss
    h = hparams(steps=12, clamp=4.0, stop_loss=float(start.median()) - 0.05)
    together = optimise(lm, found, 0, h)
    assert len(set(together.steps.tolist())) > 1
    for number, one in enumerate(found):
        alone = optimise(lm, [one], 0, h)
        torch.testing.assert_close(together.z[number], alone.z[0], rtol=1e-3, atol=1e-4)
        assert together.steps[number] == alone.steps[0]


def test_groups_do_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    found = tokenised(lm, 5)
    whole = optimise(lm, found, 1, hparams())
    monkeypatch.setattr(value_trainer, "GROUP", 2)
    shares: list[float] = []
    parts = optimise(lm, found, 1, hparams(), progress=shares.append)
    torch.testing.assert_close(parts.z, whole.z, rtol=1e-4, atol=1e-5)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_no_value_leaves_its_ball_and_the_loss_falls() -> None:
    lm = tiny_lm("llama")
    found = tokenised(lm, 5)
    first = optimise(lm, found, 0, hparams(steps=2)).loss
    values = optimise(lm, found, 0, hparams(steps=25, clamp=0.7))
    moved = (values.z - values.reference).norm(dim=1) / values.reference.norm(dim=1)
    assert (moved <= 0.7 + 1e-5).all()
    assert (values.loss < first).all()


def test_a_value_that_is_not_finite_fails_alone() -> None:
    lm = tiny_lm("llama")
    found = tokenised(lm, 4)
    whole = optimise(lm, found, 0, hparams())
    row = found[2].completions[0].ids[-2]
    if any(row in c.ids[:-1] for i in (0, 1, 3) for c in found[i].completions) or row in found[0].essence:
        pytest.fail("the poisoned token must belong to one request only")
    lm.model.get_input_embeddings().weight.data[row] = torch.nan
    values = optimise(lm, found, 0, hparams())
    assert values.usable == [0, 1, 3]
    torch.testing.assert_close(values.z[[0, 1, 3]], whole.z[[0, 1, 3]])


def test_prefixes_are_sampled_from_the_model_and_the_seed() -> None:
    lm = tiny_lm("llama")
    draws = [sample_prefixes(lm, 6, 4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert [text.split()[0] for text in sample_prefixes(lm, 5, 0, torch.Generator())] == [
        "The",
        "Therefore",
        "Because",
        "I",
        "You",
    ]
    assert all("\n" not in text for text in draws[0])


def test_a_prefix_moves_the_subject_with_the_prompt() -> None:
    request = Request("r", "Paris is where Paris is", "Paris", "France", subject_start=15)
    moved = behind(request, "In Paris")
    assert moved.prompt == "In Paris. Paris is where Paris is"
    assert moved.subject_span() == (25, 30)
    assert behind(request, "") == request


def test_a_subject_outside_its_prompt_is_that_requests_failure() -> None:
    lm = tiny_lm("llama")
    good, bad = tiny_requests(1)[0], Request("bad", "The capital is", "Atlantis", "Paris")
    found, failures = cases(lm, [bad, good], PREFIXES)
    assert [one.request.id for one in found] == [good.id]
    assert "Atlantis" in failures["bad"]
    with pytest.raises(RequestFailed):
        case(lm, bad, ())

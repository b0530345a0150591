"""The laws, over every registered method; and the laws themselves, over methods that break them one at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch

from editbench.base.plugins import names
from editbench.method import ContextEdit, Edit, Method, ModuleEdit, WeightEdit
from editbench.models.lm import LM
from editbench.plan.address import METHODS
from editbench.plan.registry import load_method
from editbench.requests import Request
from editbench.testing.laws import LAWS, check_method
from editbench.testing.tiny import tiny_lm


@pytest.mark.parametrize("name", names(METHODS))
def test_every_registered_method_obeys_every_law(name: str) -> None:
    results = check_method(name)
    assert len(results) == 2 * len(LAWS)
    assert not [r for r in results if not r.passed or r.detail]


@pytest.mark.parametrize("name", names(METHODS))
def test_every_registered_method_describes_itself(name: str) -> None:
    method = load_method(name)
    assert method.name == name
    assert (method.__doc__ or "").splitlines()[0].endswith(".")
    assert method.regimes


WEIGHT = {"llama": "model.layers.1.mlp.down_proj.weight", "gpt2": "transformer.h.1.mlp.c_proj.weight"}


class Good(Method):
    """Push one weight towards lower loss, lawfully."""

    name = "good"
    regimes = frozenset({"batch", "sequential"})

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """One step along the gradient of the first target token."""
        if not requests:
            return WeightEdit({})
        name = WEIGHT[lm.shape.model_type]
        weight = lm.parameter(name).detach().clone().requires_grad_(True)
        total = torch.zeros(())
        for completion in lm.text.completions([(r.prompt, r.target_new) for r in requests]):
            ids = torch.tensor([completion.ids])
            logits = torch.func.functional_call(lm.model, {name: weight}, (), {"input_ids": ids}).logits[0]
            first = completion.prompt_len
            total = total + torch.nn.functional.cross_entropy(logits[first - 1 : -1], ids[0, first:])
        [gradient] = torch.autograd.grad(total, [weight])
        return WeightEdit({name: -0.5 * gradient / gradient.norm()})


class LeavesItsChange(Good):
    """Breaks: the model is left as found."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Apply and forget."""
        edit = super().edit(lm, requests, rng)
        edit.apply(lm)
        return edit


class ForgetsToRevert(Good):
    """Breaks: revert restores."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Return an edit that cannot be undone."""

        class Sticky(WeightEdit):
            def apply(self, lm: LM) -> object:  # type: ignore[override]
                applied = super().apply(lm)
                applied.revert = lambda: None  # type: ignore[method-assign]
                return applied

        return Sticky(super().edit(lm, requests, rng).deltas)  # type: ignore[attr-defined]


class EditsNothingLoudly(Good):
    """Breaks: no requests, no change."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Change a weight even for nobody."""
        name = WEIGHT[lm.shape.model_type]
        return super().edit(lm, requests, rng) if requests else WeightEdit({name: lm.parameter(name) * 0.1})


class DrawsUnseeded(Good):
    """Breaks: the same seed, the same edit; and the caller's random state."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Add noise from the global generator."""
        edit = super().edit(lm, requests, rng)
        return WeightEdit({n: d + 1e-4 * torch.randn_like(d) for n, d in edit.deltas.items()})  # type: ignore[attr-defined]


class HashSalted(Good):
    """Breaks: the same edit in another process."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Depend on the address space."""
        edit = super().edit(lm, requests, rng)
        return WeightEdit({n: d * (1 + (id(object) % 977) / 1e4) for n, d in edit.deltas.items()})  # type: ignore[attr-defined]


class TouchesMore(Good):
    """Breaks: what is not named stays."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Change a norm on the side, at apply."""

        class Wider(WeightEdit):
            def apply(self, lm: LM) -> object:  # type: ignore[override]
                next(p for n, p in lm.model.named_parameters() if "norm" in n or "ln" in n).data.mul_(1.01)
                return super().apply(lm)

        return Wider(super().edit(lm, requests, rng).deltas)  # type: ignore[attr-defined]


class LeavesAHook(Good):
    """Breaks: no hooks left."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Register and forget."""
        lm.model.register_forward_hook(lambda *args: None)
        return super().edit(lm, requests, rng)


class LeavesTrainMode(Good):
    """Breaks: train or eval mode."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Switch the mode and forget."""
        lm.model.train()
        return super().edit(lm, requests, rng)


class ForgetsItsState(Good):
    """Breaks: a resumed stream equals an unbroken one."""

    def __init__(self, hparams: object = None) -> None:
        super().__init__()
        self.seen = 0

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Scale by how many requests came before."""
        edit = super().edit(lm, requests, rng)
        self.seen += len(requests)
        return WeightEdit({n: d * self.seen for n, d in edit.deltas.items()})  # type: ignore[attr-defined]


class ClaimsIndependence(Good):
    """Breaks: all at once equals one by one."""

    independent = True


class Unlearns(Good):
    """Breaks: the target becomes likelier."""

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Go the wrong way."""
        edit = super().edit(lm, requests, rng)
        return WeightEdit({n: -d for n, d in edit.deltas.items()})  # type: ignore[attr-defined]


def test_a_lawful_method_passes_every_law() -> None:
    assert not [r for r in check_method(Good) if not r.passed]


@pytest.mark.parametrize(
    ("culprit", "law"),
    [
        (LeavesItsChange, "edit leaves the model bitwise as found"),
        (ForgetsToRevert, "revert restores every weight bitwise"),
        (EditsNothingLoudly, "no requests, no change"),
        (DrawsUnseeded, "the same seed gives the same edit"),
        (DrawsUnseeded, "grad flags, train or eval mode and the caller's random state stay as they were"),
        (HashSalted, "the same seed gives the same edit in another process"),
        (TouchesMore, "what the edit does not name stays bitwise equal"),
        (LeavesAHook, "no hooks are left behind"),
        (LeavesTrainMode, "grad flags, train or eval mode and the caller's random state stay as they were"),
        (ForgetsItsState, "a stream resumed from its state_dict equals an unbroken one"),
        (ClaimsIndependence, "where requests are independent, all at once equals one by one"),
        (Unlearns, "the edit makes the target likelier"),
    ],
)
def test_each_law_catches_a_method_that_breaks_it(culprit: type[Method], law: str) -> None:
    [result] = check_method(culprit, kinds=("llama",), laws=(law,))
    assert not result.passed
    assert result.detail


def test_a_method_that_raises_fails_with_the_place_of_the_error() -> None:
    class Raises(Good):
        def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
            raise ZeroDivisionError("by nought")

    [first] = check_method(Raises, kinds=("llama",), laws=("no requests, no change",))
    assert not first.passed and "by nought" in first.detail and "test_every_method.py" in first.detail


class Doubling(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.factor = torch.nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(x)


def test_a_module_edit_replaces_measures_and_puts_back() -> None:
    lm = tiny_lm("llama")
    ids = torch.tensor([[5, 6, 7]])
    before, name = lm.model(input_ids=ids).logits, "model.layers.1.mlp"
    module = lm.model.get_submodule(name)
    edit = ModuleEdit({name: Doubling(module)}, wraps="inner")
    assert edit.nbytes == 4
    applied = edit.apply(lm)
    assert not torch.equal(lm.model(input_ids=ids).logits, before)
    applied.revert()
    assert lm.model.get_submodule(name) is module
    assert torch.equal(lm.model(input_ids=ids).logits, before)


def test_context_edits_stack_and_come_off() -> None:
    lm = tiny_lm("llama")
    first = ContextEdit(lambda prompt: "One. ", size=5).apply(lm)
    second = ContextEdit(lambda prompt: "Two. ").apply(lm)
    assert lm.context is not None and lm.context("x") == "Two. One. "
    second.revert()
    assert lm.context("x") == "One. "
    first.revert()
    assert lm.context is None


def test_a_delta_of_the_wrong_shape_is_refused_before_anything_changes() -> None:
    lm = tiny_lm("llama")
    right, wrong = "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"
    before = lm.parameter(right).clone()
    with pytest.raises(ValueError, match="down_proj"):
        WeightEdit({right: torch.ones_like(before), wrong: torch.ones(1)}).apply(lm)
    assert torch.equal(lm.parameter(right), before)


@pytest.mark.parametrize("name", ["check_method", "tiny_lm", "laws"])
def test_what_plugins_test_with_is_imported_from_one_place_in_a_fresh_process(name: str) -> None:
    code = f"from editbench.testing import {name}; import editbench.testing.laws"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The laws, over every registered method; and how edits of each kind go into a model and come out again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from editbench.base.plugins import names
from editbench.ledger import Ledger
from editbench.method import ContextEdit, ModuleEdit, WeightEdit
from editbench.models.lm import LM
from editbench.plan.address import METHODS
from editbench.plan.registry import load_method
from editbench.testing import OtherProcess, check_method
from editbench.testing.laws import LAWS
from editbench.testing.tiny import tiny_lm


@pytest.mark.parametrize("name", names(METHODS))
def test_every_registered_method_obeys_every_law(name: str, elsewhere: OtherProcess) -> None:
    results = check_method(name, elsewhere=elsewhere)
    assert len(results) == 2 * len(LAWS)
    assert not [result for result in results if not result.passed]
    assert sum(result.status == "holds" for result in results) > len(LAWS)


@pytest.mark.parametrize("name", names(METHODS))
def test_every_registered_method_describes_itself(name: str) -> None:
    method = load_method(name)
    assert method.name == name
    assert (method.__doc__ or "").splitlines()[0].endswith(".")
    assert method.regimes


class Doubling(torch.nn.Module):
    def __init__(self, lm: LM, standing: torch.nn.Module, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.standing, self.factor = standing, data["factor"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.standing(x)


def test_a_module_edit_replaces_measures_and_puts_back() -> None:
    lm = tiny_lm("llama")
    ids = torch.tensor([[5, 6, 7]])
    before, name = lm.model(input_ids=ids).logits, "model.layers.1.mlp"
    module = lm.model.get_submodule(name)
    edit = ModuleEdit(Doubling, {name: {"factor": torch.tensor([2.0])}})
    assert edit.nbytes == 4
    ledger = edit.apply(lm)
    assert not torch.equal(lm.model(input_ids=ids).logits, before)
    ledger.revert()
    assert lm.model.get_submodule(name) is module
    assert torch.equal(lm.model(input_ids=ids).logits, before)


def say(lm: LM, memory: Mapping[str, Any], prompts: Sequence[str]) -> list[str]:
    return [memory["text"] for _ in prompts]


def test_context_edits_stack_unless_they_supersede_and_come_off() -> None:
    lm = tiny_lm("llama")
    ledger = Ledger(lm)
    ledger.apply(ContextEdit(say, {"text": "One. "}, supersedes=False))
    ledger.apply(ContextEdit(say, {"text": "Two. "}, supersedes=False))
    assert lm.as_read(["x"]) == ["Two. One. x"]
    ledger.apply(ContextEdit(say, {"text": "Three. "}))
    assert lm.as_read(["x"]) == ["Three. x"]
    ledger.revert()
    assert lm.context is None


def test_a_delta_of_the_wrong_shape_is_refused_before_anything_changes() -> None:
    lm = tiny_lm("llama")
    right, wrong = "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"
    before = lm.parameter(right).clone()
    with pytest.raises(ValueError, match="down_proj"):
        WeightEdit({right: torch.ones_like(before), wrong: torch.ones(1)}).apply(lm)
    assert torch.equal(lm.parameter(right), before)


@pytest.mark.parametrize("name", ["check_method", "tiny_lm", "laws", "check"])
def test_what_plugins_test_with_is_imported_from_one_place_in_a_fresh_process(name: str) -> None:
    code = f"from editbench.testing import {name}; import editbench.testing.laws"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

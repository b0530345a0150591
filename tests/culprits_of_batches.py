"""Methods that answer otherwise alone than in a batch, behind padding or behind a cache, and one without a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from reference_methods import Retrieval, SideMemory, SideMemoryModule, nearest_sentence
from torch import Tensor

from editbench.method import Context, ContextEdit, Edit
from editbench.models.lm import LM
from editbench.requests import Request

Requests = Sequence[Request]


def first_prompt_decides(lm: LM, memory: Mapping[str, Any], prompts: Sequence[str]) -> list[Context]:
    """Return the first prompt's sentence for all."""
    return nearest_sentence(lm, memory, prompts[:1]) * len(prompts)


class FirstPromptDecides(Retrieval):
    """Puts the first prompt's sentence before all of them."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return a lookup that is told many prompts and looks at one."""
        super().edit(lm, requests, rng)
        return ContextEdit(first_prompt_decides, self.memory)


class FirstRowModule(SideMemoryModule):
    """Lets the first row decide for its batch."""

    def decided(self, wide: Tensor, ends: Tensor) -> Tensor:
        """Return the first row's decision for all."""
        return super().decided(wide, ends)[:1].expand(len(wide))


class FirstRowDecides(SideMemory):
    """Routes a whole batch as its first row."""

    module = FirstRowModule


class LastColumnModule(SideMemoryModule):
    """Takes the last column for the last token of the prompt."""

    def decided(self, wide: Tensor, ends: Tensor) -> Tensor:
        """Look at the last column, where an answer or padding may stand."""
        return super().decided(wide, torch.full_like(ends, wide.shape[1] - 1))


class IgnoresRightPadding(SideMemory):
    """Decides from the last column."""

    module = LastColumnModule


class CountedModule(SideMemoryModule):
    """Counts the tokens of a prompt, and takes the number for its last column."""

    def decided(self, wide: Tensor, ends: Tensor) -> Tensor:
        """Look where the prompt would end without padding on the left."""
        call = self.lm[0].call
        assert call is not None
        counted = call.real.sum(1) - 1 if call.phase == "prompt" else ends
        return super().decided(wide, counted)


class IgnoresLeftPadding(SideMemory):
    """Decides from a column that is another one behind padding."""

    module = CountedModule


class SameOrderModule(SideMemoryModule):
    """Takes the rows of later passes for the first ones."""

    def forward(self, x: Tensor) -> Tensor:
        """Route the n-th row as the n-th prompt."""
        call = self.lm[0].call
        if call is None or call.phase == "text" or call.prompt_ends is not None:
            return super().forward(x)
        kept = self.routed
        self.routed = torch.zeros(int(call.rows.max()) + 1, dtype=torch.bool)
        self.routed[call.rows] = kept.repeat(len(call.rows))[: len(call.rows)]
        try:
            return super().forward(x)
        finally:
            self.routed = kept


class IgnoresRows(SideMemory):
    """Does not know its rows again after they were picked."""

    module = SameOrderModule


class PromptOnlyModule(SideMemoryModule):
    """Routes nothing but prompts."""

    def forward(self, x: Tensor) -> Tensor:
        """Leave later passes alone."""
        call = self.lm[0].call
        return super().forward(x) if call is None or call.phase == "prompt" else self.standing(x)


class ForgetsLaterPasses(SideMemory):
    """Answers with the unedited weight what it read with the edited one."""

    module = PromptOnlyModule


class AlwaysFires(SideMemory):
    """Has a gate that is open to everything."""

    class Hparams(SideMemory.Hparams):
        """A ball that holds everything."""

        radius: float = 1e6

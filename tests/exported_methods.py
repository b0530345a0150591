"""A small method of each kind of edit, and some that make none: what exports are tried with, as a user's own file."""

import torch

from editbench.errors import Diverged
from editbench.method import Context, ContextEdit, Edits, LowRankEdit, Method, ModuleEdit, WeightEdit


def recalled(lm, memory, prompts):
    return [Context(before=" ".join(memory["said"][:2]) + " ", after=" indeed") for prompt in prompts]


class Talks(Method):
    """Put a text in front of each prompt."""

    name = "talks"
    kind = "context"
    regimes = frozenset({"batch", "sequential"})
    said = ()

    def edit(self, lm, requests, rng):
        self.said = [*self.said, *(request.target_new for request in requests)]
        return ContextEdit(recalled, {"said": self.said}, shared_prefix="Listen. ")

    def state_dict(self):
        return {"said": list(self.said)}

    def load_state_dict(self, state):
        self.said = state["said"]


class Scaled(torch.nn.Module):
    def __init__(self, lm, inner, data):
        super().__init__()
        self.inner, self.factor = inner, data["factor"]

    def forward(self, x):
        return self.inner(x) * self.factor


class Adds(Method):
    """Put a module in the place of another."""

    name = "adds"
    kind = "modules"
    regimes = frozenset({"batch", "sequential"})

    def edit(self, lm, requests, rng):
        name = lm.layout.weight_name(1, "down").removesuffix(".weight")
        factor = torch.rand(1, generator=rng)
        return ModuleEdit(Scaled, {name: {"factor": factor}}, supersedes=False)


class Adapts(Method):
    """Make a change of rank two."""

    name = "adapts"
    kind = "low-rank"
    regimes = frozenset({"batch", "sequential"})

    def edit(self, lm, requests, rng):
        name = lm.layout.weight_name(1, "down")
        b = torch.randn(lm.shape.hidden, 2, generator=rng)
        return LowRankEdit({name: (b, 0.1 * torch.randn(2, lm.shape.mlp, generator=rng))})


class Mixes(Method):
    """Change a weight, a module and what is read."""

    name = "mixes"
    kind = "mixed"
    regimes = frozenset({"batch", "sequential"})

    def edit(self, lm, requests, rng):
        name = lm.layout.weight_name(2, "down")
        noise = WeightEdit({name: torch.randn(lm.parameter(name).shape, generator=rng)})
        module = Adds().edit(lm, requests, rng)
        return Edits((noise, module, ContextEdit(recalled, {"said": ["So."]}, supersedes=False)))


class Diverges(Method):
    """Diverge."""

    name = "diverges"

    def edit(self, lm, requests, rng):
        raise Diverged("the loss is NaN")


class Picky(Method):
    """Support no model."""

    name = "picky"

    def supports(self, lm):
        return "only models of 72B"

    def edit(self, lm, requests, rng):
        return WeightEdit({})

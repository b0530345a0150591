"""One small lawful method of each kind of edit, which the laws are tried on and culprits are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from editbench.method import (
    Context,
    ContextEdit,
    Edit,
    Edits,
    Hparams,
    LowRankEdit,
    Method,
    ModuleEdit,
    WeightEdit,
)
from editbench.models.lm import LM
from editbench.models.residual import ResidualStream
from editbench.models.value_trainer import Aim, ValueTrainer
from editbench.requests import Request


def gradient_of(lm: LM, name: str, pairs: Sequence[tuple[str, str]], weight: Tensor | None = None) -> Tensor:
    """Return the gradient of the targets' summed NLL with respect to one weight."""
    value = (lm.parameter(name) if weight is None else weight).detach().clone().requires_grad_(True)
    total = torch.zeros((), device=lm.device)
    with torch.enable_grad():
        for completion in lm.text.completions(pairs):
            ids = torch.tensor([completion.ids], device=lm.device)
            logits = torch.func.functional_call(lm.model, {name: value}, (), {"input_ids": ids}).logits[0]
            first = completion.prompt_len
            total = total + torch.nn.functional.cross_entropy(logits[first - 1 : -1], ids[0, first:])
        [gradient] = torch.autograd.grad(total, [value])
    return gradient


class OneLayer(Hparams):
    """Where a change is made, and how large it is."""

    layer: int = 1
    size: float = 0.5


class Good(Method):
    """Push one weight towards lower loss."""

    name = "good"
    regimes = frozenset({"batch", "sequential"})
    Hparams = OneLayer

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """One step along the gradient of the targets."""
        if not requests:
            return WeightEdit({})
        name = lm.layout.weight_name(self.hparams.layer, "down")
        gradient = gradient_of(lm, name, [(r.prompt, r.target_new) for r in requests])
        return WeightEdit({name: -self.hparams.size * gradient / gradient.norm()})


class Factors(Method):
    """Push one weight towards lower loss, by a change of rank 2."""

    name = "factors"
    kind = "low-rank"
    regimes = frozenset({"batch", "sequential"})
    Hparams = OneLayer

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """The largest singular directions of the gradient."""
        if not requests:
            return LowRankEdit({})
        name = lm.layout.weight_name(self.hparams.layer, "down")
        gradient = gradient_of(lm, name, [(r.prompt, r.target_new) for r in requests])
        gradient = gradient.T if lm.layout.conv1d else gradient  # [out, in]
        u, s, v = torch.linalg.svd(gradient.float(), full_matrices=False)
        s = s[:2] / s[:2].norm()
        return LowRankEdit({name: (-self.hparams.size * u[:, :2] * s, v[:2].contiguous())})


class CodebookModule(nn.Module):
    """Adds a value at a prompt's last token where the projection's input there lies near a key; else nothing."""

    def __init__(self, lm: LM, standing: nn.Module, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.lm, self.standing, self.data = [lm], standing, data  # the list keeps the model from being a child

    def forward(self, x: Tensor) -> Tensor:
        """x: [rows, tokens, mlp], or [rows * tokens, mlp] in models that flatten."""
        out: Tensor = self.standing(x)
        [lm] = self.lm
        call, keys = lm.call, self.data["keys"]
        if call is None or call.prompt_ends is None or not len(keys):
            return out
        rows = torch.arange(len(call.rows), device=out.device)
        wide, found = x.reshape(len(rows), -1, x.shape[-1]), out.reshape(len(rows), -1, out.shape[-1]).clone()
        distance = torch.cdist(wide[rows, call.prompt_ends].float(), keys)
        nearest = distance.argmin(dim=1)
        near = distance[rows, nearest] < self.data["radius"][nearest]
        added = torch.where(near[:, None], self.data["values"][nearest], 0.0).to(found)
        # rows that are far get their own bits back: adding nought would turn -0 to 0
        changed = found[rows, call.prompt_ends] + added
        found[rows, call.prompt_ends] = torch.where(near[:, None], changed, found[rows, call.prompt_ends])
        return found.reshape(out.shape)


class Codebook(Method):
    """Remember a value for each prompt, and add it wherever a prompt ends near it (after GRACE)."""

    name = "codebook"
    cite = "arXiv:2211.11031"
    kind = "modules"
    regimes = frozenset({"batch", "sequential"})
    independent = True
    cumulative = True
    gated = True

    class Hparams(Hparams):
        """``radius``: of a key's ball, as a share of the key's norm."""

        layer: int = 1
        radius: float = 0.1
        lr: float = 0.5
        updates: int = 20

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.memory: dict[str, Tensor] = {}

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Train one value for each request, and return the whole codebook so far."""
        if requests:
            new = self._learnt(lm, requests)
            self.memory = {n: torch.cat([self.memory[n], new[n]]) if self.memory else new[n] for n in new}
            self.number("keys", len(self.memory["keys"]))
        if not self.memory:
            return ModuleEdit(CodebookModule, {})
        return ModuleEdit(CodebookModule, {lm.layout.mlp_out_path(self.hparams.layer): self.memory})

    def _learnt(self, lm: LM, requests: Sequence[Request]) -> dict[str, Tensor]:
        h = self.hparams
        found = lm.text.completions([(r.prompt, r.target_new) for r in requests])
        trainer = ValueTrainer(lm, h.layer, lr=h.lr, updates=h.updates)
        values = trainer.train([[Aim.completing(completion)] for completion in found]).added
        keys = ResidualStream(lm, [one.ids[: one.prompt_len] for one in found]).keys(h.layer)
        return {"keys": keys, "values": values, "radius": h.radius * keys.norm(dim=1)}

    def state_dict(self) -> dict[str, Any]:
        """The codebook."""
        return dict(self.memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the codebook back."""
        self.memory = dict(state)


class SideMemoryModule(nn.Module):
    """A second weight for the rows whose prompt ends near a key: decided once, kept for all later passes."""

    def __init__(self, lm: LM, standing: nn.Module, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.lm, self.standing, self.data = [lm], standing, data
        self.routed = torch.zeros(0, dtype=torch.bool)

    def forward(self, x: Tensor) -> Tensor:
        """x: [rows, tokens, mlp], or [rows * tokens, mlp] in models that flatten."""
        out: Tensor = self.standing(x)
        [lm] = self.lm
        call = lm.call
        if call is None or call.phase == "text":
            return out
        wide = x.reshape(len(call.rows), -1, x.shape[-1])
        if call.prompt_ends is not None:
            self.routed = self.decided(wide, call.prompt_ends)
        routed = self.routed[call.rows]
        if not bool(routed.any()):
            return out
        moved = out + x @ self.data["side"].to(x)
        chosen = routed[:, None, None].expand(len(routed), wide.shape[1], 1).reshape(*out.shape[:-1], 1)
        return torch.where(chosen, moved, out)

    def decided(self, wide: Tensor, ends: Tensor) -> Tensor:
        """Return which rows are routed: [rows]."""
        rows = torch.arange(len(wide), device=wide.device)
        keys = self.data["keys"]
        return (torch.cdist(wide[rows, ends].float(), keys) < self.data["radius"]).any(dim=1)


class SideMemory(Method):
    """Keep a changed copy of a weight beside it, for prompts that end near a request's (after WISE)."""

    name = "side-memory"
    cite = "arXiv:2405.14768"
    kind = "modules"
    regimes = frozenset({"batch", "sequential"})
    gated = True
    module = SideMemoryModule

    class Hparams(OneLayer):
        """``radius``: of a key's ball, as a share of the key's norm."""

        radius: float = 0.1

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.memory: dict[str, Tensor] = {}

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """One gradient step for the side weight, added to those before; the keys of all requests so far."""
        if requests:
            self._learn(lm, requests)
        if not self.memory:
            return ModuleEdit(self.module, {})
        return ModuleEdit(self.module, {lm.layout.mlp_out_path(self.hparams.layer): self.memory})

    def _learn(self, lm: LM, requests: Sequence[Request]) -> None:
        h, pairs = self.hparams, [(r.prompt, r.target_new) for r in requests]
        name = lm.layout.weight_name(h.layer, "down")
        with lm.shadow() as shadow:  # without the side memory that earlier chunks have put in
            shadow.set_submodule(lm.layout.mlp_out_path(h.layer), self._bare(lm))
            plain = LM(shadow, lm.text, lm.layout, lm.shape)
            gradient = gradient_of(plain, name, pairs)
            keys = ResidualStream(plain, lm.text.prompts([r.prompt for r in requests])).keys(h.layer)
        side = -h.size * gradient / gradient.norm()
        side = side if lm.layout.conv1d else side.T.contiguous()  # [in, out]
        new = {"keys": keys, "radius": h.radius * keys.norm(dim=1), "side": side}
        old = self.memory
        join = {"keys": torch.cat, "radius": torch.cat, "side": lambda both: both[0] + both[1]}
        self.memory = {name: join[name]([old[name], new[name]]) for name in new} if old else new

    def _bare(self, lm: LM) -> nn.Module:
        module = lm.model.get_submodule(lm.layout.mlp_out_path(self.hparams.layer))
        return module.standing if isinstance(module, SideMemoryModule) else module

    def state_dict(self) -> dict[str, Any]:
        """The side memory."""
        return dict(self.memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the side memory back."""
        self.memory = dict(state)


def words(text: str) -> set[str]:
    """Return what two prompts are compared by: words with a capital, which subjects are made of."""
    return {word.strip("?,.;") for word in text.split() if word[0].isupper()}


def nearest_sentence(lm: LM, memory: Mapping[str, Any], prompts: Sequence[str]) -> list[Context]:
    """Return the sentence of the request that shares most of its subject's words with each prompt."""
    found = []
    for prompt in prompts:
        scores = [len(set(subject) & words(prompt)) for subject in memory["subjects"]]
        best = max(scores, default=0)
        found.append(Context(f"{memory['sentences'][scores.index(best)]} ") if best else Context())
    return found


class Retrieval(Method):
    """Put the nearest request's sentence before each prompt."""

    name = "retrieval"
    kind = "context"
    regimes = frozenset({"batch", "sequential"})
    independent = True
    cumulative = True
    gated = True

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.memory: dict[str, Any] = {"subjects": [], "sentences": []}

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Remember the new requests beside the old ones."""
        self.memory = {
            "subjects": self.memory["subjects"] + [sorted(words(r.subject)) for r in requests],
            "sentences": self.memory["sentences"] + [f"{r.prompt} {r.target_new}." for r in requests],
        }
        return ContextEdit(nearest_sentence, self.memory)

    def state_dict(self) -> dict[str, Any]:
        """All sentences so far."""
        return dict(self.memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.memory = dict(state)


class Mixed(Retrieval):
    """Put the nearest request's sentence before each prompt, and push a weight so that it is followed."""

    name = "mixed"
    kind = "mixed"
    independent = False
    cumulative = False
    gated = False
    Hparams = OneLayer

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.change: dict[str, Tensor] = {}

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """One step along the gradient of the targets behind their sentences, on top of the earlier ones."""
        context = super().edit(lm, requests, rng)
        if requests:
            self._push(lm, requests)
        return Edits((context, WeightEdit(self.change)), supersedes=True)

    def _push(self, lm: LM, requests: Sequence[Request]) -> None:
        name = lm.layout.weight_name(self.hparams.layer, "down")
        around = nearest_sentence(lm, self.memory, [r.prompt for r in requests])
        pairs = [(one.around(r.prompt), r.target_new) for one, r in zip(around, requests, strict=True)]
        gradient = gradient_of(lm, name, pairs)
        change = -self.hparams.size * gradient / gradient.norm()
        self.change = {name: change + self.change[name].to(change) if self.change else change}

    def state_dict(self) -> dict[str, Any]:
        """All sentences so far, and the sum of the steps."""
        return {**self.memory, **{f"change:{name}": delta for name, delta in self.change.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        super().load_state_dict({name: state[name] for name in self.memory})
        self.change = {n.removeprefix("change:"): v for n, v in state.items() if n.startswith("change:")}


REFERENCES: tuple[type[Method], ...] = (Good, Factors, Codebook, SideMemory, Retrieval, Mixed)

"""Methods that break one law each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from reference_methods import (
    Codebook,
    CodebookModule,
    Good,
    Retrieval,
    nearest_sentence,
)
from torch import Tensor, nn

from editbench.ledger import Ledger
from editbench.method import Context, ContextEdit, Edit, Edits, ModuleEdit, WeightEdit
from editbench.models.lm import LM
from editbench.requests import Request

Requests = Sequence[Request]


def scaled(edit: Edit, factor: float) -> WeightEdit:
    """Return an edit of weights times a number."""
    assert isinstance(edit, WeightEdit)
    return WeightEdit({name: delta * factor for name, delta in edit.deltas.items()})


class Raises(Good):
    """Always fails."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Fail."""
        raise ZeroDivisionError("by nought")


class ReturnsNothing(Good):
    """Forgets to return."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return nothing."""
        return None  # type: ignore[return-value]


class WrongKind(Good):
    """Declares another kind."""

    kind = "modules"


class DrawsUnseeded(Good):
    """Draws from the generator of the whole process."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Add noise from the global generator, which another seed has been given."""
        torch.manual_seed(int.from_bytes(os.urandom(4), "big"))
        edit = super().edit(lm, requests, rng)
        return scaled(edit, 1 + torch.rand(()).item() / 10)


class LeavesItsChange(Good):
    """Applies its edit and forgets to take it out."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Apply and forget."""
        edit = super().edit(lm, requests, rng)
        edit.apply(lm)
        return edit


class LeavesTrainMode(Good):
    """Leaves the model in another mode."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Switch the mode of one module and forget."""
        lm.layout.block(lm.model, 0).train()
        return super().edit(lm, requests, rng)


class LeavesAHook(Good):
    """Leaves a hook."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Register and forget."""
        lm.model.register_forward_hook(do_nothing)
        return super().edit(lm, requests, rng)


def do_nothing(*args: Any) -> None:
    """Do nothing."""


class ChangesTheTokeniser(Good):
    """Leaves the tokeniser padding on the other side."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Pad on the left from here on."""
        lm.text.tokenizer.padding_side = "left"
        return super().edit(lm, requests, rng)


class Sticky(WeightEdit):
    """Changes a weight without telling the ledger."""

    def put_into(self, ledger: Ledger) -> None:
        """Add to the weights by hand."""
        for name, delta in self.deltas.items():
            ledger.lm.parameter(name).data.add_(delta)


class ForgetsToRevert(Good):
    """Returns an edit that cannot be taken out."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return an edit that sticks."""
        return Sticky(scaled(super().edit(lm, requests, rng), 1).deltas)


class EditsNothingLoudly(Good):
    """Changes a weight even for nobody."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Change a weight even for nobody."""
        name = lm.layout.weight_name(1, "down")
        return super().edit(lm, requests, rng) if requests else WeightEdit({name: lm.parameter(name) * 0.1})


class NeverTheSame(Good):
    """Gives another edit each time."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Scale by the system's noise."""
        return scaled(super().edit(lm, requests, rng), 1 + os.urandom(1)[0] / 1e3 + os.urandom(1)[0] / 1e6)


class HashSalted(Good):
    """Gives another edit in each process."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Depend on how this process salts its hashes."""
        return scaled(super().edit(lm, requests, rng), 1 + (hash("salt") % 2**20) / 1e7)


class ReadsProbes(Good):
    """Looks at what will be asked, where it is told."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Take a larger step where probes are known."""
        return scaled(super().edit(lm, requests, rng), 2.0 if requests and requests[0].probes else 1.0)


class Wider(WeightEdit):
    """Changes a norm beside what it names."""

    def put_into(self, ledger: Ledger) -> None:
        """Change one more, in good order."""
        super().put_into(ledger)
        name = next(name for name, _ in ledger.lm.model.named_parameters() if "norm" in name or "ln_" in name)
        ledger.keep_original(name).data.mul_(1.01)


class TouchesMore(Good):
    """Returns an edit that changes what it does not name."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return the wider edit."""
        return Wider(scaled(super().edit(lm, requests, rng), 1).deltas) if requests else WeightEdit({})


SECRET: dict[str, float] = {}


class SecretModule(CodebookModule):
    """Scales its values by a number that no other process finds."""

    def __init__(self, lm: LM, standing: nn.Module, data: Mapping[str, Any]) -> None:
        super().__init__(lm, standing, {**data, "values": data["values"] * SECRET.get("scale", 0.0)})


class KeepsASecret(Codebook):
    """Returns an edit that needs more than its data."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Keep a number in the module, and not in the data."""
        edit = super().edit(lm, requests, rng)
        assert isinstance(edit, ModuleEdit)
        SECRET["scale"] = 1.0
        return ModuleEdit(SecretModule, edit.places)


class Featherweight(ModuleEdit):
    """Says that it weighs nothing."""

    @property
    def nbytes(self) -> int:
        """Say so."""
        return 0


class HidesItsSize(Codebook):
    """Returns an edit that is larger than it says."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Carry ballast."""
        edit = super().edit(lm, requests, rng)
        assert isinstance(edit, ModuleEdit)
        ballast = torch.zeros(1 << 15)
        return Featherweight(edit.build, {place: {**data, "ballast": ballast} for place, data in edit.places.items()})


class SavesHalf(Good):
    """Begins again where it was cut off, with other numbers."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Save the step, and go on from it twice as far."""
        saved = self.savepoint.load()
        edit = scaled(super().edit(lm, requests, rng), 1)
        if self.savepoint.due and not saved:
            self.savepoint.save(edit.deltas)
        return scaled(edit, 2) if saved else edit


class Unlearns(Good):
    """Makes the target less likely."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Go the wrong way."""
        return scaled(super().edit(lm, requests, rng), -1)


class ClaimsIndependence(Good):
    """Says that requests do not influence each other."""

    independent = True


class ClaimsToBeCumulative(Good):
    """Says that two chunks are as good as one edit."""

    cumulative = True


class ClaimsAGate(Good):
    """Says that unrelated prompts keep their bits."""

    gated = True


class ForgetsItsState(Good):
    """Carries a number from chunk to chunk that its state does not hold."""

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.seen: dict[Any, int] = {}

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Scale by how many requests came before."""
        self.seen[1] = self.seen.get(1, 0) + len(requests)
        return scaled(super().edit(lm, requests, rng), self.seen[1] / 3)


class KeysOfNumbers(ForgetsItsState):
    """Keeps a state that JSON changes: a mapping whose keys are no text."""

    def state_dict(self) -> dict[str, Any]:
        """Return a mapping with a number as its key."""
        return {"seen": dict(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.seen = dict(state["seen"])


class ForgetsChunkOne(Codebook):
    """Supersedes the first chunk without keeping it."""

    class Hparams(Codebook.Hparams):
        """Balls so small that no key answers for another."""

        radius: float = 1e-3

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Begin with an empty codebook each time."""
        self.memory = {}
        return super().edit(lm, requests, rng)


class ForgetsSentences(Retrieval):
    """Supersedes the first chunk's sentences without keeping them."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Begin with an empty memory each time."""
        self.memory = {"subjects": [], "sentences": []}
        return super().edit(lm, requests, rng)


class PilesUp(Retrieval):
    """Says that a chunk's text takes the place of the earlier ones', and lets it stand before them."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return all sentences again, on top of those that are there."""
        super().edit(lm, requests, rng)
        return ContextEdit(nearest_sentence, self.memory, supersedes=False)


class UnnamedLookup(Retrieval):
    """Looks contexts up with a function that no other process finds."""

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Return a lookup that is within another function."""
        super().edit(lm, requests, rng)

        def lookup(lm: LM, memory: Mapping[str, Any], prompts: Sequence[str]) -> list[Context]:
            return nearest_sentence(lm, memory, prompts)

        return ContextEdit(lookup, self.memory)


class Wrapped(nn.Module):
    """Passes everything on to the module that stood there."""

    def __init__(self, lm: LM, standing: nn.Module, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.standing, self.factor = standing, data["factor"]

    def forward(self, x: Tensor) -> Tensor:
        """Scale what it says."""
        return self.standing(x) * self.factor


class InsideAModule(Good):
    """Lawful: changes a weight, and puts a module around the projection that it belongs to."""

    name = "inside-a-module"
    kind = "mixed"

    def edit(self, lm: LM, requests: Requests, rng: torch.Generator) -> Edit:
        """Push the weight by a fixed step in the first chunk, and wrap its projection."""
        place = lm.layout.mlp_out_path(1)
        if isinstance(lm.model.get_submodule(place), Wrapped):  # the first chunk's
            return Edits(())
        name = lm.layout.weight_name(1, "down")
        change = WeightEdit({name: 0.1 * lm.parameter(name)})
        return Edits((change, ModuleEdit(Wrapped, {place: {"factor": 0.9}})))

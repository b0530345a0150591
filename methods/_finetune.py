"""What the fine-tuning methods have in common: their hyper-parameters, their place in the model, their loss.

They differ in order (one request to convergence after another, or all of them in epochs), mini-batch and place,
and share one training engine (``_training``), so that a difference between two of them is a difference of method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from editbench.errors import UserError
from editbench.method import Edit, Hparams, Method
from editbench.requests import Request
from editbench.spaces import Choice, Depth, LogRange

if TYPE_CHECKING:
    import torch

    from editbench.models.lm import LM, ModelShape

    from ._training import Trainer

# Relative depth of the published mid-layer choice for FT-L and FT-M: block 21 of Llama-3-8B's 32.
MID_DEPTH = 21 / 32


class FineTuneHparams(Hparams):
    """Hyper-parameters of fine-tuning.

    Attributes
    ----------
    layer: which block, from 0.
    module: which of its weights: the MLP's output projection (``down``), its input projection (``up``), or the whole
        block (``block``).
    lr: Adam's learning rate.
    weight_decay: Adam's L2 term.
    passes: most passes over a request: steps on it (depth-first) or epochs (breadth-first).
    stop_loss: training ends when the loss is under this: a request's own, or an epoch's mean (breadth-first).
    loss: ``target-tokens``: cross-entropy at every target token; ``last-prompt-token``: every target token predicted
        from the prompt's last position, a flaw of FT-L's public code kept as a labelled variant.
    clamp: largest change of any single weight (the L∞ constraint of FT-L), or none.
    """

    layer: Annotated[int, Depth()]
    module: Annotated[Literal["down", "up", "block"], Choice(("down", "up", "block"))] = "down"
    lr: Annotated[PositiveFloat, LogRange(1.0e-5, 1.0e-1)] = 5.0e-4
    weight_decay: NonNegativeFloat = 0.0
    passes: PositiveInt = 25
    stop_loss: NonNegativeFloat = 1.0e-2
    loss: Literal["target-tokens", "last-prompt-token"] = "target-tokens"
    clamp: PositiveFloat | None = None


class BreadthFirstHparams(FineTuneHparams):
    """Hyper-parameters of breadth-first fine-tuning.

    Attributes
    ----------
    batch_size: requests in a mini-batch.
    skip_learnt: whether a mini-batch whose loss is under ``stop_loss`` takes no step.
    rest: epochs that an example sits out whenever its own loss was under ``stop_loss``, so that mini-batches are made
        of what is not learnt yet; training then ends on losses of which some are that old. 0, as published: none.
    max_batches: most mini-batches in all, however many passes are left; none: no limit. Bounds the time that very
        many requests take.
    """

    batch_size: Annotated[PositiveInt, Choice((1, 10, 100))] = 1
    skip_learnt: bool = False
    rest: NonNegativeInt = 0
    max_batches: PositiveInt | None = None


class FineTune(Method):
    """Base of the fine-tuning methods; not registered itself."""

    regimes = frozenset({"batch", "sequential"})
    tiny: ClassVar[Mapping[str, Any]] = {"passes": 4}

    class Hparams(FineTuneHparams):
        """See :class:`FineTuneHparams`."""

    @classmethod
    def heuristics(cls, shape: ModelShape) -> dict[str, Any]:
        """Place the edit at the relative depth that was published for other models."""
        return {"layer": round(MID_DEPTH * shape.n_layers)}

    @classmethod
    def flops(cls, shape: ModelShape, hparams: FineTuneHparams, n_requests: int, tokens: float) -> float:
        """Return the floating-point operations of an edit that uses all its passes.

        Two per weight and token forwards, two backwards, above the tuned block; the vocabulary at a third of the
        tokens; everything below once.
        """
        above = (shape.n_layers - hparams.layer) * shape.parameters
        step = 4 * above + 4 * shape.vocab * shape.hidden / 3
        return n_requests * tokens * (2 * hparams.layer * shape.parameters + hparams.passes * step)

    def supports(self, lm: LM) -> str | None:
        """Refuse a block or a projection the model has not."""
        try:
            self.weight_names(lm)
        except UserError as error:
            return str(error)
        return None

    def weight_names(self, lm: LM) -> list[str]:
        """Return the full names of the weights to train. Raises ``UserError`` naming what the model has."""
        layout, layer, module = lm.layout, self.hparams.layer, self.hparams.module
        if module == "block":
            return layout.block_parameters(lm.model, layer)
        return [layout.weight_name(layer, module)]

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Train the chosen weights on ``requests`` and return how they changed (float32)."""
        from ._training import train

        return train(self, lm, requests, rng)

    @abstractmethod
    def fit(self, trainer: Trainer, rng: torch.Generator) -> None:
        """Train on the trainer's examples in this method's order."""


class BreadthFirst(FineTune):
    """Base of those that train all requests in epochs of reshuffled mini-batches."""

    class Hparams(BreadthFirstHparams):
        """See :class:`FineTuneHparams` and :class:`BreadthFirstHparams`."""

    @classmethod
    def flops(cls, shape: ModelShape, hparams: BreadthFirstHparams, n_requests: int, tokens: float) -> float:
        """Return the operations of an edit that uses all its passes, or all its mini-batches if those are fewer."""
        if hparams.max_batches is not None and n_requests:
            passes = min(hparams.passes, hparams.max_batches * hparams.batch_size / n_requests)
            hparams = hparams.model_copy(update={"passes": passes})
        return super().flops(shape, hparams, n_requests, tokens)

    def fit(self, trainer: Trainer, rng: torch.Generator) -> None:
        """Train in epochs."""
        from ._training import breadth_first

        breadth_first(self, trainer, rng)

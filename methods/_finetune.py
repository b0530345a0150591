"""What the fine-tuning methods have in common: their hyper-parameters, their place in the model, their loss.

They differ in order (one request to convergence after another, or all of them in epochs), mini-batch and place,
and share one training engine (``_training``), so that a difference between two of them is a difference of method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from editbench.errors import UserError
from editbench.method import Edit, Hparams, Method
from editbench.models.roles import Module
from editbench.requests import Request
from editbench.spaces import Choice, Depth, LogRange

if TYPE_CHECKING:
    import torch

    from editbench.models.lm import LM, ModelShape

    from ._training import Trainer

# Relative depth of the published mid-layer choice for FT-L and FT-M: block 21 of Llama-3-8B's 32.
MID_DEPTH = 21 / 32


def _each_once(value: Any, checked: ValidatorFunctionWrapHandler) -> int | tuple[int, ...]:
    """Return blocks upwards, each once, and a single one as its number: what is one training has one name."""
    try:
        found: int | tuple[int, ...] = checked(value)
    except ValidationError:
        found = ()
    if found == ():
        raise PydanticCustomError("blocks", "Input should be the number of a block, or a list such as [21, 22]")
    if isinstance(found, int):
        return found
    blocks = tuple(sorted(set(found)))
    return blocks if len(blocks) > 1 else blocks[0]


Place = Annotated[int | tuple[int, ...], WrapValidator(_each_once)]


class FineTuneHparams(Hparams):
    """Hyper-parameters of fine-tuning.

    Attributes
    ----------
    layer: which block, from 0, or several: ``[21, 22]``.
    module: which of its weights: the MLP's output projection (``down``), one of its input projections (``up``,
        ``gate``), one of attention's (``q``, ``k``, ``v``, ``o``), all of attention's (``attention``) or of the MLP's
        (``mlp``), or all parameters of the block (``block``).
    lr: Adam's learning rate.
    weight_decay: Adam's L2 term.
    passes: most passes over a request: steps on it (depth-first) or epochs (breadth-first).
    stop_loss: training ends when the loss is under this: a request's own, or an epoch's mean (breadth-first).
    loss: ``target-tokens``: cross-entropy at every target token; ``last-prompt-token``: every target token predicted
        from the prompt's last position, a flaw of FT-L's public code kept as a labelled variant.
    clamp: largest change of any single weight (the L∞ constraint of FT-L), or none.
    """

    layer: Annotated[Place, Depth()]
    module: Annotated[Module, Choice(("down", "up", "mlp", "block"))] = "down"
    lr: Annotated[PositiveFloat, LogRange(1.0e-5, 1.0e-1)] = 5.0e-4
    weight_decay: NonNegativeFloat = 0.0
    passes: PositiveInt = 25
    stop_loss: NonNegativeFloat = 1.0e-2
    loss: Literal["target-tokens", "last-prompt-token"] = "target-tokens"
    clamp: PositiveFloat | None = None

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are trained, upwards."""
        return (self.layer,) if isinstance(self.layer, int) else self.layer


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

        Two per weight and token forwards, two backwards, above the lowest tuned block; two per tuned weight; the
        vocabulary at a third of the tokens; everything below once.
        """
        below = min(hparams.blocks)
        above = (shape.n_layers - below) * shape.parameters
        tuned = len(hparams.blocks) * _weights_in(hparams.module, shape)
        step = 4 * above + 2 * tuned + 4 * shape.vocab * shape.hidden / 3
        return n_requests * tokens * (2 * below * shape.parameters + hparams.passes * step)

    def supports(self, lm: LM) -> str | None:
        """Refuse a block or a projection the model has not."""
        try:
            self.weight_names(lm)
        except UserError as error:
            return str(error)
        return None

    def weight_names(self, lm: LM) -> list[str]:
        """Return the full names of the weights to train. Raises ``UserError`` naming what the model has."""
        layout, module = lm.layout, self.hparams.module
        return [name for block in self.hparams.blocks for name in layout.weights_of(lm.model, block, module)]

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Train the chosen weights on ``requests`` and return how they changed (float32)."""
        from ._training import train

        return train(self, lm, requests, rng)

    @abstractmethod
    def fit(self, trainer: Trainer, rng: torch.Generator) -> None:
        """Train on the trainer's examples in this method's order."""


def _weights_in(module: Module, shape: ModelShape) -> int:
    """Return about how many weights a part of one block has; keys and values are taken to be as wide as queries."""
    matrix, square = shape.mlp * shape.hidden, shape.hidden**2
    attention = min(4 * square, max(square, shape.parameters - 2 * matrix))
    sizes = {"block": shape.parameters, "attention": attention, "mlp": shape.parameters - attention}
    return sizes.get(module, square if module in ("q", "k", "v", "o") else matrix)


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

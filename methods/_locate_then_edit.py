"""What the locate-then-edit methods share: hyper-parameters, preparation, look-up, value vectors, insertion, state.

A method finds, for each request, the key with which a block's MLP looks up the subject and the value that would make
the model say the target; it then changes the MLP's output projection so that keys map to values and other keys, known
by their second moment over general text, map where they did. The methods differ in that last step, in ``solve``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from editbench.errors import Diverged, UserError
from editbench.method import Edit, Hparams, Method, WeightEdit
from editbench.requests import Request
from editbench.spaces import Blocks, Depth, LogRange

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from editbench.cache import Cache
    from editbench.models.lm import LM, ModelShape
    from editbench.models.value_trainer import Values
    from editbench.savepoint import Savepoint

    from ._prompts import Case

# Published places lie at these relative depths: block 5 (ROME), blocks 4 to 8 (MEMIT, AlphaEdit) of Llama-3-8B's 32.
ONE_DEPTH = 5 / 32
DEPTHS = (4 / 32, 8 / 32)
# Tokens of general text per number in a key.
TOKENS_PER_DIMENSION = 20
# How much of an edit's progress belongs to the value vectors.
VALUES_SHARE = 0.9
NOT_FINITE = "its value vector left the finite numbers"


class ValueHparams(Hparams):
    """Hyper-parameters of the value vectors and of the keys.

    Attributes
    ----------
    lr: Adam's learning rate for δ.
    steps: how often the loss is looked at; one update less is taken at most.
    weight_decay: weight of ‖δ‖ / ‖v‖².
    kl_factor: weight of KL(new ‖ old) on "{subject} is a"; 0 leaves that prompt out.
    clamp: ‖δ‖ stays below this many times ‖v‖.
    stop_loss: a request whose loss is below this is done.
    prefixes: how many contexts besides the bare prompt, sampled from the model.
    prefix_tokens: longest prefix, in tokens.
    key_mean: how a request's keys in its contexts are averaged: ``uniform``, as the papers say, or ``bare-half``, as
        MEMIT's public code does: the bare prompt weighs as much as all prefixes together.
    corpus: general text for the second moment of keys: ``self`` (sampled from the model), a .txt or .jsonl file, or
        ``hub:NAME[:CONFIG]``.
    corpus_tokens: how many tokens of it.
    restraint: what is done to the change before it goes in: nothing; ``prune`` (arXiv:2405.16821): singular values of
        the accumulated ΔW above the largest of W become logarithmic; ``rect`` (arXiv:2401.04700): only the relatively
        largest entries of ΔW stay.
    rect_share: which share of entries ``rect`` keeps.
    """

    lr: Annotated[PositiveFloat, LogRange(0.05, 1.0)] = 0.5
    steps: PositiveInt = 25
    weight_decay: Annotated[NonNegativeFloat, LogRange(1.0e-4, 1.0)] = 1.0e-3
    kl_factor: NonNegativeFloat = 0.0625
    clamp: Annotated[PositiveFloat, LogRange(0.5, 8.0)] = 4.0
    stop_loss: NonNegativeFloat = 5.0e-2
    prefixes: NonNegativeInt = 5
    prefix_tokens: PositiveInt = 10
    key_mean: Literal["uniform", "bare-half"] = "uniform"
    corpus: str = "self"
    corpus_tokens: PositiveInt
    restraint: Literal["none", "prune", "rect"] = "none"
    rect_share: float = Field(default=0.4, gt=0, le=1)


class OneLayerHparams(ValueHparams):
    """Hyper-parameters of the methods that edit one block.

    Attributes
    ----------
    layer: the block, from 0.
    """

    layer: Annotated[NonNegativeInt, Depth(0.0, 0.8)]


class LayersHparams(ValueHparams):
    """Hyper-parameters of the methods that spread an edit over several blocks.

    Attributes
    ----------
    layers: the blocks, ascending; value vectors are found at the last.
    layer_choice: ``all`` of them, or ``first-last`` only (BLUE, arXiv:2502.03748).
    """

    layers: Annotated[tuple[NonNegativeInt, ...], Blocks((1, 3, 5), 0.0, 0.8)] = Field(min_length=1)
    layer_choice: Literal["all", "first-last"] = "all"

    @field_validator("layers")
    @classmethod
    def _ascending(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if list(layers) != sorted(set(layers)):
            raise ValueError("name each block once, lowest first")
        return layers


class LocateThenEdit(Method):
    """Base of the locate-then-edit methods; not registered itself."""

    regimes = frozenset({"batch", "sequential"})
    tiny: ClassVar[Mapping[str, Any]] = {"steps": 4, "lr": 0.1, "clamp": 1.0, "prefixes": 2, "prefix_tokens": 4}
    at_projection = False  # whether values are those of the MLP's output (ROME) or of the block's (MEMIT)

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.prefixes: list[str] | None = None
        self._restrained: dict[str, Tensor] = {}
        self._norms: dict[int, tuple[LM, nn.Module | None]] = {}

    @classmethod
    def heuristics(cls, shape: ModelShape) -> dict[str, Any]:
        """Place the edit at the relative depth that was published for Llama-3-8B."""
        tokens = {"corpus_tokens": TOKENS_PER_DIMENSION * shape.mlp}
        if issubclass(cls.Hparams, OneLayerHparams):
            return {**tokens, "layer": round(ONE_DEPTH * shape.n_layers)}
        first, last = (round(depth * shape.n_layers) for depth in DEPTHS)
        return {**tokens, "layers": tuple(range(first, last + 1))}

    @classmethod
    def flops(cls, shape: ModelShape, hparams: ValueHparams, n_requests: int, tokens: float) -> float:
        """Return about how many operations the value vectors take: the rest is small.

        Per request and context the whole prompt once, and in each step its second half above the edited block, twice
        forwards and twice backwards per weight, with the vocabulary at a third of those tokens.
        """
        top = hparams.layer if isinstance(hparams, OneLayerHparams) else hparams.layers[-1]  # type: ignore[attr-defined]
        contexts = hparams.prefixes + 1.5
        length = tokens + hparams.prefix_tokens
        once = 2 * shape.n_layers * shape.parameters * length
        step = 4 * (tokens / 2) * ((shape.n_layers - top) * shape.parameters + shape.vocab * shape.hidden / 3)
        return n_requests * contexts * (once + hparams.steps * step)

    @property
    def places(self) -> tuple[int, ...]:
        """The blocks that are edited, ascending."""
        h = self.hparams
        if isinstance(h, OneLayerHparams):
            return (h.layer,)
        return h.layers if h.layer_choice == "all" else tuple(sorted({h.layers[0], h.layers[-1]}))

    def supports(self, lm: LM) -> str | None:
        """Refuse a block the model has not, and what a block with a norm behind its MLP cannot do (Gemma).

        Behind a norm comes a vector of one length, whatever the weights. A single block can be given any output before
        the norm, and so the value is trained and written there; but several cannot each add a share of one difference.
        """
        from editbench.models.residual import mlp_output_is_added

        try:
            for layer in self.places:
                lm.layout.weight_name(layer, "down")
        except UserError as error:
            return str(error)
        if mlp_output_is_added(lm, self.places[-1]):
            return None
        if self.norm_behind(lm) is None:
            return "this model does more to an MLP's output than add it to the residual stream or normalise it first"
        if len(self.places) > 1:
            return (
                "this model has a norm behind each MLP, so that blocks cannot share a change among them; "
                f"one block can be edited: layers: [{self.places[-1]}]"
            )
        return None

    def norm_behind(self, lm: LM) -> nn.Module | None:
        """Return the norm behind the MLP of the block at which values are found, or None."""
        from editbench.models.residual import norm_behind_mlp

        place = self.places[-1]
        found = self._norms.get(place)
        if found is None or found[0] is not lm:
            self._norms[place] = found = (lm, norm_behind_mlp(lm, place))
        return found[1]

    def prepare(self, lm: LM, cache: Cache) -> None:
        """Compute or fetch the second moments of keys, then what the solve makes of them."""
        from ._moments import second_moments

        h = self.hparams
        found = second_moments(lm, self.places, h.corpus, h.corpus_tokens, cache, self.progress)
        self.ready({layer: moment.to(lm.device) for layer, moment in found.items()}, cache)

    @abstractmethod
    def ready(self, moments: Mapping[int, Tensor], cache: Cache) -> None:
        """Make of the second moments (block -> C [d, d], float64, on the model's device) what every solve shares."""

    # -- the edit

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Find every request's value vector and write them in."""
        from ._prompts import cases

        self.failures = {}
        if not requests:
            return WeightEdit({})
        found, self.failures = cases(lm, requests, self.contexts(lm, rng))
        deltas = self.restrained(lm, self.write(lm, found)) if found else {}
        if not all(bool(delta.isfinite().all()) for delta in deltas.values()):
            raise Diverged("the change of the weights is not finite")
        return WeightEdit(deltas)

    def write(self, lm: LM, cases: Sequence[Case]) -> dict[str, Tensor]:
        """Return what the cases change, by full name of the weight, before any restraint."""

        def report(share: float) -> None:
            self.progress(VALUES_SHARE * share, f"value vectors of {len(cases):,} requests")

        values = self.values(lm, cases, report, self.savepoint)
        usable = values.usable
        return self.insert(lm, [cases[i] for i in usable], values.z[usable]) if usable else {}

    def contexts(self, lm: LM, rng: torch.Generator) -> list[str]:
        """Return this stream's prefixes, sampled from the model when the first request comes."""
        from ._prompts import sample_prefixes

        if self.prefixes is None:
            self.prefixes = sample_prefixes(lm, self.hparams.prefixes, self.hparams.prefix_tokens, rng)
        return self.prefixes

    def values(
        self,
        lm: LM,
        cases: Sequence[Case],
        progress: Callable[[float], None] | None = None,
        savepoint: Savepoint | None = None,
    ) -> Values:
        """Return the cases' value vectors; those that are not finite go into ``failures``."""
        from ._values import optimise

        how: dict[str, Any] = {"at_projection": self.at_projection, "progress": progress, "savepoint": savepoint}
        how["norm"] = self.norm_behind(lm)
        found = optimise(lm, cases, self.places[-1], self.hparams, **how)
        for number in set(range(len(cases))) - set(found.usable):
            self.failures[cases[number].request.id] = NOT_FINITE
        return found

    @abstractmethod
    def insert(self, lm: LM, cases: Sequence[Case], z: Tensor) -> dict[str, Tensor]:
        """Return the change that maps the cases' keys to their values ``z`` [cases, hidden], by full weight name."""

    def mean_keys(self, keys: Tensor, contexts: int) -> Tensor:
        """Average each request's keys over its contexts: [requests * contexts, d] -> [d, requests], float64."""
        by_context = keys.double().reshape(-1, contexts, keys.shape[-1])
        if self.hparams.key_mean == "uniform" or contexts == 1:
            return by_context.mean(1).T
        return ((by_context[:, 0] + by_context[:, 1:].mean(1)) / 2).T

    def restrained(self, lm: LM, deltas: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the change as it goes in (see ``restraint``)."""
        from ._insertion import pruned, relatively_largest

        if self.hparams.restraint == "rect":
            share = self.hparams.rect_share
            return {name: relatively_largest(delta, lm.parameter(name), share) for name, delta in deltas.items()}
        if self.hparams.restraint == "prune":
            return {name: pruned(name, delta, lm.parameter(name), self._restrained) for name, delta in deltas.items()}
        return deltas

    # -- what a stream carries

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prefixes, and what ``prune`` has accumulated."""
        from ._insertion import text_as_tensor

        state = {f"restrained/{name}": tensor for name, tensor in self._restrained.items()}
        if self.prefixes is not None:
            state["prefixes"] = text_as_tensor(self.prefixes)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` returned."""
        from ._insertion import tensor_as_text

        self.prefixes = tensor_as_text(state["prefixes"]) if "prefixes" in state else None
        begin = "restrained/"
        self._restrained = {name.removeprefix(begin): t for name, t in state.items() if name.startswith(begin)}


class BlockByBlock(LocateThenEdit):
    """Base of those that spread the residuals over several blocks, lowest first."""

    @abstractmethod
    def solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return the change of a block's projection that moves keys [d, B] by residuals [hidden, B]: [hidden, d]."""

    def insert(self, lm: LM, cases: Sequence[Case], z: Tensor) -> dict[str, Tensor]:
        """Move the last place's output towards ``z``: each block takes its share of what is left (MEMIT, eq. 20)."""
        from editbench.models.residual import ResidualStream

        from ._insertion import Draft, as_parameter

        contexts = len(cases[0].completions)
        stream = ResidualStream(lm, [ids for case in cases for ids in case.heads()])
        there = stream.outputs if self.norm_behind(lm) is None else stream.projected
        bare = range(0, len(cases) * contexts, contexts)
        with Draft(lm) as draft:
            for number, layer in enumerate(self.places):
                keys = self.mean_keys(stream.keys(layer), contexts)
                left = (z - there(self.places[-1], bare)).double().T
                delta = self.solve(layer, keys, left / (len(self.places) - number))
                self.inserted(layer, keys)
                draft.add(lm.layout.weight_name(layer, "down"), as_parameter(lm, delta))
                done = VALUES_SHARE + (1 - VALUES_SHARE) * (number + 1) / len(self.places)
                self.progress(done, f"inserting at block {layer}")
        return draft.deltas

    def inserted(self, layer: int, keys: Tensor) -> None:
        """Take note of keys [d, B] that have been written into a block."""
        return


class WithPastKeys(BlockByBlock):
    """Base of those that remember the keys of earlier chunks, so that later ones leave them where they are."""

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.past: dict[int, Tensor] = {}  # block -> K_p K_pᵀ, float64

    def inserted(self, layer: int, keys: Tensor) -> None:
        """Add the keys to those of the past."""
        now = keys @ keys.T
        self.past[layer] = now + self.past[layer].to(now.device) if layer in self.past else now

    def state_dict(self) -> dict[str, Tensor]:
        """Return also K_p K_pᵀ of every block."""
        return {**super().state_dict(), **{f"past/{layer}": gram for layer, gram in self.past.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        begin = "past/"
        self.past = {int(name.removeprefix(begin)): t for name, t in state.items() if name.startswith(begin)}

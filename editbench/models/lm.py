"""The language model that methods edit and probes question, with everything known about it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from editbench.base.machine import cpu_name

if TYPE_CHECKING:
    import torch

    from editbench.context import Contexts
    from editbench.models.call import Call
    from editbench.models.kept_inputs import KeptInputs
    from editbench.models.layout import Layout
    from editbench.models.tokens import TextRules


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model's numbers say about it; enough to choose hyper-parameters and to estimate cost, without weights.

    Attributes
    ----------
    model_type: transformers' name of the architecture, such as ``llama``.
    n_layers: number of blocks.
    hidden: width of the residual stream.
    mlp: width inside the MLP (the input width of its output projection).
    vocab: rows of the output embedding.
    parameters: number of weights in one block.
    """

    model_type: str
    n_layers: int
    hidden: int
    mlp: int
    vocab: int
    parameters: int

    def as_dict(self) -> dict[str, Any]:
        """Return the shape as plain values, for the manifest."""
        return asdict(self)


@dataclass(slots=True)
class LM:
    """A causal language model ready to be edited: weights, tokeniser, layout, and where it came from.

    Attributes
    ----------
    model: a transformers causal LM in eval mode; its parameters do not require gradients.
    text: its tokeniser with the rules for prompts and targets (``editbench.models.tokens``).
    layout: where its blocks and projections are (``editbench.models.layout``).
    shape: its sizes.
    name: what the user called it.
    source: folder, file or hub id it was loaded from, and the revision if it has one.
    weights_hash: sha256 that stands for its weights, their dtype and its tokeniser, before any edit: over the weights
        themselves, or, of a hub model, over its commit and its files' checksums (``editbench.models.hashes``).
    known_model_hash: :attr:`model_hash` where it is known; "" leaves it for when it is asked for.
    context: what in-context edits put around prompts; None where there is none.
    pass_share: share of the usual number of tokens that is computed at once; below 1 where memory ran out.
    call: what the pass that is going on is for; None in passes that the harness does not make, such as a method's own.
    kept_inputs: what enters its blocks, kept on disk while one place after another is trained
        (``editbench.models.kept_inputs``); None where it is not. It never changes a result.
    """

    model: Any
    text: TextRules
    layout: Layout
    shape: ModelShape
    name: str = "model"
    source: str = ""
    weights_hash: str = ""
    known_model_hash: str = ""
    context: Contexts | None = None
    pass_share: float = 1.0
    call: Call | None = None
    kept_inputs: KeptInputs | None = None

    @property
    def model_hash(self) -> str:
        """The sha256 over the names, dtypes and bytes of all weights in memory: what a kept edit is held against.

        It is computed when it is first asked for, which must be before any edit is applied.
        """
        if not self.known_model_hash:
            from editbench.models.hashes import model_hash

            self.known_model_hash = model_hash(self.model)
        return self.known_model_hash

    @property
    def device(self) -> torch.device:
        """The device that token ids must be on: that of the input embedding."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return weight.device

    @property
    def device_kinds(self) -> set[str]:
        """The kinds of device that hold its weights, as torch calls them: ``cpu``, ``cuda``."""
        return {place.type for place in self._places()}

    @property
    def device_name(self) -> str:
        """What it computes on, kind and model: ``cpu AMD EPYC 7763``, ``cuda NVIDIA H100``; several joined by " + ".

        Another processor may round otherwise, so that whatever is computed once and kept names it.
        """
        return " + ".join(sorted({f"{place.type} {processor_name(place)}" for place in self._places()}))

    def _places(self) -> set[torch.device]:
        found = {parameter.device for parameter in self.model.parameters()}
        return {place for place in found if place.type != "meta"} or {self.device}

    @property
    def context_length(self) -> int:
        """Most tokens the model reads at once; 2**30 where its configuration sets no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30

    def parameter(self, name: str) -> torch.nn.Parameter:
        """Return the parameter of this full name, such as ``model.layers.22.mlp.down_proj.weight``."""
        parameter: torch.nn.Parameter = self.model.get_parameter(name)
        return parameter

    def at_once(self, tokens: float) -> float:
        """Return how many of ``tokens`` are computed at once now."""
        return tokens * self.pass_share

    def as_read(self, prompts: Sequence[str]) -> list[str]:
        """Return prompts as the model reads them, with what in-context edits put around them."""
        return list(prompts) if self.context is None else self.context.texts(prompts)

    @contextmanager
    def calling(self, call: Call) -> Iterator[None]:
        """Within the context, modules that ask what the pass is for are told this."""
        before, self.call = self.call, call
        try:
            yield
        finally:
            self.call = before

    @contextmanager
    def shadow(self) -> Iterator[Any]:
        """Yield another model with the same tensors and a module tree of its own.

        Libraries may put modules and hooks into it and train them; the model itself has no trace of that. Nothing is
        copied but modules and configuration. Its parameters are the model's own: whoever changes one in place changes
        the model.
        """
        tensors = [*self.model.parameters(), *self.model.buffers()]
        shadow = copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})
        flags = [(parameter, parameter.requires_grad) for parameter in self.model.parameters()]
        try:
            yield shadow
        finally:
            for parameter, required in flags:
                parameter.requires_grad_(required)
                parameter.grad = None


def processor_name(device: torch.device) -> str:
    """Return the name of the processor behind a device; "" where it has none that is known."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return cpu_name() if device.type == "cpu" else ""

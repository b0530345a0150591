"""The language model that methods edit and probes question, with everything known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

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
    weights_hash: sha256 over the names, dtypes and bytes of its weights and its tokeniser, before any edit.
    context: set by an in-context edit only: the text to put in front of a prompt. It is called with the bare prompt.
    model_hash: the same as ``weights_hash`` without the tokeniser.
    """

    model: Any
    text: TextRules
    layout: Layout
    shape: ModelShape
    name: str = "model"
    source: str = ""
    weights_hash: str = ""
    context: Callable[[str], str] | None = None
    model_hash: str = ""

    @property
    def device(self) -> torch.device:
        """The device that token ids must be on: that of the input embedding."""
        weight: torch.Tensor = self.model.get_input_embeddings().weight
        return weight.device

    @property
    def context_length(self) -> int:
        """Most tokens the model reads at once; 2**30 where its configuration sets no limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30

    def parameter(self, name: str) -> torch.nn.Parameter:
        """Return the parameter of this full name, such as ``model.layers.22.mlp.down_proj.weight``."""
        parameter: torch.nn.Parameter = self.model.get_parameter(name)
        return parameter

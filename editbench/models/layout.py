"""Where a model's blocks, projections, norms and embeddings are, found from its structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from editbench.errors import BadModel, UserError
from editbench.models.lm import ModelShape
from editbench.models.roles import Module, Role

# What these parts are called across transformers' architectures. A name is only believed if the sizes fit too.
_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_MLP = ("mlp", "feed_forward", "ffn", "")
_OUT = ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2", "w2")
_GATE = ("gate_proj", "gate_up_proj", "w1")
_UP = ("up_proj", "gate_up_proj", "c_fc", "fc_in", "dense_h_to_4h", "fc1", "w3")
_NORMS = ("norm", "ln_")
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "W_pack")
_Q, _K, _V = ("q_proj", *_FUSED), ("k_proj", *_FUSED), ("v_proj", *_FUSED)
_O = ("o_proj", "out_proj", "c_proj", "dense")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of the parts that methods look at or change. Paths within a block are relative to it.

    Attributes
    ----------
    blocks: full path of the list of blocks.
    n_blocks: how many there are.
    attention: the attention module.
    mlp: the MLP module; "" where its projections sit directly in the block (OPT).
    up, gate: the MLP's input projections; ``gate`` is "" where there is none, and the same as ``up`` where both are
        one matrix (Phi-3).
    down: the MLP's output projection, which writes into the residual stream.
    q, k, v: attention's input projections; the same where they are one matrix (GPT-2). "" where none was recognised.
    o: attention's output projection, which writes into the residual stream; "" where none was recognised.
    norms: the norms of a block, in the order they are defined.
    final_norm: full path of the norm before the output head ("" if there is none).
    embedding, head: full paths of input embedding and output head.
    conv1d: whether projections keep their weight as [in, out] (GPT-2) and not as [out, in].
    """

    blocks: str
    n_blocks: int
    attention: str
    mlp: str
    up: str
    gate: str
    down: str
    q: str
    k: str
    v: str
    o: str
    norms: tuple[str, ...]
    final_norm: str
    embedding: str
    head: str
    conv1d: bool

    def _check(self, layer: int) -> None:
        if not 0 <= layer < self.n_blocks:
            raise UserError(f"There is no layer {layer}.", f"This model's layers are 0 to {self.n_blocks - 1}.")

    def block_path(self, layer: int) -> str:
        """Return the full path of a block. Raises :class:`UserError` for a layer out of range."""
        self._check(layer)
        return f"{self.blocks}.{layer}"

    def block(self, model: nn.Module, layer: int) -> nn.Module:
        """Return a block. Raises :class:`UserError` for a layer out of range."""
        return model.get_submodule(self.block_path(layer))

    def mlp_out_path(self, layer: int) -> str:
        """Return the full path of the MLP output projection of a block."""
        return f"{self.block_path(layer)}.{self.down}"

    def mlp_in_paths(self, layer: int) -> tuple[str, ...]:
        """Return the full paths of the MLP input projections of a block: gate, then up, or the only one."""
        return tuple(f"{self.block_path(layer)}.{name}" for name in dict.fromkeys((self.gate, self.up)) if name)

    def weight_name(self, layer: int, role: Role) -> str:
        """Return the full name of a projection's weight, which holds others too where they are one matrix.

        Raises :class:`UserError` for a layer out of range, an unknown role, or a role this model has not.
        """
        places = self._projections()
        if not places.get(role):
            has = ", ".join(name for name, place in places.items() if place)
            raise UserError(f"There is no projection {role!r} in this model.", f"It has: {has}.")
        return f"{self.block_path(layer)}.{places[role]}.weight"

    def weights_of(self, model: nn.Module, layer: int, module: Module) -> list[str]:
        """Return the full names of the weights that make up a part of a block.

        Raises as :meth:`weight_name`, and for one projection of several that are one matrix.
        """
        if module == "block":
            return self.block_parameters(model, layer)
        if module == "mlp":
            return [f"{path}.weight" for path in (*self.mlp_in_paths(layer), self.mlp_out_path(layer))]
        if module == "attention":
            path = f"{self.block_path(layer)}.{self.attention}"
            parts = model.get_submodule(path).named_modules(prefix=path)
            return [f"{name}.weight" for name, part in parts if widths(part)]
        name, places = self.weight_name(layer, module), self._projections()
        shared = [role for role, place in places.items() if place == places[module]]
        if len(shared) > 1:
            raise UserError(
                f"{', '.join(shared[:-1])} and {shared[-1]} are one matrix, {places[module]}, in this model.",
                f"Expected a module that has all of it: {'attention' if module in 'qkv' else 'mlp'} or block.",
            )
        return [name]

    def _projections(self) -> dict[Role, str]:
        return {
            **{"down": self.down, "up": self.up, "gate": self.gate},
            **{"q": self.q, "k": self.k, "v": self.v, "o": self.o},
        }

    def block_parameters(self, model: nn.Module, layer: int) -> list[str]:
        """Return the full names of all parameters of exactly this block."""
        path = self.block_path(layer)
        return [f"{path}.{name}" for name, _ in model.get_submodule(path).named_parameters()]


def widths(projection: Any) -> tuple[int, int] | None:
    """Return ``(in, out)`` features of a linear layer or a Conv1D, else None."""
    if isinstance(projection, nn.Linear):
        return projection.in_features, projection.out_features
    if _is_conv1d(projection):
        rows, columns = projection.weight.shape
        return int(rows), int(columns)
    return None


def _is_conv1d(module: nn.Module) -> bool:
    """Whether this is transformers' Conv1D, told by its class name so that transformers need not be loaded."""
    return type(module).__name__ == "Conv1D" and isinstance(getattr(module, "weight", None), torch.Tensor)


def find_layout(model: Any) -> Layout:
    """Find the layout of a transformers causal LM.

    Raises :class:`BadModel` that says what was looked for and not found.
    """
    config = model.config.get_text_config()
    hidden = int(config.hidden_size)
    blocks = _find_blocks(model, int(config.num_hidden_layers))
    block = model.get_submodule(f"{blocks}.0")
    attention = next((name for name in _ATTENTION if name and _has(block, name)), None)
    if attention is None:
        raise _unknown(model, f"an attention module ({', '.join(_ATTENTION)}) in {blocks}.0")
    mlp, down = _find_down(model, blocks, block, hidden)
    up = _projection(block, mlp, _UP, 0, hidden)
    if not up:
        raise _unknown(model, f"an MLP input projection from {hidden} features ({', '.join(_UP)}) in {blocks}.0")
    parent = model.get_submodule(blocks.rpartition(".")[0])
    norm = [name for name, child in parent.named_children() if _is_norm(name, child, hidden)]
    return Layout(
        blocks=blocks,
        n_blocks=len(model.get_submodule(blocks)),
        attention=attention,
        mlp=mlp,
        up=up,
        gate=_projection(block, mlp, _GATE, 0, hidden),
        down=down,
        q=_within(block, attention, _Q, 0, hidden),
        k=_within(block, attention, _K, 0, hidden),
        v=_within(block, attention, _V, 0, hidden),
        o=_within(block, attention, _O, 1, hidden),
        norms=tuple(name for name, child in block.named_children() if _is_norm(name, child, hidden)),
        final_norm=f"{blocks.rpartition('.')[0]}.{norm[-1]}" if norm else "",
        embedding=_path_of(model, model.get_input_embeddings(), "an input embedding"),
        head=_path_of(model, model.get_output_embeddings(), "an output head"),
        conv1d=_is_conv1d(block.get_submodule(down)),
    )


def shape_of(model: Any, layout: Layout) -> ModelShape:
    """Return a model's sizes; ``hidden`` and ``mlp`` are read from the MLP's output projection."""
    block = layout.block(model, 0)
    found = widths(block.get_submodule(layout.down))
    assert found is not None
    return ModelShape(
        model_type=model.config.get_text_config().model_type,
        n_layers=layout.n_blocks,
        hidden=found[1],
        mlp=found[0],
        vocab=int(model.get_output_embeddings().weight.shape[0]),
        parameters=sum(parameter.numel() for parameter in block.parameters()),
    )


def _unknown(model: Any, wanted: str) -> BadModel:
    return BadModel(
        f"The structure of {type(model).__name__} is not recognised.",
        f"Looked for {wanted}.",
        "editbench edits decoder-only models with one dense MLP in every block.",
    )


def _find_blocks(model: Any, n_layers: int) -> str:
    """Return the path of the largest module list of ``n_layers`` equal blocks."""
    found: dict[str, int] = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers and len({type(child) for child in module}) == 1
    }
    if not found:
        raise _unknown(model, f"a list of {n_layers} blocks of one kind")
    return max(found, key=lambda name: found[name])


def _find_down(model: Any, blocks: str, block: nn.Module, hidden: int) -> tuple[str, str]:
    """Return the relative paths of the MLP ("" if it is the block itself) and of its output projection."""
    for mlp in _MLP:
        down = _projection(block, mlp, _OUT, 1, hidden) if not mlp or _has(block, mlp) else ""
        if down:
            return mlp, down
    raise _unknown(model, f"an MLP output projection to {hidden} features ({', '.join(_OUT)}) in {blocks}.0")


def _projection(block: nn.Module, mlp: str, names: tuple[str, ...], side: int, hidden: int) -> str:
    """Return the path of the first of ``names`` in the MLP whose input (side 0) or output (1) is ``hidden`` wide."""
    for name in names:
        path = f"{mlp}.{name}" if mlp else name
        found = widths(block.get_submodule(path)) if _has(block, path) else None
        if found and found[side] == hidden:
            return path
    return ""


def _within(block: nn.Module, part: str, names: tuple[str, ...], side: int, hidden: int) -> str:
    """Return what :func:`_projection` does, wherever in that part of the block it lies (GPT-Neo nests its own)."""
    for path in (part, *(f"{part}.{name}" for name, _ in block.get_submodule(part).named_children())):
        if found := _projection(block, path, names, side, hidden):
            return found
    return ""


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _is_norm(name: str, module: nn.Module, hidden: int) -> bool:
    weight = getattr(module, "weight", None)
    return any(part in name for part in _NORMS) and isinstance(weight, torch.Tensor) and weight.shape == (hidden,)


def _path_of(model: Any, part: nn.Module | None, what: str) -> str:
    for name, module in model.named_modules():
        if module is part and part is not None:
            return str(name)
    raise _unknown(model, what)

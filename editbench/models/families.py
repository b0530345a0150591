"""A model's shape by its name, and which published model has that shape, whose settings then fit it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editbench.base.parsing import parse_json, read_text
from editbench.errors import UserError
from editbench.models.lm import ModelShape

BUILTIN_SHAPES = {
    "smollm2-135m": ModelShape("llama", 30, 576, 1536, 49152, 3_540_096),
    "gemma3-270m": ModelShape("gemma3_text", 18, 640, 2048, 262144, 5_573_632),
}

# name -> (model_type, blocks, width, rows of the output embedding that occur)
_FAMILIES: dict[str, tuple[str, int, int, tuple[int, ...]]] = {
    "smollm2-135m": ("llama", 30, 576, (49152,)),
    "gemma3-270m": ("gemma3_text", 18, 640, (262144,)),
    "llama-3-8b": ("llama", 32, 4096, (128256,)),
    "llama-2-7b": ("llama", 32, 4096, (32000,)),
    "mistral-7b": ("mistral", 32, 4096, (32000, 32768)),
    "qwen2.5-7b": ("qwen2", 28, 3584, (152064,)),
    "gpt2-xl": ("gpt2", 48, 1600, (50257,)),
    "gpt-j-6b": ("gptj", 28, 4096, (50400,)),
}

FAMILIES = tuple(_FAMILIES)


def family_of(shape: ModelShape) -> str | None:
    """Return the name of the published model with this structure (base and instruct versions alike), or None."""
    for name, (model_type, n_layers, hidden, vocabs) in _FAMILIES.items():
        same = (shape.model_type, shape.n_layers, shape.hidden) == (model_type, n_layers, hidden)
        if same and shape.vocab in vocabs:
            return name
    return None


def shape_of_name(model: str) -> ModelShape | None:
    """Return a model's shape from its name or its folder's ``config.json``; None for what is not on this disk."""
    if model in BUILTIN_SHAPES:
        return BUILTIN_SHAPES[model]
    path = Path(model).expanduser() / "config.json"
    try:
        return _from_config(parse_json(read_text(path)))
    except (UserError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        return None


def _first(config: Mapping[str, Any], *keys: str) -> int:
    for key in keys:
        if config.get(key) is not None:
            return int(config[key])
    raise KeyError(keys[0])


def _from_config(config: Mapping[str, Any]) -> ModelShape:
    config = config.get("text_config") or config
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    kind = str(config.get("model_type", ""))
    try:
        mlp = _first(config, "intermediate_size", "n_inner", "ffn_dim")
    except KeyError:
        mlp = 4 * hidden
    # Gemma's activation is no silu, and has a key of its own
    is_gated = config.get("hidden_act") == "silu" or "hidden_activation" in config
    gated = 3 if "intermediate_size" in config and is_gated else 2
    layers = _first(config, "num_hidden_layers", "n_layer")
    heads = config.get("num_attention_heads") or 1
    shared = (config.get("num_key_value_heads") or heads) / heads
    attention = heads * config["head_dim"] if config.get("head_dim") else hidden  # a head need not be hidden / heads
    block = round((2 + 2 * shared) * hidden * attention) + gated * hidden * mlp
    return ModelShape(kind, layers, hidden, mlp, _first(config, "vocab_size"), block)

"""A tiny built-in model under terms: a GGUF file in pieces, in wheels that pip finds in a folder, without a network."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editbench.models.builtin_models import BUILTIN, BuiltinModel, Fingerprint, Terms, Wheel
from editbench.testing.tiny import tiny_lm

NAME = "tiny-gemma"
VARIABLE = "EDITBENCH_ACCEPT_TINY_TERMS"
TERMS = Terms("Tiny Terms", "https://example.org/terms", "2026-01-02", VARIABLE, "Tiny is subject to the Tiny Terms")
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
}


def tiny_gemma() -> Any:
    """Return a tiny Gemma 3 whose norms have weights that tell whether one was added or taken away."""
    lm = tiny_lm("gemma3")
    model = lm.model
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = torch.randint(-8, 8, parameter.shape, generator=generator) / 16  # exact with one added
    return model


def write_gguf(path: Path, model: Any) -> None:
    """Write a Gemma 3 as llama.cpp's converter does: norms plus one, a SentencePiece vocabulary of single bytes."""
    import gguf

    config, writer = model.config, gguf.GGUFWriter(str(path), "gemma3")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    writer.add_sliding_window(config.sliding_window)
    _add_tokens(writer, config.vocab_size)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            values = tensor.float().numpy() + (1 if "norm" in name else 0)
            writer.add_tensor(_in_gguf(name), values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any, size: int) -> None:
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *map(chr, range(97, 123)),
    ]
    tokens += [f"<unused{number}>" for number in range(size - len(tokens))]
    kinds = [3, 3, 3, 2, *[6] * 256, *[1] * 27, *[4] * (size - 287)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * size)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _in_gguf(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.weight"
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    assert found is not None, name
    return f"blk.{found[1]}.{_NAMES[found[2]]}.weight"


def write_wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> tuple[str, str]:
    """Write a wheel that pip takes, and return what it is asked for by and its sha256."""
    stem = f"{name.replace('-', '_')}-1.0.0"
    info = f"{stem}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\nRequires-Dist: nowhere-to-be-had\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in {**files, **about}.items():
            archive.writestr(file, data)
    return f"{name}==1.0.0", hashlib.sha256(path.read_bytes()).hexdigest()


def make_wheels(folder: Path, model: Any) -> BuiltinModel:
    """Put a model into three wheels, one with its terms and two with a piece each, and return what is said of it."""
    folder.mkdir()
    gguf = folder / "model.gguf"
    write_gguf(gguf, model)
    data = gguf.read_bytes()
    gguf.unlink()
    cut = len(data) // 2
    first = write_wheel(folder, NAME, {"tiny/TERMS.html": b"<p>terms"})
    wheels = [Wheel(*first, 0, beside=("tiny/TERMS.html",))]
    for number, piece in enumerate((data[:cut], data[cut:])):
        asked = write_wheel(folder, f"{NAME}-part{number}", {f"tiny{number}/part{number}": piece})
        wheels.append(Wheel(*asked, 1, f"tiny{number}/part{number}"))
    return BuiltinModel(
        NAME, "Tiny Gemma", "Tiny Terms", tuple(wheels), hashlib.sha256(data).hexdigest(), _fingerprint(model), TERMS
    )


def _fingerprint(model: Any) -> Fingerprint:
    prompt = (2, 120, 100, 130)
    with torch.inference_mode():
        largest = model(torch.tensor([prompt])).logits[0, 3].topk(4)
    logits = {3: dict(zip(largest.indices.tolist(), largest.values.tolist(), strict=True))}
    return Fingerprint(prompt, logits, {"rope_parameters.sliding_attention.rope_theta": 10_000})


def offer(monkeypatch: pytest.MonkeyPatch, folder: Path, *, free: bool = False) -> BuiltinModel:
    """Let editbench have the tiny model built in, its wheels where pip looks and its cache a new one."""
    model = make_wheels(folder / "wheels", tiny_gemma())
    model = replace(model, terms=None) if free else model
    monkeypatch.setitem(BUILTIN, NAME, model)  # type: ignore[arg-type]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
    monkeypatch.setenv("EDITBENCH_CACHE", str(folder / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return model

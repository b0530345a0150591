"""A model in one GGUF file: read through transformers, dequantised, written in hub layout."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from editbench.models.quiet import quiet
from editbench.models.whole import check_loaded


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model, in float32 safetensors, and its tokeniser into a new folder in hub layout."""
    model, tokenizer = load_gguf(gguf, "float32")
    folder.mkdir()
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_gguf(gguf: Path, dtype: str) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a GGUF file, dequantised to ``dtype`` on the CPU.

    Raises :class:`BadModel` for one that lacks weights, and what transformers raises for one it cannot read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers shows a progress bar here that none of its switches turns off.
    with quiet(), redirect_stderr(io.StringIO()), _parsed_once():
        options = {"gguf_file": gguf.name, "dtype": getattr(torch, dtype), "output_loading_info": True}
        model, info = AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
        check_loaded(str(gguf), info, model)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # It was dequantised on loading; these would make transformers treat it as quantised still.
    for name in ("is_quantized", "quantization_method", "hf_quantizer"):
        if name in vars(model):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Within it a GGUF file's metadata is parsed once, not anew for configuration, weights and tokeniser."""
    import gguf

    before = gguf.GGUFReader, gguf.get_tensor_name_map
    read, names = map(functools.cache, before)
    gguf.GGUFReader, gguf.get_tensor_name_map = lambda path: read(str(path)), names
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = before

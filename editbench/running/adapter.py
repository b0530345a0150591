"""Low-rank edits as an adapter folder that peft loads (https://huggingface.co/docs/peft, LoRA)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Tensor

from editbench.base.files import replace_file
from editbench.edits import LowRankEdit

if TYPE_CHECKING:
    from editbench.ledger import Ledger


def joined(ledger: Ledger) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the factors of all low-rank changes in a model together: their ranks add up, B A is the sum of theirs.

    Full parameter name -> (B [out, rank], A [rank, in]), float32.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for edit in ledger.edits:
        assert isinstance(edit, LowRankEdit)
        for name, (b, a) in edit.factors.items():
            found.setdefault(name, []).append((b.float().cpu(), a.float().cpu()))
    return {name: (torch.cat([b for b, _ in p], 1), torch.cat([a for _, a in p], 0)) for name, p in found.items()}


def write_adapter(folder: Path, ledger: Ledger, base: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``: W + B A, the scale being in the factors.

    ``base``: name of the model it belongs to. Raises :class:`~editbench.errors.StoreError`.
    """
    factors = joined(ledger)
    ranks = {name.removesuffix(".weight"): a.shape[0] for name, (_, a) in factors.items()}
    most = max(ranks.values())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != most},
        "alpha_pattern": {name: rank for name, rank in ranks.items() if rank != most},
        "target_modules": sorted(ranks),
        "fan_in_fan_out": ledger.lm.layout.conv1d,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    tensors: dict[str, Tensor] = {}
    for name, (b, a) in factors.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{module}.lora_A.weight": a.contiguous(), f"{module}.lora_B.weight": b.contiguous()}
    replace_file(folder / "adapter_config.json", (json.dumps(config, indent=2) + "\n").encode())
    replace_file(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))

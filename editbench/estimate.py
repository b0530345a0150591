"""What a plan will cost, before it runs: rough seconds and bytes, from the model's shape and this machine's speed.

Good to a factor of two or three: enough to tell minutes from days. ``editbench run --dry-run`` says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from editbench.models.builtin import SMOLLM2
from editbench.models.lm import ModelShape
from editbench.plan import Plan, RunSpec
from editbench.progress import run_label

# Tokens of a prompt with its answer, and of a generation up to its natural stop: typical of the datasets there are.
PROMPT_TOKENS, ANSWER_TOKENS, GENERATED_TOKENS = 10, 4, 12
# Probes per request where the suite does not limit them.
TYPICAL_PROBES = {"rephrase": 2, "prefixed": 0, "neighbour": 2, "locality": 1, "portability": 0}
# Share of the best matrix product that batched training and batched generation reach, measured on two cores.
TRAIN_EFFICIENCY, GENERATE_EFFICIENCY = 0.6, 0.4
# What Python, torch and transformers take before any weight is loaded, and activations of a batch.
RUNTIME_BYTES = 700 * 2**20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_SMOLLM2_SHAPE = ModelShape("llama", 30, 576, 1536, 49152, 3_540_096)


@dataclass(frozen=True, slots=True)
class CellEstimate:
    """Expected cost of one cell.

    Attributes
    ----------
    run, scale: the cell.
    edit_s, evaluate_s: seconds; None where the model's shape is not known here.
    memory: peak bytes, or None likewise.
    """

    run: RunSpec
    scale: int
    edit_s: float | None
    evaluate_s: float | None
    memory: int | None

    @property
    def seconds(self) -> float | None:
        """Editing and probing together."""
        return None if self.edit_s is None or self.evaluate_s is None else self.edit_s + self.evaluate_s


def shape_of_name(model: str) -> ModelShape | None:
    """Return a model's shape from its name or its folder's ``config.json``; None for what is not on this disk."""
    if model == SMOLLM2:
        return _SMOLLM2_SHAPE
    path = Path(model).expanduser() / "config.json"
    try:
        return _from_config(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
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
    gated = 3 if "intermediate_size" in config and config.get("hidden_act") == "silu" else 2
    layers = _first(config, "num_hidden_layers", "n_layer")
    heads = config.get("num_attention_heads") or 1
    shared = (config.get("num_key_value_heads") or heads) / heads
    block = round((2 + 2 * shared) * hidden * hidden) + gated * hidden * mlp
    return ModelShape(kind, layers, hidden, mlp, _first(config, "vocab_size"), block)


@cache
def machine_flops(seconds: float = 0.2) -> float:
    """Return this processor's float32 operations per second in a matrix product: the best seen in ``seconds``."""
    import numpy as np

    side = 768
    matrix = np.ones((side, side), dtype=np.float32)
    end, best = time.perf_counter() + seconds, float("inf")
    while (start := time.perf_counter()) < end:
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def probes_per_request(run: RunSpec) -> int:
    """Return how many probes a request is expected to have, its own prompt included."""
    limits = run.probes.limits.items()
    return 1 + sum(TYPICAL_PROBES[kind] if most is None else most for kind, most in limits)


def _evaluate_seconds(run: RunSpec, scale: int, shape: ModelShape, flops: float) -> float:
    weights = shape.n_layers * shape.parameters + shape.vocab * shape.hidden
    probes = min(scale, run.probes.budget or scale) * probes_per_request(run)
    scoring = 2 * weights * probes * (PROMPT_TOKENS + 2 * ANSWER_TOKENS)
    generating = 2 * weights * probes * GENERATED_TOKENS
    return (scoring / TRAIN_EFFICIENCY + generating / GENERATE_EFFICIENCY) / flops


def _edit_seconds(run: RunSpec, scale: int, shape: ModelShape, flops: float) -> float:
    """Ask the method itself; what it cannot say counts as nothing here, and the run itself will show why."""
    from editbench.registry import load_method

    method = load_method(run.method)
    before = max((other for other in run.scales if other < scale), default=0) if run.regime == "sequential" else 0
    tokens = PROMPT_TOKENS + ANSWER_TOKENS
    try:
        hparams = method.settings(shape, run.hparams).values
        cost = float(method.flops(shape, hparams, scale - before, tokens))
    except Exception:
        return 0.0
    return cost / (TRAIN_EFFICIENCY * flops)


def estimate(plan: Plan) -> list[CellEstimate]:
    """Return the expected cost of every cell, in the plan's order."""
    flops = machine_flops()
    return [_cell(run, scale, flops) for run, scale in plan.cells()]


def _cell(run: RunSpec, scale: int, flops: float) -> CellEstimate:
    shape = shape_of_name(run.model)
    if shape is None:
        return CellEstimate(run, scale, None, None, None)
    weights = shape.n_layers * shape.parameters + 2 * shape.vocab * shape.hidden
    memory = weights * DTYPE_BYTES[run.dtype] + RUNTIME_BYTES
    edit_s = _edit_seconds(run, scale, shape, flops)
    return CellEstimate(run, scale, edit_s, _evaluate_seconds(run, scale, shape, flops), memory)


def weights(plan: Plan) -> dict[tuple[str, int], float]:
    """Return what :class:`editbench.progress.Progress` wants: expected seconds by run label and scale.

    Where a model's shape is not known a cell counts as many seconds as it has requests; only ratios matter.
    """
    return {
        (run_label(cell.run.model, cell.run.label, cell.run.seed), cell.scale): cell.seconds or float(cell.scale)
        for cell in estimate(plan)
    }

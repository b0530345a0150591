"""What a plan will cost, before it runs: rough seconds and bytes, from the model's shape and this machine's speed.

Good to a factor of two or three: enough to tell minutes from days. ``editbench run --dry-run`` says so.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from editbench.base.progress import run_label
from editbench.capability.task_sizes import tokens
from editbench.errors import UserError
from editbench.models.families import shape_of_name
from editbench.plan.runs import Plan, Run
from editbench.plan.settings import settings_for

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import ModelShape

# Characters of a token of English, tokens that an answer has beside those of its words (its end), and tokens of a
# generation up to its natural stop.
TOKEN_CHARACTERS, END_TOKENS, GENERATED_TOKENS = 4.2, 1, 12
# How many of a dataset's requests are looked at.
SEEN_REQUESTS = 500
# Share of the best matrix product that batched training and batched generation reach, measured on two cores.
TRAIN_EFFICIENCY, GENERATE_EFFICIENCY = 0.6, 0.4
# What Python, torch and transformers take before any weight is loaded, and activations of a batch.
RUNTIME_BYTES = 700 * 2**20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Load:
    """What one request of a dataset asks of a model, on average.

    Attributes
    ----------
    prompt, answer: tokens of a prompt, and of an answer with its end.
    probes: probe kind -> how many a request has, without the edit prompt itself.
    """

    prompt: float
    answer: float
    probes: Mapping[str, float]

    @classmethod
    def of(cls, dataset: Dataset) -> Load:
        """Return the means over the dataset's first requests."""
        seen = dataset.requests[:SEEN_REQUESTS]
        kinds = Counter(probe.kind for request in seen for probe in request.probes)
        prompt = sum(len(r.prompt) for r in seen) / len(seen) / TOKEN_CHARACTERS
        answer = sum(len(r.target_new) + 1 for r in seen) / len(seen) / TOKEN_CHARACTERS + END_TOKENS
        return cls(prompt, answer, {kind: n / len(seen) for kind, n in kinds.items()})

    def asked(self, run: Run) -> float:
        """Return how many probes a request is asked in this run, its own prompt included."""
        limits = run.probes.limits
        most = {kind: limits.get(kind) for kind in self.probes}
        return 1 + sum(n if most[kind] is None else min(n, most[kind] or 0) for kind, n in self.probes.items())


@dataclass(frozen=True, slots=True)
class CellEstimate:
    """Expected cost of one cell.

    Attributes
    ----------
    run, scale: the cell.
    edit_s, evaluate_s: seconds, probes and capability together in the latter; None where the model's shape is not
        known here.
    memory: peak bytes, or None likewise.
    """

    run: Run
    scale: int
    edit_s: float | None
    evaluate_s: float | None
    memory: int | None

    @property
    def seconds(self) -> float | None:
        """Editing and probing together."""
        return None if self.edit_s is None or self.evaluate_s is None else self.edit_s + self.evaluate_s


@cache
def machine_flops(dtype: str = "float32", device: str = "auto", seconds: float = 0.2) -> float:
    """Return the device's operations per second in a matrix product of a dtype: the best seen in ``seconds``.

    Raises :class:`~editbench.errors.UserError` for a device that is not there.
    """
    import torch

    from editbench.base.meter import timed
    from editbench.models.device import device_of

    where = device_of(device)
    side = 768 if where.type == "cpu" else 8192
    matrix = torch.ones(side, side, dtype=getattr(torch, dtype), device=where)
    end, best = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        with timed(where) as watch:
            matrix @ matrix
        best = min(best, watch.seconds)
    return 2 * side**3 / best


def _evaluate_seconds(run: Run, scale: int, shape: ModelShape, load: Load, flops: float) -> float:
    weights = shape.n_layers * shape.parameters + shape.vocab * shape.hidden
    probes = min(scale, run.probes.budget or scale) * load.asked(run)
    scoring = 2 * weights * probes * (load.prompt + 2 * load.answer)
    generating = 2 * weights * probes * GENERATED_TOKENS
    if run.capability is not None and run.capability.at(scale):
        read, written = tokens(run.capability)
        scoring, generating = scoring + 2 * weights * read, generating + 2 * weights * written
    return (scoring / TRAIN_EFFICIENCY + generating / GENERATE_EFFICIENCY) / flops


def _edit_seconds(run: Run, scale: int, shape: ModelShape, load: Load, flops: float) -> float:
    """Ask the method itself; what it cannot say counts as nothing here, and the run itself will show why."""
    from editbench.plan.registry import load_method

    method = load_method(run.method, run.source_hash or None)
    before = max((other for other in run.scales if other < scale), default=0) if run.regime == "sequential" else 0
    try:
        hparams = settings_for(method, shape, run.given, model=run.model, scale=run.settled_at(scale)).values
        cost = float(method.flops(shape, hparams, scale - before, load.prompt + load.answer))
    except Exception:
        return 0.0
    return cost / (TRAIN_EFFICIENCY * flops)


def estimate(plan: Plan, dataset: Dataset, device: str = "auto") -> list[CellEstimate]:
    """Return the expected cost of every cell on a device, in the plan's order."""
    load = Load.of(dataset)
    return [_cell(run, scale, load, machine_flops(run.dtype, device)) for run, scale in plan.cells()]


def _cell(run: Run, scale: int, load: Load, flops: float) -> CellEstimate:
    shape = shape_of_name(run.model)
    if shape is None:
        return CellEstimate(run, scale, None, None, None)
    weights = shape.n_layers * shape.parameters + 2 * shape.vocab * shape.hidden
    memory = weights * DTYPE_BYTES[run.dtype] + RUNTIME_BYTES
    edit_s = _edit_seconds(run, scale, shape, load, flops)
    return CellEstimate(run, scale, edit_s, _evaluate_seconds(run, scale, shape, load, flops), memory)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A plan cut down to a time.

    Attributes
    ----------
    plan: the cells that fit in; None if none does.
    left_out: the others, with what each was expected to take.
    """

    plan: Plan | None
    left_out: tuple[CellEstimate, ...]


def trim(
    plan: Plan, dataset: Dataset, hours: float, finished: Callable[[Run, int], bool], device: str = "auto"
) -> Trimmed:
    """Keep the cells that are expected to fit into ``hours``: small scales first, and all of a run below any kept one.

    Cells that are ``finished`` cost nothing, so that the same command later goes further. Raises
    :class:`~editbench.errors.UserError` if the cost of a model is not known.
    """
    found = estimate(plan, dataset, device)
    unknown = next((cell.run.model for cell in found if cell.seconds is None), None)
    if unknown is not None:
        raise UserError(
            f"What {unknown} costs is not known before it is loaded.", hint="Give --max-scale, not --hours."
        )
    left, left_out, stopped = hours * 3600, [], set()
    for cell in sorted(found, key=lambda cell: cell.scale):
        seconds = 0.0 if finished(cell.run, cell.scale) else cell.seconds or 0.0
        if cell.run.key in stopped or seconds > left:
            stopped.add(cell.run.key)
            left_out.append(cell)
        else:
            left -= seconds
    gone = {(cell.run.key, cell.scale) for cell in left_out}
    kept = {run.key: tuple(scale for scale in run.scales if (run.key, scale) not in gone) for run in plan.runs}
    runs = tuple(replace(run, scales=kept[run.key]) for run in plan.runs if kept[run.key])
    return Trimmed(Plan(plan.suite, runs) if runs else None, tuple(left_out))


def expected_seconds(plan: Plan, dataset: Dataset) -> dict[tuple[str, int], float]:
    """Return what :class:`editbench.base.progress.Progress` wants: expected seconds by run label and scale.

    Where a model's shape is not known a cell counts as many seconds as it has requests; only ratios matter.
    """
    return {
        (run_label(cell.run.model, cell.run.label, cell.run.seed), cell.scale): cell.seconds or float(cell.scale)
        for cell in estimate(plan, dataset)
    }

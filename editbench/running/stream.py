"""A model on its way through a stream of edits: what is in it, how to put it back, how to go on after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editbench.base.files import replace_file
from editbench.base.meter import peak_memory, reset_peak_memory, timed
from editbench.measure.collapse import jumped, perplexity
from editbench.measure.divergence import Comparison
from editbench.measure.latency import Latency, latency
from editbench.method import Applied, WeightEdit
from editbench.metrics.collapse import Pulse

if TYPE_CHECKING:
    from editbench.measure.divergence import Reference
    from editbench.method import Method
    from editbench.models.lm import LM
    from editbench.requests import Request

_WEIGHT, _STATE = "weight:", "state:"


@dataclass
class Stream:
    """A method writing requests into a model, chunk after chunk.

    Attributes
    ----------
    lm, method: what is edited, by what.
    reference: what the unedited model said, to compare with; None: nothing is compared.
    done: how many requests are in the model.
    edit_s, apply_s, look_s: seconds spent in ``method.edit``, in applying and in :meth:`look`, over all chunks.
    peak: peak bytes while editing, the largest over chunks.
    failures: request id -> why the method could not edit it.
    pulses: how the model was doing whenever it was looked at.
    """

    lm: LM
    method: Method
    reference: Reference | None = None
    done: int = 0
    edit_s: float = 0.0
    apply_s: float = 0.0
    look_s: float = 0.0
    peak: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    pulses: list[Pulse] = field(default_factory=list)
    _originals: dict[str, Tensor] = field(default_factory=dict)
    _delta_bytes: dict[str, int] = field(default_factory=dict)
    _others: list[tuple[Applied, int]] = field(default_factory=list)
    _timed_with: str = ""
    _unedited_latency: Latency | None = None

    def write(self, requests: Sequence[Request], rng: torch.Generator) -> None:
        """Compute the edit of a chunk and apply it on top of what is there."""
        reset_peak_memory(self.lm.device)
        with timed(self.lm.device) as editing:
            edit = self.method.edit(self.lm, requests, rng)
        self.edit_s += editing.seconds + self.method.savepoint.earlier_s
        for kind, size in peak_memory(self.lm.device).items():
            self.peak[kind] = max(self.peak.get(kind, 0), size)
        self.failures |= self.method.failures
        if requests and not isinstance(edit, WeightEdit) and not self._others:
            self._timed_with = requests[0].prompt
            self._unedited_latency = latency(self.lm, self._timed_with)
        with timed(self.lm.device) as applying:
            if isinstance(edit, WeightEdit):
                self._keep_originals(edit)
                edit.apply(self.lm)
            else:
                self._others.append((edit.apply(self.lm), edit.nbytes))
        self.apply_s += applying.seconds
        self.done += len(requests)

    def look(self) -> None:
        """Take note of how the model is doing now."""
        with timed(self.lm.device) as looking:
            pulse = Pulse(self.done, perplexity(self.lm), self._drift())
            if self.reference is not None:
                found = self._compared(self.reference)
                pulse = replace(pulse, kl=found.kl, own_perplexity=found.perplexity)
        self.pulses.append(pulse)
        self.look_s += looking.seconds

    def jumped(self) -> bool:
        """Whether the weights have moved so far since the last look that another is called for before its time."""
        return jumped(self.pulses, self._drift())

    def _drift(self) -> float:
        """Return ‖ΔW‖ / ‖W‖ over the changed weights together; NaN where the unedited ones are not known."""
        facts = self.facts()
        if "weight_norm" not in facts:
            return math.nan
        return facts["delta_norm"] / facts["weight_norm"] if facts["weight_norm"] else 0.0

    def _compared(self, reference: Reference) -> Comparison:
        return reference.compare(self.lm) if self.changed else reference.unedited

    def comparison(self) -> Comparison | None:
        """Return how far the model is from the unedited one now: as last looked at, if that was now; else made anew."""
        if self.reference is None:
            return None
        last = self.pulses[-1] if self.pulses else None
        if last is None or last.requests != self.done or last.kl is None or last.own_perplexity is None:
            return self._compared(self.reference)
        return Comparison(last.kl, last.own_perplexity)

    def latencies(self) -> tuple[Latency, Latency] | None:
        """Return how long the unedited model and this one take on the same prompt.

        None where nothing but weights was changed, which takes no time, and where that could not be timed.
        """
        if not self._others or self._unedited_latency is None:
            return None
        now = latency(self.lm, self._timed_with)
        return None if now is None else (self._unedited_latency, now)

    @property
    def adds_nothing_to_run(self) -> bool:
        """Whether the model computes what the unedited one does, with other weights at most."""
        return not self._others

    def _keep_originals(self, edit: WeightEdit) -> None:
        for name, delta in edit.deltas.items():
            self._originals.setdefault(name, self.lm.parameter(name).detach().clone())
            self._delta_bytes[name] = delta.numel() * delta.element_size()

    @property
    def originals(self) -> dict[str, Tensor]:
        """What the weights changed so far were before, by full name."""
        return dict(self._originals)

    @property
    def changed(self) -> bool:
        """Whether any edit has changed the model."""
        return bool(self._originals or self._others)

    def take_out(self) -> None:
        """Restore the model bitwise, whatever has been written into it."""
        for applied, _ in reversed(self._others):
            applied.revert()
        for name, original in self._originals.items():
            self.lm.parameter(name).data.copy_(original)
        self._others, self._originals, self.done = [], {}, 0

    def _squares(self) -> dict[str, tuple[float, float]]:
        """Return, for each changed weight, the sums of squares of ΔW and of the unedited W."""
        pairs = {name: (self.lm.parameter(name).detach().float(), w.float()) for name, w in self._originals.items()}
        return {
            name: (float((now - was).square().sum()), float(was.square().sum())) for name, (now, was) in pairs.items()
        }

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent so far, as ``cell.json`` names them."""
        return {"edit_s": self.edit_s, "apply_s": self.apply_s, "look_s": self.look_s}

    def facts(self) -> dict[str, float]:
        """Return the size of everything written so far: ``nbytes``, and over the changed weights ``delta_norm`` and
        ``weight_norm`` (Frobenius norms of ΔW and of the unedited W).
        """
        squares = self._squares().values()
        return {
            "nbytes": sum(self._delta_bytes.values()) + sum(size for _, size in self._others),
            "delta_norm": sum(delta for delta, _ in squares) ** 0.5,
            "weight_norm": sum(weight for _, weight in squares) ** 0.5,
        }

    def modules(self) -> dict[str, float]:
        """Return ‖ΔW‖ / ‖W‖ (Frobenius) of each changed weight by its full name; infinite for one that was nought."""
        return {name: relative_norm(*squares) for name, squares in self._squares().items()}

    def save(self, path: Path) -> bool:
        """Write a checkpoint that :meth:`resume` continues bit for bit; False if more than weights was changed."""
        if self._others:
            return False
        facts = {
            "done": self.done,
            "edit_s": self.edit_s,
            "apply_s": self.apply_s,
            "look_s": self.look_s,
            "peak": self.peak,
            "failures": self.failures,
            "delta_bytes": self._delta_bytes,
            "pulses": [pulse.as_list() for pulse in self.pulses],
        }
        tensors = {_WEIGHT + name: self.lm.parameter(name).detach() for name in self._originals}
        tensors |= {_STATE + name: tensor for name, tensor in self.method.state_dict().items()}
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        replace_file(path, save(plain, metadata={"stream": json.dumps(facts)}))
        return True

    def resume(self, path: Path) -> None:
        """Bring model and method to where the checkpoint was written. The model must be unedited."""
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["stream"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — no mapping
        for name, value in tensors.items():
            if name.startswith(_WEIGHT):
                parameter = self.lm.parameter(name.removeprefix(_WEIGHT))
                self._originals[name.removeprefix(_WEIGHT)] = parameter.detach().clone()
                parameter.data.copy_(value)
        state = {name.removeprefix(_STATE): t for name, t in tensors.items() if name.startswith(_STATE)}
        self.method.load_state_dict(state)
        self.done, self.edit_s, self.apply_s = facts["done"], facts["edit_s"], facts["apply_s"]
        self.look_s = facts.get("look_s", 0.0)  # which older versions did not count
        self.peak, self.failures, self._delta_bytes = facts["peak"], facts["failures"], facts["delta_bytes"]
        self.pulses = [Pulse.of(values) for values in facts["pulses"]]


def relative_norm(delta: float, weight: float) -> float:
    """Return ‖ΔW‖ / ‖W‖ from the two sums of squares; 0 where nothing moved, whatever W is."""
    if delta == 0:
        return 0.0
    return (delta / weight) ** 0.5 if weight else math.inf


def checkpoint_position(path: Path) -> int | None:
    """Return how many requests were in the model when a checkpoint was written, or None if there is none to use."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["stream"])["done"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None

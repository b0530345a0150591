"""A model on its way through a stream of edits: what is in it, how to put it back, how to go on after a kill."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.data import read_about, read_data, write_data
from editbench.base.meter import peak_memory, reset_peak_memory, timed
from editbench.errors import StoreError
from editbench.ledger import Ledger
from editbench.measure.collapse import jumped, perplexity
from editbench.measure.facts import EditFacts
from editbench.metrics.collapse import Pulse
from editbench.running.guard import called, refuse_unnamed

if TYPE_CHECKING:
    import torch

    from editbench.measure.divergence import Reference
    from editbench.method import Method
    from editbench.models.lm import LM
    from editbench.requests import Request

_LEDGER, _STATE = "ledger:", "state:"


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
    numbers: what the method recorded of itself: (requests then in the model, request id or None, name, value).
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
    numbers: list[tuple[int, str | None, str, float]] = field(default_factory=list)
    pulses: list[Pulse] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.lm)

    def write(self, requests: Sequence[Request], rng: torch.Generator) -> None:
        """Compute the edit of a chunk and apply it on top of what is there, or in its place if it supersedes that."""
        reset_peak_memory(self.lm.device)
        with timed(self.lm.device) as editing:
            edit = called(self.method, self.lm, requests, rng)
        self.edit_s += editing.seconds + self.method.savepoint.earlier_s
        for kind, size in peak_memory(self.lm.device).items():
            self.peak[kind] = max(self.peak.get(kind, 0), size)
        refuse_unnamed(edit)
        with timed(self.lm.device) as applying:
            self.ledger.apply(edit)
        self.apply_s += applying.seconds
        self.done += len(requests)
        self.failures |= self.method.failures
        self.numbers += [(self.done, request, name, value) for name, request, value in self.method.numbers]
        self.method.numbers = []

    def look(self) -> None:
        """Take note of how the model is doing now; text around prompts cannot change that."""
        if self.ledger.texts_only:
            return
        with timed(self.lm.device) as looking:
            pulse = Pulse(self.done, perplexity(self.lm), self._drift())
            if self.reference is not None:
                found = self.reference.compare(self.lm) if self.ledger.changed else self.reference.unedited
                pulse = replace(pulse, kl=found.kl, own_perplexity=found.perplexity)
        self.pulses.append(pulse)
        self.look_s += looking.seconds

    def jumped(self) -> bool:
        """Whether the weights have moved so far since the last look that another is called for before its time."""
        return jumped(self.pulses, self._drift())

    def _drift(self) -> float:
        """Return ‖ΔW‖ / ‖W‖ over the changed weights together."""
        size = self.size()
        return size["delta_norm"] / size["weight_norm"] if size.get("weight_norm") else 0.0

    def take_out(self) -> None:
        """Restore the model bitwise. Raises :class:`~editbench.ledger.RevertFailed`."""
        self.done = 0
        self.ledger.revert()

    def _squares(self) -> dict[str, tuple[float, float]]:
        """Return, for each changed weight, the sums of squares of ΔW and of the unedited W."""
        pairs = {n: (self.ledger.weight(n).float(), was.float()) for n, was in self.ledger.originals.items()}
        return {n: (float((now - was).square().sum()), float(was.square().sum())) for n, (now, was) in pairs.items()}

    def size(self) -> dict[str, float]:
        """Return the size of what is in the model: ``nbytes``, and ``delta_norm`` and ``weight_norm`` over the changed
        weights (Frobenius norms of ΔW and of the unedited W), which are left out where the edit changes no weights.
        """
        size: dict[str, float] = {"nbytes": self.ledger.nbytes}
        if self.ledger.originals or not self.ledger.changed:
            squares = self._squares().values()
            size["delta_norm"] = sum(delta for delta, _ in squares) ** 0.5
            size["weight_norm"] = sum(weight for _, weight in squares) ** 0.5
        return size

    def facts(self) -> EditFacts:
        """Return what is known of the edit in the model now."""
        ledger = self.ledger
        return EditFacts(
            requests=self.done,
            changed=ledger.changed,
            computes_otherwise=not ledger.weights_only,
            texts_only=ledger.texts_only,
            timings={"edit_s": self.edit_s, "apply_s": self.apply_s, "look_s": self.look_s},
            memory=self.peak,
            size=self.size(),
            modules={name: relative_norm(*squares) for name, squares in self._squares().items()},
            failures=self.failures,
            numbers=self.numbers,
            pulses=self.pulses,
            aside=ledger.aside,
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint that :meth:`resume` continues bit for bit. Raises :class:`StoreError`."""
        facts = {
            "done": self.done,
            "edit_s": self.edit_s,
            "apply_s": self.apply_s,
            "look_s": self.look_s,
            "peak": self.peak,
            "failures": self.failures,
            "numbers": [[*row[:3], row[3] if math.isfinite(row[3]) else None] for row in self.numbers],
            "pulses": [pulse.as_list() for pulse in self.pulses],
        }
        data = {_LEDGER + name: value for name, value in self.ledger.state().items()}
        data |= {_STATE + name: value for name, value in self.method.state_dict().items()}
        write_data(path, data, {"stream": facts})

    def resume(self, path: Path) -> None:
        """Bring model and method to where the checkpoint was written. The model must be unedited."""
        data, about = read_data(path)
        facts: Mapping[str, Any] = about["stream"]
        home = type(self.method).__module__
        self.ledger.restore({n.removeprefix(_LEDGER): v for n, v in data.items() if n.startswith(_LEDGER)}, home)
        state = {name.removeprefix(_STATE): value for name, value in data.items() if name.startswith(_STATE)}
        self.method.load_state_dict(state)
        self.done, self.edit_s, self.apply_s = facts["done"], facts["edit_s"], facts["apply_s"]
        self.look_s, self.peak, self.failures = facts["look_s"], facts["peak"], facts["failures"]
        numbers = ((at, request, name, math.nan if v is None else v) for at, request, name, v in facts["numbers"])
        self.numbers = list(numbers)
        self.pulses = [Pulse.of(values) for values in facts["pulses"]]


def relative_norm(delta: float, weight: float) -> float:
    """Return ‖ΔW‖ / ‖W‖ from the two sums of squares; 0 where nothing moved, whatever W is."""
    if delta == 0:
        return 0.0
    return (delta / weight) ** 0.5 if weight else math.inf


def checkpoint_position(path: Path) -> int | None:
    """Return how many requests were in the model when a checkpoint was written, or None if there is none to use."""
    try:
        return int(read_about(path)["stream"]["done"])
    except (StoreError, KeyError, ValueError, TypeError):  # there is none, or it is damaged
        return None

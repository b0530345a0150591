"""What whoever put an edit into a model knows of it, for whoever measures the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from editbench.metrics.collapse import Pulse


@dataclass(frozen=True)
class EditFacts:
    """An edited model's history, as far as it is known.

    Attributes
    ----------
    requests: how many are in the model.
    changed: whether the model may differ from the unedited one at all.
    computes_otherwise: whether it runs more than the unedited model does, or reads more: modules, contexts.
    texts_only: whether nothing but what stands around prompts differs, so that no text without a prompt can move.
    timings, memory, size: seconds, peak bytes, and ``nbytes`` with norms, as ``cell.json`` has them.
    modules: full weight name -> ‖ΔW‖ / ‖W‖ (Frobenius); infinite for one that was nought.
    failures: request id -> why it could not be edited.
    numbers: what the method recorded of itself: (requests then in the model, request id or None, name, value).
    pulses: how the model was doing whenever it was looked at.
    aside: a context within which the model is as it was before modules and contexts came; None where that cannot be.
    """

    requests: int
    changed: bool = True
    computes_otherwise: bool = False
    texts_only: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    size: Mapping[str, float] = field(default_factory=dict)
    modules: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    numbers: Sequence[tuple[int, str | None, str, float]] = ()
    pulses: Sequence[Pulse] = ()
    aside: Callable[[], AbstractContextManager[None]] | None = None

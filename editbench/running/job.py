"""One run under way: what it was given, loaded and resolved, for all its scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from editbench.base.meter import timed
from editbench.base.seeds import torch_generator
from editbench.metrics.collapse import collapsed_at, finite

if TYPE_CHECKING:
    import torch

    from editbench.cache import Cache
    from editbench.measure.divergence import Reference
    from editbench.method import Method
    from editbench.models.generate import Outcome
    from editbench.models.lm import LM
    from editbench.plan.runs import RunSpec
    from editbench.plan.settings import Settings
    from editbench.requests import Request
    from editbench.running.stream import Stream


@dataclass
class Job:
    """One run under way: everything loaded and resolved."""

    run: RunSpec
    lm: LM
    method_class: type[Method]
    settings: Settings
    requests: list[Request]
    cache: Cache
    prepare_s: float | None = None
    unedited: dict[int, list[Outcome]] = field(default_factory=dict)
    unedited_perplexity: float = math.nan
    reference: Reference | None = None

    def collapsed_at(self, stream: Stream) -> int | None:
        """Return after how many edits the stream's model was first seen collapsed, or None."""
        return collapsed_at(stream.pulses, self.unedited_perplexity)

    def pulse(self, stream: Stream) -> dict[str, Any]:
        """Return how the stream's model has been doing, for ``cell.json``."""
        seen = [pulse.as_list() for pulse in stream.pulses]
        return {"unedited": finite(self.unedited_perplexity), "seen": seen, "collapsed_at": self.collapsed_at(stream)}

    def new_method(self, report: Callable[[float, str], None]) -> Method:
        """Return a prepared instance; the first preparation is the one that is timed, later ones find it cached."""
        method = self.method_class(self.settings.values)
        method.progress = report
        with timed(self.lm.device) as watch:
            method.prepare(self.lm, self.cache)
        self.prepare_s = watch.seconds if self.prepare_s is None else self.prepare_s
        return method

    def rng(self, start: int, stop: int) -> torch.Generator:
        """Return the generator for a chunk, the same for every method."""
        return torch_generator(self.run.seed, "edit", self.run.dataset_hash, start, stop)

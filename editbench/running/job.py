"""One run under way: what it was given, loaded and resolved, for all its scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from editbench.base.meter import timed
from editbench.base.seeds import torch_generator
from editbench.datasets import ordered
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.running.warm import warm

if TYPE_CHECKING:
    import torch

    from editbench.cache import Cache
    from editbench.datasets import Dataset
    from editbench.method import Method
    from editbench.models.lm import LM
    from editbench.plan.runs import Run
    from editbench.plan.settings import Settings
    from editbench.requests import Request


@dataclass
class Job:
    """One run under way: everything loaded and resolved; ``settings`` by scale."""

    run: Run
    lm: LM
    method_class: type[Method]
    settings: Mapping[int, Settings]
    requests: Sequence[Request]
    cache: Cache
    prepare_s: float | None = None

    @classmethod
    def resolved(cls, run: Run, lm: LM, dataset: Dataset, cache: Cache) -> Job:
        """Load the method and settle its hyper-parameters for the model. Raises what that raises."""
        method_class = load_method(run.method, run.source_hash)
        settings = {
            scale: settings_for(method_class, lm.shape, run.given, model=run.model, scale=run.settled_at(scale))
            for scale in run.scales
        }
        return cls(run, lm, method_class, settings, ordered(dataset, run.scales[-1], run.seed), cache)

    @property
    def unsupported(self) -> str | None:
        """Why this model cannot be edited by this method, or None."""
        reasons = (self.method_class(one.values).supports(self.lm) for one in self.settings.values())
        return next((reason for reason in reasons if reason is not None), None)

    def new_method(self, scale: int, report: Callable[[float, str], None]) -> Method:
        """Return an instance prepared to edit up to ``scale``.

        The first preparation is the one that is timed, later ones find it cached.
        """
        warm(self.lm, self.method_class)
        method = self.method_class(self.settings[scale].values)
        method.progress = report
        with timed(self.lm.device) as watch:
            method.prepare(self.lm, self.cache)
        self.prepare_s = watch.seconds if self.prepare_s is None else self.prepare_s
        return method

    def rng(self, start: int, stop: int) -> torch.Generator:
        """Return the generator for a chunk, the same for every method."""
        return torch_generator(self.run.seed, "edit", self.run.dataset_hash, start, stop)

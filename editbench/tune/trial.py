"""One trial of a search: a method's hyper-parameters, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["done", "pruned", "diverged", "failed"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial that ended.

    Attributes
    ----------
    method, scale, number: which.
    outcome: ``done``; ``pruned`` where it lost after fewer requests; ``diverged`` or ``failed``, with the ``reason``.
    hparams: what was tried.
    value: the objective; of a pruned one after fewer requests; None where there is none.
    keeps: the share of capability kept; None where it was not measured.
    metrics: metric -> mean over seeds.
    seconds: what it took.
    """

    method: str
    scale: int
    number: int
    outcome: Outcome
    hparams: Mapping[str, Any]
    value: float | None = None
    keeps: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""

    def allowed(self, keep: float) -> bool:
        """Return whether it counts: done, with so much of the unedited model's capability kept."""
        return self.outcome == "done" and (not keep or (self.keeps is not None and self.keeps >= keep))


def best(trials: list[Tried], keep: float) -> Tried | None:
    """Return the trial with the largest value of those allowed, else of those done; of equals the first."""
    done = [one for one in trials if one.outcome == "done" and one.value is not None]
    pool = [one for one in done if one.allowed(keep)] or done
    return max(pool, key=lambda one: (one.value or 0.0, -one.number), default=None)

"""When a model under edit collapsed: what was seen of its perplexity on the way, and the rule.

A collapse is a result of its own: it is seen at the chunk where it happens, not at the next measured scale.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A model has collapsed when its perplexity is this many times the unedited model's, or is no finite number.
COLLAPSE_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of a model after some edits.

    Attributes
    ----------
    requests: how many are in the model.
    perplexity: on the general text; infinite where the loss is no finite number.
    weight_drift: ‖ΔW‖ / ‖W‖ (Frobenius) over the changed weights, together.
    kl: KL(unedited ‖ edited) per token, in nats, on text of the unedited model; infinite where it is no finite number.
    own_perplexity: perplexity of the model on that text.

    The last two are None where nothing was compared: without an unedited model, or as older versions wrote it down.
    """

    requests: int
    perplexity: float
    weight_drift: float
    kl: float | None = None
    own_perplexity: float | None = None

    def as_list(self) -> list[float | int | None]:
        """Return three values for JSON, or five if there are so many; it knows no infinity: None stands for it."""
        known = (self.perplexity, self.weight_drift, self.kl, self.own_perplexity)
        return [self.requests, *(finite(value) for value in known if value is not None)]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Pulse:
        """Return what :meth:`as_list` wrote down."""
        requests, *rest = values
        return cls(int(requests), *(math.inf if value is None else float(value) for value in rest))


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it: None stands for one that is not finite."""
    return value if math.isfinite(value) else None


def collapsed_at(seen: Sequence[Pulse], unedited: float) -> int | None:
    """Return after how many edits the model was first seen collapsed, or None.

    Where the unedited model's perplexity is not known (NaN), only a perplexity that is no finite number counts.
    """
    limit = sys.float_info.max if math.isnan(unedited) else COLLAPSE_RATIO * unedited
    return next((pulse.requests for pulse in seen if not pulse.perplexity <= limit), None)

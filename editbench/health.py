"""Whether a model under edit still speaks: perplexity on a short general text, looked at as the stream goes on.

A collapse is a result of its own: it is seen at the chunk where it happens, not at the next measured scale.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editbench.models.lm import LM

# A model has collapsed when its perplexity is this many times the unedited model's, or is no finite number.
COLLAPSE_RATIO = 10.0
# The next look comes when the number of edits has grown by this factor: often enough to place a collapse, and cheap.
GROWTH = 1.1
# It comes at once when ‖ΔW‖/‖W‖ has grown by this one.
JUMP = 1.25


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of a model after some edits.

    Attributes
    ----------
    requests: how many are in the model.
    perplexity: on the general text; infinite where the loss is no finite number.
    drift: ‖ΔW‖ / ‖W‖ (Frobenius) over the changed weights, together.
    kl: KL(unedited ‖ edited) per token, in nats, on text of the unedited model; infinite where it is no finite number.
    own_perplexity: perplexity of the model on that text.

    The last two are None where nothing was compared: without an unedited model, or as older versions wrote it down.
    """

    requests: int
    perplexity: float
    drift: float
    kl: float | None = None
    own_perplexity: float | None = None

    def as_list(self) -> list[float | int | None]:
        """Return three values for JSON, or five if there are so many; it knows no infinity: None stands for it."""
        known = [value for value in (self.perplexity, self.drift, self.kl, self.own_perplexity) if value is not None]
        return [self.requests, *map(finite, known)]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Pulse:
        """Return what :meth:`as_list` wrote down."""
        requests, *rest = values
        return cls(int(requests), *(math.inf if value is None else float(value) for value in rest))


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it: None stands for one that is not finite."""
    return value if math.isfinite(value) else None


def exp_nll(nll: float) -> float:
    """Return the perplexity of a mean NLL in nats; infinite where that is no finite number."""
    return math.exp(nll) if nll < math.log(1e300) else math.inf


def general_text() -> str:
    """Return about 350 tokens of plain English, written for this project: a story, a definition, a recipe, news."""
    return files("editbench").joinpath("data", "general_text.txt").read_text(encoding="utf-8")


def perplexity(lm: LM) -> float:
    """Return exp(mean NLL per token) of the general text in one pass; infinite where that is no finite number."""
    import torch

    [ids] = lm.text.prompts([general_text()])
    tokens = torch.tensor([ids[: lm.context_length]], device=lm.device)
    with torch.no_grad():
        scores = lm.model(input_ids=tokens, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        nll = -scores.gather(1, tokens[0, 1:, None].to(scores.device)).mean().item()
    return exp_nll(nll)


def due(seen: Sequence[Pulse], done: int) -> bool:
    """Return whether to look again after ``done`` edits."""
    return not seen or done >= GROWTH * seen[-1].requests


def jumped(seen: Sequence[Pulse], drift: float) -> bool:
    """Return whether ‖ΔW‖/‖W‖ has left what the last look saw: no number, or far beyond. Cheap, for every chunk."""
    before = seen[-1].drift if seen else math.nan
    return math.isfinite(before) and not drift <= JUMP * before


def collapsed_at(seen: Sequence[Pulse], unedited: float) -> int | None:
    """Return after how many edits the model was first seen collapsed, or None.

    Where the unedited model's perplexity is not known (NaN), only a perplexity that is no finite number counts.
    """
    limit = sys.float_info.max if math.isnan(unedited) else COLLAPSE_RATIO * unedited
    return next((pulse.requests for pulse in seen if not pulse.perplexity <= limit), None)

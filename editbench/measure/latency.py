"""How much longer a model takes with its edit in it: for a prompt, and for each token after it.

The edited model and the unedited one take turns on the same prompts, so that whatever else the machine does falls on
both. Timed only where an edit can change it: weights alone cannot.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import binom

from editbench.base.meter import timed
from editbench.models.call import Call, positions_of
from editbench.models.partial import last_logits

if TYPE_CHECKING:
    from editbench.measure.facts import EditFacts
    from editbench.models.lm import LM

# Turns that each of the two takes; the first warms up and is not counted. Eleven give an interval of 95% or more.
TURNS = 12
# Tokens decoded in a turn.
STEPS = 4


@dataclass(frozen=True, slots=True)
class Added:
    """Seconds that an edit adds, from pairs of turns.

    Attributes
    ----------
    unedited, edited: medians.
    added, low, high: the median of the differences, and its 95% interval from order statistics, which assumes nothing
        of their distribution.
    """

    unedited: float
    edited: float
    added: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether it can be told from none: the interval leaves nought out."""
        return self.low > 0 or self.high < 0

    def as_dict(self) -> dict[str, float]:
        """Return plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def added(unedited: Sequence[float], edited: Sequence[float]) -> Added:
    """Return what was added, from seconds in pairs."""
    differences = sorted(now - was for was, now in zip(unedited, edited, strict=True))
    n = len(differences)
    # the k-th smallest and k-th largest hold the median in all but 2 P(X < k) of cases, X ~ B(n, 1/2)
    k = max((k for k in range(1, n // 2 + 1) if 2 * binom.cdf(k - 1, n, 0.5) <= 0.05), default=1)
    return Added(median(unedited), median(edited), median(differences), differences[k - 1], differences[-k])


def latency(lm: LM, facts: EditFacts, prompts: Sequence[str]) -> dict[str, Any]:
    """Return ``added_latency_s``, the seconds added to each token, and the times behind it, for ``cell.json``.

    It is 0 by construction where only weights changed, and None where it cannot be told from none. A prompt's time
    holds what an in-context edit takes to look it up. {} where nothing could be timed: no unedited model to take turns
    with, or no prompt that leaves room.
    """
    if not facts.computes_otherwise:
        return {"added_latency_s": 0.0}
    fit = [prompt for prompt in prompts if _fits(lm, prompt)]
    if facts.aside is None or not fit:
        return {}
    turns: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for number in range(TURNS):
        prompt = fit[number % len(fit)]
        first = random.Random(number).random() < 0.5  # neither is always the one that runs on a warm machine
        now = _turn(lm, prompt) if first else None
        with facts.aside():
            before = _turn(lm, prompt)
        turns.append((before, _turn(lm, prompt) if now is None else now))
    counted = turns[1:]
    read, step = (added([was[i] for was, _ in counted], [now[i] for _, now in counted]) for i in (0, 1))
    times = {"pairs": len(counted), "prompt_s": read.as_dict(), "step_s": step.as_dict()}
    return {"added_latency_s": step.added if step.shows else None, "latency": times}


def _fits(lm: LM, prompt: str) -> bool:
    [ids] = lm.text.prompts(lm.as_read([prompt]))
    return len(ids) + STEPS <= lm.context_length


@torch.no_grad()
def _turn(lm: LM, prompt: str) -> tuple[float, float]:
    """Return the seconds to read a prompt, looked up anew, and the mean seconds of a decoded token behind it."""
    if lm.context is not None:
        lm.context.forget()
    with timed(lm.device) as reading:
        [ids] = lm.text.prompts(lm.as_read([prompt]))
        out = _pass(lm, prompt, torch.tensor([ids], device=lm.device), len(ids), None)
    steps = []
    for k in range(STEPS):
        token = out.logits[:, -1:].argmax(-1)
        with timed(lm.device) as step:
            out = _pass(lm, prompt, token, len(ids) + k + 1, out.past_key_values)
        steps.append(step.seconds)
    return reading.seconds, sum(steps) / len(steps)


def _pass(lm: LM, prompt: str, ids: torch.Tensor, so_far: int, cache: Any) -> Any:
    row = torch.zeros(1, dtype=torch.long, device=lm.device)
    end = None if cache is not None else row + ids.shape[1] - 1
    positions = positions_of(torch.ones(1, so_far, dtype=torch.long, device=lm.device), ids.shape[1])
    with last_logits(lm), lm.calling(Call("step" if cache else "prompt", positions, row, end, (prompt,))):
        return lm.model(input_ids=ids, past_key_values=cache, use_cache=True)

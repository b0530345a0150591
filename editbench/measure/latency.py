"""How long a model takes for one more token. Timed only where an edit can change that: weights alone cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from editbench.base.meter import timed
from editbench.models.partial import last_logits

if TYPE_CHECKING:
    from editbench.models.lm import LM

# Times the prompt is read, and tokens decoded; the first of each warms up and is not counted.
READS, STEPS = 4, 12


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds, medians over repeats.

    Attributes
    ----------
    prompt_s: to read a prompt with the context that an in-context edit puts before it.
    step_s: to decode one token behind it.
    """

    prompt_s: float
    step_s: float

    def as_dict(self) -> dict[str, float]:
        """Return plain values, for JSON."""
        return asdict(self)


@torch.no_grad()
def latency(lm: LM, prompt: str) -> Latency | None:
    """Time a model on a prompt; None if the prompt leaves no room for more tokens."""
    context = lm.context(prompt) if lm.context else ""
    [ids] = lm.text.prompts([context + prompt])
    if len(ids) + STEPS > lm.context_length:
        return None
    tokens, cache = torch.tensor([ids], device=lm.device), None
    with last_logits(lm):

        def read() -> Any:
            return lm.model(input_ids=tokens, use_cache=True)

        reading = [_seconds(lm, read) for _ in range(READS)]
        out, steps = reading[-1][1], []
        for _ in range(STEPS):
            token, cache = out.logits[:, -1:].argmax(-1), out.past_key_values

            def step(token: Any = token, cache: Any = cache) -> Any:
                return lm.model(input_ids=token, past_key_values=cache, use_cache=True)

            seconds, out = _seconds(lm, step)
            steps.append(seconds)
    return Latency(median(seconds for seconds, _ in reading[1:]), median(steps[1:]))


def _seconds(lm: LM, work: Callable[[], Any]) -> tuple[float, Any]:
    with timed(lm.device) as watch:
        found = work()
    return watch.seconds, found

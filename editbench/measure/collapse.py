"""Whether a model under edit still speaks: perplexity on a short general text, looked at as the stream goes on.

A collapse is a result of its own: it is seen at the chunk where it happens, not at the next measured scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from editbench.metrics.collapse import Pulse

if TYPE_CHECKING:
    from editbench.models.lm import LM

# The next look comes when the number of edits has grown by this factor: often enough to place a collapse, and cheap.
GROWTH = 1.1
# It comes at once when ‖ΔW‖/‖W‖ has grown by this one.
JUMP = 1.25


def exp_nll(nll: float) -> float:
    """Return the perplexity of a mean NLL in nats; infinite where that is no finite number."""
    return math.exp(nll) if nll < math.log(1e300) else math.inf


def general_text() -> str:
    """Return about 350 tokens of plain English, written for this project: a story, a definition, a recipe, news."""
    return files("editbench.measure").joinpath("data", "general_text.txt").read_text(encoding="utf-8")


def perplexity(lm: LM) -> float:
    """Return exp(mean NLL per token) of the general text in one pass; infinite where that is no finite number."""
    import torch

    from editbench.models.call import text_call

    [ids] = lm.text.prompts([general_text()])
    tokens = torch.tensor([ids[: lm.context_length]], device=lm.device)
    with torch.no_grad(), lm.calling(text_call(tokens)):
        scores = lm.model(input_ids=tokens, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        nll = -scores.gather(1, tokens[0, 1:, None].to(scores.device)).mean().item()
    return exp_nll(nll)


def due(seen: Sequence[Pulse], done: int) -> bool:
    """Return whether to look again after ``done`` edits."""
    return not seen or done >= GROWTH * seen[-1].requests


def jumped(seen: Sequence[Pulse], drift: float) -> bool:
    """Return whether ‖ΔW‖/‖W‖ has left what the last look saw: no number, or far beyond. Cheap, for every chunk."""
    before = seen[-1].weight_drift if seen else math.nan
    return math.isfinite(before) and not drift <= JUMP * before

"""What a model says when it goes on talking: continuations from which fluency is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from editbench.errors import Diverged
from editbench.models.sampling import continued

if TYPE_CHECKING:
    import torch

    from editbench.models.lm import LM

# As ROME draws them: 100 tokens, among the five likeliest.
NEW_TOKENS, TOP_K = 100, 5
# More rows cost little, for a step reads all weights whatever it computes; ten take as many texts as a table can use.
PROMPTS = 10


def spread(positions: Sequence[int], n: int = PROMPTS) -> list[int]:
    """Return at most ``n`` of these, evenly spread from the first to the last."""
    if len(positions) <= n:
        return list(positions)
    return [positions[round(i * (len(positions) - 1) / (n - 1))] for i in range(n)]


def continuations(lm: LM, prompts: Sequence[str], rng: torch.Generator) -> list[str]:
    """Return what the model says after each prompt, in its in-context edit if it has one: 100 sampled tokens.

    An end-of-text token does not end a text, and no special token is part of it. A prompt that leaves no room for so
    many tokens is left out. A model whose logits are no finite numbers says nothing: its texts are empty.
    """
    starts = lm.text.prompts(lm.as_read(prompts))
    starts = [ids for ids in starts if len(ids) + NEW_TOKENS <= lm.context_length]
    try:
        found = continued(lm, starts, NEW_TOKENS, rng, top_k=TOP_K) if starts else []
    except Diverged:
        return [""] * len(starts)
    return [lm.text.decode(ids) for ids in found]

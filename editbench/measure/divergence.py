"""Text that the unedited model wrote, and how likely it found every token there: what an edited one is compared with.

The comparison is one forward pass over a few hundred tokens, so that it can be made after every chunk of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editbench.measure.collapse import exp_nll
from editbench.models.call import text_call
from editbench.models.partial import logits_at, right_padded
from editbench.models.sampling import self_text

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.models.lm import LM

# Tokens of text, and of one piece of it. Four pieces of 64 take SmolLM2-135M half the time to write that two of 128 do.
TOKENS, LENGTH = 256, 64
# Most log-probabilities kept, 128 MiB in float32; a vocabulary above 131,072 gets fewer tokens.
MOST_NUMBERS = 2**25
# Places compared at once, which bounds what a comparison needs beside the logits.
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Comparison:
    """An edited model beside the unedited one on the latter's own text.

    Attributes
    ----------
    kl: KL(unedited ‖ edited), the mean over tokens, in nats; infinite where it is no finite number.
    perplexity: exp(mean NLL per token) of the text under the edited model; likewise.
    """

    kl: float
    perplexity: float


class Reference:
    """The text and the unedited model's log-probabilities at every place where it drew a token.

    Parameters
    ----------
    lm: the model, unedited.
    cache: where the text is kept.
    progress: called with the share done while text is written that is not there yet.

    Attributes
    ----------
    tokens: at how many places models are compared.
    unedited: the unedited model compared with itself: no divergence, and its own perplexity.
    """

    def __init__(self, lm: LM, cache: Cache, progress: Callable[[float], None] | None = None) -> None:
        wanted = max(min(TOKENS, MOST_NUMBERS // lm.shape.vocab), 1)
        texts = self_text(lm, wanted, cache, length=LENGTH, progress=progress)
        # The token after the frame was drawn uniformly, to begin with something; the model drew those behind it.
        first = len(lm.text.opening)
        places = [(row, at) for row, text in enumerate(texts) for at in range(first, len(text) - 1)]
        self.ids = right_padded(lm, texts)  # [texts, longest]
        self.rows, self.positions = torch.tensor(places, dtype=torch.long).reshape(-1, 2).to(lm.device).unbind(1)
        self.drawn = self.ids[self.rows, self.positions + 1]  # [places]
        self.tokens = len(places)
        self.log_probs = self._logits(lm).float().log_softmax(-1)  # [places, vocabulary]
        self.unedited = self.compare(lm)

    @torch.no_grad()
    def _logits(self, lm: LM) -> Tensor:
        with logits_at(lm, self.rows, self.positions), lm.calling(text_call(self.ids)):
            logits: Tensor = lm.model(input_ids=self.ids, use_cache=False).logits[0]
        return logits

    def compare(self, lm: LM) -> Comparison:
        """Return how far ``lm`` is from the unedited model. It must have the same vocabulary."""
        logits = self._logits(lm)
        kl = nll = 0.0
        for start in range(0, self.tokens, _ROWS):
            place = slice(start, start + _ROWS)
            was = self.log_probs[place]
            now = logits[place].to(was.device).float().log_softmax(-1)
            kl += divergence(was, now)
            nll -= float(now.gather(1, self.drawn[place, None].to(now.device)).sum(dtype=torch.float64))
        kl, nll = (kl / self.tokens, nll / self.tokens) if self.tokens else (math.nan, math.nan)
        # rounding can leave a model that is nearly the unedited one a hair below nought
        return Comparison(max(kl, 0.0) if math.isfinite(kl) else math.inf, exp_nll(nll))


def divergence(was: Tensor, now: Tensor) -> float:
    """Return Σ p (log p − log q) over rows of log-probabilities, log p in ``was`` and log q in ``now``: [n, values].

    A value that p never takes adds nothing, whatever q says of it.
    """
    p = was.exp()
    terms = torch.where(p > 0, p * (was - now), torch.zeros_like(p))
    return float(terms.sum(dtype=torch.float64))

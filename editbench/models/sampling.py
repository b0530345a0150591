"""Text drawn from a model itself: ancestral sampling in batches, and a corpus that needs no data.

Every number that decides a draw is made before the first token, one per row and step, from the generator handed in.
So what a row says depends neither on the rows beside it (but for rounding) nor on which of them have ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editbench.base.machine import packages
from editbench.base.seeds import torch_generator
from editbench.errors import Diverged, UserError
from editbench.models.call import Call, positions_of
from editbench.models.partial import last_logits

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.models.lm import LM

# Rows that have ended leave once they are this share of the batch: leaving copies the cache of all that stay.
_LEAVE_SHARE = 1 / 8
# Tokens of one block in which the vocabulary is searched.
_BLOCK = 256
# How a sequence of `self_text` begins; part of its cache key. On SmolLM2-135M, layer 9, 20,000 tokens, the mean of
# kᵀC⁻¹k / d over keys k of Wikipedia is 1.11 with C from Wikipedia; 1.37 with C from text begun like this; 1.36 begun
# with the token that separated documents in training, which no tokeniser names; 1.44 begun with an empty prompt; and
# 1.63 begun like this but drawn among the 50 likeliest tokens.
_START_RULE = "frame and an ordinary token, uniform"

_Choose = Callable[[Tensor, Tensor], list[int]]


@torch.no_grad()
def sample(
    lm: LM,
    starts: Sequence[Sequence[int]],
    new_tokens: int,
    rng: torch.Generator,
    *,
    top_k: int | None = None,
    temperature: float = 1.0,
    rows: int = 128,
    progress: Callable[[float], None] | None = None,
) -> list[list[int]]:
    """Continue each start with tokens drawn from the model; return start and continuation as token ids.

    Parameters
    ----------
    starts: token ids, at least one each; they may differ in length.
    new_tokens: most tokens to add; a row ends before its first end-of-text token, which is left out.
    rng: a generator on the CPU; ``len(starts) * new_tokens`` numbers are taken from it, whatever is drawn.
    top_k: draw among the most likely tokens only; None: among all.
    temperature: divides the logits; above 0.
    rows: how many sequences are computed at once; memory for keys and values grows with it.
    progress: called with the share done.

    The same seed gives the same ids on one machine with the same ``rows``. Raises ``ValueError`` for an empty start,
    :class:`UserError` for more tokens than the model reads, :class:`Diverged` if its logits are not finite.
    """
    _check_lengths(lm, starts, new_tokens)
    draws = torch.rand(len(starts), new_tokens, generator=rng, dtype=torch.float64)
    found: list[list[int]] = []

    def choose(logits: Tensor, drawn: Tensor) -> list[int]:
        return _choose(logits / temperature, drawn, top_k)

    for first in range(0, len(starts), rows):
        chosen = slice(first, first + rows)
        batch = _Batch(lm, starts[chosen], draws[chosen], choose, lm.text.eos_ids)
        while batch.live:
            batch.step()
            if progress is not None:
                progress((first + len(batch.new) * batch.steps / new_tokens) / len(starts))
        found += [[*start, *new] for start, new in zip(starts[first : first + rows], batch.new, strict=True)]
    return found


@torch.no_grad()
def continued(
    lm: LM, starts: Sequence[Sequence[int]], new_tokens: int, rng: torch.Generator, *, top_k: int
) -> list[list[int]]:
    """Return ``new_tokens`` tokens after each start, drawn among the ``top_k`` likeliest; nothing ends a row.

    An end-of-text token is drawn like any other and is among those returned, so that all rows are equally long.
    Raises what :func:`sample` raises.
    """
    _check_lengths(lm, starts, new_tokens)
    draws = torch.rand(len(starts), new_tokens, generator=rng, dtype=torch.float64)
    batch = _Batch(lm, starts, draws, lambda logits, drawn: _choose(logits, drawn, top_k), frozenset())
    while batch.live:
        batch.step()
    return batch.new


def _check_lengths(lm: LM, starts: Sequence[Sequence[int]], new_tokens: int) -> None:
    if not all(starts):
        raise ValueError("a start has no token; a model must have something to continue")
    longest, limit = max(map(len, starts), default=0) + new_tokens, lm.context_length
    if longest > limit:
        raise UserError(f"{longest} tokens were to be sampled into one text.", f"This model reads {limit}.")


def _choose(logits: Tensor, draws: Tensor, top_k: int | None) -> list[int]:
    """Return one token per row by inverting the cumulative distribution.

    ``logits`` are [rows, vocabulary], ``draws`` [rows] float64 numbers in [0, 1). The vocabulary is searched in two
    levels, blocks and then the tokens of one block: running sums over all of it would cost as much as the model.
    Raises :class:`Diverged` if a logit is not finite.
    """
    ids: Tensor | None = None
    logits = logits.float()
    if top_k is not None:
        logits, ids = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
    shares = logits.softmax(dim=-1)
    shares = F.pad(shares, (0, -shares.shape[-1] % _BLOCK)).view(len(shares), -1, _BLOCK)
    blocks = shares.sum(dim=-1)  # [rows, blocks]
    if not bool(blocks.isfinite().all()):
        raise Diverged("the model's logits are not finite numbers, so nothing can be sampled from it")
    block, rest = _invert(blocks, draws.to(blocks.device))
    within, _ = _invert(shares[torch.arange(len(shares), device=shares.device), block], rest)
    place = block * _BLOCK + within
    chosen: list[int] = (place if ids is None else ids.gather(-1, place[:, None])[:, 0]).tolist()
    return chosen


def _invert(shares: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place in each row of ``shares`` [rows, n] where a draw from [0, 1) falls, and where within it.

    The second is again in [0, 1], and uniform if the draw is. A place with no share is never returned.
    """
    sums = shares.double().cumsum(dim=-1)
    total = sums[:, -1:]
    target = torch.minimum(draws[:, None] * total, total.nextafter(torch.zeros_like(total)))
    place = torch.searchsorted(sums, target, right=True)
    share = shares.double().gather(-1, place)
    rest = (target - (sums.gather(-1, place) - share)) / share
    return place[:, 0], rest[:, 0].clamp(0, 1)


class _Batch:
    """Rows that are sampled together, and the cache behind them.

    Attributes
    ----------
    new: for each row, the tokens drawn so far.
    live: the rows that go on; ``kept`` are those still in the cache, in its order.
    steps: how many tokens have been drawn for the rows that go on.
    ends: tokens that end a row.
    """

    def __init__(
        self, lm: LM, starts: Sequence[Sequence[int]], draws: Tensor, choose: _Choose, ends: frozenset[int]
    ) -> None:
        self.lm, self.draws, self.choose, self.ends = lm, draws, choose, ends
        self.new: list[list[int]] = [[] for _ in starts]
        self.kept = list(range(len(starts)))
        self.live = set(self.kept) if draws.shape[1] else set()
        self.steps = 0
        self.cache: Any = None
        ids, mask = lm.text.pad_left(starts)
        self.ids, self.mask = ids.to(lm.device), mask.to(lm.device)  # [rows, new tokens], [rows, tokens so far]

    def step(self) -> None:
        """Draw one token for every row, and make ready for the next."""
        rows = torch.tensor(self.kept, device=self.mask.device)
        positions = positions_of(self.mask, self.ids.shape[1])
        first = self.cache is None
        ends = torch.full_like(rows, self.ids.shape[1] - 1) if first else None
        with last_logits(self.lm), self.lm.calling(Call("prompt" if first else "step", positions, rows, ends)):
            out = self.lm.model(
                input_ids=self.ids,
                attention_mask=self.mask,
                position_ids=positions.clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
            )
        self.cache = out.past_key_values
        tokens = self.choose(out.logits[:, -1], self.draws[self.kept, self.steps])
        self.steps += 1
        for row, token in zip(self.kept, tokens, strict=True):
            self._add(row, token)
        self._advance(tokens)

    def _add(self, row: int, token: int) -> None:
        if row not in self.live:
            return
        if token in self.ends:
            self.live.remove(row)
            return
        self.new[row].append(token)
        if self.steps == self.draws.shape[1]:
            self.live.remove(row)

    def _advance(self, tokens: list[int]) -> None:
        """Make the drawn tokens the next input; drop ended rows where there are enough of them."""
        self.ids = torch.tensor(tokens, device=self.mask.device)[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        if self.live and len(self.kept) - len(self.live) >= len(self.kept) * _LEAVE_SHARE:
            place = torch.tensor([n for n, row in enumerate(self.kept) if row in self.live], device=self.mask.device)
            self.cache.batch_select_indices(place)
            self.ids, self.mask = self.ids[place], self.mask[place]
            self.kept = [row for row in self.kept if row in self.live]


def ordinary_tokens(lm: LM) -> list[int]:
    """Return the ids of all tokens that are text by themselves: not special, added or blank, no part of a letter."""
    tokenizer = lm.text.tokenizer
    apart = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    ids = sorted(i for i in set(tokenizer.get_vocab().values()) - apart if i < lm.shape.vocab)
    texts = lm.text.decode_all([[i] for i in ids])
    return [i for i, text in zip(ids, texts, strict=True) if text.strip() and "\N{REPLACEMENT CHARACTER}" not in text]


def self_text(
    lm: LM, tokens: int, cache: Cache, *, length: int = 128, progress: Callable[[float], None] | None = None
) -> list[list[int]]:
    """Return text sampled from the model, ``tokens`` tokens in all, as lists of at most ``length`` token ids.

    It stands in for the text that a model was trained on, where none is at hand, as in data-free calibration
    (LLM-QAT, arXiv:2305.17888). Each text begins with the tokeniser's own frame and one ordinary token drawn uniformly
    from the vocabulary, and goes on at temperature 1 until the model ends it. Kept in ``cache`` by content, and drawn
    from a seed made of the model's hash, so that it is the same wherever it is asked for.

    Raises what :func:`sample` raises, and ``ValueError`` for ``tokens`` below 1.
    """
    if tokens < 1:
        raise ValueError(f"{tokens} tokens of text were asked for")
    length = min(length, lm.context_length)
    parts = {
        "weights": lm.weights_hash,
        "dtype": str(lm.model.dtype),
        "device": lm.device_name,
        "tokens": tokens,
        "length": length,
        "start": _START_RULE,
        "packages": {name: packages().get(name) for name in ("torch", "transformers")},
    }
    texts: list[list[int]] | None = cache.load_json("text", parts)
    if texts is None:
        texts = _draw_texts(lm, tokens, length, progress or (lambda _: None))
        cache.save_json("text", parts, texts)
    return texts


def _draw_texts(lm: LM, tokens: int, length: int, progress: Callable[[float], None]) -> list[list[int]]:
    """Sample in rounds, each as large as the texts so far say is needed, until there is enough; trim the last text."""
    rng, head, ordinary = torch_generator(0, "self text", lm.weights_hash), lm.text.opening, ordinary_tokens(lm)
    texts: list[list[int]] = []
    have = 0
    while have < tokens:
        share = 1 - have / tokens
        wanted = math.ceil((tokens - have) / (have / len(texts) if texts else length))
        firsts = torch.randint(len(ordinary), (wanted,), generator=rng).tolist()
        starts = [[*head, ordinary[first]] for first in firsts]

        def report(done: float, base: float = 1 - share, share: float = share) -> None:
            progress(base + share * done)

        texts += sample(lm, starts, max(length - len(head) - 1, 0), rng, progress=report)
        have = sum(map(len, texts))
    return trimmed(texts, tokens)


def trimmed(texts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Return the first ``tokens`` tokens of these texts, the last one cut where they end."""
    found: list[list[int]] = []
    for text in texts:
        if tokens <= 0:
            break
        found.append(list(text[:tokens]))
        tokens -= len(text)
    return found

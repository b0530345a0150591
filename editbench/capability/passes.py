"""What each of lm-eval's forward passes is for, for modules of an edit that ask (``lm.call``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.models.call import Call, positions_of, text_call
from editbench.models.partial import forward_replaced

if TYPE_CHECKING:
    from editbench.models.lm import LM


class Scored:
    """Sequences that lm-eval scores, known again by their tokens: it sorts and batches them as it likes.

    Parameters
    ----------
    requests: lm-eval's ((prompt, continuation), prompt tokens, continuation tokens).
    most: the tokens that the model reads; longer sequences are cut from the left, as lm-eval does.
    """

    def __init__(self, requests: Sequence[Any], most: int) -> None:
        self._known: dict[tuple[int, ...], tuple[str, int]] = {}
        for texts, prompt, continuation in requests:
            whole = tuple([*prompt, *continuation][-(most + 1) :][:-1])
            said = texts[0] if texts and texts[0] else ""
            self._known[whole] = (said, max(len(whole) - len(continuation), 0) if said else -1)
        self._lengths = sorted({len(tokens) for tokens in self._known}, reverse=True)

    def call(self, ids: Tensor) -> Call:
        """Return what a pass over these ids, [rows, tokens] padded on the right, is for."""
        rows = [self._find(row) for row in ids.tolist()]
        if any(end < 0 for _, end, _ in rows):  # whole texts, without a prompt
            return text_call(ids)
        lengths = torch.tensor([length for _, _, length in rows], device=ids.device)
        places = torch.arange(ids.shape[1], device=ids.device).expand(*ids.shape)
        ends = torch.tensor([end for _, end, _ in rows], device=ids.device)
        numbers = torch.arange(len(rows), device=ids.device)
        positions = places.masked_fill(places >= lengths[:, None], -1)
        return Call("answer", positions, numbers, ends, [said for said, _, _ in rows])

    def _find(self, row: Sequence[int]) -> tuple[str, int, int]:
        """Return a row's prompt, the column of its last token (-1: unknown), and how many tokens are no padding."""
        for length in self._lengths:
            found = self._known.get(tuple(row[:length])) if length <= len(row) and not any(row[length:]) else None
            if found is not None:
                return (*found, length)
        return "", -1, len(row)


@contextmanager
def generating(lm: LM, prompts: Sequence[str]) -> Iterator[None]:
    """Within the context, every pass of transformers' ``generate`` over these prompts is told what it is for."""
    forward = lm.model.forward

    def told(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs.get("attention_mask")
        cache = kwargs.get("past_key_values")
        behind = cache is not None and cache.get_seq_length() > 0
        if mask is None or mask.dim() != 2:
            mask = torch.ones(ids.shape[0], ids.shape[1], dtype=torch.long, device=ids.device)
        rows = torch.arange(len(ids), device=ids.device)
        ends = None if behind else torch.full_like(rows, ids.shape[1] - 1)
        positions = positions_of(mask, ids.shape[1])
        with lm.calling(Call("step" if behind else "prompt", positions, rows, ends, prompts)):
            return forward(*args, **kwargs)

    with forward_replaced(lm.model, told):
        yield

"""What a forward pass of the harness is for: which rows it has, which tokens are padding, where prompts end.

The harness says so around every pass it makes; a module that an edit has put into the model may ask ``lm.call``.
Three kinds of rule can be written with it, best first: one that looks at each token by itself and asks nothing; one
that decides per row, from the row's own prompt, and keeps what it decided by ``rows``; one that reads ``prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Phase = Literal["prompt", "answer", "step", "text"]


@dataclass(frozen=True, slots=True)
class Call:
    """One forward pass, as a module may ask about it.

    Attributes
    ----------
    phase: ``prompt``: whole prompts; ``step``: one generated token for each row, behind a cache; ``answer``: given
        answers, behind a cache of prompts or whole with them; ``text``: texts that have no prompt.
    positions: place of each token in its row's text, from 0; -1 where there is padding: [rows, tokens].
    rows: which question each row is: [rows]. Questions are numbered from 0 in the pass that reads the prompts; in
        later passes rows may be picked, be there twice or be gone, and what was kept of question q stands at
        ``kept[call.rows]``.
    prompt_ends: column of each row's last prompt token: [rows]; None in passes without one (``step``, ``text``, and
        ``answer`` behind a cache).
    prompts: the bare prompt of every question, by its number; () where there is none.
    """

    phase: Phase
    positions: Tensor
    rows: Tensor
    prompt_ends: Tensor | None = None
    prompts: Sequence[str] = ()

    @property
    def real(self) -> Tensor:
        """Which tokens are no padding: [rows, tokens], bool."""
        return self.positions >= 0


def positions_of(mask: Tensor, tokens: int | None = None) -> Tensor:
    """Return the position of each token, -1 on padding, from an attention mask [rows, all tokens so far].

    ``tokens``: how many of the last columns the pass has; None: all. Returns [rows, tokens].
    """
    places = mask.long().cumsum(dim=1) - 1
    places = places.masked_fill(mask == 0, -1)
    return places if tokens is None else places[:, -tokens:]


def text_call(ids: Tensor) -> Call:
    """Return the call of a pass over texts that have no prompt and no padding on the left: ids [rows, tokens]."""
    import torch

    rows, tokens = ids.shape
    places = torch.arange(tokens, device=ids.device).expand(rows, tokens)
    return Call("text", places, torch.arange(rows, device=ids.device))

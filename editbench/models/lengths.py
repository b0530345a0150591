"""Whether a text fits into what a model reads at once, told without tokenising a megabyte to know that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from editbench.requests import Request

if TYPE_CHECKING:
    from editbench.models.lm import LM

# A text of fewer bytes than the context has tokens over this is not tokenised to be counted: even a tokeniser that
# writes characters out makes no more of it.
_MOST_TOKENS_PER_BYTE = 4


def why_too_long(lm: LM, prompt: str, target: str) -> str:
    """Return why a model cannot read a prompt with its target; "" if it can.

    The last token of the target, or the end of text behind it, is predicted and not read.
    """
    limit = lm.context_length
    size = len(prompt.encode(errors="replace")) + len(target.encode(errors="replace"))
    if _MOST_TOKENS_PER_BYTE * (size + 4) < limit:
        return ""
    if len(prompt) + len(target) > _most_characters(lm):
        return f"its prompt and target have {len(prompt) + len(target):,} characters; this model reads {limit:,} tokens"
    tokens = len(lm.text.completion(prompt, target).ids) - 1
    return f"its prompt and target have {tokens:,} tokens; this model reads {limit:,}" if tokens > limit else ""


def fitting(lm: LM, requests: Sequence[Request]) -> tuple[list[Request], dict[str, str]]:
    """Return the requests that a model can read with their targets, and why not the others: id -> reason."""
    found, failures = [], {}
    for request in requests:
        why = why_too_long(lm, request.prompt, request.target_new)
        if why:
            failures[request.id] = why
        else:
            found.append(request)
    return found, failures


def readable_part(lm: LM, text: str) -> str:
    """Return a text, cut where it is longer than a model could read whatever its tokens: still too long to be read,
    and soon known to be.
    """
    most = _most_characters(lm)
    return text if len(text) <= most else text[-most - lm.text.longest_token :]


def _most_characters(lm: LM) -> int:
    return lm.context_length * lm.text.longest_token

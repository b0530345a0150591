"""Requests as token ids for the locate-then-edit methods: prefixes, subject positions, targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from editbench.errors import RequestFailed
from editbench.models.lengths import why_too_long
from editbench.models.sampling import sample
from editbench.models.tokens import Completion
from editbench.requests import Request

if TYPE_CHECKING:
    from editbench.models.lm import LM

# The words that prefixes begin with in MEMIT's public code, where the model continues them with its likeliest tokens.
_BEGINNINGS = ("The", "Therefore", "Because", "I", "You")
_TOP_K = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One request as token ids, in each of its contexts: bare first, then behind each prefix.

    Attributes
    ----------
    request: the request.
    completions: prompt with target, one per context.
    starts: in each, the index of the subject's last token.
    essence: the prompt "{subject} is a", whose answer must not move.
    essence_start: the index of the subject's last token there.
    """

    request: Request
    completions: list[Completion]
    starts: list[int]
    essence: list[int]
    essence_start: int

    def heads(self) -> list[list[int]]:
        """Return, for each context, the tokens up to the subject's last one."""
        return [c.ids[: start + 1] for c, start in zip(self.completions, self.starts, strict=True)]


def sample_prefixes(lm: LM, number: int, tokens: int, rng: torch.Generator) -> list[str]:
    """Return ``number`` short texts that this model writes, each of at most ``tokens`` tokens after its first word."""
    starts = lm.text.prompts([_BEGINNINGS[i % len(_BEGINNINGS)] for i in range(number)])
    written = sample(lm, starts, tokens, rng, top_k=_TOP_K)
    return [" ".join(text.split()) for text in lm.text.decode_all(written)]


def behind(request: Request, prefix: str) -> Request:
    """Return the request with its prompt behind ``prefix`` and a full stop; "" leaves it as it is."""
    span = request.subject_span()
    if not prefix or span is None:
        return request
    before = f"{prefix}. "
    return replace(request, prompt=before + request.prompt, subject_start=len(before) + span[0])


def case(lm: LM, request: Request, prefixes: Sequence[str]) -> Case:
    """Tokenise one request in all its contexts.

    Raises :class:`RequestFailed` if its subject is not in its prompt, and for what is too long for the model to read.
    """
    contexts = [behind(request, prefix) for prefix in ("", *prefixes)]
    essence = replace(request, prompt=f"{request.subject} is a", subject_start=0)
    for context in (*contexts, essence):
        if why := why_too_long(lm, context.prompt, request.target_new):
            raise RequestFailed(request.id, why)
    starts = [lm.text.subject_last_token(context) for context in contexts]
    try:
        completions = lm.text.completions([(context.prompt, request.target_new) for context in contexts])
    except ValueError as error:
        raise RequestFailed(request.id, str(error)) from error
    start = lm.text.subject_last_token(essence)
    return Case(request, completions, starts, lm.text.prompt(essence.prompt), start)


def cases(lm: LM, requests: Sequence[Request], prefixes: Sequence[str]) -> tuple[list[Case], dict[str, str]]:
    """Tokenise all requests; return those that can be edited, and why the others cannot: id -> reason."""
    found, failures = [], {}
    for request in requests:
        try:
            found.append(case(lm, request, prefixes))
        except RequestFailed as failed:
            failures[failed.request] = failed.reason
    return found, failures

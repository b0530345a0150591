"""How a model is questioned. Every table states its protocol, and tables of different protocols are not mixed."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

# Raised whenever the meaning of a record or of a metric changes, so that old records are never mixed with new ones.
MEASUREMENT_VERSION = 1


class Protocol(BaseModel):
    """Everything that decides what a score means, besides model, data and method.

    Attributes
    ----------
    target_field: which field of the dataset became ``target_new``; "default" is the dataset's documented choice.
    eos: whether training targets end with the end-of-text token (for every method alike).
    context: what stands before a prompt: nothing (``bare``).
    decoding: how answers are generated.
    max_new_tokens: longest generation, in tokens.
    stop: where a generation ends: at EOS, a newline or a sentence's end, unless the target holds that character.
    scored: ``after-all``: every request is probed after the last one of its scale was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_field: str = "default"
    eos: bool = True
    context: Literal["bare"] = "bare"
    decoding: Literal["greedy"] = "greedy"
    max_new_tokens: PositiveInt = 32
    stop: Literal["eos-newline-sentence"] = "eos-newline-sentence"
    scored: Literal["after-all"] = "after-all"
    measurement: int = MEASUREMENT_VERSION

    @property
    def hash(self) -> str:
        """Twelve hex digits that two protocols share only if they are the same."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

"""The raw row that every score is computed from: one record per cell, request and probe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """What one probe saw. Nothing in it is a score; scores are computed from records.

    Attributes
    ----------
    request: id of the request the probe belongs to.
    position: 0-based place of the request in the run's order; its age at scale n is ``n - 1 - position`` edits.
    kind: probe kind (``editbench.requests.PROBE_KINDS``).
    index: number of the probe among the request's probes of this kind, from 0.
    prompt: the bare prompt.
    target_new, target_true: the request's two objects.
    answer: what counts as right for this probe, or None.
    generated: the text the model generated, up to the stop rule, without the stop itself.
    stop: why it ended: ``eos``, ``newline``, ``sentence`` or ``length``.
    unedited: what the unedited model generated under the same protocol (neighbour and locality probes), else None.
    nll_new, nll_true: negative log-likelihood per token, in nats, of the two objects after the prompt; None if the
        request has no such object.
    hits, tokens: how many tokens of ``answer`` are the argmax given the gold prefix, and how many there are.
    error: "" or why this probe has no outcome.
    """

    request: str
    position: int
    kind: str
    index: int
    prompt: str
    target_new: str
    target_true: str | None
    answer: str | None
    generated: str | None = None
    stop: str | None = None
    unedited: str | None = None
    nll_new: float | None = None
    nll_true: float | None = None
    hits: int | None = None
    tokens: int | None = None
    error: str = ""

    def to_line(self) -> str:
        """Return the record as one line of JSON, newline included."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

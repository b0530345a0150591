"""How far a model under edit has drifted, measured at a scale: what ``drift`` in ``cell.json`` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editbench.measure.fluency import continuations
from editbench.metrics.collapse import finite

if TYPE_CHECKING:
    import torch

    from editbench.running.stream import Stream


def drift(stream: Stream, prompts: Sequence[str], rng: torch.Generator) -> dict[str, Any]:
    """Return what is known of a stream's model beside the unedited one; None stands for what is no finite number.

    ``prompts`` are gone on from (none: that is left out, for a hundred tokens take longer than all the rest), with
    ``rng`` to draw. Keys: docs in ``results/README.md``.
    """
    found: dict[str, Any] = {"modules": {name: finite(norm) for name, norm in stream.modules().items()}}
    compared, reference = stream.comparison(), stream.reference
    if compared is not None and reference is not None:
        found["kl"] = finite(compared.kl)
        found["perplexity_own_text"] = finite(compared.perplexity)
        found["unedited_perplexity_own_text"] = finite(reference.unedited.perplexity)
        found["tokens"] = reference.tokens
    found |= _latency(stream)
    if prompts:
        found["continuations"] = continuations(stream.lm, prompts, rng)
    return found


def _latency(stream: Stream) -> dict[str, Any]:
    """Return the seconds that the edit adds to each token: none by construction if it changed nothing but weights."""
    if stream.adds_nothing_to_run:
        return {"added_latency_s": 0.0}
    timed = stream.latencies()
    if timed is None:
        return {}
    unedited, edited = timed
    added = edited.step_s - unedited.step_s
    return {"added_latency_s": added, "latency": {"unedited": unedited.as_dict(), "edited": edited.as_dict()}}

"""How far a model under edit has drifted, measured at a scale: what ``drift`` in ``cell.json`` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editbench.measure.fluency import continuations
from editbench.measure.latency import latency
from editbench.metrics.collapse import finite

if TYPE_CHECKING:
    import torch

    from editbench.measure.divergence import Comparison, Reference
    from editbench.measure.facts import EditFacts
    from editbench.models.lm import LM


def drift(
    lm: LM,
    facts: EditFacts,
    reference: Reference | None,
    prompts: Sequence[str],
    talk: tuple[Sequence[str], torch.Generator],
) -> dict[str, Any]:
    """Return what is known of a model beside the unedited one; None stands for what is no finite number.

    What the edit cannot move by construction is left out: of an edit that only puts text around prompts there is no
    divergence on texts without a prompt. ``prompts`` are timed on, where the edit can make the model slower. The
    prompts of ``talk`` are gone on from (none: that is left out, for a hundred tokens take longer than all the rest),
    with its generator to draw. Keys: ``results/README.md``.
    """
    found: dict[str, Any] = {"modules": {name: finite(norm) for name, norm in facts.modules.items()}}
    if reference is not None and not facts.texts_only:
        compared = comparison(lm, facts, reference)
        found["kl"] = finite(compared.kl)
        found["perplexity_own_text"] = finite(compared.perplexity)
        found["unedited_perplexity_own_text"] = finite(reference.unedited.perplexity)
        found["tokens"] = reference.tokens
    found |= latency(lm, facts, prompts)
    if talk[0]:
        found["continuations"] = continuations(lm, *talk)
    return found


def comparison(lm: LM, facts: EditFacts, reference: Reference) -> Comparison:
    """Return how far the model is from the unedited one: as last looked at, if that was now; else compared anew."""
    from editbench.measure.divergence import Comparison

    last = facts.pulses[-1] if facts.pulses else None
    if last is not None and last.requests == facts.requests and last.kl is not None and last.own_perplexity is not None:
        return Comparison(last.kl, last.own_perplexity)
    return reference.compare(lm) if facts.changed else reference.unedited

"""What is wrong with a dataset: counted before every run, and refused where an edit would mean nothing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from editbench.errors import BadData
from editbench.metrics.generation import normalise
from editbench.requests import REPHRASE, Request

REFUSED = {
    "unreadable": "a record lacks a field or has one of the wrong kind",
    "duplicate_id": "the id is used by another request",
    "empty_subject": "the subject is empty",
    "empty_prompt": "the prompt is empty",
    "empty_target": "the target is empty",
    "target_is_true": "the target equals the true answer",
}
"""Faults that make a request meaningless; ``on_fault: drop`` leaves such requests out."""

COUNTED = {
    "duplicate_fact": "subject and relation are another request's",
    "conflicting_fact": "… with another target",
    "duplicate_prompt": "the prompt is another request's",
    "conflicting_prompt": "… with another target",
    "rephrase_is_a_prompt": "a rephrase is another request's prompt",
    "subject_not_in_prompt": "the subject is not in the prompt",
    "stop_in_target": "the target holds . ! ? or a line break",
    "empty_probe": "a probe has no prompt, or an empty answer",
}
"""Faults that are counted and shown, and change nothing."""

EXAMPLES = 10
_NAMED = 3
_STOPS = re.compile(r"[.!?\n]")
_normal = lru_cache(maxsize=1 << 16)(normalise)


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What the quality checks found.

    Attributes
    ----------
    counts: number of requests with each fault; faults that nobody has are left out.
    examples: ids of the first requests with each fault, at most ten.
    ceiling: best exact match any method can reach on the edit prompts (0–1): below 1 where prompts conflict.
    dropped: requests left out because of a refused fault.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    ceiling: float = 1.0
    dropped: int = 0


def exact_match_ceiling(requests: Iterable[Request]) -> float:
    """Return the largest share of these edit prompts that one model can answer exactly (1.0 without requests).

    A prompt has one greedy answer, so of requests that share it only those with the commonest target can be right.
    """
    found = list(requests)
    owners = Counter(request.prompt for request in found)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for request in found:
        if owners[request.prompt] > 1:
            groups[request.prompt][_normal(request.target_new)] += 1
    alone = len(found) - sum(owners[prompt] for prompt in groups)
    return (alone + sum(max(group.values()) for group in groups.values())) / len(found) if found else 1.0


def refused_faults(requests: Sequence[Request]) -> Iterator[tuple[str, Request]]:
    """Yield each request that must not be edited, with its first fault (a key of ``REFUSED``)."""
    seen: set[str] = set()
    for request in requests:
        if request.id in seen:
            yield "duplicate_id", request
        elif not request.subject.strip():
            yield "empty_subject", request
        elif not request.prompt.strip():
            yield "empty_prompt", request
        elif not request.target_new.strip():
            yield "empty_target", request
        elif request.target_true is not None and _normal(request.target_new) == _normal(request.target_true):
            yield "target_is_true", request
        seen.add(request.id)


def _repeated(requests: Sequence[Request]) -> Iterator[tuple[str, Request]]:
    prompts: dict[str, str] = {}
    facts: dict[tuple[str, str], str] = {}
    for request in requests:
        target, seen = _normal(request.target_new), len(prompts)
        first = prompts.setdefault(request.prompt, target)
        if len(prompts) == seen:
            yield "duplicate_prompt", request
        if first != target:
            yield "conflicting_prompt", request
        if not request.relation:
            continue
        seen = len(facts)
        first = facts.setdefault((request.subject, request.relation), target)
        if len(facts) == seen:
            yield "duplicate_fact", request
        if first != target:
            yield "conflicting_fact", request


def _single(requests: Sequence[Request]) -> Iterator[tuple[str, Request]]:
    owners = Counter(request.prompt for request in requests)
    for request in requests:
        taken = empty = False
        for probe in request.probes:
            if probe.kind == REPHRASE and owners.get(probe.prompt, 0) > (probe.prompt == request.prompt):
                taken = True
            if probe.answer == "" or not probe.prompt or probe.prompt.isspace():
                empty = True
        if taken:
            yield "rephrase_is_a_prompt", request
        if request.subject_span() is None:
            yield "subject_not_in_prompt", request
        if _STOPS.search(request.target_new):
            yield "stop_in_target", request
        if empty:
            yield "empty_probe", request


def check(requests: Sequence[Request], dropped: Iterable[tuple[str, str]] = ()) -> FaultReport:
    """Return the faults of these requests.

    Parameters
    ----------
    requests: what will be edited.
    dropped: (fault, id) of requests that were left out already, counted in the report.
    """
    left_out = list(dropped)
    found = left_out + [(fault, request.id) for fault, request in refused_faults(requests)]
    found += [(fault, request.id) for fault, request in (*_repeated(requests), *_single(requests))]
    counts = Counter(fault for fault, _ in found)
    examples: dict[str, list[str]] = defaultdict(list)
    for fault, name in found:
        if len(examples[fault]) < EXAMPLES:
            examples[fault].append(name)
    order = [fault for fault in (*REFUSED, *COUNTED) if fault in counts]
    return FaultReport(
        {fault: counts[fault] for fault in order},
        {fault: examples[fault] for fault in order},
        exact_match_ceiling(requests),
        len(left_out),
    )


def refuse(source: str, messages: Sequence[str], total: int) -> None:
    """Raise :class:`BadData` that shows the first of these messages and says how to go on without them."""
    if not messages:
        return
    more = len(messages) - _NAMED
    shown = "\n".join(messages[:_NAMED]) + (f"\n… and {more} more" if more > 0 else "")
    raise BadData(
        f"{source}: {len(messages)} of {total} records cannot be edited.\n{shown}",
        hint="Mend them, or leave them out: on_fault: drop",
    )

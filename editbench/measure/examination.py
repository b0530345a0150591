"""Questioning a model about the requests written into it: which probes, in which batches, into which records.

Probes that must not move (neighbours, unrelated facts) are compared with what the unedited model said, batch for
batch the same, so that a model nobody edited agrees with itself exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from editbench.base.machine import packages
from editbench.base.meter import release_freed_memory
from editbench.base.seeds import numpy_generator
from editbench.errors import EditbenchError
from editbench.models.generate import Outcome, Question, ask_batch, default_token_budget, plan_batches
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, Probe, Request
from editbench.results.records import Record

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.models.lm import LM
    from editbench.plan.protocol import Protocol
    from editbench.plan.suite import Probes

COMPARED_KINDS = (NEIGHBOUR, LOCALITY)
# Their answers are other objects than the request's two, whose likelihoods say nothing here.
_UNPAIRED_KINDS = (LOCALITY, PORTABILITY)
_NOT_FINITE = "the likelihood is not a finite number"


@dataclass(frozen=True, slots=True)
class Query:
    """One probe to ask: of which request, at which position of the order, and its number among its kind."""

    position: int
    request: Request
    probe: Probe
    index: int


def population(scale: int, budget: int | None, seed: int) -> list[int]:
    """Return the positions to probe among the first ``scale`` requests, ascending.

    All of them up to ``budget``; beyond it one drawn from each of ``budget`` equal strata of edit age.
    """
    if budget is None or scale <= budget:
        return list(range(scale))
    draws = numpy_generator(seed, "probed", scale, budget).random(budget)
    edges = [i * scale // budget for i in range(budget + 1)]
    return [low + int(draw * (high - low)) for low, high, draw in zip(edges, edges[1:], draws, strict=False)]


def items(requests: Sequence[Request], positions: Sequence[int], probes: Probes) -> list[Query]:
    """Return every probe to ask about the requests at these positions, at most ``probes`` of each kind per request."""
    limits = probes.limits
    found = []
    for position in positions:
        ranked = sorted(requests[position].all_probes(), key=lambda probe: probe.kind)
        for kind, same in groupby(ranked, key=lambda probe: probe.kind):
            kept = list(same)[: limits.get(kind)]
            found += [Query(position, requests[position], probe, index) for index, probe in enumerate(kept)]
    return found


def question(item: Query) -> Question:
    """Return what to ask for a probe: the objects whose likelihood is compared, or the gold answer alone."""
    request, answer = item.request, item.probe.answer
    pair = () if item.probe.kind in _UNPAIRED_KINDS else (request.target_new, request.target_true)
    scored = tuple(dict.fromkeys(text for text in (*pair, answer) if text))
    return Question(item.probe.prompt, scored, stop_free=answer or "")


def record(item: Query, asked: Question, outcome: Outcome, unedited: str | None) -> Record:
    """Return the raw row for one probe."""
    request, answer = item.request, item.probe.answer
    place = {text: k for k, text in enumerate(asked.answers)} if not outcome.error else {}
    pair = (None, None) if item.probe.kind in _UNPAIRED_KINDS else (request.target_new, request.target_true)
    new, true = (outcome.nll[place[text]] if text in place else None for text in pair)
    lost = "" if all(math.isfinite(nll) for nll in outcome.nll if nll is not None) else _NOT_FINITE
    return Record(
        request=request.id,
        position=item.position,
        kind=item.probe.kind,
        index=item.index,
        prompt=item.probe.prompt,
        target_new=request.target_new,
        target_true=request.target_true,
        answer=answer,
        generated=None if outcome.error else outcome.generated,
        stop=None if outcome.error else outcome.stop,
        unedited=unedited,
        nll_new=new if not lost else None,
        nll_true=true if not lost else None,
        hits=outcome.hits[place[answer]] if answer in place else None,
        tokens=outcome.tokens[place[answer]] if answer in place else None,
        error=outcome.error or lost,
    )


def _answered(lm: LM, questions: Sequence[Question], protocol: Protocol) -> list[Outcome]:
    """Ask a batch; if a question in it cannot be asked, ask one by one and say why for that one.

    Where memory runs out the batch is asked in halves.
    """
    try:
        return ask_batch(lm, questions, protocol)
    except (MemoryError, torch.OutOfMemoryError):
        if len(questions) == 1:
            raise
        release_freed_memory(lm.device)
        half = len(questions) // 2
        return [*_answered(lm, questions[:half], protocol), *_answered(lm, questions[half:], protocol)]
    except EditbenchError as error:
        if len(questions) == 1:
            return [Outcome("", "", (), (), (), error=str(error))]
        return [_answered(lm, [one], protocol)[0] for one in questions]


class Examination:
    """Everything a cell asks, ready to be put to a model; identical questions are asked once.

    Parameters
    ----------
    requests: the run's requests in its order.
    scale: how many of them are in the model.
    probes: how many probes of each kind, of how many requests.
    protocol: how they are asked.
    seed: of the run, for the sample of requests beyond the budget.
    token_budget: most tokens in one batch, padding included; None: the default.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        scale: int,
        probes: Probes,
        protocol: Protocol,
        seed: int,
        token_budget: int | None = None,
    ) -> None:
        self.protocol, self.token_budget = protocol, token_budget
        self.positions = population(scale, probes.budget, seed)
        everything = items(requests, self.positions, probes)
        self.compared = _Group([item for item in everything if item.probe.kind in COMPARED_KINDS])
        self.free = _Group([item for item in everything if item.probe.kind not in COMPARED_KINDS])

    @property
    def n_records(self) -> int:
        """How many records the cell will have."""
        return len(self.compared.items) + len(self.free.items)

    def unedited(self, lm: LM, cache: Cache, progress: Callable[[float], None] | None = None) -> list[Outcome]:
        """Return what ``lm``, unedited, says to each compared question; kept in ``cache`` by content."""
        parts = {
            "weights": lm.weights_hash,
            "dtype": str(lm.model.dtype),
            "device": lm.device_name,
            "protocol": self.protocol.model_dump(),
            "budget": self.token_budget or default_token_budget(lm),
            "packages": {name: packages().get(name) for name in ("torch", "transformers")},
            "questions": [[q.prompt, list(q.answers), q.stop_free] for q in self.compared.questions],
        }
        kept = cache.load_json("unedited", parts)
        if kept is not None:
            return [Outcome(**{**row, **{key: tuple(row[key]) for key in ("nll", "hits", "tokens")}}) for row in kept]
        found: dict[int, Outcome] = {}
        batches = plan_batches(lm, self.compared.questions, self.token_budget)
        for done, batch in enumerate(batches, 1):
            answers = _answered(lm, [self.compared.questions[i] for i in batch], self.protocol)
            found.update(zip(batch, answers, strict=True))
            if progress is not None:
                progress(done / len(batches))
        outcomes = [found[number] for number in range(len(found))]
        cache.save_json("unedited", parts, [asdict(outcome) for outcome in outcomes])
        return outcomes

    def records(
        self, lm: LM, unedited: Sequence[Outcome], skip: int = 0, *, changed: bool = True
    ) -> Iterator[list[Record]]:
        """Ask everything and yield the records batch by batch, always in the same order and the same batches.

        ``skip`` records are known already, from an earlier attempt; a batch is asked unless all of its are. A model
        that no edit has ``changed`` is not asked again what it was asked before.
        """
        for group, compared in ((self.compared, unedited), (self.free, None)):
            for batch in plan_batches(lm, group.questions, self.token_budget):
                expected = sum(len(group.asked_by[number]) for number in batch)
                if skip >= expected:
                    skip -= expected
                    continue
                skip = 0
                if compared and not changed:
                    answers = [compared[i] for i in batch]
                else:
                    answers = _answered(lm, [group.questions[i] for i in batch], self.protocol)
                yield [
                    record(item, group.questions[number], outcome, compared[number].generated if compared else None)
                    for number, outcome in zip(batch, answers, strict=True)
                    for item in group.asked_by[number]
                ]

    def whole_batches(self, lm: LM, n_records: int) -> int:
        """Return how many of ``n_records`` records on disk belong to batches that are there in full."""
        total = 0
        for group in (self.compared, self.free):
            for batch in plan_batches(lm, group.questions, self.token_budget):
                expected = sum(len(group.asked_by[number]) for number in batch)
                if total + expected > n_records:
                    return total
                total += expected
        return total


class _Group:
    """Probes and the distinct questions they come to."""

    def __init__(self, chosen: Sequence[Query]) -> None:
        self.items = list(chosen)
        numbers: dict[Question, int] = {}
        self.asked_by: list[list[Query]] = []
        for item in self.items:
            number = numbers.setdefault(question(item), len(numbers))
            if number == len(self.asked_by):
                self.asked_by.append([])
            self.asked_by[number].append(item)
        self.questions = list(numbers)

"""Measuring cells of one run: a model, what is known of the unedited one and of the edit, and a cell is written.

Nothing here knows how the model came to be what it is: edited here, edited elsewhere, or loaded from a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from editbench.base.meter import timed
from editbench.base.progress import clock
from editbench.base.seeds import torch_generator
from editbench.capability.desk import failed_tasks
from editbench.measure.collapse import perplexity
from editbench.measure.divergence import Reference
from editbench.measure.drift import drift
from editbench.measure.examination import Examination
from editbench.measure.fluency import spread
from editbench.metrics.collapse import collapsed_at, finite
from editbench.results.manifest import made_by
from editbench.results.store import CellOutcome, Status

if TYPE_CHECKING:
    from editbench.measure.facts import EditFacts
    from editbench.measure.kit import Kit
    from editbench.models.generate import Outcome
    from editbench.models.lm import LM
    from editbench.plan.runs import Run
    from editbench.requests import Request

# How much of a cell's progress belongs to the edit; the rest is questioning.
EDIT_SHARE = 0.5
# How much of it belongs to capability, where that is measured.
CAPABILITY_SHARE = 0.3


@dataclass
class Unedited:
    """What is known of the unedited model; all of it is empty where there is none to compare with.

    Attributes
    ----------
    perplexity: on the general text.
    reference: its own text, with its probabilities.
    answers: scale -> what it said to the questions of that scale that are compared.
    """

    perplexity: float = math.nan
    reference: Reference | None = None
    answers: dict[int, Sequence[Outcome]] = field(default_factory=dict)


class Measuring:
    """Measures the cells of one run.

    Parameters
    ----------
    run: what is measured, and how.
    requests: the run's requests, in its order.
    kit: store, progress and the like.

    Attributes
    ----------
    unedited: what :meth:`ask_unedited` found.
    """

    def __init__(self, run: Run, requests: Sequence[Request], kit: Kit) -> None:
        self.run, self.requests, self.kit = run, requests, kit
        self.unedited = Unedited()

    # -- the unedited model

    def ask_unedited(self, lm: LM, scales: Sequence[int], known: Unedited | None = None) -> None:
        """Ask ``lm``, which must be unedited, all that edited models are compared by at these scales.

        ``known``: what an earlier run found of the same model, whose perplexity and text need not be found again.
        """
        kit = self.kit
        kit.progress.stage("asking the unedited model")
        if known is None:
            known = Unedited(perplexity(lm), Reference(lm, kit.cache, self._report_unedited))
        self.unedited = replace(known, answers=dict(self.unedited.answers))
        for scale in scales:
            asked = self.examination(scale).unedited(lm, kit.cache, self._report_unedited)
            self.unedited.answers[scale] = asked
        facts = kit.capability.baseline(self.run, scales, lm, lambda _, note: kit.progress.update(0.0, note))
        self.note_capability(facts)

    def without_unedited(self, scales: Sequence[int]) -> None:
        """Measure without an unedited model: nothing is compared."""
        self.unedited = Unedited(answers={scale: [] for scale in scales})
        self.note_capability(self.kit.capability.without_baseline(self.run, scales))

    def note_capability(self, facts: dict[str, Any] | None) -> None:
        """Write into the manifest which tasks there are, if any."""
        if facts is not None:
            found = self.kit.store.manifest(self.run) or {}
            self.kit.store.write_manifest(self.run, {**found, "capability": facts})

    def _report_unedited(self, share: float) -> None:
        self.kit.progress.update(0.0, f"asking the unedited model: {share:.0%}")

    def examination(self, scale: int) -> Examination:
        """Return everything that is asked at this scale."""
        run = self.run
        return Examination(self.requests, scale, run.probes, run.protocol, run.seed, self.kit.options.token_budget)

    # -- the edited one

    def pulse(self, facts: EditFacts) -> dict[str, Any]:
        """Return how the model has been doing on its way, for ``cell.json``."""
        seen = [pulse.as_list() for pulse in facts.pulses]
        known = self.unedited.perplexity
        return {"unedited": finite(known), "seen": seen, "collapsed_at": collapsed_at(facts.pulses, known)}

    def measure(self, lm: LM, facts: EditFacts, scale: int) -> CellOutcome:
        """Question a model and return what became of the cell. Records are on disk then. Raises what goes wrong."""
        run, store = self.run, self.kit.store
        before = store.cell(run, scale) or {}
        exam = self.examination(scale)
        if lm.context is not None:
            lm.context.forget()
        with timed(lm.device) as probing:
            errors, asked = self._ask(lm, facts, exam, scale)
        looked_up = {} if lm.context is None else {"lookup_s": lm.context.seconds}
        with timed(lm.device) as drifting:
            drifted = self._drift(lm, facts, exam, scale)
        with timed(lm.device) as trying:
            entries = self._try(lm, facts, scale)
        store.write_numbers(run, scale, request_numbers(facts))
        spent = probing.seconds if asked else before.get("timings", {}).get("evaluate_s", probing.seconds)
        counts = {"requests": scale, "probed": len(exam.positions), "records": exam.n_records, "errors": errors}
        return CellOutcome(
            Status.DONE,
            timings={
                **facts.timings,
                **looked_up,
                "evaluate_s": spent,
                "drift_s": drifting.seconds,
                **({"capability_s": trying.seconds} if entries else {}),
            },
            memory=facts.memory,
            edit=facts.size,
            counts={**counts, "failed_requests": len(facts.failures)},
            failures=facts.failures,
            pulse=self.pulse(facts),
            drift=drifted,
            capability={**before.get("capability", {}), **entries},  # what is not asked for now stays
            numbers=chunk_numbers(facts),
        )

    def _ask(self, lm: LM, facts: EditFacts, exam: Examination, scale: int) -> tuple[int, int]:
        """Append the records that are missing; return how many of all carry an error, and how many were asked."""
        run, store, progress = self.run, self.kit.store, self.kit.progress
        total = max(exam.n_records, 1)
        share = 1 - EDIT_SHARE - (CAPABILITY_SHARE if self.kit.capability.asks(run, scale) else 0.0)
        known = store.read_records(run, scale)
        done = exam.whole_batches(lm, len(known))
        if done < len(known):
            store.keep_records(run, scale, done)
        errors, there = sum(bool(row["error"]) for row in known[:done]), done
        progress.stage(f"probing {scale:,}")
        for batch in exam.records(lm, self.unedited.answers[scale], skip=done, changed=facts.changed):
            store.append_records(run, scale, batch)
            errors += sum(bool(row.error) for row in batch)
            done += len(batch)
            progress.update(EDIT_SHARE + share * done / total, f"probing {scale:,}: {done:,}/{total:,}")
        return errors, done - there

    def _drift(self, lm: LM, facts: EditFacts, exam: Examination, scale: int) -> dict[str, Any]:
        """Measure how far the model has drifted; what it says at length only if a metric of the suite reads that."""
        run = self.run
        prompts = [self.requests[position].prompt for position in spread(exam.positions)]
        if run.talks:
            self.kit.progress.stage(f"talking at {scale:,}")
        talk = prompts if run.talks else [], torch_generator(run.seed, "talk", run.dataset_hash, scale)
        return drift(lm, facts, self.unedited.reference, prompts, talk)

    def _try(self, lm: LM, facts: EditFacts, scale: int) -> dict[str, dict[str, Any]]:
        def report(share: float, note: str) -> None:
            self.kit.progress.update(1 - CAPABILITY_SHARE * (1 - share), f"capability at {scale:,}: {note}")

        folder = self.kit.store.cell_folder(self.run, scale)
        return self.kit.capability.measure(self.run, scale, folder, report, lm, changed=facts.changed)

    def finish(self, scale: int, outcome: CellOutcome, lm: LM | None) -> None:
        """Write what became of a cell; one that was done stays so, whatever came of a later attempt to complete it."""
        store, progress = self.kit.store, self.kit.progress
        before = store.cell_status(self.run, scale)
        if before is Status.DONE and outcome.status is not Status.DONE:
            progress.cell_done(scale, before.value, f"kept; what it lacks, {outcome.status}: {outcome.reason}")
            return
        store.finish_cell(self.run, scale, replace(outcome, made_by=made_by(self.run, self.kit.options, lm)))
        progress.cell_done(scale, outcome.status.value, outcome.reason or spent_in_words(outcome))


def chunk_numbers(facts: EditFacts) -> dict[str, list[list[float | int | None]]]:
    """Return what the method recorded of its chunks: name -> (requests then in the model, value or None), in order."""
    found: dict[str, list[list[float | int | None]]] = {}
    for done, request, name, value in facts.numbers:
        if request is None:
            found.setdefault(name, []).append([done, finite(value)])
    return found


def request_numbers(facts: EditFacts) -> list[dict[str, Any]]:
    """Return what the method recorded of single requests, a row for each: ``requests`` were in the model then."""
    return [
        {"requests": done, "request": request, "name": name, "value": finite(value)}
        for done, request, name, value in facts.numbers
        if request is not None
    ]


def spent_in_words(outcome: CellOutcome) -> str:
    """Return where the time of a finished cell went, and which capability tasks failed."""
    seconds = outcome.timings.get("edit_s", 0.0), outcome.timings.get("evaluate_s", 0.0)
    spent = f"edit {clock(seconds[0])}, probes {clock(seconds[1])}"
    if "capability_s" in outcome.timings:
        failed = failed_tasks(outcome.capability)
        spent += f", capability {clock(outcome.timings['capability_s'])}" + (f" ({failed})" if failed else "")
    return spent

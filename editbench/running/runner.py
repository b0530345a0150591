"""Carries out runs: load, prepare, write requests into the model, measure it, put it back.

In the batch regime every scale is a stream of its own with one chunk; in the sequential regime one stream of chunks
passes all scales. What is finished is on disk and is not done again; a stream that was cut off goes on from its last
checkpoint, and ends with the same bits.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.progress import ALREADY_THERE, Progress, run_label
from editbench.cache import Cache
from editbench.capability.desk import Desk
from editbench.errors import BadModel, Diverged, StoreError, UserError
from editbench.ledger import RevertFailed
from editbench.measure.collapse import due
from editbench.measure.kit import Kit
from editbench.measure.measuring import EDIT_SHARE, Measuring, Unedited
from editbench.metrics.collapse import collapsed_at
from editbench.plan.runs import check_device
from editbench.results.manifest import continued, manifest, matches
from editbench.results.store import CellOutcome, Status, Store
from editbench.running.editing import Editing, Files, chunks, out_of_memory
from editbench.running.guard import TimedOut, deadline
from editbench.running.job import Job
from editbench.running.kept import keep_edit
from editbench.running.loaded import Loaded
from editbench.running.unedited import in_words

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.runs import Plan, Run, RunOptions
    from editbench.results.manifest import ByScale

# Most characters of a reason, and of a traceback, that a cell keeps.
MOST_TOLD = 20_000


def execute(
    plan: Plan, dataset: Dataset, store: Store, options: RunOptions, progress: Progress, cache: Cache | None = None
) -> None:
    """Carry out what is missing of a plan, one run after another.

    A cell that fails is recorded with its status and reason, and the rest goes on. Raises :class:`UserError` if the
    plan's only model cannot be loaded, or if results cannot be written.
    """
    runner = Runner(dataset, store, options, progress, cache or Cache())
    only_model = len({(run.model, run.revision) for run in plan.runs}) == 1
    for run in plan.runs:
        progress.begin_run(run_label(run.model, run.label, run.seed))
        try:
            runner.carry_out(run)
        except StoreError:
            raise
        except Exception as error:
            if only_model and isinstance(error, BadModel):
                raise
            with store.lock(run):
                runner.give_up(run, failure(error))
        finally:
            progress.end_run()


def verdict(error: BaseException) -> tuple[Status, str]:
    """Return the status and the reason to record for what a method or a measurement raised."""
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, Diverged):
        return Status.DIVERGED, reason
    if isinstance(error, TimedOut):
        return Status.TIMED_OUT, reason
    if out_of_memory(error):
        return Status.OUT_OF_MEMORY, reason.splitlines()[0]
    if isinstance(error, UserError) or type(error).__module__.startswith("editbench."):
        return Status.FAILED, reason
    return Status.FAILED, f"{type(error).__name__}: {reason}"


def failure(error: BaseException, note: str = "", **known: Any) -> CellOutcome:
    """Return the outcome of a cell that ``error`` ended, with the traceback where it says more than the reason.

    ``note`` follows the reason; ``known`` are other fields of the outcome.
    """
    status, reason = verdict(error)
    told = "" if status is not Status.FAILED or isinstance(error, UserError) else traceback.format_exc()
    return CellOutcome(status, f"{reason}{note}"[:MOST_TOLD], traceback=told[-MOST_TOLD:], **known)


class Runner:
    """Carries out runs one by one, keeping the last model in memory for the next.

    Parameters
    ----------
    dataset: where requests come from.
    store: the results folder.
    options: device, dtype and the like.
    progress: what is told how far it is.
    cache: for what is computed once per model.
    """

    def __init__(self, dataset: Dataset, store: Store, options: RunOptions, progress: Progress, cache: Cache) -> None:
        self.dataset, self.store, self.options = dataset, store, options
        self.progress, self.cache = progress, cache
        self.kit = Kit(
            store, options, progress, cache, Desk(options.capability_data, cache, trusted=options.trust_task_code)
        )
        self.loaded = Loaded(options, progress.stage)
        self._known: tuple[LM, Unedited] | None = None  # what is known of the unedited model, whatever run

    def carry_out(self, run: Run) -> None:
        """Do what is missing of one run. Raises :class:`BadModel` or :class:`StoreError`."""
        begun = self.store.manifest(run)  # one that is damaged is said before a model is loaded
        missing = self._missing(run)
        for scale in run.scales:
            status = self.store.cell_status(run, scale)
            if status is not None and scale not in missing:
                self.progress.cell_done(scale, status.value, ALREADY_THERE)
        self._sweep(run, missing)
        if not missing and begun is not None:  # one that was lost is written anew
            return
        lm = self.loaded.get(run.model, run.revision, run.protocol.eos)
        check_device(run, lm)
        with self.store.lock(run):
            self._refuse_other_weights(run, lm)
            scales = self._missing(run)  # another process may have done some meanwhile
            for scale in scales:
                self.store.drop_damaged(run, scale)
            if scales or begun is None:
                self._carry_out(run, lm, scales)

    def _carry_out(self, run: Run, lm: LM, scales: list[int]) -> None:
        job = self._job(run, lm)
        if job is None:
            return
        if run.regime == "sequential":
            self._pass(job, scales, chunks(run.stream, run.chunk), self.store.run_folder(run))
            return
        for scale in scales:
            if self._stopped_by_collapse(run, scale):
                continue
            job.lm = self.loaded.get(run.model, run.revision, run.protocol.eos)
            self._pass(job, [scale], [(0, scale)], self.store.cell_folder(run, scale))

    def _sweep(self, run: Run, missing: Sequence[int]) -> None:
        """Remove what streams kept to go on from, where a kill after their last cell left it behind."""
        if run.regime == "sequential":
            over = [] if missing or run.scales[-1] < run.goal else [self.store.run_folder(run)]
        else:
            over = [self.store.cell_folder(run, scale) for scale in run.scales if scale not in missing]
        for folder in over:
            Files.within(folder).remove()

    def _stopped_by_collapse(self, run: Run, scale: int) -> bool:
        """Record a scale as diverged if the model collapsed at a smaller one and the suite says to stop then."""
        if run.on_collapse == "continue":
            return False
        smaller = ((other, self.store.cell(run, other) or {}) for other in run.scales if other < scale)
        ruined = next((other for other, cell in smaller if cell.get("pulse", {}).get("collapsed_at")), None)
        if ruined is not None:
            self._finish(run, scale, CellOutcome(Status.DIVERGED, f"the model collapsed at {ruined:,} requests"))
        return ruined is not None

    def give_up(self, run: Run, outcome: CellOutcome, lm: LM | None = None, settings: ByScale | None = None) -> None:
        """Record the same outcome for every missing cell of a run whose folder is locked."""
        self.write_manifest(run, lm, settings)
        for scale in self._missing(run):
            self._finish(run, scale, outcome)

    def _finish(self, run: Run, scale: int, outcome: CellOutcome) -> None:
        Measuring(run, (), self.kit).finish(scale, outcome, self.loaded.lm)

    # -- before the first edit

    def _missing(self, run: Run) -> list[int]:
        found = ((scale, self.store.cell(run, scale)) for scale in run.scales)
        lacks = self.kit.capability.lacks
        return [s for s, cell in found if not (cell and Status(cell["status"]).settled) or lacks(run, s, cell)]

    def _refuse_other_weights(self, run: Run, lm: LM) -> None:
        if not matches(self.store.manifest(run), lm):
            raise StoreError(
                f"{self.store.run_folder(run)} holds results of other weights under the name {run.model}.",
                hint="Give another results folder with --results DIR, or remove that one.",
            )

    def _job(self, run: Run, lm: LM) -> Job | None:
        """Resolve the method for the model; None if it cannot be used here, which is then recorded."""
        job = None
        try:
            job = Job.resolved(run, lm, self.dataset, self.cache)
            reason = job.unsupported
        except Exception as error:
            self.give_up(run, failure(error), lm, None if job is None else job.settings)
            return None
        if reason is not None:
            self.give_up(run, CellOutcome(Status.SKIPPED, reason), lm, job.settings)
            return None
        self.write_manifest(run, lm, job.settings)
        return job

    def write_manifest(self, run: Run, lm: LM | None, settings: ByScale | None) -> None:
        """Write what runs, on what; what an earlier process wrote of the same run stays."""
        now = manifest(run, self.dataset, self.options, lm, settings)
        self.store.write_manifest(run, continued(self.store.manifest(run), now))

    def _measuring(self, job: Job, scales: Sequence[int]) -> Measuring:
        """Return what measures the run's cells, the unedited model having been asked."""
        measuring = Measuring(job.run, job.requests, self.kit)
        known = self._known[1] if self._known is not None and self._known[0] is job.lm else None
        measuring.ask_unedited(job.lm, scales, known)
        self._known = (job.lm, replace(measuring.unedited, answers={}))
        return measuring

    # -- the stream

    def _pass(self, job: Job, scales: Sequence[int], cuts: Sequence[tuple[int, int]], folder: Path) -> None:
        """Lead one stream through ``cuts`` and measure it at ``scales``; a stream that breaks ends them all."""
        left, files = list(scales), Files.within(folder)
        measuring = Measuring(job.run, job.requests, self.kit)
        editing: Editing | None = None
        try:
            with deadline(self.options.timeout_s):
                measuring = self._measuring(job, scales)
                editing = Editing(job, scales[-1], files, self.progress, EDIT_SHARE, measuring.unedited.reference)
            self._lead(editing, measuring, left, cuts)
        except StoreError:
            raise
        except Exception as error:
            done = editing.stream.done if editing is not None else 0
            outcome = failure(error, f" (after {done} requests)" if done else "")
            for scale in left:
                measuring.finish(scale, outcome, job.lm)
        finally:
            if editing is not None:
                self._put_back(editing, measuring, scales)
        # a stream that --max-scale ended here may be asked to go on
        goes_on = job.run.regime == "sequential" and not left and scales[-1] < job.run.goal
        files.remove(checkpoint=not goes_on)

    def _lead(self, editing: Editing, measuring: Measuring, left: list[int], cuts: Sequence[tuple[int, int]]) -> None:
        """Write and measure chunk by chunk; what is measured is taken out of ``left``.

        Raises :class:`Diverged` where the model has collapsed and the suite says to stop.
        """
        run, stream, goals = measuring.run, editing.stream, tuple(left)
        stops = editing.stops(cuts, goals)
        while left:
            with deadline(self.options.timeout_s):
                for stop in stops:
                    seen = stream.pulses[-1].requests if stream.pulses else 0
                    if seen < stop and (stop in run.stream or due(stream.pulses, stop) or stream.jumped()):
                        stream.look()
                    if stop in left:
                        editing.save()
                        break
                    self._stop_if_collapsed(editing, measuring)
                self._measure(editing, measuring, left[0])
            left.pop(0)
            if left:
                self._stop_if_collapsed(editing, measuring)

    def _stop_if_collapsed(self, editing: Editing, measuring: Measuring) -> None:
        if measuring.run.on_collapse == "stop":
            ruined = collapsed_at(editing.stream.pulses, measuring.unedited.perplexity)
            if ruined is not None:
                raise Diverged(f"the model collapsed at {ruined:,} requests")

    def _measure(self, editing: Editing, measuring: Measuring, scale: int) -> None:
        """Measure the model and finish the cell; a failure here is this cell's alone."""
        job, facts = editing.job, editing.stream.facts()
        if job.prepare_s is not None:
            facts = replace(facts, timings={**facts.timings, "prepare_s": job.prepare_s})
        try:
            outcome = measuring.measure(job.lm, facts, scale)
            if self.options.keep_edits:
                keep_edit(self.store.cell_folder(job.run, scale), editing, scale)
        except (StoreError, TimedOut):
            raise
        except Exception as error:
            known: dict[str, Any] = {"timings": facts.timings, "memory": facts.memory, "edit": facts.size}
            outcome = failure(error, pulse=measuring.pulse(facts), **known)
        measuring.finish(scale, outcome, job.lm)

    def _put_back(self, editing: Editing, measuring: Measuring, scales: Sequence[int]) -> None:
        """Take the edits out. A model that is not the unedited one then is dropped, and its method's cells failed."""
        try:
            editing.take_out()
            changed = self.loaded.changed()
            blame = f"the method left the model changed: {in_words(changed)}" if changed else ""
        except RevertFailed as error:
            blame = str(error)
        if not blame:
            return
        self.loaded.drop()
        self._known = None
        for scale in scales:
            if self.store.cell_status(measuring.run, scale) in (Status.DONE, None):
                self.store.finish_cell(measuring.run, scale, CellOutcome(Status.FAILED, blame))
                self.progress.cell_done(scale, Status.FAILED.value, blame)

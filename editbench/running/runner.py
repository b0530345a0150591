"""Carries out runs: load, prepare, write requests into the model, question it, keep the records, put it back.

In the batch regime every scale is a stream of its own with one chunk; in the sequential regime one stream of chunks
passes all scales. What is finished is on disk and is not done again; a stream that was cut off goes on from its last
checkpoint, and ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editbench.base.meter import release_freed_memory, timed
from editbench.base.progress import ALREADY_THERE, Progress, clock, run_label
from editbench.base.seeds import torch_generator
from editbench.cache import Cache
from editbench.capability.desk import Desk, failed_tasks
from editbench.datasets import ordered
from editbench.errors import BadModel, Diverged, StoreError, UserError
from editbench.measure.collapse import due, perplexity
from editbench.measure.divergence import Reference
from editbench.measure.drift import drift
from editbench.measure.examination import Examination
from editbench.measure.fluency import spread
from editbench.models.load import load_lm
from editbench.plan.registry import load_method
from editbench.plan.runs import Plan, RunOptions, RunSpec
from editbench.plan.settings import settings_for
from editbench.results.manifest import continued, made_by, manifest, matches
from editbench.results.store import CellOutcome, Status, Store
from editbench.running.delta import DELTA, described, write_delta
from editbench.running.job import Job
from editbench.running.stream import Stream, checkpoint_position
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.settings import Settings

# A stream writes a checkpoint at every scale, and between scales when this many seconds have passed.
CHECKPOINT_SECONDS = 30.0
# What a stream keeps to go on from: where it is, and how far the edit under way has come.
CHECKPOINT, SAVEPOINT = "checkpoint.safetensors", "edit.safetensors"
# How much of a cell's progress belongs to the edit; the rest is questioning.
EDIT_SHARE = 0.5
# How much of it belongs to capability, where that is measured.
CAPABILITY_SHARE = 0.3


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
                runner.give_up(run, *verdict(error))
        finally:
            progress.end_run()


def chunks(scales: Sequence[int], size: int | None) -> list[tuple[int, int]]:
    """Cut a stream at every scale and, if ``size`` is given, at every multiple of it: [start, stop) pairs."""
    cuts = {0, *scales} | (set(range(0, scales[-1], size)) if size else set())
    return list(pairwise(sorted(cuts)))


def verdict(error: Exception) -> tuple[Status, str]:
    """Return the status and the reason to record for what a method or a measurement raised."""
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, Diverged):
        return Status.DIVERGED, reason
    if isinstance(error, UserError):
        return Status.FAILED, reason
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in reason:
        return Status.OUT_OF_MEMORY, reason.splitlines()[0]
    return Status.FAILED, f"{type(error).__name__}: {reason}"


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

    edit_share = EDIT_SHARE

    def __init__(self, dataset: Dataset, store: Store, options: RunOptions, progress: Progress, cache: Cache) -> None:
        self.dataset, self.store, self.options = dataset, store, options
        self.progress, self.cache = progress, cache
        self.capability = Desk(options.capability_data, cache)
        self._loaded: tuple[tuple[str, str | None, bool], LM] | None = None
        self._unedited: tuple[LM, float, Reference] | None = None  # what is known of the unedited model, whatever run

    def carry_out(self, run: RunSpec) -> None:
        """Do what is missing of one run. Raises :class:`BadModel` or :class:`StoreError`."""
        self.store.manifest(run)  # one that is damaged is said before a model is loaded
        missing = self._missing(run)
        for scale in run.scales:
            status = self.store.cell_status(run, scale)
            if status is not None and scale not in missing:
                self.progress.cell_done(scale, status.value, ALREADY_THERE)
        self._sweep(run, missing)
        if not missing:
            return
        lm = self._model(run)
        with self.store.lock(run):
            self._refuse_other_weights(run, lm)
            job = self._job(run, lm)
            scales = self._missing(run)  # another process may have done some meanwhile
            if job is None or not scales:
                return
            if run.regime == "sequential":
                self._pass(job, scales, chunks(run.stream, run.chunk), self.store.run_folder(run))
            else:
                for scale in scales:
                    if not self._stopped_by_collapse(run, scale):
                        self._pass(job, [scale], [(0, scale)], self.store.cell_folder(run, scale))

    def _sweep(self, run: RunSpec, missing: Sequence[int]) -> None:
        """Remove what streams kept to go on from, where a kill after their last cell left it behind."""
        if run.regime == "sequential":
            over = [] if missing or run.scales[-1] < run.goal else [self.store.run_folder(run)]
        else:
            over = [self.store.cell_folder(run, scale) for scale in run.scales if scale not in missing]
        for folder in over:
            for name in (CHECKPOINT, SAVEPOINT):
                (folder / name).unlink(missing_ok=True)

    def _stopped_by_collapse(self, run: RunSpec, scale: int) -> bool:
        """Record a scale as diverged if the model collapsed at a smaller one and the suite says to stop then."""
        if run.on_collapse == "continue":
            return False
        smaller = ((other, self.store.cell(run, other) or {}) for other in run.scales if other < scale)
        ruined = next((other for other, cell in smaller if cell.get("pulse", {}).get("collapsed_at")), None)
        if ruined is not None:
            outcome = CellOutcome(Status.DIVERGED, f"the model collapsed at {ruined:,} requests")
            self._finish(run, scale, outcome)
        return ruined is not None

    def give_up(
        self, run: RunSpec, status: Status, reason: str, lm: LM | None = None, settings: Settings | None = None
    ) -> None:
        """Record the same outcome for every missing cell of a run whose folder is locked."""
        self._write_manifest(run, lm, settings)
        for scale in self._missing(run):
            self._finish(run, scale, CellOutcome(status, reason))

    # -- before the first edit

    def _missing(self, run: RunSpec) -> list[int]:
        found = ((scale, self.store.cell(run, scale)) for scale in run.scales)
        lacks = self.capability.lacks
        return [s for s, cell in found if not (cell and Status(cell["status"]).settled) or lacks(run, s, cell)]

    def _model(self, run: RunSpec) -> LM:
        wanted = (run.model, run.revision, run.protocol.eos)
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = self._unedited = None
            options = self.options
            self.progress.stage("loading the model")
            lm = load_lm(
                run.model,
                revision=run.revision,
                dtype=options.dtype,
                device=options.device,
                device_map=options.device_map,
                trust_remote_code=options.trust_remote_code,
                target_eos=run.protocol.eos,
                progress=self.progress.stage,
            )
            problems = lm.text.self_test()
            if problems:
                raise BadModel(f"The tokeniser of {run.model} breaks a rule this needs: {'; '.join(problems)}.")
            self._loaded = (wanted, lm)
        return self._loaded[1]

    def _refuse_other_weights(self, run: RunSpec, lm: LM) -> None:
        if not matches(self.store.manifest(run), lm):
            raise StoreError(
                f"{self.store.run_folder(run)} holds results of other weights under the name {run.model}.",
                hint="Give another results folder with --results DIR, or remove that one.",
            )

    def _job(self, run: RunSpec, lm: LM) -> Job | None:
        """Resolve the method for the model; None if it cannot be used here, which is then recorded."""
        settings = None
        try:
            method_class = load_method(run.method)
            settings = settings_for(method_class, lm.shape, run.hparams)
            reason = method_class(settings.values).supports(lm)
        except Exception as error:
            self.give_up(run, *verdict(error), lm, settings)
            return None
        if reason is not None:
            self.give_up(run, Status.SKIPPED, reason, lm, settings)
            return None
        self._write_manifest(run, lm, settings)
        requests = ordered(self.dataset, run.scales[-1], run.seed)
        return Job(run, lm, method_class, settings, requests, self.cache)

    def _write_manifest(self, run: RunSpec, lm: LM | None, settings: Settings | None) -> None:
        now = manifest(run, self.dataset, self.options, lm, settings)
        self.store.write_manifest(run, continued(self.store.manifest(run), now))

    # -- the stream

    def _pass(self, job: Job, scales: Sequence[int], cuts: Sequence[tuple[int, int]], folder: Path) -> None:
        """Lead one stream through ``cuts`` and measure it at ``scales``; a stream that breaks ends them all."""
        left = list(scales)
        files = folder / CHECKPOINT, folder / SAVEPOINT
        stream: Stream | None = None
        try:
            self._ask_unedited(job, scales)
            self.progress.stage("preparing")
            release_freed_memory(job.lm.device)
            stream = Stream(job.lm, job.new_method(self._report_preparing), job.reference)
            self._lead(job, stream, left, cuts, *files)
        except StoreError:
            raise
        except Exception as error:
            status, reason = verdict(error)
            if stream is not None and stream.done:
                reason = f"{reason} (after {stream.done} requests)"
            for scale in left:
                self._finish(job.run, scale, CellOutcome(status, reason))
        finally:
            if stream is not None:
                stream.take_out()
        # a stream that --max-scale ended here may be asked to go on
        goes_on = job.run.regime == "sequential" and not left and scales[-1] < job.run.goal
        for file in files[1:] if goes_on else files:
            file.unlink(missing_ok=True)

    def _lead(
        self,
        job: Job,
        stream: Stream,
        left: list[int],
        cuts: Sequence[tuple[int, int]],
        checkpoint: Path,
        savepoint: Path,
    ) -> None:
        """Write and measure chunk by chunk; what is measured is taken out of ``left``.

        Raises :class:`Diverged` where the model has collapsed and the suite says to stop.
        """
        position = checkpoint_position(checkpoint)
        if position is not None and position <= left[0]:
            stream.resume(checkpoint)
        saved_at = time.monotonic()
        for start, stop in cuts:
            if not left:
                break
            if stop < stream.done:  # written, measured and looked at before this process
                continue
            if start >= stream.done:
                self._write(job, stream, (start, stop), left[0], savepoint)
                if stop in job.run.stream or due(stream.pulses, stop) or stream.jumped():
                    stream.look()
                if stop in left or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                    stream.save(checkpoint)
                    saved_at = time.monotonic()
            if stop in left:
                self._measure(job, stream, stop)
                left.remove(stop)
            if left and job.run.on_collapse == "stop" and job.collapsed_at(stream) is not None:
                raise Diverged(f"the model collapsed at {job.collapsed_at(stream):,} requests")

    def _ask_unedited(self, job: Job, scales: Sequence[int]) -> None:
        self.progress.stage("asking the unedited model")
        if self._unedited is None or self._unedited[0] is not job.lm:
            self._unedited = (job.lm, perplexity(job.lm), Reference(job.lm, self.cache, self._report_unedited))
        _, job.unedited_perplexity, job.reference = self._unedited
        for scale in scales:
            job.unedited[scale] = self._examination(job, scale).unedited(job.lm, self.cache, self._report_unedited)
        facts = self.capability.baseline(job.run, scales, job.lm, lambda _, note: self.progress.update(0.0, note))
        self._note_capability(job.run, facts)

    def _note_capability(self, run: RunSpec, facts: dict[str, Any] | None) -> None:
        if facts is not None:
            self.store.write_manifest(run, {**(self.store.manifest(run) or {}), "capability": facts})

    def _report_unedited(self, share: float) -> None:
        self.progress.update(0.0, f"asking the unedited model: {share:.0%}")

    def _report_preparing(self, share: float, note: str) -> None:
        self.progress.update(0.0, f"preparing: {note}, {share:.0%}")

    def _examination(self, job: Job, scale: int) -> Examination:
        run = job.run
        return Examination(job.requests, scale, run.probes, run.protocol, run.seed, self.options.token_budget)

    def _write(self, job: Job, stream: Stream, chunk: tuple[int, int], scale: int, savepoint: Path) -> None:
        start, stop = chunk
        self.progress.stage(f"editing {scale:,}")

        def report(share: float, note: str) -> None:
            done = (start + share * (stop - start)) / scale
            self.progress.update(self.edit_share * done, f"editing {scale:,}: {note}")

        stream.method.progress = report
        stream.method.savepoint = Savepoint(savepoint, f"requests {start} to {stop}")
        stream.write(job.requests[start:stop], job.rng(start, stop))

    def _measure(self, job: Job, stream: Stream, scale: int) -> None:
        """Question the model and finish the cell; a failure here is this cell's alone."""
        run, before = job.run, self.store.cell(job.run, scale) or {}
        edit = {**stream.timings, **({} if job.prepare_s is None else {"prepare_s": job.prepare_s})}
        try:
            exam = self._examination(job, scale)
            with timed(job.lm.device) as watch:
                errors, asked = self._ask(job, exam, scale, changed=stream.changed)
            with timed(job.lm.device) as drifting:
                drifted = self._drift(job, stream, exam, scale)
            with timed(job.lm.device) as trying:
                entries = self._try(job, scale, changed=stream.changed)
            if self.options.keep_edits and stream.adds_nothing_to_run:
                path = self.store.cell_folder(run, scale) / DELTA
                write_delta(path, job.lm, stream.originals, described(run, scale, job.lm, job.settings))
            counts = {"requests": scale, "probed": len(exam.positions), "records": exam.n_records, "errors": errors}
            probing = watch.seconds if asked else before.get("timings", {}).get("evaluate_s", watch.seconds)
            spent = {"evaluate_s": probing, "drift_s": drifting.seconds}
            outcome = CellOutcome(
                Status.DONE,
                timings={**edit, **spent, **({"capability_s": trying.seconds} if entries else {})},
                memory=stream.peak,
                edit=stream.facts(),
                counts={**counts, "failed_requests": len(stream.failures)},
                failures=stream.failures,
                pulse=job.pulse(stream),
                drift=drifted,
                capability={**before.get("capability", {}), **entries},  # what is not asked for now stays
            )
        except StoreError:
            raise
        except Exception as error:
            known: dict[str, Any] = {"memory": stream.peak, "edit": stream.facts(), "pulse": job.pulse(stream)}
            outcome = CellOutcome(*verdict(error), timings=edit, **known)
        self._finish(run, scale, outcome)

    def _ask(self, job: Job, exam: Examination, scale: int, *, changed: bool) -> tuple[int, int]:
        """Append the records that are missing; return how many of all carry an error, and how many were asked."""
        run, total = job.run, max(exam.n_records, 1)
        share = 1 - EDIT_SHARE - (CAPABILITY_SHARE if self.capability.asks(run, scale) else 0.0)
        known = self.store.read_records(run, scale)
        done = exam.whole_batches(job.lm, len(known))
        if done < len(known):
            self.store.keep_records(run, scale, done)
        errors, there = sum(bool(row["error"]) for row in known[:done]), done
        self.progress.stage(f"probing {scale:,}")
        for batch in exam.records(job.lm, job.unedited[scale], skip=done, changed=changed):
            self.store.append_records(run, scale, batch)
            errors += sum(bool(row.error) for row in batch)
            done += len(batch)
            self.progress.update(EDIT_SHARE + share * done / total, f"probing {scale:,}: {done:,}/{total:,}")
        return errors, done - there

    def _drift(self, job: Job, stream: Stream, exam: Examination, scale: int) -> dict[str, Any]:
        """Measure how far the model has drifted; what it says at length only if a metric of the suite reads that."""
        run = job.run
        prompts = [job.requests[position].prompt for position in spread(exam.positions)] if run.talks else []
        if prompts:
            self.progress.stage(f"talking at {scale:,}")
        return drift(stream, prompts, torch_generator(run.seed, "talk", run.dataset_hash, scale))

    def _try(self, job: Job, scale: int, *, changed: bool) -> dict[str, dict[str, Any]]:
        def report(share: float, note: str) -> None:
            self.progress.update(1 - CAPABILITY_SHARE * (1 - share), f"capability at {scale:,}: {note}")

        folder = self.store.cell_folder(job.run, scale)
        return self.capability.measure(job.run, scale, folder, report, job.lm, changed=changed)

    def _finish(self, run: RunSpec, scale: int, outcome: CellOutcome) -> None:
        """Write what became of a cell; one that was done stays so, whatever came of a later attempt to complete it."""
        before = self.store.cell_status(run, scale)
        if before is Status.DONE and outcome.status is not Status.DONE:
            self.progress.cell_done(scale, before.value, f"kept; what it lacks, {outcome.status}: {outcome.reason}")
            return
        lm = self._loaded[1] if self._loaded else None
        self.store.finish_cell(run, scale, replace(outcome, made_by=made_by(self.options, lm)))
        seconds = outcome.timings.get("edit_s", 0.0), outcome.timings.get("evaluate_s", 0.0)
        spent = f"edit {clock(seconds[0])}, probes {clock(seconds[1])}"
        if "capability_s" in outcome.timings:
            failed = failed_tasks(outcome.capability)
            spent += f", capability {clock(outcome.timings['capability_s'])}" + (f" ({failed})" if failed else "")
        self.progress.cell_done(scale, outcome.status.value, outcome.reason or spent)

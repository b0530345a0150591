"""Leads a method through the chunks of a run, with checkpoints: what running and exporting have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from editbench.base.meter import release_freed_memory
from editbench.running.guard import TimedOut
from editbench.running.stream import Stream, checkpoint_position
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    from editbench.base.progress import Progress
    from editbench.measure.divergence import Reference
    from editbench.running.job import Job

# A stream writes a checkpoint where it is asked to, and in between when this many seconds have passed, and this many
# times what the last one took.
CHECKPOINT_SECONDS, TIMES_ITS_COST = 30.0, 20.0
# How small a share of the usual tokens is tried at once where memory runs out.
LEAST_SHARE = 1 / 16


def chunks(scales: Sequence[int], size: int | None) -> list[tuple[int, int]]:
    """Return the [start, stop) of every chunk of a stream through ``scales``, cut at the scales."""
    stops = sorted({*scales, *range(size or scales[-1], scales[-1], size or scales[-1])})
    return list(pairwise([0, *stops]))


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left, on the device or off it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


@dataclass
class Files:
    """Where a stream under way keeps its state.

    Attributes
    ----------
    checkpoint: the stream's, between two chunks.
    savepoint: a long edit's own.
    """

    checkpoint: Path
    savepoint: Path

    @classmethod
    def within(cls, folder: Path, mark: str = "") -> Files:
        """Return the files of a folder; ``mark`` tells those of one model from another's."""
        return cls(folder / f"checkpoint{mark}.safetensors", folder / f"savepoint{mark}.safetensors")

    def remove(self, *, checkpoint: bool = True) -> None:
        """Remove what is there, the checkpoint only if asked."""
        for file in (self.savepoint, *([self.checkpoint] if checkpoint else [])):
            file.unlink(missing_ok=True)


class Editing:
    """One stream of edits under way.

    Parameters
    ----------
    job: what is run.
    scale: how many requests it goes up to.
    files: where its state is kept.
    progress: what is told how far it is.
    share: how much of a cell's progress belongs to the edit.
    reference: what the unedited model said, for looks at the model on the way; None: nothing is compared.
    """

    def __init__(
        self,
        job: Job,
        scale: int,
        files: Files,
        progress: Progress,
        share: float = 1.0,
        reference: Reference | None = None,
    ) -> None:
        self.job, self.files, self.progress, self.share = job, files, progress, share
        progress.stage("preparing")
        release_freed_memory(job.lm.device)
        self.stream = Stream(job.lm, job.new_method(scale, self._report_preparing), reference)

    def stops(self, cuts: Sequence[tuple[int, int]], goals: Sequence[int]) -> Iterator[int]:
        """Write chunk after chunk and yield how many requests are in the model then, up to the last of ``goals``.

        What a checkpoint holds is not written again; it is yielded first, once, if it ends at a cut. Whoever measures
        at a stop should :meth:`save` there. Raises what the method raises.
        """
        position = checkpoint_position(self.files.checkpoint)
        if position is not None and position <= goals[0]:
            self.stream.resume(self.files.checkpoint)
        self._saved_at, self._cost = time.monotonic(), 0.0
        for start, stop in cuts:
            if stop > goals[-1]:
                return
            if stop < self.stream.done:  # written, and measured if it was to be, before this process
                continue
            if start >= self.stream.done:
                self._write(start, stop, next(goal for goal in goals if goal >= stop))
                yield stop
                self._save_if_due()
            else:
                yield stop

    def save(self) -> None:
        """Write a checkpoint."""
        begun = time.monotonic()
        self.stream.save(self.files.checkpoint)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - begun

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at > max(CHECKPOINT_SECONDS, TIMES_ITS_COST * self._cost):
            self.save()

    def _write(self, start: int, stop: int, goal: int) -> None:
        """Write one chunk; where memory runs out, with fewer tokens at once, down to a sixteenth."""
        job, method = self.job, self.stream.method
        self.progress.stage(f"editing {goal:,}")

        def report(share: float, note: str) -> None:
            self.progress.update(self.share * (start + share * (stop - start)) / goal, f"editing {goal:,}: {note}")

        method.progress = report
        method.savepoint = Savepoint(self.files.savepoint, f"requests {start} to {stop}")
        lm = job.lm
        while True:
            try:
                self.stream.write(job.requests[start:stop], job.rng(start, stop))
                return
            except Exception as error:
                if isinstance(error, TimedOut) or not out_of_memory(error) or lm.pass_share <= LEAST_SHARE:
                    raise
                lm.pass_share /= 2
            share = f"{lm.pass_share:.2g} of the tokens at once"
            self.progress.stage(f"editing {goal:,}: memory ran out, again with {share}")
            release_freed_memory(lm.device)

    def _report_preparing(self, share: float, note: str) -> None:
        self.progress.update(0.0, f"preparing: {note}, {share:.0%}")

    def take_out(self) -> None:
        """Restore the model. Raises :class:`~editbench.ledger.RevertFailed`."""
        self.job.lm.pass_share = 1.0
        self.stream.take_out()

"""The laws of edits that come in chunks, one on top of the other or in its place."""

from __future__ import annotations

from editbench.base.seeds import torch_generator
from editbench.ledger import RevertFailed
from editbench.running.unedited import differences, in_words
from editbench.testing.laws import close, law, refuse_undeclared, refuse_unless_learnt, texts_only
from editbench.testing.trial import Broken, NotApplicable, Trial, asked, fingerprint, target_nll


@law("revert restores the model bitwise after a stream of two chunks")
def _revert_restores(trial: Trial) -> None:
    try:
        left = trial.two_chunks.left
    except RevertFailed as error:
        raise Broken(str(error)) from error
    if left:
        raise Broken(f"what is left of two chunks that were taken out: {in_words(left)}")


@law("a stream resumed from its checkpoint equals an unbroken one")
def _resumed(trial: Trial) -> None:
    unbroken = trial.two_chunks
    trial.renew()
    stream = trial.stream()
    stream.resume(unbroken.checkpoint)
    stream.write(trial.chunks[1], torch_generator(0, "chunk", 1))
    changed = differences(unbroken.whole, fingerprint(trial.lm, trial.requests))
    changed = [part for part in changed if part not in trial.left_by_edit]
    stream.take_out()
    if changed:
        raise Broken(f"after a resume and the second chunk these differ: {in_words(changed)}")


@law("where a method is cumulative, a stream of two chunks ends as one edit of all")
def _cumulative(trial: Trial) -> None:
    refuse_undeclared(trial, "cumulative")
    stream = trial.two_chunks
    trial.renew()
    with trial.edited() as ledger:
        whole, nbytes = asked(trial.lm, trial.requests), ledger.nbytes
        read = trial.lm.as_read([request.prompt for request in trial.chunks[0]])
    if read != stream.read_after:
        raise Broken("other texts stand around the first chunk's prompts")
    for request, one, other in zip(trial.requests, whole, stream.answers, strict=True):
        if not close(one.nll, other.nll, 10 * trial.tolerance):
            raise Broken(
                f"the NLL of {request.prompt!r} is {one.nll[0]:.4f} after one edit, {other.nll[0]:.4f} after two chunks"
            )
    if abs(nbytes - stream.nbytes) > 0.05 * nbytes:
        raise Broken(f"one edit takes {nbytes:,} bytes, two chunks take {stream.nbytes:,}")


@law("the first chunk survives the second")
def _survives(trial: Trial) -> None:
    edit = trial.edit
    if edit.kind in ("weights", "low-rank") and not edit.supersedes:
        raise NotApplicable("how much of weights is written over is what a run measures")
    if texts_only(edit):
        _still_read(trial)
        if trial.model.tiny:
            return
    refuse_unless_learnt(trial)
    both, size = trial.two_chunks, len(trial.chunks[0])
    trial.renew()
    before, after = (target_nll(answers[:size]) for answers in (asked(trial.lm, trial.requests), both.answers))
    if not after < before:
        raise Broken(
            f"after both chunks the mean NLL of the first one's targets is {after:.4f} nats per token, {before:.4f} "
            "without any edit"
        )


def _still_read(trial: Trial) -> None:
    """Of a context: a target that stood around its prompt after the first chunk stands there after the second."""
    both = trial.two_chunks
    for request, then, now in zip(trial.chunks[0], both.read_before, both.read_after, strict=True):
        if request.target_new in then and request.target_new not in now:
            raise Broken(f"the second chunk took {request.target_new!r} away from {request.prompt!r}")

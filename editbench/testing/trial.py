"""A method on trial: the model it is tried on, what it makes of it, and what is seen of the model before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editbench.base.seeds import torch_generator
from editbench.ledger import Ledger, RevertFailed
from editbench.models.generate import Outcome, Question, ask_batch
from editbench.plan.protocol import Protocol
from editbench.plan.settings import settings_for
from editbench.requests import Request
from editbench.running import unedited
from editbench.running.guard import MethodAtFault, checked, process_kept
from editbench.running.stream import Stream
from editbench.testing.tiny import tiny_lm, tiny_requests

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.edits import Edit
    from editbench.method import Method
    from editbench.models.lm import LM
    from editbench.testing.elsewhere import OtherProcess

N_REQUESTS = 6
# Prompts that have nothing to do with any request.
UNRELATED = ("Water boils at", "2 + 2 =", "Once upon a time, deep in a dark forest, there was a", "She said: I")
PROTOCOL = Protocol(max_new_tokens=8)


class Broken(Exception):
    """A law does not hold; the message says what was seen."""


class NotApplicable(Exception):
    """A law says nothing about this method, or cannot be tried here; the message says why."""


@dataclass(frozen=True)
class TrialModel:
    """Which model the laws are tried on, told so that another process can load the same.

    Attributes
    ----------
    name: of a tiny model's kind, or of a real model.
    tiny: which of them.
    options: more arguments of :func:`~editbench.models.load.load_lm`, for a real one.
    """

    name: str
    tiny: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> LM:
        """Return the unedited model. Raises :class:`~editbench.errors.BadModel`."""
        if self.tiny:
            return tiny_lm(self.name)
        from editbench.models.load import load_lm

        return load_lm(self.name, **self.options)

    def overrides(self, method_class: type[Method], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyper-parameters that replace the method's own: those for tiny models, then those given."""
        return {**(method_class.tiny if self.tiny else {}), **given}


@dataclass(frozen=True)
class Sight:
    """What is seen of a model: everything that ``edit`` must leave as it was.

    Attributes
    ----------
    parts: as a run's own check of the model sees it, :func:`editbench.running.unedited.fingerprint`.
    tree: class of every module.
    modes: train or eval mode of every module; of every parameter, whether it asks for gradients and has one.
    hooks: how many hooks every module has, and whether its forward function is replaced.
    """

    parts: dict[str, str]
    tree: dict[str, str]
    modes: dict[str, Any]
    hooks: dict[str, Any]

    @classmethod
    def of(cls, lm: LM) -> Sight:
        """Look at a model."""
        modules, parameters = dict(lm.model.named_modules()), dict(lm.model.named_parameters())
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return cls(
            unedited.fingerprint(lm),
            {name: type(module).__qualname__ for name, module in modules.items()},
            {name: module.training for name, module in modules.items()}
            | {name: (p.requires_grad, p.grad is None) for name, p in parameters.items()},
            {n: (sum(len(getattr(m, kind)) for kind in kinds), "forward" in vars(m)) for n, m in modules.items()},
        )


@dataclass(frozen=True)
class First:
    """The first edit of a trial, of all requests, and what was seen around it.

    Attributes
    ----------
    made: what ``edit`` returned; None if it did not come to that.
    error: what it raised, or what it did to the process.
    before, after: what was seen of the model.
    """

    made: Any
    error: Exception | None
    before: Sight
    after: Sight


@dataclass(frozen=True)
class TwoChunks:
    """A stream of two chunks, as a run writes it.

    Attributes
    ----------
    checkpoint: written after the first chunk.
    read_before: the first chunk's prompts as the model read them then.
    read_after: the same after the second chunk.
    whole: fingerprint after the second chunk.
    answers: to all requests then.
    nbytes: size of what is in the model then.
    left: what is not as it was once everything was taken out, but for what ``edit`` itself leaves.
    """

    checkpoint: Path
    read_before: list[str]
    read_after: list[str]
    whole: dict[str, str]
    answers: list[Outcome]
    nbytes: int
    left: list[str]


class Trial:
    """A method, tried on one model.

    Parameters
    ----------
    method_class: the method.
    given: hyper-parameters that replace the method's own.
    model: what it is tried on.
    cache: where it may keep what it prepares.
    folder: an empty one, for files.
    elsewhere: the process in which edits are made again.

    Raises :class:`~editbench.errors.UserError` for hyper-parameters that the method has not.
    """

    def __init__(
        self,
        method_class: type[Method],
        given: Mapping[str, Any],
        model: TrialModel,
        cache: Cache,
        folder: Path,
        elsewhere: OtherProcess | None = None,
    ) -> None:
        self.method_class, self.model, self.cache, self.folder = method_class, model, cache, folder
        self.given, self.elsewhere = given, elsewhere
        self.requests = tuple(tiny_requests(N_REQUESTS))
        self.lm = model.load()
        self._clean = unedited.fingerprint(self.lm)
        self.hparams = settings_for(method_class, self.lm.shape, model.overrides(method_class, given)).values

    @property
    def unsupported(self) -> str | None:
        """Why the method cannot edit this model, or None."""
        return self.method_class(self.hparams).supports(self.lm)

    @property
    def chunks(self) -> tuple[tuple[Request, ...], tuple[Request, ...]]:
        """The requests in two halves."""
        half = N_REQUESTS // 2
        return self.requests[:half], self.requests[half:]

    @property
    def tolerance(self) -> float:
        """How far two negative log-likelihoods may lie apart for rounding, as a share."""
        return 1e-3 if self.lm.model.dtype == torch.float32 else 0.1

    def changes(self) -> list[str]:
        """Return what of the model is not as it was loaded."""
        return unedited.differences(self._clean, unedited.fingerprint(self.lm))

    def renew(self) -> None:
        """Load the model afresh if it is not the unedited one."""
        self.lm.call = None
        if self.changes():
            self.lm = self.model.load()

    def renew_after_first(self) -> None:
        """Compute the first edit, if that is not done, and let nothing stay that it left in the model."""
        if self.first.made is not None:
            self.renew()

    @property
    def left_by_edit(self) -> list[str]:
        """What of the model was not as before when the first edit had been computed: it has laws of its own."""
        return unedited.differences(self.first.before.parts, self.first.after.parts)

    def new(self) -> Method:
        """Return a fresh, prepared instance of the method."""
        method = self.method_class(self.hparams)
        method.prepare(self.lm, self.cache)
        return method

    def made(
        self, requests: Sequence[Request] | None = None, *, method: Method | None = None, with_probes: bool = False
    ) -> Edit:
        """Return the edit of an instance, a fresh one by default, whatever it does to the process beside it.

        Raises what ``edit`` raises, and :class:`MethodAtFault` for what is no edit.
        """
        chosen = self.requests if requests is None else requests
        given = tuple(request if with_probes else request.without_probes() for request in chosen)
        self.renew()
        method = self.new() if method is None else method
        edit: Any = None
        try:
            with process_kept():
                edit = method.edit(self.lm, given, torch_generator(0, "law"))
        except MethodAtFault:  # what it did to the process has a law of its own, if there is an edit all the same
            if edit is None:
                raise
        return checked(edit, method)

    @cached_property
    def first(self) -> First:
        """The first edit, of all requests."""
        given = tuple(request.without_probes() for request in self.requests)
        before, made, error = Sight.of(self.lm), None, None
        try:
            method = self.new()
            with process_kept():
                made = method.edit(self.lm, given, torch_generator(0, "law"))
            if given != tuple(request.without_probes() for request in self.requests):
                raise MethodAtFault("edit changed the requests it was given")
        except Exception as caught:
            error = caught
        return First(made, error, before, Sight.of(self.lm))

    @property
    def edit(self) -> Edit:
        """The first edit. Raises what stands in the way of there being one."""
        if self.first.made is None and self.first.error is not None:
            raise self.first.error
        return checked(self.first.made, self.method_class(self.hparams))

    @contextmanager
    def edited(self, *edits: Edit) -> Iterator[Ledger]:
        """Within the context, edits are in the model; the first one if none is named."""
        self.renew()
        ledger = Ledger(self.lm)
        try:
            for edit in edits or (self.edit,):
                ledger.apply(edit)
            yield ledger
        finally:
            with suppress(RevertFailed):  # has a law of its own
                ledger.revert()

    @cached_property
    def print_of_first(self) -> dict[str, str]:
        """The fingerprint of the model with the first edit in it."""
        with self.edited():
            return fingerprint(self.lm, self.requests)

    def stream(self, method: Method | None = None) -> Stream:
        """Return a stream as a run has it. Raises :class:`NotApplicable` where the method takes no chunks."""
        if "sequential" not in self.method_class.regimes:
            raise NotApplicable("it takes all requests at once")
        return Stream(self.lm, self.new() if method is None else method)

    @cached_property
    def two_chunks(self) -> TwoChunks:
        """The requests written in two chunks."""
        stream, checkpoint = self.stream(), self.folder / "checkpoint.safetensors"
        prompts = [request.prompt for request in self.chunks[0]]
        stream.write(self.chunks[0], torch_generator(0, "chunk", 0))
        stream.save(checkpoint)
        read_before = self.lm.as_read(prompts)
        stream.write(self.chunks[1], torch_generator(0, "chunk", 1))
        read_after = self.lm.as_read(prompts)
        whole, answers = fingerprint(self.lm, self.requests), asked(self.lm, self.requests)
        nbytes = stream.ledger.nbytes
        stream.take_out()
        left = [part for part in self.changes() if part not in self.left_by_edit]
        return TwoChunks(checkpoint, read_before, read_after, whole, answers, nbytes, left)


def asked(lm: LM, requests: Sequence[Request]) -> list[Outcome]:
    """Return what the model says to the requests' prompts, asked in one batch as in a run."""
    questions = [Question(r.prompt, (r.target_new, r.target_true), r.target_new) for r in requests]
    return ask_batch(lm, questions, PROTOCOL)


def target_nll(outcomes: Sequence[Outcome]) -> float:
    """Return the mean over requests of the mean NLL per token of the target, in nats."""
    return sum(outcome.nll[0] or 0.0 for outcome in outcomes) / len(outcomes)


def fingerprint(lm: LM, requests: Sequence[Request]) -> dict[str, str]:
    """Return what an edited model is, bit for bit: all its parts, what it reads and what it says to the requests."""
    if lm.context is not None:
        lm.context.forget()
    said = {"texts": lm.as_read([request.prompt for request in requests]), "answers": asked(lm, requests)}
    hashed = {name: hashlib.sha256(repr(value).encode()).hexdigest()[:16] for name, value in said.items()}
    return unedited.fingerprint(lm) | hashed

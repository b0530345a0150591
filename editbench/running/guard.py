"""Calls a method's ``edit`` so that nothing it does beside the edit reaches what runs after it.

Whatever is amiss is put right where it can be, and said: the run then fails with that reason.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from editbench.edits import Edit, code_name
from editbench.errors import Diverged, EditbenchError

if TYPE_CHECKING:
    from editbench.method import Method
    from editbench.models.lm import LM
    from editbench.requests import Request


class MethodAtFault(EditbenchError):
    """A method did what the contract forbids; the message says what."""


class TimedOut(EditbenchError):
    """A cell took longer than ``--timeout`` allows."""


@dataclass(frozen=True)
class _Global:
    """One thing that belongs to the whole process."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    same: Callable[[Any, Any], bool] = field(default=lambda one, other: bool(one == other))


def _numpy_same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one[1], other[1])) and one[2:] == other[2:]


_GLOBALS = (
    _Global("torch's random state", torch.get_rng_state, torch.set_rng_state, torch.equal),
    _Global("Python's random state", random.getstate, random.setstate),
    _Global("numpy's random state", np.random.get_state, np.random.set_state, _numpy_same),
    _Global("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Global("torch's default device", torch.get_default_device, torch.set_default_device),
    _Global("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _Global("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    _Global("torch's matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _Global(
        "torch's deterministic mode", torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    _Global("the working folder", os.getcwd, os.chdir),
)


def called(method: Method, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
    """Return ``method.edit(lm, requests, rng)``, the requests without their probes.

    Raises what it raises, :class:`MethodAtFault` for whatever it does beside computing an edit, and
    :class:`~editbench.errors.Diverged` for an edit with numbers that are not finite.
    """
    given = tuple(request.without_probes() for request in requests)
    with process_kept():
        edit = method.edit(lm, given, rng)
    if given != tuple(request.without_probes() for request in requests):
        raise MethodAtFault("edit changed the requests it was given")
    return checked(edit, method)


def checked(edit: Any, method: Method) -> Edit:
    """Return what ``edit`` returned if it is an edit of the declared kind, of finite numbers."""
    if not isinstance(edit, Edit):
        raise MethodAtFault(f"edit returned {'nothing' if edit is None else type(edit).__name__}; expected an Edit")
    if method.kind not in (edit.kind, "mixed"):
        raise MethodAtFault(f"edit returned an edit of the kind {edit.kind!r}; {method.name} declares {method.kind!r}")
    for name, value in edit.data().items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise Diverged(f"the edit holds numbers that are not finite, in {name}")
    return edit


@contextmanager
def process_kept() -> Iterator[None]:
    """Put back what belongs to the whole process, and raise :class:`MethodAtFault` that names what was changed."""
    pid, threads = os.getpid(), set(threading.enumerate())
    before = [(one, one.read()) for one in _GLOBALS]
    try:
        with _no_exit():
            yield
    except SystemExit as error:
        raise MethodAtFault(f"edit called sys.exit({error.code!r})") from error
    finally:
        if os.getpid() != pid:  # a child of a fork that came back here would do all that follows a second time
            os._exit(1)
        changed = [one for one, value in before if not one.same(value, one.read())]
        for one, value in before:
            if one in changed:
                one.write(value)
    if changed:
        raise MethodAtFault(f"edit changed {', '.join(one.name for one in changed)}")
    left = [thread for thread in threading.enumerate() if thread not in threads and not thread.daemon]
    if left:
        raise MethodAtFault(f"edit left a thread running: {left[0].name}")


@contextmanager
def _no_exit() -> Iterator[None]:
    """Within the context, ``os._exit`` in this process raises instead of ending everything without a word."""
    real, pid = os._exit, os.getpid()

    def refused(status: int) -> None:
        if os.getpid() != pid:
            real(status)
        raise MethodAtFault(f"edit called os._exit({status})")

    os._exit = refused  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise :class:`TimedOut` within the context when it has taken this long; None: never.

    It is noticed between two steps of Python: a single long operation of torch is finished first. Outside the main
    thread, and where the system has no interval timer, there is no deadline.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TimedOut(f"took longer than {seconds:g} s (--timeout)")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refuse_unnamed(edit: Edit) -> None:
    """Raise :class:`~editbench.edits.NotAnEdit` for an edit whose code no other process could find."""
    for name in ("build", "lookup"):
        if hasattr(edit, name):
            code_name(getattr(edit, name))
    for part in getattr(edit, "parts", ()):
        refuse_unnamed(part)

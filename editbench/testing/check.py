"""Tries the laws on a method: on tiny models made in memory, or on a real one.

``editbench check --method NAME`` does so from the shell; a plugin's own tests call :func:`check_method`.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from editbench.cache import Cache
from editbench.errors import EditbenchError
from editbench.method import Method
from editbench.testing import laws_of_batches, laws_of_streams
from editbench.testing.elsewhere import OtherProcess
from editbench.testing.laws import LAWS
from editbench.testing.trial import Broken, NotApplicable, Trial, TrialModel

# One kind with Linear blocks and gated MLPs, one with Conv1D and biases.
LAW_KINDS = ("llama", "gpt2")
# Files that hold laws; importing them registers what they hold.
FILES_OF_LAWS = (laws_of_streams, laws_of_batches)


@dataclass(frozen=True, slots=True)
class LawResult:
    """One law tried on one model.

    Attributes
    ----------
    law: what is claimed.
    kind: the tiny model's architecture, or the real model's name.
    status: whether it held, was broken, or says nothing about this method or model.
    detail: what was seen when it was broken, or why it does not apply.
    same_as: the law that was broken by the same cause before; its result tells what was seen. "" if there is none.
    """

    law: str
    kind: str
    status: Literal["holds", "broken", "not applicable"]
    detail: str = ""
    same_as: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law is not broken."""
        return self.status != "broken"


def check_method(
    method: str | type[Method],
    overrides: Mapping[str, Any] | None = None,
    kinds: Sequence[str] = LAW_KINDS,
    laws: Sequence[str] | None = None,
    *,
    model: TrialModel | None = None,
    elsewhere: OtherProcess | None = None,
) -> list[LawResult]:
    """Try the laws on a method; return one result per law and model.

    Parameters
    ----------
    method: a registered name, ``./file.py:Class``, or the class itself.
    overrides: hyper-parameters that replace the method's own, and on tiny models those it declares as ``tiny``.
    kinds: architectures from ``editbench.testing.tiny.TINY_KINDS``.
    laws: which claims of ``LAWS`` to try; None: all.
    model: a real model, to try them on instead of tiny ones.
    elsewhere: the other process of the laws about one; None: one of its own. Whoever checks many methods shares one.

    Raises :class:`UserError` for a method or hyper-parameters that there are not.
    """
    from editbench.plan.registry import load_method

    method_class = load_method(method) if isinstance(method, str) else method
    models = [TrialModel(kind) for kind in kinds] if model is None else [model]
    found: list[LawResult] = []
    causes: dict[Any, str] = {}
    with ExitStack() as stack:
        other = stack.enter_context(OtherProcess()) if elsewhere is None else elsewhere
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cache = Cache(folder / "cache")
        for one in models:
            place = folder / str(len(found))
            place.mkdir()
            trial = Trial(method_class, overrides or {}, one, cache, place, other)
            found += _tried(trial, list(laws or LAWS), causes)
    return found


def _tried(trial: Trial, claims: Sequence[str], causes: dict[Any, str]) -> Iterator[LawResult]:
    """Yield the result of each law. ``causes``: what broke a law before -> the first law it broke."""
    kind, reason = trial.model.name, trial.unsupported
    for claim in claims:
        if reason is not None:
            yield LawResult(claim, kind, "not applicable", " ".join(reason.split()))
            continue
        try:
            _try(trial, claim)
        except NotApplicable as why:
            yield LawResult(claim, kind, "not applicable", str(why))
        except Exception as error:
            yield _broken(claim, kind, error, causes)
        else:
            yield LawResult(claim, kind, "holds")
        trial.renew()


def _broken(claim: str, kind: str, error: Exception, causes: dict[Any, str]) -> LawResult:
    cause = _cause(error)
    if cause in causes:
        return LawResult(claim, kind, "broken", f"the same cause as: {causes[cause]}", causes[cause])
    causes[cause] = claim
    return LawResult(claim, kind, "broken", _said(error))


def _try(trial: Trial, claim: str) -> None:
    first = trial.first
    if first.made is None and first.error is not None:
        raise first.error  # no other edit need be tried
    trial.renew()
    LAWS[claim](trial)


def _where(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}"


def _cause(error: Exception) -> Any:
    """Return what two errors share that have one cause."""
    if isinstance(error, Broken):
        return object()  # a law's own words
    return type(error), str(error) if isinstance(error, EditbenchError) else _where(error)


def _said(error: Exception) -> str:
    if isinstance(error, Broken | EditbenchError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error} ({_where(error)})"

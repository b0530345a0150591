"""The laws every method must obey, tried on tiny models built in memory.

``editbench check --method NAME`` runs them from the shell; a plugin's own tests call :func:`check_method`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editbench.base.seeds import torch_generator
from editbench.cache import Cache
from editbench.method import Edit, Method, WeightEdit
from editbench.models.lm import LM
from editbench.plan.settings import settings_for
from editbench.requests import Request
from editbench.savepoint import Savepoint
from editbench.testing.elsewhere import ElsewhereFailed, elsewhere
from editbench.testing.tiny import tiny_lm, tiny_requests

# One kind with Linear blocks and gated MLPs, one with Conv1D and biases.
LAW_KINDS = ("llama", "gpt2")
N_REQUESTS = 6


@dataclass(frozen=True, slots=True)
class LawResult:
    """One law tried on one kind of tiny model.

    Attributes
    ----------
    law: what is claimed.
    kind: the tiny model's architecture.
    passed: whether it held; a law that says nothing about this method is not tried.
    detail: what was seen when it did not hold.
    """

    law: str
    kind: str
    passed: bool
    detail: str = ""


class Broken(Exception):
    """A law does not hold; the message says what was seen."""


@dataclass(frozen=True)
class Trial:
    """A method, its overrides, and a fresh tiny model with requests."""

    method_class: type[Method]
    overrides: Mapping[str, Any]
    kind: str
    lm: LM
    requests: tuple[Request, ...]
    cache: Cache

    def new(self) -> Method:
        """Return a fresh, prepared instance of the method."""
        settings = settings_for(self.method_class, self.lm.shape, self.overrides)
        method = self.method_class(settings.values)
        method.prepare(self.lm, self.cache)
        return method

    def edit(self, requests: Sequence[Request] | None = None, seed: int = 0) -> Edit:
        """Return the edit of a fresh instance."""
        chosen = self.requests if requests is None else requests
        return self.new().edit(self.lm, chosen, torch_generator(seed, "law"))


Law = Callable[[Trial], None]
LAWS: dict[str, Law] = {}


def _law(claim: str) -> Callable[[Law], Law]:
    def register(law: Law) -> Law:
        LAWS[claim] = law
        return law

    return register


def check_method(
    method: str | type[Method],
    overrides: Mapping[str, Any] | None = None,
    kinds: Sequence[str] = LAW_KINDS,
    laws: Sequence[str] | None = None,
) -> list[LawResult]:
    """Try the laws on a method; return one result per law and kind of tiny model.

    Parameters
    ----------
    method: a registered name, ``./file.py:Class``, or the class itself.
    overrides: hyper-parameters that replace the method's own, and those it declares as ``tiny``.
    kinds: architectures from ``editbench.testing.tiny.TINY_KINDS``.
    laws: which claims of ``LAWS`` to try; None: all.
    """
    from editbench.plan.registry import load_method

    method_class = load_method(method) if isinstance(method, str) else method
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        tried = [
            (claim, _trial(method_class, overrides or {}, kind, cache)) for kind in kinds for claim in laws or LAWS
        ]
        return [_try(claim, LAWS[claim], trial) for claim, trial in tried]


def _trial(method_class: type[Method], overrides: Mapping[str, Any], kind: str, cache: Cache) -> Trial:
    return Trial(
        method_class, {**method_class.tiny, **overrides}, kind, tiny_lm(kind), tuple(tiny_requests(N_REQUESTS)), cache
    )


def _try(claim: str, law: Law, trial: Trial) -> LawResult:
    kind = trial.kind
    try:
        settings = settings_for(trial.method_class, trial.lm.shape, trial.overrides)
        reason = trial.method_class(settings.values).supports(trial.lm)
        if reason is not None:
            return LawResult(claim, kind, True, f"not tried: {reason}")
        law(trial)
    except Broken as broken:
        return LawResult(claim, kind, False, str(broken))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return LawResult(claim, kind, False, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
    return LawResult(claim, kind, True)


def _state(lm: LM) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in lm.model.state_dict().items()}


def _differences(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    if before.keys() != after.keys():
        return sorted(before.keys() ^ after.keys())
    return [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]


@contextmanager
def _unchanged(lm: LM, what: str) -> Iterator[None]:
    before = _state(lm)
    yield
    changed = _differences(before, _state(lm))
    if changed:
        raise Broken(f"{what} changed {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}")


@_law("edit leaves the model bitwise as found")
def _leaves_the_model(trial: Trial) -> None:
    with _unchanged(trial.lm, "edit()"):
        trial.edit()


@_law("revert restores every weight bitwise")
def _revert_restores(trial: Trial) -> None:
    edit = trial.edit()
    with _unchanged(trial.lm, "apply and revert together"):
        edit.apply(trial.lm).revert()


@_law("no requests, no change")
def _no_requests(trial: Trial) -> None:
    edit = trial.edit(())
    with _unchanged(trial.lm, "the edit of no requests"):
        edit.apply(trial.lm)
    if trial.lm.context is not None and trial.lm.context("What is it?"):
        raise Broken("the edit of no requests puts text before a prompt")


@_law("the same seed gives the same edit")
def _same_seed(trial: Trial) -> None:
    first, second = fingerprint(trial, trial.edit()), fingerprint(trial, trial.edit())
    if first != second:
        raise Broken("two edits with one seed differ")


@_law("the same seed gives the same edit in another process")
def _same_seed_elsewhere(trial: Trial) -> None:
    here = fingerprint(trial, trial.edit())
    address = _address(trial.method_class)
    try:
        there = elsewhere().call(f"{__name__}:fingerprint_of", address, trial.kind, dict(trial.overrides))
    except ElsewhereFailed as error:
        raise Broken(f"another process failed: {error}") from error
    if there != here:
        raise Broken("this process and another one disagree")


@_law("what the edit does not name stays bitwise equal")
def _untouched(trial: Trial) -> None:
    edit, before = trial.edit(), _state(trial.lm)
    edit.apply(trial.lm)
    if isinstance(edit, WeightEdit):
        tied = {id(trial.lm.parameter(name)) for name in edit.deltas}
        named = {name for name, p in trial.lm.model.named_parameters(remove_duplicate=False) if id(p) in tied}
        stray = [name for name in _differences(before, _state(trial.lm)) if name not in named]
        if stray:
            raise Broken(f"changed without being named: {', '.join(stray[:3])}")


@_law("no hooks are left behind")
def _no_hooks(trial: Trial) -> None:
    before = _hooks(trial.lm)
    trial.edit()
    if _hooks(trial.lm) != before:
        raise Broken("edit() leaves hooks or replaced forward functions in the model")


def _hooks(lm: LM) -> dict[str, tuple[int, bool]]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        name: (sum(len(getattr(module, kind)) for kind in kinds), "forward" in vars(module))
        for name, module in lm.model.named_modules()
    }


@_law("grad flags, train or eval mode and the caller's random state stay as they were")
def _flags(trial: Trial) -> None:
    def flags() -> list[Any]:
        model = trial.lm.model
        return [
            {name: (p.requires_grad, p.grad is None) for name, p in model.named_parameters()},
            {name: module.training for name, module in model.named_modules()},
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
        ]

    before = flags()
    trial.edit()
    names = ("grad flags or gradients", "train or eval mode", "torch's random state", "grad mode", "default dtype")
    changed = [name for name, was, now in zip(names, before, flags(), strict=True) if was != now]
    if changed:
        raise Broken(f"edit() changed {', '.join(changed)}")


@_law("a stream resumed from its state_dict equals an unbroken one")
def _resumed(trial: Trial) -> None:
    if "sequential" not in trial.method_class.regimes:
        return
    half = N_REQUESTS // 2
    method = trial.new()
    method.edit(trial.lm, trial.requests[:half], torch_generator(0, "chunk", 0)).apply(trial.lm)
    saved = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    unbroken = fingerprint(trial, method.edit(trial.lm, trial.requests[half:], torch_generator(0, "chunk", 1)))
    other = trial.new()
    other.load_state_dict(saved)
    if _differences(saved, other.state_dict()):
        raise Broken("state_dict() does not return what load_state_dict() was given")
    resumed = fingerprint(trial, other.edit(trial.lm, trial.requests[half:], torch_generator(0, "chunk", 1)))
    if resumed != unbroken:
        raise Broken("the second chunk differs after a resume")


class _CutOff(Exception):
    """Stands for a killed process."""


class _Impatient(Savepoint):
    """Is due at every chance, and breaks the edit off after some saves."""

    def __init__(self, path: Path, saves: float) -> None:
        super().__init__(path)
        self.saves = saves

    @property
    def due(self) -> bool:
        return True

    def save(self, state: Mapping[str, Tensor]) -> None:
        super().save(state)
        self.saves -= 1
        if self.saves <= 0:
            raise _CutOff


@_law("an edit cut off at a savepoint ends with the same bits")
def _cut_off(trial: Trial) -> None:
    unbroken = fingerprint(trial, trial.edit())
    with tempfile.TemporaryDirectory() as folder:
        for saves in (1, 2, math.inf):
            method = trial.new()
            method.savepoint = _Impatient(Path(folder) / "edit.safetensors", saves)
            try:
                edit = method.edit(trial.lm, trial.requests, torch_generator(0, "law"))
            except _CutOff:
                continue
            if fingerprint(trial, edit) != unbroken:
                raise Broken("an edit that goes on from a savepoint differs from an unbroken one")


@_law("where requests are independent, all at once equals one by one")
def _independent(trial: Trial) -> None:
    if not trial.method_class.independent:
        return
    together = trial.edit()
    alone = [trial.edit((request,)) for request in trial.requests]
    if not all(isinstance(edit, WeightEdit) for edit in (together, *alone)):
        return
    for name, delta in together.deltas.items():  # type: ignore[attr-defined]
        summed = sum(edit.deltas[name] for edit in alone if name in edit.deltas)  # type: ignore[attr-defined]
        if not torch.allclose(delta, torch.as_tensor(summed), rtol=1e-3, atol=1e-6):
            raise Broken(f"{name} differs")


@_law("the edit makes the target likelier")
def _learns(trial: Trial) -> None:
    if not trial.method_class.learns:
        return
    before = target_nll(trial.lm, trial.requests)
    trial.edit().apply(trial.lm)
    after = target_nll(trial.lm, trial.requests)
    if not after < before:
        raise Broken(f"mean NLL of the target went from {before:.4f} to {after:.4f} nats per token")


@torch.no_grad()
def target_nll(lm: LM, requests: Sequence[Request]) -> float:
    """Return the mean over requests of the mean NLL per target token, in nats, one request at a time."""
    total = 0.0
    for request in requests:
        prompt = (lm.context(request.prompt) if lm.context else "") + request.prompt
        [completion] = lm.text.completions([(prompt, request.target_new)])
        ids = torch.tensor([completion.ids], device=lm.device)
        scores = torch.log_softmax(lm.model(input_ids=ids).logits[0].float(), -1)
        first, stop = completion.prompt_len, completion.prompt_len + completion.target_len
        total -= sum(scores[k - 1, completion.ids[k]].item() for k in range(first, stop)) / (stop - first)
    return total / len(requests)


def fingerprint(trial: Trial, edit: Edit) -> str:
    """Return a hash of what the edit makes of the model: its weights and its logits on the requests, bitwise."""
    applied = edit.apply(trial.lm)
    digest = hashlib.sha256()
    for name, tensor in sorted(_state(trial.lm).items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(repr(target_nll(trial.lm, trial.requests)).encode())
    applied.revert()
    return digest.hexdigest()


def _address(method_class: type[Method]) -> str:
    if method_class.__module__.startswith("_editbench_side_door_"):
        return f"{inspect.getfile(method_class)}:{method_class.__qualname__}"
    return f"{method_class.__module__}:{method_class.__qualname__}"


def fingerprint_of(address: str, kind: str, overrides: Mapping[str, Any]) -> str:
    """Return the fingerprint of a method's edit; called in another process by a law."""
    from editbench.plan.registry import load_method

    if ".py:" in address:
        method_class = load_method(address)
    else:
        module, _, name = address.partition(":")
        method_class = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as folder:
        trial = _trial(method_class, overrides, kind, Cache(Path(folder)))
        return fingerprint(trial, trial.edit())

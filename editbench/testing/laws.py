"""The laws every method must obey, of one edit. Those of streams and of batches are in the files beside this one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editbench.edits import ContextEdit, Edit, Edits, LowRankEdit, ModuleEdit, WeightEdit
from editbench.ledger import Ledger, RevertFailed
from editbench.requests import Probe
from editbench.running.guard import refuse_unnamed
from editbench.running.kept import put_back, write_edit
from editbench.running.unedited import differences, in_words
from editbench.savepoint import Savepoint
from editbench.testing.elsewhere import NotElsewhere
from editbench.testing.trial import UNRELATED, Broken, NotApplicable, Trial, asked, fingerprint, target_nll

if TYPE_CHECKING:
    from torch import Tensor


Law = Callable[[Trial], None]
# What is claimed -> how it is tried: raises Broken, or NotApplicable.
LAWS: dict[str, Law] = {}
_NOT_WEIGHTS = ("modules", "flags", "context", "configuration", "tokeniser")


def law(claim: str) -> Callable[[Law], Law]:
    """Register the function below as what tries this claim."""

    def register(tried: Law) -> Law:
        LAWS[claim] = tried
        return tried

    return register


def _broken_by(what: str, changed: list[str]) -> None:
    if changed:
        raise Broken(f"{what} changed {in_words(changed)}")


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(n or "the model" for n in before.keys() | after.keys() if before.get(n) != after.get(n))


@law("edit returns, and changes nothing of the process: random state, threads, torch's settings")
def _process(trial: Trial) -> None:
    if trial.first.error is not None:
        raise trial.first.error


@law("edit returns an edit of the declared kind, whose code has a name")
def _kind(trial: Trial) -> None:
    edit = trial.edit
    refuse_unnamed(edit)
    if edit.nbytes < 0:
        raise Broken(f"its size is {edit.nbytes} bytes")


@law("edit leaves the model bitwise as found")
def _leaves_the_model(trial: Trial) -> None:
    before, after = trial.first.before, trial.first.after
    changed = [name for name in differences(before.parts, after.parts) if name not in _NOT_WEIGHTS]
    _broken_by("edit()", changed + _differing(before.tree, after.tree))


@law("edit leaves gradients, their flags and train or eval mode as they were")
def _flags(trial: Trial) -> None:
    _broken_by("edit()", _differing(trial.first.before.modes, trial.first.after.modes))


@law("no hooks are left behind")
def _no_hooks(trial: Trial) -> None:
    left = _differing(trial.first.before.hooks, trial.first.after.hooks)
    if left:
        raise Broken(f"edit() leaves hooks or replaced forward functions in {in_words(left)}")


@law("context, configuration and tokeniser are untouched")
def _surroundings(trial: Trial) -> None:
    names = ("context", "configuration", "tokeniser")
    before, after = trial.first.before.parts, trial.first.after.parts
    _broken_by("edit()", [name for name in names if before[name] != after[name]])
    with trial.edited():
        asked(trial.lm, trial.requests)
        now = fingerprint(trial.lm, ())
    _broken_by("the edit", [name for name in names[1:] if before[name] != now[name]])


@law("revert restores the model bitwise")
def _revert_restores(trial: Trial) -> None:
    ledger = Ledger(trial.lm)
    ledger.apply(trial.edit)
    asked(trial.lm, trial.requests)
    try:
        ledger.revert()
    except RevertFailed as error:
        raise Broken(str(error)) from error
    _broken_by("apply and revert together", trial.changes())


@law("no requests, no change")
def _no_requests(trial: Trial) -> None:
    prompts = [request.prompt for request in trial.requests] + list(UNRELATED)
    before = asked(trial.lm, trial.requests)
    weights = trial.first.before.parts
    with trial.edited(trial.made(())):
        now = fingerprint(trial.lm, ())
        changed = [n for n in weights if n not in _NOT_WEIGHTS and n in now and now[n] != weights[n]]
        _broken_by("the edit of no requests", changed)
        if trial.lm.as_read(prompts) != prompts:
            raise Broken("the edit of no requests puts text around a prompt")
        if asked(trial.lm, trial.requests) != before:
            raise Broken("the edit of no requests changes answers")


@law("the same seed gives the same edit")
def _same_seed(trial: Trial) -> None:
    changed = differing_data(trial.edit, trial.made())
    if changed:
        raise Broken(f"two edits with one seed differ in {in_words(changed)}")


@law("the same seed gives the same edit in another process")
def _same_seed_elsewhere(trial: Trial) -> None:
    _as_elsewhere(trial, None)


def _as_elsewhere(trial: Trial, kept: Path | None) -> None:
    if trial.elsewhere is None:
        raise NotApplicable("no other process was asked for")
    here = trial.print_of_first
    try:
        there = trial.elsewhere.fingerprint(trial, kept)
    except NotElsewhere as error:
        raise Broken(str(error)) from error
    changed = differences(here, there)
    if changed:
        raise Broken(f"this process and another one disagree about {in_words(changed)}")


@law("the edit does not depend on its requests' probes")
def _no_probes(trial: Trial) -> None:
    other = [Probe(probe.kind, f"{probe.prompt} not", "nothing") for probe in trial.requests[0].probes]
    changed = tuple(replace(request, probes=tuple(other)) for request in trial.requests)
    for requests in (trial.requests, changed):
        if differing_data(trial.edit, trial.made(requests, with_probes=True)):
            raise Broken("other probes, another edit")


@law("what the edit does not name stays bitwise equal")
def _untouched(trial: Trial) -> None:
    named = set(_named(trial, trial.edit))
    with trial.edited():
        changed = trial.changes()
    stray = [name for name in changed if not any(name == one or name.startswith(f"{one}.") for one in named)]
    if stray:
        raise Broken(f"changed without being named: {in_words(stray)}")


def _named(trial: Trial, edit: Edit) -> Iterator[str]:
    """Yield the parts of a fingerprint that an edit may change, and modules whose every part it may."""
    if isinstance(edit, Edits):
        for part in edit.parts:
            yield from _named(trial, part)
    elif isinstance(edit, ModuleEdit):
        yield from ("modules", "flags", *edit.places)
    elif isinstance(edit, ContextEdit):
        yield "context"
    else:
        tied = {id(trial.lm.parameter(name)) for name in dense(trial, edit)}
        everything = trial.lm.model.named_parameters(remove_duplicate=False)
        yield from (name for name, parameter in everything if id(parameter) in tied)


@law("an edit that is saved and loaded, here and in another process, is the same")
def _saved_and_loaded(trial: Trial) -> None:
    file, expected = trial.folder / "edit.safetensors", trial.print_of_first
    with trial.edited() as ledger:
        write_edit(file, ledger, {})
        nbytes = ledger.nbytes
    if file.stat().st_size > 4 * nbytes + (1 << 16):  # ΔW is kept in float32, whatever the model's numbers are
        raise Broken(f"an edit of {nbytes:,} bytes takes {file.stat().st_size:,} in its file")
    loaded = Ledger(trial.lm)
    try:
        put_back(loaded, file, trial.method_class.__module__)
        changed = differences(expected, fingerprint(trial.lm, trial.requests))
    finally:
        with suppress(RevertFailed):  # has a law of its own
            loaded.revert()
    if changed:
        raise Broken(f"an edit that was saved and loaded differs in {in_words(changed)}")
    if trial.elsewhere is not None:
        _as_elsewhere(trial, file)


class _CutOff(Exception):
    """Stands for a killed process."""


class _Impatient(Savepoint):
    """Is due at every chance, and breaks the edit off after some saves."""

    def __init__(self, path: Path, saves: float) -> None:
        super().__init__(path)
        self.saves, self.saved = saves, 0

    @property
    def due(self) -> bool:
        return True

    def save(self, state: Mapping[str, Tensor]) -> None:
        super().save(state)
        self.saved += 1
        if self.saved >= self.saves:
            raise _CutOff


@law("an edit cut off at a savepoint ends with the same bits")
def _cut_off(trial: Trial) -> None:
    path = trial.folder / "savepoint.safetensors"
    for saves in (1, 2, math.inf):
        method = trial.new()
        savepoint = method.savepoint = _Impatient(path, saves)
        try:
            edit = trial.made(method=method)
        except _CutOff:
            continue
        if saves == 1 and not savepoint.saved:
            raise NotApplicable("it keeps no savepoint")
        if differing_data(trial.edit, edit):
            raise Broken("an edit that goes on from a savepoint differs from an unbroken one")


@law("the edit makes the target likelier")
def _learns(trial: Trial) -> None:
    before = target_nll(asked(trial.lm, trial.requests))
    refuse_unless_learnt(trial)
    with trial.edited():
        after = target_nll(asked(trial.lm, trial.requests))
    if not after < before:
        raise Broken(f"mean NLL of the target went from {before:.4f} to {after:.4f} nats per token")


def refuse_unless_learnt(trial: Trial) -> None:
    """Raise :class:`NotApplicable` where the target need not become likelier."""
    if not trial.method_class.learns:
        raise NotApplicable("it is not meant to make the target likelier")
    if trial.model.tiny and texts_only(trial.edit):
        raise NotApplicable("a model of random weights does not follow what it reads; try --model smollm2-135m")


def texts_only(edit: Edit) -> bool:
    """Whether an edit does nothing but put text around prompts."""
    if isinstance(edit, Edits):
        return all(map(texts_only, edit.parts))
    return isinstance(edit, ContextEdit)


@law("where requests are independent, all at once equals one by one")
def _independent(trial: Trial) -> None:
    refuse_undeclared(trial, "independent")
    alone = [trial.made((request,)) for request in trial.requests]
    if all(isinstance(edit, WeightEdit | LowRankEdit) for edit in (trial.edit, *alone)):
        _equal_sums(dense(trial, trial.edit), [dense(trial, edit) for edit in alone])
        return
    with trial.edited():
        together = asked(trial.lm, trial.requests)
    for request, edit, expected in zip(trial.requests, alone, together, strict=True):
        with trial.edited(edit):
            [found] = asked(trial.lm, [request])
        if not close(found.nll, expected.nll, 10 * trial.tolerance):
            raise Broken(
                f"the NLL of {request.prompt!r} is {found.nll[0]:.4f} alone, {expected.nll[0]:.4f} with others"
            )


def refuse_undeclared(trial: Trial, trait: str) -> None:
    """Raise :class:`NotApplicable` where the method does not declare a trait."""
    if not getattr(trial.method_class, trait):
        raise NotApplicable(f"it does not declare {trait}")


def _equal_sums(together: Mapping[str, Tensor], alone: list[dict[str, Tensor]]) -> None:
    for name in together.keys() | {name for deltas in alone for name in deltas}:
        each = [deltas[name] for deltas in alone if name in deltas]
        summed = torch.stack(each).sum(0) if each else torch.zeros_like(together[name])
        if not torch.allclose(together.get(name, torch.zeros_like(summed)), summed, rtol=1e-3, atol=1e-6):
            raise Broken(f"{name} differs")


def dense(trial: Trial, edit: Edit) -> dict[str, Tensor]:
    """Return ΔW of an edit of weights by full name."""
    if isinstance(edit, LowRankEdit):
        products = {name: b.float() @ a.float() for name, (b, a) in edit.factors.items()}
        return {name: product.T if trial.lm.layout.conv1d else product for name, product in products.items()}
    return dict(edit.deltas) if isinstance(edit, WeightEdit) else {}


def close(one: tuple[float | None, ...], other: tuple[float | None, ...], tolerance: float) -> bool:
    """Whether two rows of negative log-likelihoods are the same, but for rounding."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return all(abs(a - b) <= tolerance * (1 + abs(b)) for a, b in pairs)


def differing_data(one: Edit, other: Edit) -> list[str]:
    """Return the names of what two edits do not share, bit for bit."""
    first, second = one.data(), other.data()

    def same(name: str) -> bool:
        a, b = first.get(name), second.get(name)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        return type(a) is type(b) and bool(a == b)

    return sorted(name for name in first.keys() | second.keys() if not same(name))

"""What is given to a run's method beside its own settings, in order: by the suite, by files, by the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from editbench.datasets import load_dataset
from editbench.datasets.files import is_hub_id
from editbench.errors import UserError
from editbench.models.builtin_models import BUILTIN
from editbench.models.families import FAMILIES, family_of, shape_of_name
from editbench.plan.registry import load_method
from editbench.plan.settings import Origin, Override
from editbench.plan.settings_file import SettingsFile, read_settings
from editbench.plan.suite import MethodSpec, Suite
from editbench.spaces import of_one_model


def names_of(model: str) -> frozenset[str]:
    """Return what settings may call a model: its name, and its family if that is known before it is loaded."""
    shape = shape_of_name(model)
    family = None if shape is None else family_of(shape)
    return frozenset({model, family} if family else {model})


def is_model_key(suite: Suite, key: str, value: Any) -> bool:
    """Return whether a key below a method's ``hparams`` names a model, with the hyper-parameters for it below."""
    known = key in FAMILIES or key in BUILTIN or key in suite.own_models or is_hub_id(key) or "/" in key
    return isinstance(value, Mapping) and known


def split(suite: Suite, method: MethodSpec) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """Return a method's hyper-parameters in a suite: those for any model, and those by name or family of a model."""
    by_model = {key: value for key, value in method.hparams.items() if is_model_key(suite, key, value)}
    return {key: value for key, value in method.hparams.items() if key not in by_model}, by_model


def overrides(suite: Suite, model: str, method: MethodSpec) -> tuple[Override, ...]:
    """Return what is given to a method on a model, the last over those before; only what can hold for that model.

    Raises :class:`UserError` for a file of settings that cannot be read.
    """
    names = names_of(model)
    known = len(names) > 1 or shape_of_name(model) is not None
    return tuple(
        one
        for one in _all(suite, model, method)
        if one.values and (not one.model or one.model in names or (not known and one.model in FAMILIES))
    )


def _all(suite: Suite, model: str, method: MethodSpec) -> Iterator[Override]:
    for path in suite.settings_files:
        yield from _read(path).overrides(method.method)
    everywhere, by_model = split(suite, method)
    foreign = model not in suite.own_models
    yield Override(everywhere, Origin("suite", suite.name), general=foreign)
    for key, values in by_model.items():
        yield Override(values, Origin("suite", f"{suite.name}, for {key}"), key)
    for path in suite.given.files:
        yield from _read(path).overrides(method.method)
    for label in dict.fromkeys((method.method, method.shown)):
        yield Override(suite.given.sets.get(label, {}), Origin("command line"))


@cache
def _read_once(path: Path, stamp: tuple[int, int]) -> SettingsFile:
    return read_settings(path)


def _read(path: Path) -> SettingsFile:
    """Return a file of settings, read once as long as it is the same."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"The settings {path} cannot be read: {error.strerror}.") from error
    return _read_once(path, (status.st_mtime_ns, status.st_size))


def check_files(suite: Suite) -> None:
    """Raise :class:`UserError` for a file of settings on the command line that is for none of the suite's models."""
    for path in suite.given.files:
        found = _read(path)
        there = {name for model in suite.models for name in names_of(model.name)}
        if not found.model.names & there:
            models = ", ".join(model.name for model in suite.models)
            raise UserError(
                f"{path} holds settings for {found.model.name}, and this runs {models}.",
                "A setting that was searched on one model is not taken for another.",
                f"--models {found.model.name}, or search: editbench tune --model {suite.models[0].name}",
            )
        known = {method.method for method in suite.methods}
        if not known & set(found.settings):
            raise UserError(f"{path} holds settings for {', '.join(found.settings)}, and this runs {', '.join(known)}.")


def without_searched(suite: Suite) -> Suite:
    """Return a suite that leaves out the requests which its files of settings were searched on.

    Raises :class:`UserError` for a file or a dataset that cannot be read.
    """
    shares = [0.0]
    for path in (*suite.settings_files, *suite.given.files):
        held = _read(path).holdout
        if held is not None:
            whole = load_dataset(suite.dataset.model_copy(update={"holdout": None, "side": "rest"}))
            shares += [held.share] if held.hash == whole.content_hash else []
    least = max(shares)
    return suite if least <= (suite.dataset.holdout or 0.0) else suite.with_holdout(least)


def _some_of_one_model(spec: MethodSpec, hparams: Mapping[str, Any]) -> bool:
    """Return whether a value among these belongs to the model it was found on."""
    return bool(set(hparams) & of_one_model(load_method(spec.method).Hparams))


def strangers(suite: Suite) -> list[str]:
    """Return a sentence for each model for which the suite has no hyper-parameters, while for others it has.

    Of those that may hold for any model nothing is said.
    """
    told = []
    for model in suite.models:
        names, lacking, having = names_of(model.name), [], set()
        for method in suite.methods:
            everywhere, by_model = split(suite, method)
            if by_model and not names & set(by_model):
                lacking.append(method.shown)
                having |= set(by_model)
            elif model.name not in suite.own_models and set(everywhere) & of_one_model(
                load_method(method.method).Hparams
            ):
                lacking.append(method.shown)
                having |= suite.own_models
        if lacking:
            told.append(
                f"{suite.name} has hyper-parameters of {', '.join(lacking)} for {', '.join(sorted(having))}, and none "
                f"for {model.name}: there the methods' own settings hold (see --dry-run; search some: editbench tune)."
            )
    return told

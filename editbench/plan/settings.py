"""Hyper-parameters resolved for one model: published settings, else the method's heuristics, then what is given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from editbench.errors import UnknownName, UserError
from editbench.models.families import family_of
from editbench.plan.closure import read_published

if TYPE_CHECKING:
    from editbench.method import Hparams, Method
    from editbench.models.lm import ModelShape


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyper-parameters resolved for one model, and where they came from.

    Attributes
    ----------
    values: the validated hyper-parameters.
    source: the paper or study a published entry names, or ``heuristic`` where this model has none.
    """

    values: Hparams
    source: str


_READ: WeakKeyDictionary[type[Method], Mapping[str, dict[str, Any]]] = WeakKeyDictionary()


def remember_settings(method: type[Method], found: Mapping[str, dict[str, Any]]) -> None:
    """Keep the settings that were read together with a method's source: they are part of what its runs are named."""
    _READ[method] = found


def published(method: type[Method]) -> dict[str, dict[str, Any]]:
    """Return the settings in the YAML beside a method's file, by model family; {} if there is none.

    Those that were read when the method was loaded by its name; of a class that was imported by itself, as they are
    now. Raises :class:`BadPlugin` for a file that cannot be read.
    """
    kept = _READ.get(method)
    return dict(read_published(Path(inspect.getfile(method)).with_suffix(".yaml")) if kept is None else kept)


def settings_for(method: type[Method], shape: ModelShape, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Resolve a method's hyper-parameters for a model: published entry, else heuristics; then ``overrides``.

    Raises :class:`UserError` that names the bad key or value.
    """
    entry = dict(published(method).get(family_of(shape) or "", {}))
    source = entry.pop("source", None) or "heuristic"
    base = entry or method.heuristics(shape)
    values = {**base, **(overrides or {})}
    unknown = sorted(set(values) - set(method.Hparams.model_fields))
    if unknown:
        raise UnknownName(f"hyper-parameter of {method.name}", unknown[0], method.Hparams.model_fields)
    try:
        return Settings(method.Hparams(**values), source)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{method.name}: hyper-parameter {key} = {first['input']!r}: {first['msg']}.",
            hint=f"See its hyper-parameters: editbench show method {method.name}",
        ) from error

"""Hyper-parameters resolved for one model: published settings, else the method's heuristics, then what is given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from editbench.base.parsing import Unparsable, parse_yaml, read_text
from editbench.errors import BadPlugin, UnknownName, UserError
from editbench.models.families import family_of

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


def published(method: type[Method]) -> dict[str, dict[str, Any]]:
    """Return the settings in the YAML that lies beside a method's file, by model family; {} if there is none.

    Raises :class:`BadPlugin` for a file of another form.
    """
    path = Path(inspect.getfile(method)).with_suffix(".yaml")
    if not path.is_file():
        return {}
    try:
        found = parse_yaml(read_text(path, BadPlugin))[1] or {}
    except Unparsable as error:
        raise BadPlugin(f"{path}{error.place}: this is no YAML that can be read: {error.reason}.") from error
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise BadPlugin(f"{path} does not hold settings by model family.", "Expected e.g. gpt2-xl: {layer: 17}")
    return found


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

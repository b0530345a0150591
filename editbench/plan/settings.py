"""Hyper-parameters resolved for one model at one scale, each with where its value came from.

In order, each over what came before: the method's defaults; its settings for this model, published or searched, or its
heuristics where there are none; then what a suite, a file of settings and the command line give. A value that belongs
to one model never reaches another.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from editbench.errors import UnknownName, UserError
from editbench.models.families import family_of
from editbench.plan.closure import SAID, read_published
from editbench.spaces import of_one_model

if TYPE_CHECKING:
    from editbench.method import Hparams, Method
    from editbench.models.lm import ModelShape

Kind = Literal["default", "heuristic", "published", "searched", "suite", "command line"]
Entries = Mapping[str, Sequence[Mapping[str, Any]]]
NOTES = (*SAID, "scales")
"""What an entry of settings says of itself beside hyper-parameters."""
_GIVEN = ("suite", "command line")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Attributes
    ----------
    kind: ``default`` (the method's own), ``heuristic`` (relative to the model's shape), ``published`` (for this model),
        ``searched`` (on this model), ``suite``, ``command line``.
    says: which paper and model; which file, budget and date; which suite and model.
    """

    kind: Kind
    says: str = ""

    def __str__(self) -> str:
        """Return it as tables and captions have it: ``published (arXiv:2509.22072, Llama-3-8B-Instruct)``."""
        if self.kind in _GIVEN:
            return f"from the {self.kind} {self.says}".rstrip()
        named = "the method's default" if self.kind == "default" else self.kind
        return f"{named} ({self.says})" if self.says else named


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Override:
    """Hyper-parameters given to a method beside its own settings.

    Attributes
    ----------
    values: by name.
    origin: where they come from.
    model: the model, by name or family, that they hold for; "": any.
    scales: the scales from and to which they hold, both included; None: no end.
    general: whether only those count that may hold for any model, because they were given for other models than this.
    """

    values: Mapping[str, Any]
    origin: Origin
    model: str = ""
    scales: tuple[int, int | None] = (1, None)
    general: bool = False

    def holds(self, names: Iterable[str], scale: int | None) -> bool:
        """Return whether it holds for a model that goes by these names, at a scale (None: at any, ends ignored)."""
        return (not self.model or self.model in names) and covers(self.scales, scale)


def identity_of(overrides: Iterable[Override], names: Iterable[str]) -> list[Any]:
    """Return what of some overrides can decide the bits of an edit of a model, as plain values: not who gave what.

    ``names``: what the model goes by, as far as that is known.
    """
    merged: list[tuple[list[Any], dict[str, Any]]] = []
    for one in overrides:
        uncertain = "" if not one.model or one.model in names else one.model
        when = [uncertain, list(one.scales), one.general]
        if merged and merged[-1][0] == when:
            merged[-1][1].update(one.values)
        else:
            merged.append((when, dict(one.values)))
    return [[*when, values] for when, values in merged]


def covers(scales: tuple[int, int | None], scale: int | None) -> bool:
    """Return whether a range of scales has this one; None is in every range."""
    low, high = scales
    return scale is None or (low <= scale and (high is None or scale <= high))


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyper-parameters resolved for one model.

    Attributes
    ----------
    values: the validated hyper-parameters.
    origins: where each value came from, by name, in the order of their declaration.
    """

    values: Hparams
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return values and where they came from as plain values, as the manifest has them."""
        plain = self.values.model_dump(mode="json")
        sources = {name: {"kind": origin.kind, "says": origin.says} for name, origin in self.origins.items()}
        return {"values": plain, "sources": sources}


_READ: WeakKeyDictionary[type[Method], Entries] = WeakKeyDictionary()


def remember_settings(method: type[Method], found: Entries) -> None:
    """Keep the settings that were read together with a method's source: they are part of what its runs are named."""
    _READ[method] = found


def published(method: type[Method]) -> Entries:
    """Return the settings in the YAML beside a method's file, by model family; {} if there is none.

    Those that were read when the method was loaded by its name; of a class that was imported by itself, as they are
    now. Raises :class:`BadPlugin` for a file that cannot be read.
    """
    kept = _READ.get(method)
    return read_published(Path(inspect.getfile(method)).with_suffix(".yaml")) if kept is None else kept


def settings_for(
    method: type[Method],
    shape: ModelShape,
    given: Sequence[Override] | Mapping[str, Any] = (),
    *,
    model: str = "",
    scale: int | None = None,
) -> Settings:
    """Resolve a method's hyper-parameters for a model at a scale.

    Parameters
    ----------
    given: what is given beside the method's own settings, the last over those before; a mapping holds for any model.
    model: what the model is called, beside its family.
    scale: number of requests; None: where settings differ by scale, those of the largest.

    Raises :class:`UserError` that names the bad key or value.
    """
    overrides = [Override(given, Origin("command line"))] if isinstance(given, Mapping) else given
    family = family_of(shape) or ""
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for one in (_own(method, shape, family, scale), *overrides):
        if one.holds((model, family) if family else (model,), scale):
            taken = _taken(method, one)
            values |= taken
            origins |= dict.fromkeys(taken, one.origin)
    return Settings(
        validated(method, values), {name: origins.get(name, DEFAULT) for name in method.Hparams.model_fields}
    )


def _own(method: type[Method], shape: ModelShape, family: str, scale: int | None) -> Override:
    """Return a method's own settings for a model: published or searched, else its heuristics."""
    fitting = [entry for entry in published(method).get(family, ()) if covers(scales_of(entry), scale)]
    if not fitting:
        return Override(method.heuristics(shape), Origin("heuristic"))
    return Override(values_of(fitting[-1]), origin_of(fitting[-1]))


def values_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of an entry of settings."""
    return {key: value for key, value in entry.items() if key not in NOTES}


def scales_of(entry: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return the scales that an entry of settings holds for: all, where it does not say."""
    low, high = entry.get("scales") or (1, None)
    return low, high


def origin_of(entry: Mapping[str, Any]) -> Origin:
    """Return where an entry of settings says that it comes from."""
    if "searched" in entry:
        return Origin("searched", str(entry["searched"]))
    return Origin("published", str(entry.get("source") or "no source named"))


def _taken(method: type[Method], one: Override) -> dict[str, Any]:
    """Return the hyper-parameters that an override gives. Raises :class:`UnknownName` for one that there is not."""
    unknown = sorted(set(one.values) - set(method.Hparams.model_fields))
    if unknown:
        raise UnknownName(f"hyper-parameter of {method.name}", unknown[0], method.Hparams.model_fields)
    foreign = of_one_model(method.Hparams) if one.general else set()
    return {name: value for name, value in one.values.items() if name not in foreign}


def validated(method: type[Method], values: Mapping[str, Any]) -> Hparams:
    """Return these values as a method's hyper-parameters. Raises :class:`UserError` that names the bad value."""
    try:
        return method.Hparams(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{method.name}: hyper-parameter {key} = {first['input']!r}: {first['msg']}.",
            hint=f"See its hyper-parameters: editbench show method {method.name}",
        ) from error


def in_words(values: Mapping[str, Any], origins: Mapping[str, Origin], *, whole: bool = False) -> str:
    """Return where a method's hyper-parameters come from, and with their values those that were given in their place.

    ``whole``: all of them with their values, the method's defaults too.
    """
    by_origin: dict[Origin, list[str]] = {}
    for name, origin in origins.items():
        by_origin.setdefault(origin, []).append(name)
    parts = []
    for origin, names in sorted(by_origin.items(), key=lambda item: item[0].kind in _GIVEN):
        shown = ", ".join(f"{name} {_plain(values.get(name))}" for name in names)
        if whole or origin.kind in _GIVEN:
            parts.append(f"{shown} {'– ' if whole else ''}{origin}")
        elif origin.kind != "default":
            parts.append(str(origin))
    return ("; " if whole else ", ").join(parts) or ("the method's defaults" if origins else "")


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

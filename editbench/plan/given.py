"""What the command line says about hyper-parameters: files of settings, and single values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editbench.base.parsing import Unparsable, parse_yaml
from editbench.errors import UnknownName, UserError


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says about hyper-parameters.

    Attributes
    ----------
    files: settings that ``editbench tune`` wrote.
    sets: label or method -> hyper-parameter -> value.
    """

    files: tuple[Path, ...] = ()
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def parsed_sets(sets: Sequence[str], labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return ``METHOD.NAME=VALUE`` texts by method and name; a value is read as YAML has it.

    Raises :class:`UserError` for another form, and for a method that is not among ``labels``.
    """
    found: dict[str, dict[str, Any]] = {}
    known = set(labels)
    for text in sets:
        place, equals, value = text.partition("=")
        method, dot, name = place.rpartition(".")
        if not (equals and dot and method and name and value):
            raise UserError(
                f"--set {text}: this sets nothing.", "Expected METHOD.NAME=VALUE.", "--set locft-bf.lr=5e-4"
            )
        if method not in known:
            raise UnknownName("method of the suite", method, known, f"From: --set {text}")
        found.setdefault(method, {})[name] = _value(text, value)
    return found


def _value(text: str, value: str) -> Any:
    try:
        read = parse_yaml(value)[1]
    except Unparsable as error:
        raise UserError(f"--set {text}: the value cannot be read: {error.reason}.") from error
    if isinstance(read, str):
        try:  # YAML takes 5e-4, without a point, for text
            return float(read)
        except ValueError:
            return read
    return read

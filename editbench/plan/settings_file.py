"""A file of settings, as ``editbench tune`` writes it: hyper-parameters searched on one model, by method and scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editbench.base.parsing import Unparsable, parse_yaml, read_text
from editbench.errors import UserError
from editbench.plan.settings import Override, origin_of, scales_of, values_of


class Searched(BaseModel):
    """The model that was searched on: its name, its family ("" if it has none here), its weights' hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str = ""
    weights_hash: str = ""

    @property
    def names(self) -> set[str]:
        """What a run may call it."""
        return {name for name in (self.name, self.family) if name}


class Holdout(BaseModel):
    """The requests of a user's data that were searched on, which runs leave out.

    ``data`` and ``hash``: the file or hub id, and its content's hash; ``share`` of its subjects.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    hash: str
    share: float = Field(gt=0, lt=1)


class SettingsFile(BaseModel):
    """What a file of settings says.

    Attributes
    ----------
    model: which model these settings belong to.
    search: how they were found, for people: requests and their hash, objective, budget, seeds, date, trials.
    holdout: what of a user's data was searched on.
    settings: method -> entries, each hyper-parameters with ``scales`` (from, to) and ``searched`` (file, budget, date).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Searched
    search: dict[str, Any] = Field(default_factory=dict)
    holdout: Holdout | None = None
    settings: dict[str, list[dict[str, Any]]]

    def overrides(self, method: str) -> list[Override]:
        """Return what it gives a method, by range of scale; nothing if the method was not searched."""
        return [
            Override(values_of(entry), origin_of(entry), name, scales_of(entry))
            for entry in self.settings.get(method, ())
            for name in sorted(self.model.names)
        ]


def read_settings(path: Path) -> SettingsFile:
    """Return what a file of settings says. Raises :class:`UserError` that names file, line and key."""
    try:
        values = parse_yaml(read_text(path, UserError, f"The settings {path}"))[1]
    except Unparsable as error:
        raise UserError(f"{path}{error.place}: this is no YAML that can be read: {error.reason}.") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path} holds no settings.", "Expected what editbench tune writes: model, search, settings.")
    try:
        return SettingsFile.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}, {key}: {first['msg']}.", "Expected what editbench tune writes.") from error

"""What a suite says about its dataset."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator


class DatasetSpec(BaseModel):
    """Which requests to edit; a plain string in the suite means ``name`` alone.

    Attributes
    ----------
    name: a registered name, a path to a .json, .jsonl or .parquet file, or a hub id (``org/name``).
    path: the file or hub id to read, for registered names whose data cannot be shipped.
    revision: the hub revision (commit or tag) to read; local files ignore it.
    split: the hub split to read; None: the only one, or ``train``.
    form: the field form (``docs/data.md`` lists them), or ``auto`` to tell it from the fields.
    target_field: which field is written into the model, where a form has a choice; ``default`` is the form's own.
    on_fault: ``refuse`` a dataset with faulty requests, or ``drop`` those requests and go on.
    holdout: share of the subjects (above 0, below 1) held out, for settings to be searched on; None: nothing is.
    side: ``rest``, the requests that are not held out, or ``search``, those that are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    path: str | None = None
    revision: str | None = None
    split: str | None = None
    form: str = "auto"
    target_field: str = "default"
    on_fault: Literal["refuse", "drop"] = "refuse"
    holdout: float | None = None
    side: Literal["rest", "search"] = "rest"

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("holdout")
    @classmethod
    def _a_share(cls, value: float | None) -> float | None:
        if value is not None and not 0 < value < 1:
            raise ValueError("a holdout is a share of the subjects, above 0 and below 1, such as 0.1")
        return value

    @model_validator(mode="after")
    def _a_side_of_something(self) -> DatasetSpec:
        if self.side == "search" and self.holdout is None:
            raise ValueError("side: search needs a holdout, such as holdout: 0.1")
        return self

    @classmethod
    def parse(cls, value: str | dict[str, Any] | DatasetSpec) -> DatasetSpec:
        """Return the spec that a string (the name), a mapping or a spec stands for.

        Raises pydantic's ``ValidationError`` for unknown keys or wrong types.
        """
        return cls.model_validate(value)

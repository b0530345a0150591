"""Whether what lies in a results folder is what was once written: the shape of its JSON, the number of its records.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from editbench.base.files import no_plain_file


class _Shape(BaseModel):
    """Types of what is read; other keys may be there."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Origin(_Shape):
    kind: str
    says: str = ""


class _Settings(_Shape):
    scales: list[int]
    values: dict[str, Any]
    sources: dict[str, _Origin]


class _Method(_Shape):
    name: str
    hparams_given: dict[str, Any]
    hparams: dict[str, Any] | None = None
    settings: list[_Settings] | None = None
    source_hash: str = ""
    cite: str = ""
    checkout: dict[str, Any] | None = None


class _Model(_Shape):
    name: str
    dtype: str
    revision: str | None = None
    source: str = ""
    weights_hash: str = ""
    shape: dict[str, Any] | None = None


class _Data(_Shape):
    name: str
    hash: str
    target_field: str
    requests: int = 0
    holdout: float | None = None
    side: str = ""
    whole_hash: str = ""
    whole_requests: int = 0
    faults: dict[str, Any] = Field(default_factory=dict)


class _Manifest(_Shape):
    run_id: str
    suite: str
    label: str
    seed: int
    scales: list[int]
    regime: str
    chunk: int | None
    cells: dict[str, str]
    method: _Method
    model: _Model
    dataset: _Data
    protocol: dict[str, Any]
    protocol_hash: str
    probes: dict[str, Any]
    capability: dict[str, Any] | None = None
    started: str
    command: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] | None = None
    checkout: dict[str, Any] | None = None
    scored: dict[str, dict[str, Any]] | None = None


class _Pulse(_Shape):
    unedited: float | None = None
    seen: list[list[int | float | None]] = Field(default_factory=list)
    collapsed_at: int | None = None


class _Drift(_Shape):
    kl: float | None = None
    perplexity_own_text: float | None = None
    unedited_perplexity_own_text: float | None = None
    added_latency_s: float | None = None
    modules: dict[str, float | None] = Field(default_factory=dict)
    continuations: list[str] = Field(default_factory=list)


class _Entry(_Shape):
    status: str
    settings: str = ""
    metric: str | None = None
    reason: str = ""


class _Cell(_Shape):
    """What of ``cell.json`` is read beside what :class:`~editbench.results.store.CellOutcome` itself says."""

    id: str
    scale: int
    pulse: _Pulse | None = None
    drift: _Drift | None = None
    capability: dict[str, _Entry] | None = None


def why_no_manifest(data: Mapping[str, Any]) -> str:
    """Return what keeps a JSON object from being a run's manifest; "" if it is one."""
    try:
        _Manifest.model_validate(data)
    except ValidationError as error:
        return _first(error)
    return ""


def why_no_cell(data: Mapping[str, Any], scale: int) -> str:
    """Return what keeps a JSON object from being the ``cell.json`` of this scale; "" if it is one."""
    try:
        _Cell.model_validate(data)
        outcome, statuses = _outcome()
        outcome.model_validate({**data, "status": statuses.get(str(data.get("status")))})
    except ValidationError as error:
        return _first(error)
    return "" if data["scale"] == scale else f"its scale is {data['scale']}, not {scale}"


@cache
def _outcome() -> tuple[type[BaseModel], Mapping[str, Any]]:
    """Return the shape of a cell's outcome, from its own types, and the statuses by name."""
    from editbench.results.store import CellOutcome, Status

    types = get_type_hints(CellOutcome)
    given: dict[str, Any] = {
        f.name: (types[f.name], {} if f.name not in ("status", "reason") else ...) for f in fields(CellOutcome)
    }
    return create_model("Outcome", __base__=_Shape, **given), {str(status): status for status in Status}


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {first['msg']}" if key else str(first["msg"])


def no_records(path: Path) -> str:
    """Say that a cell's records are nowhere: not beside it, nor where published suites have them."""
    from editbench.results.store import SHARED_RECORDS

    above = path.absolute().parents
    shared = f", nor is {above[5] / SHARED_RECORDS}, as in published results" if len(above) > 5 else ""
    return f"{path} is not there{shared}"


def why_not_whole(records: Path, data: Mapping[str, Any]) -> str:
    """Return what is wrong with the records beside a finished cell's ``cell.json``; "" if they are as many as it says.

    Only what can be told at the speed of reading: lines are counted, each must begin an object. Of a cell that was not
    done nothing is expected.
    """
    written = data.get("counts", {}).get("records")
    if data.get("status") != "done" or written is None:
        return ""
    if why := no_plain_file(records):
        return why
    try:
        content = records.read_bytes() if records.exists() else b""
    except OSError as error:
        return f"{records} cannot be read: {error.strerror or error}"
    there = content.count(b"\n")
    if there != written or (content and not content.endswith(b"\n")):
        short = "is half-written" if there < written else "is not what was written"
        return f"{records} {short}: {there:,} of {written:,} records" if records.exists() else no_records(records)
    if written and content.count(b"\n{") + content.startswith(b"{") != written:
        return f"{records} is damaged: a line of it is no JSON object"
    return ""

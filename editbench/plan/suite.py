"""A suite: what is compared, on what, at which scales. Read from YAML; every mistake names file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from editbench.capability.spec import CapabilitySpec, from_yaml
from editbench.datasets import DatasetSpec
from editbench.datasets.files import is_hub_id
from editbench.datasets.readers import PUBLISHED
from editbench.errors import BadSuite, UserError
from editbench.plan.address import is_file_address
from editbench.plan.given import Given, parsed_sets
from editbench.plan.protocol import Protocol
from editbench.plan.sources import method_source


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSpec(_Strict):
    """A model to edit: a built-in name, a hub id, a folder or a GGUF file; ``revision`` pins a hub id."""

    name: str
    revision: str | None = None


class Sequential(_Strict):
    """Requests come in chunks of this many, each edited on top of the last."""

    sequential: PositiveInt

    def __str__(self) -> str:
        return f"sequential {self.sequential}"


class Cap(_Strict):
    """A method goes no further than this many requests, and why.

    ``device``: the kind of device that the reason is about (``cpu``, ``cuda``), on which alone it holds; None: on any.
    """

    scale: PositiveInt
    why: str = Field(min_length=1)
    device: str | None = None

    def holds_on(self, device: str) -> bool:
        """Return whether it holds on this kind of device."""
        return self.device in (None, device)


class MethodSpec(_Strict):
    """A method to compare: its registered name or ``./file.py:Class``, a label, and what differs from its defaults.

    ``hparams``: hyper-parameters, and below the name or family of a model those for it alone.
    ``regime``: its own, where the suite compares several; its label should say so.
    ``cap``: a scale above which it is not run, where its cost makes more hopeless, and the reason; shown in reports.
    """

    method: str
    label: str = ""
    hparams: dict[str, Any] = Field(default_factory=dict)
    regime: Literal["batch"] | Sequential | None = None
    cap: Cap | None = None

    @property
    def shown(self) -> str:
        """The label, or the method's own name."""
        if self.label or not is_file_address(self.method):
            return self.label or self.method
        return method_source(self.method).name

    def goal(self, largest: int, device: str) -> int:
        """Return the largest scale that is asked of it on a kind of device."""
        return min(self.cap.scale, largest) if self.cap and self.cap.holds_on(device) else largest


class Probes(_Strict):
    """How many probes of each kind a request is asked (None: all it has), and of how many requests per scale.

    Beyond ``budget`` requests (None: no limit) a sample stratified by edit age is probed.
    """

    rephrase: NonNegativeInt | None = None
    prefixed: NonNegativeInt | None = None
    neighbour: NonNegativeInt | None = None
    locality: NonNegativeInt | None = None
    portability: NonNegativeInt | None = None
    budget: PositiveInt | None = None

    @property
    def limits(self) -> dict[str, int | None]:
        """Probe kind -> most probes of it per request; the edit prompt itself has no limit."""
        return self.model_dump(exclude={"budget"})


def _listed(value: Any) -> Any:
    """Let a bare string stand for a list of one."""
    return [value] if isinstance(value, str) else value


def _named(key: str) -> BeforeValidator:
    """Let a bare string stand for a mapping with one key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class Suite(_Strict):
    """A suite, as typed values.

    Attributes
    ----------
    name, title: what it is called, and one sentence that says what it shows.
    dataset: where requests come from.
    models, methods: what is compared; names of models and labels of methods are distinct.
    scales: numbers of edits at which a run is measured, ascending.
    max_scale: measure no scale above this one (None: all); a sequential stream is cut in the same places either way.
    regime: ``batch``, or chunks on top of each other.
    on_collapse: whether a run goes on once its model has collapsed (perplexity on general text above ten times the
        unedited model's); if not, its larger scales are recorded as diverged.
    seeds: one run per seed.
    protocol: how the model is questioned.
    probes: how much it is asked.
    metrics: what the leaderboard shows, in order; the first is the main one.
    settings: files that ``editbench tune`` wrote, beside the suite's file; what ``hparams`` say goes over them.
    capability: what else the edited model is tried on, through lm-eval; None: nothing.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    dataset: DatasetSpec
    models: list[Annotated[ModelSpec, _named("name")]] = Field(min_length=1)
    methods: list[Annotated[MethodSpec, _named("method")]] = Field(min_length=1)
    scales: list[PositiveInt] = Field(min_length=1)
    max_scale: PositiveInt | None = None
    regime: Literal["batch"] | Sequential = "batch"
    on_collapse: Literal["continue", "stop"] = "continue"
    seeds: list[NonNegativeInt] = Field(default=[0], min_length=1)
    protocol: Protocol = Protocol()
    probes: Probes = Probes()
    metrics: list[str] = Field(default=["reliability", "generalisation", "locality"], min_length=1)
    capability: Annotated[CapabilitySpec | None, BeforeValidator(from_yaml)] = None
    settings: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)

    _file: str = PrivateAttr(default="")
    _lines: dict[str, int] = PrivateAttr(default_factory=dict)
    _own_models: frozenset[str] | None = PrivateAttr(default=None)
    _given: Given = PrivateAttr(default_factory=Given)

    @field_validator("scales")
    @classmethod
    def _ascending(cls, scales: list[int]) -> list[int]:
        if sorted(set(scales)) != scales:
            raise ValueError("scales must ascend, each once, such as [1, 10, 100]")
        return scales

    @field_validator("seeds", "metrics")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("each may be given once")
        return values

    @field_validator("models")
    @classmethod
    def _models_are_distinct(cls, models: list[ModelSpec]) -> list[ModelSpec]:
        names = [model.name for model in models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two are called {twice!r}; name each model once")
        return models

    @field_validator("protocol")
    @classmethod
    def _target_field_belongs_to_the_dataset(cls, protocol: Protocol) -> Protocol:
        if protocol.target_field != Protocol.model_fields["target_field"].default:
            raise ValueError("target_field is a matter of the dataset: write it under 'dataset'")
        return protocol

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Suite:
        shown = [method.label or method.method for method in self.methods]
        twice = sorted({label for label in shown if shown.count(label) > 1})
        if twice:
            raise ValueError(f"methods: two are called {twice[0]!r}; give each its own label")
        return self

    @model_validator(mode="after")
    def _capability_is_at_scales(self) -> Suite:
        wanted = set(self.capability.scales or ()) if self.capability else set()
        if wanted - set(self.scales):
            raise ValueError(f"capability: {min(wanted - set(self.scales))} is not among the scales {self.scales}")
        return self

    @property
    def measured(self) -> list[int]:
        """The scales up to ``max_scale``."""
        return [scale for scale in self.scales if self.max_scale is None or scale <= self.max_scale]

    def with_options(
        self,
        *,
        methods: Sequence[str] | None = None,
        add_methods: Sequence[str] = (),
        models: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        scales: Sequence[int] | None = None,
        max_scale: int | None = None,
        revision: str | None = None,
        data: str | None = None,
    ) -> Suite:
        """Return this suite with some choices replaced.

        ``data`` is the file or hub dataset (``org/name``, ``org/name@revision``) to read requests from, in the form of
        the suite's dataset. ``methods`` picks labels of the suite, else every entry of that method, else any other
        registered method; ``add_methods`` adds to them; ``revision`` pins every model that has none. Raises
        :class:`UserError`.
        """
        chosen: dict[str, Any] = {}
        if methods is not None or add_methods:
            kept = self.methods if methods is None else [m for name in methods for m in self._methods(name)]
            chosen["methods"] = [m.model_dump() for m in (*kept, *(MethodSpec(method=name) for name in add_methods))]
        if models is not None or revision is not None:
            picked = self.models if models is None else [self._model(name) for name in models]
            chosen["models"] = [{"name": m.name, "revision": m.revision or revision} for m in picked]
        if data is not None:
            place = "path" if self.dataset.name in PUBLISHED else "name"
            name, _, pinned = data.partition("@") if is_hub_id(data.partition("@")[0]) else (data, "", "")
            chosen["dataset"] = {**self.dataset.model_dump(), place: name, "revision": pinned or None}
        if scales is not None and self.capability is not None and self.capability.scales is not None:
            both = [scale for scale in self.capability.scales if scale in scales]
            chosen["capability"] = {**self.capability.model_dump(), "scales": both or None}
        given = {"seeds": seeds, "scales": scales, "max_scale": max_scale}
        chosen |= {key: list(v) if isinstance(v, Sequence) else v for key, v in given.items() if v is not None}
        return self._replaced(chosen)

    def with_holdout(self, share: float | None, side: Literal["rest", "search"] = "rest") -> Suite:
        """Return this suite over what is left of its dataset when a share of the subjects is held out, or over that.

        None leaves the suite as it is. Raises :class:`UserError` for what is no share.
        """
        chosen = {} if share is None else {"dataset": {**self.dataset.model_dump(), "holdout": share, "side": side}}
        return self._replaced(chosen)

    def with_capability(self, tasks: Sequence[str]) -> Suite:
        """Return this suite with these capability tasks, with its other settings about them; none at all if empty."""
        if not tasks:
            return self._replaced({"capability": None})
        kept = {} if self.capability is None else self.capability.model_dump()
        changed = self._replaced({"capability": {**kept, "tasks": list(tasks)}})
        changed._lines = {place: line for place, line in self._lines.items() if place != "capability"}
        return changed

    def _replaced(self, chosen: Mapping[str, Any]) -> Suite:
        try:
            changed = Suite.model_validate({**self.model_dump(), **chosen})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "methods"
            raise UserError(f"{key} = {first['input']!r}: {said(first)}." if first["loc"] else said(first)) from error
        if not changed.measured:
            raise UserError(f"No scale of {changed.scales} is at most {changed.max_scale}.", hint="Give --scales.")
        changed._file, changed._lines = self._file, self._lines
        changed._own_models, changed._given = self.own_models, self._given
        return changed

    @property
    def own_models(self) -> frozenset[str]:
        """The names of the models that the suite's file lists, whichever are chosen."""
        return frozenset(model.name for model in self.models) if self._own_models is None else self._own_models

    @property
    def given(self) -> Given:
        """What the command line says about hyper-parameters."""
        return self._given

    def with_settings(self, files: Sequence[str | Path] = (), sets: Sequence[str] = ()) -> Suite:
        """Return this suite with files of settings (of ``editbench tune``) and single values (``METHOD.NAME=VALUE``).

        Raises :class:`UserError` for what is no such value, or names no method of the suite.
        """
        changed = self._replaced({})
        labels = [name for method in self.methods for name in (method.shown, method.method)]
        changed._given = Given(tuple(map(Path, files)), parsed_sets(sets, labels))
        return changed

    @property
    def settings_files(self) -> list[Path]:
        """The files of ``settings``, as seen from the suite's file."""
        return [Path(self._file).parent / name for name in self.settings]

    def _methods(self, name: str) -> list[MethodSpec]:
        labelled = [m for m in self.methods if name == (m.label or m.method)]
        return labelled or [m for m in self.methods if name == m.method] or [MethodSpec(method=name)]

    def _model(self, name: str) -> ModelSpec:
        return next((m for m in self.models if m.name == name), ModelSpec(name=name))

    @contextmanager
    def at(self, *places: str) -> Iterator[None]:
        """Name file and line in a :class:`UserError` about the first of ``places`` that the file holds.

        Places are ``dataset``, ``scales``, ``metrics``, ``methods/<label>/<hyper-parameter>``, ``models/<name>``.
        """
        try:
            yield
        except BadSuite:
            raise
        except UserError as error:
            line = next((self._lines[place] for place in places if place in self._lines), None)
            if line is None:
                raise
            raise BadSuite(f"{self._file}, line {line}: {error.given}", error.expected, error.hint) from error


def said(error: Any) -> str:
    """Return what one of pydantic's errors says, without a full stop."""
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")

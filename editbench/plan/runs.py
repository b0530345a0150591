"""A suite made into runs and cells, each with an id made from everything that decides its bits. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from editbench.base.machine import device_kind
from editbench.cache import Cache, content_key
from editbench.capability.spec import CapabilitySpec
from editbench.datasets import DatasetSpec
from editbench.errors import BadModel, UnknownName, UserError
from editbench.plan.address import is_file_address
from editbench.plan.held import read_closure
from editbench.plan.overrides import check_files, names_of, overrides
from editbench.plan.protocol import Protocol
from editbench.plan.registry import load_method
from editbench.plan.settings import Override, identity_of
from editbench.plan.sources import method_source
from editbench.plan.suite import MethodSpec, ModelSpec, Probes, Sequential, Suite

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.method import Method, Regime
    from editbench.models.lm import LM

DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is carried out on this machine; the science is in the suite.

    Attributes
    ----------
    device: ``cpu``, ``cuda``, ``cuda:1``; "auto" takes an accelerator if there is one. Its kind changes the bits, and
        is part of every run's id.
    dtype: of the weights, and part of every run's id too.
    device_map: transformers' ``device_map``, for a model spread over several devices.
    trust_remote_code: whether a hub model may run its own code.
    trust_task_code: whether code that comes with capability tasks may run.
    token_budget: most tokens in one batch when probing, padding included; None: as many as suit the device.
    command: the command line or call that asked for it, for the manifest.
    capability_data: folder of local data for lm-eval's tasks; None: the hub.
    keep_edits: whether each cell keeps its edits, as a file beside its records.
    timeout_s: most seconds that a cell may take, editing and measuring; None: no limit.
    """

    device: str = "auto"
    dtype: DType = "float32"
    device_map: str | None = None
    trust_remote_code: bool = False
    token_budget: int | None = None
    command: str = ""
    capability_data: str | None = None
    keep_edits: bool = False
    timeout_s: float | None = None
    trust_task_code: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """A model that was edited elsewhere: it is measured, and not edited here.

    Attributes
    ----------
    name, revision: what to load.
    compared: whether the run's ``model`` is the unedited one, to compare with; if not, it is the scored one itself.
    """

    name: str
    revision: str | None = None
    compared: bool = False


@dataclass(frozen=True)
class Run:
    """One run: a method with its hyper-parameters on a model and a seed, measured at each of its scales.

    Attributes
    ----------
    suite: name of the suite, a folder of the results tree.
    model, revision: what to load.
    method: registered name or ``./file.py:Class``.
    label: what tables call the method.
    given: hyper-parameters given beside the method's own settings; the rest is resolved for the model when the run
        starts.
    seed: base of every random draw.
    scales: the scales to measure, ascending.
    stream: every scale of the suite: where a sequential stream is cut beside the multiples of ``chunk``.
    goal: the largest scale the suite asks of this method, also where fewer are measured now; no part of the identity.
    regime, chunk: ``batch`` and None, or ``sequential`` and the requests per chunk.
    dataset, dataset_hash: where requests come from, and the hash of their content ("" until ``bind``).
    protocol, probes: how, and how much, the model is questioned.
    dtype: of the weights.
    device: kind of the device that computes: ``cpu``, ``cuda``.
    source_hash: of the method's source, with all that it imports and its published settings
        (:mod:`editbench.plan.closure`).
    suite_regime: what the suite's other methods run in, unless they too have their own; runs of one table share it.
    on_collapse: whether the larger scales are run once the model has collapsed.
    talks: whether the model is let talk at length at every scale, because a metric of the suite reads that; no part
        of the identity, for it moves nothing else.
    scored: the model to measure as it is; None where ``method`` edits ``model``.
    capability: what the edited model is tried on beside the probes. It does not change the edit or the records, and is
        no part of the run's id; a cell that lacks it is completed.
    """

    suite: str
    model: str
    revision: str | None
    method: str
    label: str
    given: tuple[Override, ...]
    seed: int
    scales: tuple[int, ...]
    stream: tuple[int, ...]
    regime: Regime
    chunk: int | None
    dataset: DatasetSpec
    protocol: Protocol
    probes: Probes
    dtype: DType = "float32"
    device: str = "cpu"
    source_hash: str = ""
    goal: int = 0
    dataset_hash: str = ""
    suite_regime: str = "batch"
    on_collapse: Literal["continue", "stop"] = "continue"
    talks: bool = False
    scored: Scored | None = None
    capability: CapabilitySpec | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the bits of this run, as plain values.

        In the batch regime every scale starts from the clean model, so that other scales do not matter. Of scored
        models each scale has its own under one label; which, with its hash, is in the manifest.
        """
        scored = {} if self.scored is None else {"scored": [self.label, self.scored.compared]}
        address = self.method.rpartition("/")[2] if is_file_address(self.method) else self.method
        return {
            "model": [self.model, self.revision, self.dtype, self.device],
            "method": [address, self.source_hash, identity_of(self.given, names_of(self.model))],
            "data": [self.dataset_hash, self.seed],
            "regime": [self.regime, self.chunk, list(self.stream) if self.regime == "sequential" else None],
            "measured": [self.protocol.model_dump(), self.probes.model_dump(), self.on_collapse],
            **scored,
        }

    @cached_property
    def run_id(self) -> str:
        """32 hex digits: the content key of :attr:`identity`."""
        return content_key(self.identity)

    def cell_id(self, scale: int) -> str:
        """Return the id of this run's cell at ``scale``: 32 hex digits."""
        return content_key({"run": self.run_id, "scale": scale})

    def settled_at(self, scale: int) -> int:
        """Return the scale whose settings a cell's edit has: its own, or in a stream the largest it goes to."""
        return scale if self.regime == "batch" else self.goal or self.scales[-1]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells this run from the others of its plan: model, label, seed."""
        return self.model, self.label, self.seed


@dataclass(frozen=True, slots=True)
class Plan:
    """A suite's runs in the order they are carried out.

    Attributes
    ----------
    suite: what was planned.
    runs: one per model, method and seed.
    """

    suite: Suite
    runs: tuple[Run, ...]

    @property
    def dataset(self) -> DatasetSpec:
        """The one dataset all runs draw from."""
        return self.suite.dataset

    def cells(self) -> Iterator[tuple[Run, int]]:
        """Yield every run with each of its scales."""
        for run in self.runs:
            for scale in run.scales:
                yield run, scale


def make_plan(suite: Suite, options: RunOptions | None = None) -> Plan:
    """Expand a suite: for each model and seed, every method. Imports no method.

    Raises :class:`UnknownName` or :class:`BadPlugin` for a method that is not there.
    """
    options = options or RunOptions()
    _refuse_twins(suite)
    runs = [
        _run(suite, model, method, seed, options)
        for model in suite.models
        for seed in suite.seeds
        for method in suite.methods
        if method.goal(suite.scales[-1], device_kind(options.device)) >= suite.measured[0]
    ]
    if not runs:
        caps = "; ".join(f"{m.shown} goes no further than {m.cap.scale:,}: {m.cap.why}" for m in suite.methods if m.cap)
        raise UserError(f"Nothing is left to run at scale {suite.measured[0]:,}.", caps, "Measure a smaller scale.")
    return Plan(suite, tuple(runs))


def _refuse_twins(suite: Suite) -> None:
    shown = [method.shown for method in suite.methods]
    twice = sorted({label for label in shown if shown.count(label) > 1})
    if twice:
        raise UserError(f"Two methods are called {twice[0]!r}.", hint="Rename one: change its class attribute 'name'.")


def _run(suite: Suite, model: ModelSpec, method: MethodSpec, seed: int, options: RunOptions) -> Run:
    with suite.at(f"methods/{method.label or method.method}"):
        method_source(method.method)  # says what is wrong with it, if something is
        closure = read_closure(method.method)
    regime = method.regime or suite.regime
    chunk = regime.sequential if isinstance(regime, Sequential) else None
    device = device_kind(options.device)
    most = method.goal(suite.scales[-1], device)
    return Run(
        suite=suite.name,
        model=model.name,
        revision=model.revision,
        method=method.method,
        label=method.shown,
        given=overrides(suite, model.name, method),
        seed=seed,
        scales=tuple(scale for scale in suite.measured if scale <= most),
        stream=tuple(suite.scales),
        goal=most,
        regime="batch" if chunk is None else "sequential",
        chunk=chunk,
        suite_regime=str(suite.regime),
        on_collapse=suite.on_collapse,
        capability=suite.capability,
        dataset=suite.dataset,
        protocol=suite.protocol,
        probes=suite.probes,
        dtype=options.dtype,
        device=device,
        source_hash=closure.hash,
        talks=reads_talk(suite.metrics),
    )


def reads_talk(metrics: Sequence[str]) -> bool:
    """Return whether one of these metrics (unknown names are not) is read from what a model says at length."""
    from editbench.metrics import METRICS, CellMetric

    found = [METRICS[name] for name in metrics if name in METRICS]
    return any(isinstance(metric, CellMetric) and metric.reads_talk for metric in found)


def bind(plan: Plan, dataset: Dataset) -> Plan:
    """Return the plan with the dataset's hash and target field in every run; their ids are final from here on."""
    protocol = plan.suite.protocol.model_copy(update={"target_field": dataset.target_field or "default"})
    runs = (replace(run, dataset_hash=dataset.content_hash, protocol=protocol) for run in plan.runs)
    return Plan(plan.suite, tuple(runs))


def check_names(plan: Plan, trust_task_code: bool = False) -> None:
    """Check every name and hyper-parameter of a plan, before any data is read. Imports the methods.

    Raises :class:`UserError` for an unknown model, dataset, metric, capability task or hyper-parameter, for a value
    that does not fit, for a method that cannot be loaded, and for one that does not know the suite's regime.
    """
    from editbench.datasets import check_dataset_name
    from editbench.metrics import check_metric_name
    from editbench.models.builtin import check_model_name

    suite = plan.suite
    check_files(suite)
    for method in suite.methods:
        _check_method(plan, method)
    for model in suite.models:
        with suite.at(f"models/{model.name}"):
            check_model_name(model.name)
    for metric in suite.metrics:
        with suite.at("metrics"):
            check_metric_name(metric)
    with suite.at("dataset"):
        check_dataset_name(suite.dataset)
    check_capability(suite, trust_task_code)


def check_capability(suite: Suite, trust_task_code: bool = False) -> None:
    """Raise :class:`UserError` for a capability task that is not there, or that brings code nobody trusts."""
    if suite.capability is not None:
        from editbench.capability.tasks import resolve
        from editbench.capability.trust import refuse_code

        with suite.at("capability"):
            refuse_code(resolve(suite.capability, Cache()), trust_task_code)


def _check_method(plan: Plan, spec: MethodSpec) -> None:
    suite = plan.suite
    place = f"methods/{spec.label or spec.method}"
    with suite.at(place):
        method = load_method(spec.method)
    regime = "sequential" if isinstance(spec.regime or suite.regime, Sequential) else "batch"
    with suite.at(place):
        if regime not in method.regimes:
            raise UserError(
                f"The method {spec.shown} does not work in the {regime} regime.",
                f"It knows: {', '.join(sorted(method.regimes))}.",
                "Leave it out with --methods, or change its regime.",
            )
    given = [one for run in plan.runs if run.label == spec.shown for one in run.given]
    for one in {id(one): one for one in given}.values():
        _check_hparams(suite, spec, method, one)


def _check_hparams(suite: Suite, spec: MethodSpec, method: type[Method], given: Override) -> None:
    """Check given keys and values; hyper-parameters that depend on the model are resolved when the run starts."""
    hint = f"See its hyper-parameters: editbench show method {spec.method}"
    place = f"methods/{spec.label or spec.method}"
    by = "" if given.origin.kind == "suite" else f" ({given.origin})"
    for key in given.values:
        if key not in method.Hparams.model_fields:
            with suite.at(*_places(place, given, key)):
                raise UnknownName(f"hyper-parameter of {spec.shown}{by}", key, method.Hparams.model_fields, hint)
    try:
        method.Hparams(**given.values)
    except ValidationError as error:
        wrong = [item for item in error.errors() if item["type"] != "missing" and item["loc"]]
        for item in wrong:
            key = ".".join(str(part) for part in item["loc"])
            with suite.at(*_places(place, given, str(item["loc"][0]))):
                raise UserError(f"{spec.shown}: {key} = {item['input']!r}{by}: {item['msg']}.", hint=hint) from error


def _places(place: str, given: Override, key: str) -> tuple[str, ...]:
    """Return where in the suite's file a hyper-parameter may stand; nowhere if another file or a command gave it."""
    return (f"{place}/{given.model}/{key}", f"{place}/{key}", place) if given.origin.kind == "suite" else ()


def check_device(run: Run, lm: LM) -> None:
    """Raise :class:`BadModel` if a model computes on another kind of device than the run's id says."""
    kinds = lm.device_kinds
    if run.device not in kinds:
        raise BadModel(
            f"{run.model} was loaded on {' and '.join(sorted(kinds))}, and the run was planned for {run.device}.",
            "The kind of device is part of a run's id.",
            f"Name the device: --device {min(kinds, default='cpu')}",
        )


def check_scales(plan: Plan, dataset: Dataset) -> None:
    """Raise :class:`UserError` if a scale is larger than the dataset."""
    size, largest = len(dataset.requests), plan.suite.measured[-1]
    if largest > size:
        left = f" ({dataset.split_note.rstrip('.')})" if dataset.split_note else ""
        with plan.suite.at("scales"):
            raise UserError(
                f"The scale {largest} is above the size of the dataset {dataset.name}: {size} requests{left}.",
                hint=f"Measure fewer: --max-scale {size}, or choose a larger dataset.",
            )

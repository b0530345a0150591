"""All that is known about one named thing, as lines to read and as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from editbench.base.plugins import blamed
from editbench.errors import UnknownName, UserError
from editbench.plan import catalogue, settings
from editbench.plan.address import is_file_address
from editbench.spaces import Space, spaces_of

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Details:
    """What there is to say.

    Attributes
    ----------
    lines: to read.
    data: the same, as plain values for JSON.
    """

    lines: list[str]
    data: dict[str, Any]


def find(name: str) -> str:
    """Return which kind of thing a name belongs to. Raises :class:`UnknownName`."""
    if is_file_address(name):
        return "method"
    if name.endswith((".yaml", ".yml")):
        return "suite"
    known: list[str] = []
    for noun in ("suites", "methods", "datasets", "metrics", "models"):
        names = [item.name for item in catalogue.KINDS[noun]()]
        if name in names:
            return noun[:-1]
        known += names
    raise UnknownName("suite, method, dataset, metric or model", name, known, "See them all: editbench list")


def describe(noun: str, name: str, holdout: float | None = None) -> Details:
    """Return what is known about a suite, method, dataset, metric or model; of a dataset, what a holdout leaves.

    Raises :class:`UserError`.
    """
    with blamed(f"The {noun} {name!r} cannot be shown"):
        return _dataset(name, holdout) if noun == "dataset" else _DESCRIBERS[noun](name)


def _suite(name: str) -> Details:
    from editbench.plan.suite_file import load_suite, suite_path

    suite, path = load_suite(name), suite_path(name)
    return Details([f"# {path}", path.read_text(encoding="utf-8").rstrip()], suite.model_dump(mode="json"))


def _hparam(name: str, field: FieldInfo, searched: Space | None) -> str:
    default = "resolved for the model" if field.is_required() else repr(field.default)
    plain = isinstance(field.annotation, type)
    kind = field.annotation.__name__ if plain and field.annotation else str(field.annotation).replace("typing.", "")
    space = "" if searched is None else f"; tune tries {searched}"
    return f"  {name}: {kind} = {default}{space}"


def _method(name: str) -> Details:
    from editbench.plan.registry import load_method

    method = load_method(name)
    doc = [line.strip() for line in (method.__doc__ or "").strip().splitlines()]
    published = settings.published(method)
    spaces = spaces_of(method.Hparams)
    hparams = [_hparam(key, field, spaces.get(key)) for key, field in method.Hparams.model_fields.items()]
    lines = [f"{method.name}: {doc[0] if doc else ''}", *doc[1:]]
    lines += [f"cite: {method.cite or '–'}", f"regimes: {', '.join(sorted(method.regimes))}"]
    lines += ["hyper-parameters:", *(hparams or ["  none"])]
    lines += [
        f"{family}, {settings.origin_of(entry)}: {settings.values_of(entry)}"
        for family, entries in published.items()
        for entry in entries
    ]
    data = {
        "name": method.name,
        "doc": "\n".join(doc),
        "cite": method.cite,
        "regimes": sorted(method.regimes),
        "hparams": method.Hparams.model_json_schema(),
        "published": published,
    }
    return Details(lines, data)


def _dataset(name: str, holdout: float | None = None) -> Details:
    from editbench.datasets import DatasetSpec, load_dataset

    found = load_dataset(DatasetSpec(name=name, holdout=holdout))
    faults = asdict(found.faults)
    lines = [
        f"{found.name}: {len(found.requests):,} requests from {found.source}",
        *([found.split_note] if found.split_note else []),
        f"hash: {found.content_hash}",
        f"target field: {found.target_field}",
        f"highest possible exact match: {found.faults.ceiling:.4f}",
        "faults: " + (", ".join(f"{fault} {n}" for fault, n in found.faults.counts.items()) or "none found"),
        "first requests:",
    ]
    shown = found.requests[:EXAMPLES]
    lines += [f"  {r.id}: {r.prompt} → {r.target_new} (was {r.target_true}; {len(r.probes)} probes)" for r in shown]
    data = {
        "name": found.name,
        "source": found.source,
        "hash": found.content_hash,
        "requests": len(found.requests),
        **found.split,
        "target_field": found.target_field,
        "faults": faults,
        "examples": [asdict(request) for request in shown],
    }
    return Details(lines, data)


def _metric(name: str) -> Details:
    from editbench.metrics import METRICS, check_metric_name

    check_metric_name(name)
    metric = METRICS[name]
    low, high = ("−∞" if metric.range[0] is None else metric.range[0]), metric.range[1]
    lines = [
        f"{metric.name} ({metric.title}): {metric.says}",
        f"better: {metric.direction}",
        f"range: {low} to {'∞' if high is None else high}",
        f"source: {metric.source or 'this project'}",
    ]
    plain = ("name", "title", "direction", "range", "says", "source")
    return Details(lines, {key: getattr(metric, key) for key in plain})


def _model(name: str) -> Details:
    from editbench.models.builtin import check_model_name
    from editbench.models.builtin_models import BUILTIN
    from editbench.models.families import shape_of_name

    check_model_name(name)
    shape = shape_of_name(name)
    if shape is None:
        raise UserError(f"The shape of {name} is not known before it is loaded.")
    data = {"name": name, **(BUILTIN[name].about() if name in BUILTIN else {}), **shape.as_dict()}
    return Details([f"{key}: {value}" for key, value in data.items()], data)


_DESCRIBERS: dict[str, Callable[[str], Details]] = {
    "suite": _suite,
    "method": _method,
    "dataset": _dataset,
    "metric": _metric,
    "model": _model,
}

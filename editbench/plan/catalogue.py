"""Everything that has a name, with a line about each, collected without importing any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editbench.base.plain import one_line, shortened
from editbench.base.plugins import Registration, blamed, entries
from editbench.datasets.registry import DATASETS
from editbench.errors import UserError
from editbench.plan.address import METHODS
from editbench.plan.registry import SUITES


@dataclass(frozen=True, slots=True)
class Listed:
    """A named thing.

    Attributes
    ----------
    name: what users type.
    says: one line about it, or why it is broken.
    package: the distribution it comes from, or "".
    broken: whether asking for it is an error.
    """

    name: str
    says: str
    package: str = ""
    broken: bool = False


def _described(group: str, describe: Callable[[Registration], str]) -> list[Listed]:
    found = entries(group)
    return [_item(entry, describe, [other for other in found if other.name == entry.name]) for entry in found]


def _item(entry: Registration, describe: Callable[[Registration], str], same: list[Registration]) -> Listed:
    if len(same) > 1:
        owners = ", ".join(other.package for other in same)
        return Listed(entry.name, f"broken: registered {len(same)} times, by {owners}", entry.package, True)
    try:
        with blamed(f"{entry.target} cannot be read"):
            return Listed(entry.name, one_line(describe(entry)), entry.package)
    except UserError as error:
        return Listed(entry.name, f"broken: {shortened(one_line(error.given))}", entry.package, True)


def methods() -> list[Listed]:
    """Return every registered method with the first line of its docstring."""
    from editbench.plan.sources import method_source

    return _described(METHODS, lambda entry: method_source(entry.name).title)


def suites() -> list[Listed]:
    """Return every registered suite with its title."""
    from editbench.plan.suite_file import load_suite

    return _described(SUITES, lambda entry: load_suite(entry.name).title)


def datasets() -> list[Listed]:
    """Return every registered dataset with the first line of its reader's docstring."""
    from editbench.plan.sources import first_line

    return _described(DATASETS, lambda entry: first_line(entry.target))


def models() -> list[Listed]:
    """Return the built-in models with their licences."""
    from editbench.models.builtin_models import BUILTIN

    others = "a hub id, a model folder or a .gguf file works too"
    return [Listed(model.name, f"built in: {model.title}, {model.licence}; {others}") for model in BUILTIN.values()]


def metrics() -> list[Listed]:
    """Return every metric with its definition."""
    from editbench.metrics import METRICS

    arrow = {"higher": "↑", "lower": "↓"}
    return [Listed(metric.name, f"{arrow[metric.direction]} {metric.says}") for metric in METRICS.values()]


KINDS: dict[str, Callable[[], list[Listed]]] = {
    "methods": methods,
    "suites": suites,
    "datasets": datasets,
    "models": models,
    "metrics": metrics,
}

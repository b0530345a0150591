"""The settings of a plan's runs, as far as they are known before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from editbench.models.families import shape_of_name
from editbench.plan.registry import load_method
from editbench.plan.runs import Plan, Run
from editbench.plan.settings import Settings, settings_for


@dataclass(frozen=True, slots=True)
class Planned:
    """The settings of a method on a model at some scales; None where the model's shape is not known yet."""

    model: str
    label: str
    scales: tuple[int, ...]
    settings: Settings | None


def planned_settings(plan: Plan) -> list[Planned]:
    """Return the settings of every method on every model, a line per group of scales that share them.

    Raises :class:`~editbench.errors.UserError` for hyper-parameters that do not fit a model.
    """
    first = {(run.model, run.label): run for run in reversed(plan.runs)}
    return [one for run in reversed(first.values()) for one in _of(run)]


def _of(run: Run) -> list[Planned]:
    shape = shape_of_name(run.model)
    if shape is None:
        return [Planned(run.model, run.label, run.scales, None)]
    method = load_method(run.method, run.source_hash)
    found: list[Planned] = []
    for scale in run.scales:
        settings = settings_for(method, shape, run.given, model=run.model, scale=run.settled_at(scale))
        if found and found[-1].settings == settings:
            found[-1] = Planned(run.model, run.label, (*found[-1].scales, scale), settings)
        else:
            found.append(Planned(run.model, run.label, (scale,), settings))
    return found

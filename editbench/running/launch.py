"""From a suite to results: what ``editbench run`` and ``editbench.run`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from editbench.base.files import check_writable
from editbench.errors import UnknownName
from editbench.models.terms import check_terms
from editbench.plan.overrides import without_searched
from editbench.plan.runs import DType, Plan, RunOptions, bind, check_names, check_scales, make_plan
from editbench.plan.suite import Suite
from editbench.plan.suite_file import load_suite
from editbench.results.store import Store
from editbench.running.outcome import Results

if TYPE_CHECKING:
    from editbench.base.progress import Progress
    from editbench.datasets import Dataset


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that passed every check, with the dataset it is bound to."""

    plan: Plan
    dataset: Dataset


def prepare(suite: Suite, options: RunOptions) -> Prepared:
    """Plan a suite, check every name and value, read its dataset. Writes nothing. Raises :class:`UserError`."""
    from editbench.datasets import load_dataset

    if options.dtype not in get_args(DType):
        raise UnknownName("dtype", options.dtype, get_args(DType))
    with suite.at("dataset"):
        suite = without_searched(suite)
    plan = make_plan(suite, options)
    check_names(plan, options.trust_task_code)
    with suite.at("dataset"):
        dataset = load_dataset(suite.dataset)
    check_scales(plan, dataset)
    return Prepared(bind(plan, dataset), dataset)


def carry_out(prepared: Prepared, root: Path, options: RunOptions, progress: Progress) -> Results:
    """Run what is missing of a plan; results go to ``root``. Raises :class:`UserError` before anything is written."""
    check_writable(root)  # before torch is imported: a mistake is answered at once
    check_terms(model.name for model in prepared.plan.suite.models)
    from editbench.running.runner import execute

    store = Store(root, waiting=progress.waiting)
    try:
        execute(prepared.plan, prepared.dataset, store, options, progress)
    finally:
        progress.close()
    return Results(prepared.plan, store)


def run(
    suite: str | Path | Suite,
    *,
    methods: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    max_scale: int | None = None,
    results: str | Path = "results",
    device: str = "auto",
    dtype: Any = "float32",
) -> Results:
    """Run a suite, or what is missing of it, and return its results.

    Parameters
    ----------
    suite: a registered name, a YAML file, or a :class:`editbench.plan.suite.Suite`.
    methods: labels of the suite, other registered names, ``./file.py:Class``; None: the suite's.
    models, seeds: instead of the suite's.
    max_scale: measure no scale above this.
    results: folder the results go to.
    device: ``auto``, ``cpu``, ``cuda``, …
    dtype: ``float32``, ``bfloat16`` or ``float16``.

    Raises :class:`editbench.UserError` for anything that cannot be run; nothing is written then.
    """
    from editbench.base.progress import progress_for
    from editbench.models.device import check_device
    from editbench.plan.estimate import expected_seconds

    loaded = suite if isinstance(suite, Suite) else load_suite(suite)
    chosen = loaded.with_options(methods=methods, models=models, seeds=seeds, max_scale=max_scale)
    options = RunOptions(device=device, dtype=dtype, command=f"editbench.run({str(loaded.name)!r}, …)")
    check_device(options.device)
    prepared = prepare(chosen, options)
    return carry_out(prepared, Path(results), options, progress_for(expected_seconds(prepared.plan, prepared.dataset)))

"""What lies in results folders, chosen and read for a leaderboard: no dataset is read, no method imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.errors import StoreError, UnknownName, UserError
from editbench.plan.runs import DType, Plan, RunOptions, make_plan
from editbench.plan.suite import Suite
from editbench.plan.suite_file import load_suite
from editbench.results.store import RunResult, Store

if TYPE_CHECKING:
    import pandas as pd

    from editbench.analysis.leaderboard import About, Leaderboard


def with_capability_shown(metrics: Sequence[str], measured: bool) -> list[str]:
    """Return a suite's metrics, and ``capability`` if it was measured and none of them shows it."""
    hidden = measured and not {"capability", "capability-ratio"} & set(metrics)
    return [*metrics, *(["capability"] if hidden else [])]


def stored_leaderboard(
    suite: str,
    root: Path | Sequence[Path],
    metrics: Sequence[str] | None = None,
    dtype: DType = "float32",
    over: Sequence[int] | None = None,
) -> Leaderboard:
    """Return the leaderboard of a suite from what lies in results folders; reads no dataset, imports no method.

    Of several runs of one method those are preferred that the suite's file would make today. A suite whose file is
    gone is shown from its results alone.

    Parameters
    ----------
    suite: a registered name, a YAML file, or the name of results.
    root: a results folder, or several, such as those of several machines.
    metrics: columns, instead of the suite's.
    dtype: of the runs to prefer.
    over: None: a row per scale; else a row per method, areas over these scales (none: all of them).

    Raises :class:`UserError`.
    """
    from editbench.analysis.leaderboard import build

    stored = stored_runs(suite, [root] if isinstance(root, Path) else root, metrics, dtype)
    return build(stored.runs, stored.about, stored.plan, over, stored.notes)


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies in results folders of one suite, with what a leaderboard of it needs.

    Attributes
    ----------
    runs: every run there is of it.
    about: its name, title and metrics.
    plan: the suite as it would run now, bound to the data of its newest run; None where it cannot be planned.
    notes: what could not be read, and is left out.
    """

    runs: list[RunResult]
    about: About
    plan: Plan | None
    notes: tuple[str, ...] = ()


def stored_runs(
    suite: str, roots: Sequence[Path], metrics: Sequence[str] | None = None, dtype: DType = "float32"
) -> Stored:
    """Return a suite's runs in results folders; the parameters are :func:`stored_leaderboard`'s.

    Raises :class:`UserError` where there are none, and for a metric that nobody knows.
    """
    from editbench.analysis.leaderboard import About
    from editbench.metrics import check_metric_name

    for name in metrics or ():
        check_metric_name(name)
    try:
        loaded = load_suite(suite)
    except UnknownName:
        runs = _scan(roots, suite)
        if not runs:
            raise
        default = with_capability_shown(Suite.model_fields["metrics"].default, _has_capability(runs))
        return Stored(runs, About(suite, "", tuple(metrics or default)), None, left_out(roots, suite))
    runs = _scan(roots, loaded.name)
    if not runs:
        places = ", ".join(map(str, roots))
        raise UserError(f"There are no results of {loaded.name} in {places}.", hint=f"editbench run --suite {suite}")
    shown = metrics or with_capability_shown(loaded.metrics, _has_capability(runs))
    about = About(loaded.name, loaded.title, tuple(shown))
    return Stored(runs, about, _as_of(loaded, runs, dtype), left_out(roots, loaded.name))


def _has_capability(runs: Sequence[RunResult]) -> bool:
    return any(cell.data.get("capability") for run in runs for cell in run.cells)


def stored_ages(suite: str, root: Path | Sequence[Path], metric: str, dtype: DType = "float32") -> pd.DataFrame:
    """Return success by edit age, :func:`editbench.analysis.ageing.age_rows`, of the leaderboard's runs.

    Parameters are those of :func:`stored_leaderboard`; ``metric`` has a value per request. Raises :class:`UserError`.
    """
    from editbench.analysis.ageing import age_rows

    stored = stored_runs(suite, [root] if isinstance(root, Path) else root, None, dtype)
    return age_rows(stored.runs, metric, stored.plan)


def _scan(roots: Sequence[Path], suite: str | None = None) -> list[RunResult]:
    """Return the runs in results folders. Raises :class:`StoreError` where there are some and none can be read."""
    found = [run for root in roots for run in Store(root).scan(suite)]
    if not found and (damaged := left_out(roots, suite)):
        raise StoreError("\n".join(damaged))
    return found


def left_out(roots: Sequence[Path], suite: str | None = None) -> tuple[str, ...]:
    """Return a sentence for each run in results folders that cannot be read, as :meth:`Store.damaged`."""
    return tuple(said for root in roots for said in Store(root).damaged(suite))


def shown_runs(suite: str, root: Path, dtype: DType = "float32") -> tuple[list[RunResult], list[str]]:
    """Return the runs that a suite's leaderboard is made from, and notes about those left out.

    Raises :class:`UserError` for a name that is neither a suite's nor that of results.
    """
    from editbench.analysis.selection import choose_runs

    try:
        loaded = load_suite(suite)
    except UnknownName:
        runs = _scan([root], suite)
        if not runs:
            raise
        chosen, notes = choose_runs(runs, None)
        return chosen, [*notes, *left_out([root], suite)]
    runs = _scan([root], loaded.name)
    chosen, notes = choose_runs(runs, _as_of(loaded, runs, dtype) if runs else None)
    return chosen, [*notes, *left_out([root], loaded.name)]


def stored_suites(roots: Sequence[Path]) -> list[str]:
    """Return the names of the suites that have results, in order. Raises :class:`UserError` if there are none."""
    found = sorted({str(run.manifest["suite"]) for run in _scan(roots)})
    if not found:
        places = ", ".join(map(str, roots))
        raise UserError(f"There are no results in {places}.", hint="editbench run --suite quickstart")
    return found


def suite_name(suite: str) -> str:
    """Return the name under which a suite's results lie: that in its file, or the word itself if there is no file."""
    try:
        return load_suite(suite).name
    except UnknownName:
        return suite


def metrics_of(suite: str) -> tuple[str, ...]:
    """Return the metrics a suite shows, or those that every suite has if its file is gone."""
    try:
        return tuple(load_suite(suite).metrics)
    except UserError:
        return tuple(Suite.model_fields["metrics"].default)


def _as_of(suite: Suite, runs: Sequence[RunResult], dtype: DType) -> Plan | None:
    """Return the suite's plan bound to the data of its newest run, or None if a method of it is gone."""
    newest = max(runs, key=lambda run: str(run.manifest.get("started", ""))).manifest["dataset"]
    try:
        plan = make_plan(suite, RunOptions(dtype=dtype))
    except UserError:
        return None
    protocol = suite.protocol.model_copy(update={"target_field": newest["target_field"]})
    bound = (replace(run, dataset_hash=newest["hash"], protocol=protocol) for run in plan.runs)
    return Plan(suite, tuple(bound))

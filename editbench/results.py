"""From a suite to results: what ``editbench run`` and ``editbench.run`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from editbench.errors import StoreError, UnknownName, UserError
from editbench.plan import DType, Plan, RunOptions, bind, check_names, check_scales, make_plan
from editbench.store import RunResult, Status, Store, check_writable
from editbench.suite import Suite, load_suite

if TYPE_CHECKING:
    import pandas as pd

    from editbench.analysis.leaderboard import About, Leaderboard
    from editbench.datasets import Dataset
    from editbench.progress import Progress


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
    plan = make_plan(suite, options)
    check_names(plan)
    with suite.at("dataset"):
        dataset = load_dataset(suite.dataset)
    check_scales(plan, dataset)
    return Prepared(bind(plan, dataset), dataset)


def carry_out(prepared: Prepared, root: Path, options: RunOptions, progress: Progress) -> Results:
    """Run what is missing of a plan; results go to ``root``. Raises :class:`UserError` before anything is written."""
    check_writable(root)  # before torch is imported: a mistake is answered at once
    from editbench.runner import execute

    store = Store(root)
    try:
        execute(prepared.plan, prepared.dataset, store, options, progress)
    finally:
        progress.close()
    return Results(prepared.plan, store)


@dataclass(frozen=True)
class Results:
    """What a plan's runs left on disk.

    Attributes
    ----------
    plan: what was asked for, bound to its dataset.
    store: where the results are.
    """

    plan: Plan
    store: Store

    def runs(self) -> list[RunResult]:
        """Return the plan's runs that have started, each with the finished cells of the plan's scales."""
        ids = {run.run_id: run for run in self.plan.runs}
        found = []
        for result in self.store.scan(self.plan.suite.name):
            planned = ids.get(result.manifest.get("run_id", ""))
            if planned is not None and result.folder == self.store.run_folder(planned):
                cells = tuple(cell for cell in result.cells if cell.scale in planned.scales)
                found.append(RunResult(result.folder, {**result.manifest, "scales": list(planned.scales)}, cells))
        return found

    @property
    def trouble(self) -> int:
        """How many of the plan's cells failed, ran out of memory or time, or are not finished."""
        found = {(r.manifest["run_id"], cell.scale): cell.status for r in self.runs() for cell in r.cells}
        return sum(found.get((run.run_id, scale), Status.FAILED).bad for run, scale in self.plan.cells())

    def leaderboard(self, metrics: Sequence[str] | None = None) -> Leaderboard:
        """Return one row per model, method and scale; capability is over the tasks that the plan asks for."""
        from editbench.analysis.leaderboard import About, build

        suite = self.plan.suite
        runs, said = self._as_asked()
        shown = metrics or with_capability_shown(suite.metrics, suite.capability is not None)
        about = About(suite.name, suite.title, tuple(shown))
        board = build(runs, about, self.plan, unread=self.store.damaged(suite.name))
        return replace(board, notes=(*board.notes, *said))

    def _as_asked(self) -> tuple[list[RunResult], list[str]]:
        from editbench.analysis.capability import only_asked
        from editbench.cache import Cache
        from editbench.capability.tasks import resolve

        if self.plan.suite.capability is None:
            return self.runs(), []
        wanted = resolve(self.plan.suite.capability, Cache()).asked
        return only_asked(self.runs(), {one.name: one.key for one in wanted})

    def to_frame(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one row per model, method, seed, scale and metric (default: the suite's metrics).

        Columns: model, method, seed, scale, status, reason, metric, value, low, high, n. A cell without numbers has
        one row with an empty metric. For one column per metric: ``frame.pivot_table("value", [...], "metric")``.
        """
        from editbench.analysis.aggregate import cell_rows
        from editbench.metrics import check_metric_name

        for name in metrics or ():
            check_metric_name(name)
        suite = self.plan.suite
        shown = metrics or with_capability_shown(suite.metrics, suite.capability is not None)
        return cell_rows(self._as_asked()[0], tuple(shown))

    def records(self) -> pd.DataFrame:
        """Return every raw record, with the columns model, method, seed and scale before its own."""
        import pandas as pd

        from editbench.analysis.aggregate import load_records

        frames = [
            _labelled(run, load_records(cell.records, cell.scale, where=cell.where), cell.scale)
            for run in self.runs()
            for cell in run.cells
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _repr_html_(self) -> str:
        """Show the leaderboard in a notebook."""
        from editbench.report.tables import as_frame

        return str(as_frame(self.leaderboard()).to_html(index=False))


def with_capability_shown(metrics: Sequence[str], measured: bool) -> list[str]:
    """Return a suite's metrics, and ``capability`` if it was measured and none of them shows it."""
    hidden = measured and not {"capability", "capability-ratio"} & set(metrics)
    return [*metrics, *(["capability"] if hidden else [])]


def _labelled(run: RunResult, frame: pd.DataFrame, scale: int) -> pd.DataFrame:
    names = {"model": run.manifest["model"]["name"], "method": run.manifest["label"], "seed": run.manifest["seed"]}
    for place, (name, value) in enumerate({**names, "scale": scale}.items()):
        frame.insert(place, name, value)
    return frame


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
    suite: a registered name, a YAML file, or a :class:`editbench.suite.Suite`.
    methods: labels of the suite, other registered names, ``./file.py:Class``; None: the suite's.
    models, seeds: instead of the suite's.
    max_scale: measure no scale above this.
    results: folder the results go to.
    device: ``auto``, ``cpu``, ``cuda``, …
    dtype: ``float32``, ``bfloat16`` or ``float16``.

    Raises :class:`editbench.UserError` for anything that cannot be run; nothing is written then.
    """
    from editbench.estimate import weights
    from editbench.progress import progress_for

    loaded = suite if isinstance(suite, Suite) else load_suite(suite)
    chosen = loaded.with_options(methods=methods, models=models, seeds=seeds, max_scale=max_scale)
    options = RunOptions(device=device, dtype=dtype, command=f"editbench.run({str(loaded.name)!r}, …)")
    prepared = prepare(chosen, options)
    return carry_out(prepared, Path(results), options, progress_for(weights(prepared.plan, prepared.dataset)))


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

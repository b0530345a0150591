"""What a plan's runs left on disk, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from editbench.analysis.stored import with_capability_shown
from editbench.plan.runs import Plan
from editbench.results.store import RunResult, Status, Store

if TYPE_CHECKING:
    import pandas as pd

    from editbench.analysis.leaderboard import Leaderboard


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

    def numbers(self) -> pd.DataFrame:
        """Return what methods recorded of themselves, a row for each number.

        Columns: model, method, seed, scale, requests (in the model then), request (its id, or None for a number of a
        chunk), name, value. In a stream a larger scale's cell has the numbers of the smaller ones too.
        """
        from editbench.analysis.numbers import number_rows

        return number_rows(self.runs())

    def _repr_html_(self) -> str:
        """Show the leaderboard in a notebook."""
        from editbench.report.tables import as_frame

        return str(as_frame(self.leaderboard()).to_html(index=False))


def _labelled(run: RunResult, frame: pd.DataFrame, scale: int) -> pd.DataFrame:
    names = {"model": run.manifest["model"]["name"], "method": run.manifest["label"], "seed": run.manifest["seed"]}
    for place, (name, value) in enumerate({**names, "scale": scale}.items()):
        frame.insert(place, name, value)
    return frame

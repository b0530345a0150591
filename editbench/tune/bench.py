"""Carries out one trial as a run like any other, and reads off what it measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.analysis.aggregate import cell_rows
from editbench.base.progress import Progress, run_label
from editbench.cache import Cache
from editbench.plan.runs import Plan, Run, bind, check_names, check_scales, make_plan
from editbench.results.store import RunResult, Status, Store, read_run
from editbench.running.runner import Runner

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.runs import RunOptions
    from editbench.plan.suite import Suite
    from editbench.tune.frame import Frame


@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial measured at one number of requests.

    Attributes
    ----------
    status, reason: the worst of its seeds' cells, and why.
    metrics: metric -> mean over seeds.
    seconds: editing and measuring, all seeds together.
    """

    status: str
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Bench:
    """Keeps the model in memory from trial to trial.

    Parameters
    ----------
    frame: what is the same for all trials.
    dataset: the requests, as ``frame.dataset`` says.
    root: where trials keep their records; a trial that was done before is read, not done again.
    options: device, dtype and the like.
    progress: what is told how far a trial is.
    """

    def __init__(self, frame: Frame, dataset: Dataset, root: Path, options: RunOptions, progress: Progress) -> None:
        self.frame, self.dataset, self.options = frame, dataset, options
        self.store = Store(root)
        self.runner = Runner(dataset, self.store, options, progress, Cache())

    def model(self) -> LM:
        """Return the unedited model. Raises :class:`BadModel`."""
        return self.runner.loaded.get(self.frame.model, self.frame.revision, True)

    def plan(self, suite: Suite) -> Plan:
        """Return a trial's plan. Raises :class:`UserError` for hyper-parameters that do not fit."""
        plan = make_plan(suite, self.options)
        check_names(plan)
        check_scales(plan, self.dataset)
        return bind(plan, self.dataset)

    def measure(self, plan: Plan, requests: int) -> Measured:
        """Carry out a trial up to so many requests, or read what was measured before."""
        cut = bind(make_plan(plan.suite.with_options(max_scale=requests), self.options), self.dataset)
        for run in cut.runs:
            self.runner.progress.begin_run(run_label(*run.key))
            self.runner.carry_out(run)
            self.runner.progress.end_run()
        return self._read(cut.runs, requests)

    def _read(self, runs: tuple[Run, ...], requests: int) -> Measured:
        results = [read_run(self.store.run_folder(run)) for run in runs]
        cells = [cell for result in results for cell in result.cells if cell.scale == requests]
        worst = next((cell for cell in cells if cell.status is not Status.DONE), None)
        timings = [cell.data.get("timings", {}) for cell in cells]
        seconds = sum(sum(float(value) for value in one.values()) for one in timings)
        if worst is not None or not cells:
            status = worst.status.value if worst else Status.FAILED.value
            return Measured(status, worst.data.get("reason", "") if worst else "no cell", seconds=seconds)
        return Measured(Status.DONE.value, "", self._metrics(results, requests), seconds)

    def _metrics(self, results: list[RunResult], requests: int) -> dict[str, float]:
        rows = cell_rows(results, self.frame.metrics)
        rows = rows[(rows["scale"] == requests) & (rows["metric"] != "")]
        means = rows.groupby("metric")["value"].mean()
        return {str(name): float(value) for name, value in means.items() if math.isfinite(value)}

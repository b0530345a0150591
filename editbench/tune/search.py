"""The search: Optuna proposes, the bench measures, what came of it is kept in the journal of the results folder.

Several processes may share a folder. A trial belongs to the process that holds its lock; one whose process was killed
is proposed again, and what it had measured is read, not measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import readable
from editbench.base.seeds import seed
from editbench.errors import UserError
from editbench.plan.held import read_closure
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.results.lock import hold
from editbench.tune.bench import Bench
from editbench.tune.budget import Budget
from editbench.tune.space import SearchSpace
from editbench.tune.trial import Tried

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL, CLAIM, LOCKS = "journal.log", "claim.lock", "locks"
# Trials drawn at random before the sampler proposes, and trials at a rung before the worse half is ended there.
AT_RANDOM, BEFORE_PRUNING = 8, 4


@dataclass(frozen=True, slots=True)
class Task:
    """One method searched at one scale."""

    method: str
    scale: int

    @property
    def study(self) -> str:
        """Return the name of its study: another source or other settings of the method's own make another one."""
        return f"{self.method}@{self.scale}-{read_closure(self.method).hash[:8]}"


class Search:
    """Searches the settings of methods, one after another, each with the same budget.

    Parameters
    ----------
    bench: measures trials.
    folder: where the search is kept.
    budget: of each method at each scale.
    finished: told of every trial that ends, with the share of its budget that is left.
    """

    def __init__(self, bench: Bench, folder: Path, budget: Budget, finished: Callable[[Tried, float], None]) -> None:
        self.bench, self.folder, self.budget, self.finished = bench, folder, budget, finished
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        self.storage = _storage(folder)

    def run(self, methods: Sequence[str]) -> list[str]:
        """Search until the budget is spent; return a sentence for each method that cannot be used on this model.

        Raises :class:`UserError` for a method without a space, or with one that makes no sense.
        """
        lacking = []
        for scale in self.bench.frame.scales:
            for method in methods:
                why = self._search(Task(method, scale))
                if why and f"{method}: {why}" not in lacking:
                    lacking.append(f"{method}: {why}")
        return lacking

    def tried(self, task: Task) -> list[Tried]:
        """Return a task's trials that ended, in order."""
        return tried_of(self._study(task), task)

    def _study(self, task: Task) -> Study:
        import optuna

        pruner = optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING)
        return optuna.create_study(
            storage=self.storage, study_name=task.study, direction="maximize", load_if_exists=True, pruner=pruner
        )

    def _search(self, task: Task) -> str:
        """Search one method at one scale; return why it cannot be used here, or ""."""
        method, lm = load_method(task.method), self.bench.model()
        own = settings_for(method, lm.shape, model=self.bench.frame.model, scale=task.scale)
        why = method(own.values).supports(lm)
        if why:
            return why
        space, study = SearchSpace.of(method, lm.shape, own.values.model_dump()), self._study(task)
        while True:
            with self._claimed(task, study, space) as claimed:
                if claimed is None:
                    return ""
                self._carry_out(task, *claimed)
            tried = self.tried(task)
            self.finished(max(tried, key=lambda one: one.number), self.budget.left(tried))

    @contextmanager
    def _claimed(self, task: Task, study: Study, space: SearchSpace) -> Iterator[tuple[Trial, dict[str, Any]] | None]:
        """Yield a trial with its hyper-parameters, held for this process; None where the budget is spent."""
        with ExitStack() as stack:
            with hold(self.folder / CLAIM):
                running = self._release_killed(task, study)
                tried = tried_of(study, task)
                if self.budget.left(tried, running) <= 0:
                    yield None
                    return
                if not study.get_trials(deepcopy=False):
                    study.enqueue_trial(space.first())
                study.sampler = _sampler(task, len(tried) + running)
                trial = study.ask()
                stack.enter_context(hold(self._lock(task, trial.number)))
                hparams = space.ask(trial)
                trial.set_user_attr("hparams", hparams)
            yield trial, hparams

    def _release_killed(self, task: Task, study: Study) -> int:
        """End the trials whose process was killed, and propose them again; return how many others are running."""
        from optuna.trial import TrialState

        running = 0
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            with hold(self._lock(task, trial.number), wait=False) as free:
                if not free:
                    running += "outcome" not in trial.user_attrs  # with one it counts among those that ended
                    continue
                if "outcome" in trial.user_attrs:  # it was measured, and killed before that was told
                    _tell(study, trial.number, trial.user_attrs["outcome"], trial.user_attrs["value"])
                    continue
                study.tell(trial.number, state=TrialState.FAIL)
                if "hparams" in trial.user_attrs:
                    study.enqueue_trial(trial.params)
        return running

    def _lock(self, task: Task, number: int) -> Path:
        return self.folder / LOCKS / f"{readable(task.study)}-{number}.lock"

    def _carry_out(self, task: Task, trial: Trial, hparams: dict[str, Any]) -> None:
        frame, seconds = self.bench.frame, 0.0
        try:
            plan = self.bench.plan(frame.suite(task.method, hparams, task.scale))
        except UserError as error:
            _end(trial, "failed", reason=error.given)
            return
        rungs = frame.rungs(task.scale)
        for step, requests in enumerate(rungs):
            found = self.bench.measure(plan, requests)
            seconds += found.seconds
            if found.status != "done":
                outcome = "diverged" if found.status == "diverged" else "failed"
                _end(trial, outcome, 0.0 if outcome == "diverged" else None, seconds=seconds, reason=found.reason)
                return
            value = frame.aim.value(found.metrics, requests)
            trial.report(value, step)
            if requests != rungs[-1] and trial.should_prune():
                _end(trial, "pruned", value, seconds=seconds, metrics=found.metrics)
                return
        keeps = found.metrics.get("capability-ratio")
        if frame.keep:
            trial.set_constraint("capability", frame.keep - (keeps or 0.0))
        _end(trial, "done", value, seconds=seconds, metrics=found.metrics, keeps=keeps)


def _end(trial: Trial, outcome: str, value: float | None = None, **known: Any) -> None:
    """Write down what came of a trial, and end it; its outcome last, for with that it counts."""
    for name, one in {**known, "value": value, "outcome": outcome}.items():
        trial.set_user_attr(name, one)
    _tell(trial.study, trial.number, outcome, value)


def _tell(study: Study, number: int, outcome: str, value: float | None) -> None:
    from optuna.trial import TrialState

    states = {"failed": TrialState.FAIL, "pruned": TrialState.PRUNED}
    state = states.get(outcome, TrialState.COMPLETE)
    study.tell(number, value if state is TrialState.COMPLETE else None, state=state)


def _storage(folder: Path) -> Any:
    """Return Optuna's journal in a folder, which several processes may write."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def _sampler(task: Task, tried: int) -> Any:
    """Return the sampler of the next trial; after the same trials it proposes the same, in whichever process."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed(0, "tune", task.study, tried) % 2**32, n_startup_trials=AT_RANDOM)


def tried_of(study: Study, task: Task) -> list[Tried]:
    """Return a study's trials that ended by themselves, in order: not those whose process was killed."""
    return [_tried(one, task) for one in study.get_trials(deepcopy=False) if "outcome" in one.user_attrs]


def _tried(trial: FrozenTrial, task: Task) -> Tried:
    known = {name: value for name, value in trial.user_attrs.items() if name != "hparams"}
    return Tried(task.method, task.scale, trial.number, hparams=trial.user_attrs.get("hparams", {}), **known)

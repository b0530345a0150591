"""A submission, a model that somebody edited elsewhere: from what was asked for to a plan. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.base.data import read_about
from editbench.base.files import check_writable, readable
from editbench.base.machine import device_kind
from editbench.base.progress import run_label
from editbench.datasets import DatasetSpec
from editbench.edits import EDIT_FILE
from editbench.errors import BadData, UserError
from editbench.models.terms import check_terms
from editbench.plan.runs import Plan, Run, RunOptions, Scored, bind, check_capability, reads_talk
from editbench.plan.suite import MethodSpec, ModelSpec, Suite
from editbench.results.store import Store
from editbench.running.launch import Prepared
from editbench.running.outcome import Results

if TYPE_CHECKING:
    from editbench.base.progress import Progress, Seconds
    from editbench.datasets import Dataset

# What stands in the place of a method's name: nobody knows here what edited the model.
METHOD = "scored"
# Metrics that have no value without the unedited model.
COMPARING = (
    *("locality", "neighbour-locality", "kl", "own-perplexity", "perplexity-ratio", "weight-drift", "collapse-point"),
    "capability-ratio",
)


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be measured.

    Attributes
    ----------
    model, revision: the edited model.
    unedited: the model it was made from; None: nothing is compared.
    label: what tables call it; "": the last part of its name.
    scale: how many requests, in the order of ``seed``, were written into it; None: all of the dataset.
    """

    model: str
    revision: str | None = None
    unedited: str | None = None
    label: str = ""
    scale: int | None = None
    seed: int = 0

    @property
    def shown(self) -> str:
        """The label."""
        return self.label or readable(Path(self.model).name.removesuffix(".gguf"))


def is_edit(name: str) -> bool:
    """Return whether a model's name is the folder of an exported edit, which is put into its own base model."""
    return (Path(name).expanduser() / EDIT_FILE).is_file()


def with_base(submission: Submission) -> Submission:
    """Return a submission whose unedited model is known, if its model is an exported edit: the edit says which it is.

    Raises :class:`~editbench.errors.BadData` for a file that says nothing.
    """
    if not is_edit(submission.model) or submission.unedited is not None:
        return submission
    file = Path(submission.model).expanduser() / EDIT_FILE
    try:
        base = str(read_about(file)["model"]["name"])
    except Exception as error:
        raise BadData(f"{file} is no edit: {error}.", "Expected a file of: editbench export --delta") from error
    return replace(submission, unedited=base)


def suite_of(dataset: DatasetSpec) -> Suite:
    """Return a suite that asks all there is in a dataset, for entries that belong to no other."""
    name = readable(Path(dataset.path or dataset.name).name).lstrip("._-") or "data"
    model, method = ModelSpec(name="any"), MethodSpec(method=METHOD)
    title = f"Models edited elsewhere, asked about {name}"
    return Suite(name=f"score-{name}", title=title, dataset=dataset, models=[model], methods=[method], scales=[1])


def prepare(suite: Suite, submission: Submission, options: RunOptions) -> Prepared:
    """Check what was asked for, read the dataset, and plan the one run. Writes nothing. Raises :class:`UserError`."""
    from editbench.datasets import check_dataset_name, load_dataset
    from editbench.models.builtin import check_model_name

    submission = with_base(submission)
    for name in (submission.model, submission.unedited):
        if name is not None and not is_edit(name):
            check_model_name(name)
    _refuse_revision(submission)
    _refuse_label(suite, submission)
    with suite.at("dataset"):
        check_dataset_name(suite.dataset)
        dataset = load_dataset(suite.dataset)
    check_capability(suite, options.trust_task_code)
    scale = _scale(submission, dataset)
    run = _run(suite, submission, scale, options)
    shown = {"scales": [scale], "max_scale": None, "seeds": [submission.seed], "models": [ModelSpec(name=run.model)]}
    own = suite.model_copy(update={**shown, "methods": [MethodSpec(method=METHOD, label=run.label)]})
    return Prepared(bind(Plan(own, (run,)), dataset), dataset)


def _refuse_revision(submission: Submission) -> None:
    from editbench.models.builtin_models import BUILTIN

    here = submission.model in BUILTIN or Path(submission.model).expanduser().exists()
    if submission.revision is not None and here:
        raise UserError(
            f"--revision {submission.revision}: {submission.model} is not on the hub, and has no revisions.",
            hint="Leave it out, or give the hub id.",
        )


def _refuse_label(suite: Suite, submission: Submission) -> None:
    parts = Path(submission.label).parts
    if submission.label and (".." in parts or not any(letter.isalnum() for letter in submission.label)):
        given = f"--label {submission.label}: this is no name."
        raise UserError(given, "Expected letters or digits.", "--label theirs")
    if submission.shown in {method.shown for method in suite.methods} - {METHOD}:
        raise UserError(
            f"The suite {suite.name} has a method called {submission.shown!r} itself.",
            "The submission needs a label of its own.",
            f"--label {submission.shown}-elsewhere",
        )


def _scale(submission: Submission, dataset: Dataset) -> int:
    size = len(dataset.requests)
    if submission.scale is not None and submission.scale > size:
        raise UserError(
            f"--scale {submission.scale} is above the size of the dataset {dataset.name}: {size} requests.",
            hint=f"Give at most --scale {size}, or a larger dataset.",
        )
    return size if submission.scale is None else submission.scale


def _run(suite: Suite, submission: Submission, scale: int, options: RunOptions) -> Run:
    compared = submission.unedited is not None
    unedited = next((model for model in suite.models if model.name == submission.unedited), None)
    return Run(
        suite=suite.name,
        model=submission.unedited or submission.model,
        revision=(unedited.revision if unedited else None) if compared else submission.revision,
        method=METHOD,
        label=submission.shown,
        given=(),
        seed=submission.seed,
        scales=(scale,),
        stream=(scale,),
        regime="batch",
        chunk=None,
        suite_regime=str(suite.regime),
        on_collapse=suite.on_collapse,
        dataset=suite.dataset,
        protocol=suite.protocol,
        probes=suite.probes,
        dtype=options.dtype,
        talks=reads_talk(suite.metrics),
        capability=suite.capability,
        device=device_kind(options.device),
        scored=Scored(submission.model, submission.revision, compared),
    )


def expected_seconds(plan: Plan) -> Seconds:
    """Return what :class:`editbench.base.progress.Progress` wants: one cell, which is all there is to do."""
    return {(run_label(*run.key), scale): 1.0 for run, scale in plan.cells()}


def uncompared(metrics: Sequence[str]) -> list[str]:
    """Return which of these metrics have no value without the unedited model."""
    return [name for name in metrics if name in COMPARING]


def models_of(plan: Plan) -> list[str]:
    """Return the models that are loaded: those that are measured, and those they are compared with."""
    return [name for run in plan.runs for name in (run.model, run.scored and run.scored.name) if name]


def carry_out(prepared: Prepared, root: Path, options: RunOptions, progress: Progress) -> Results:
    """Measure what is missing of the submission; results go to ``root``. Raises :class:`UserError`."""
    check_writable(root)  # before torch is imported: a mistake is answered at once
    check_terms(models_of(prepared.plan))
    from editbench.running.scorer import score

    store = Store(root, waiting=progress.waiting)
    try:
        score(prepared.plan, prepared.dataset, store, options, progress)
    finally:
        progress.close()
    return Results(prepared.plan, store)

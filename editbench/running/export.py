"""One edit of a suite, to be written out as a model: from what was asked for to a plan and a folder. No torch here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import check_writable, explained
from editbench.base.outputs import kind_of, listed
from editbench.base.progress import run_label
from editbench.errors import StoreError, UserError
from editbench.models.terms import check_terms
from editbench.plan.estimate import estimate
from editbench.plan.registry import load_method
from editbench.plan.runs import RunOptions
from editbench.running.launch import Prepared
from editbench.running.launch import prepare as prepare_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from editbench.base.progress import Progress, Seconds
    from editbench.plan.runs import Run
    from editbench.plan.suite import Suite


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which edit is to be exported, and where to.

    Attributes
    ----------
    method: label in the suite, registered name or ``./file.py:Class``.
    scale: how many requests are in the model.
    to: the folder that is made.
    model: None: the suite's only one.
    seed: of the requests' order; None: the suite's first.
    scales: the scales of the run, if they were not the suite's.
    delta: whether only the edit is written.
    """

    method: str
    scale: int
    to: Path
    model: str | None = None
    seed: int | None = None
    scales: Sequence[int] | None = None
    delta: bool = False


def prepare(suite: Suite, wanted: Wanted, options: RunOptions) -> Prepared:
    """Check what was asked for and plan the one run with this scale. Writes nothing. Raises :class:`UserError`."""
    refuse_full(wanted.to)
    scales = list(wanted.scales or suite.scales)
    if wanted.scale not in scales:
        raise UserError(
            f"{suite.name} does not measure at {wanted.scale:,}.",
            f"Its scales are {', '.join(f'{scale:,}' for scale in scales)}.",
            f"If the run had others, name all of them: --scales …,{wanted.scale}",
        )
    if wanted.model is None and len(suite.models) > 1:
        named = ", ".join(model.name for model in suite.models)
        raise UserError(f"{suite.name} has several models.", f"They are: {named}.", "Name one: --model NAME")
    one = suite.with_options(
        methods=[wanted.method],
        models=None if wanted.model is None else [wanted.model],
        seeds=[suite.seeds[0] if wanted.seed is None else wanted.seed],
        scales=scales,
        max_scale=wanted.scale,
    ).with_capability([])
    if len(one.methods) > 1:
        labels = ", ".join(method.shown for method in one.methods)
        raise UserError(f"{suite.name} has several entries of {wanted.method!r}.", f"Name one by its label: {labels}.")
    cap = one.methods[0].cap
    if cap is not None and cap.scale < wanted.scale:
        raise UserError(
            f"{wanted.method} goes no further than {cap.scale:,} in {suite.name}: {cap.why}.",
            hint=f"Give a scale up to that: --scale {max((s for s in scales if s <= cap.scale), default=cap.scale)}",
        )
    _refuse_kind(one, wanted)
    return prepare_suite(one, options)


def _refuse_kind(suite: Suite, wanted: Wanted) -> None:
    """Raise :class:`UserError` for an edit that no plain model has a place for, before anything is computed."""
    [method] = suite.methods
    kind = load_method(method.method).kind
    if not wanted.delta and kind not in ("weights", "low-rank"):
        raise UserError(
            f"{method.shown} makes edits of the kind {kind}: a plain transformers model has no place for them.",
            "The edit itself can be exported, for editbench.apply_edit and editbench score.",
            "--delta",
        )


def refuse_full(folder: Path) -> None:
    """Raise :class:`StoreError` for a file, or a folder with something in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        what = f"is not empty: it holds {listed(folder)}" if folder.is_dir() else f"is {kind_of(folder)}"
        raise StoreError(f"{folder} {what}.", "Expected a new folder.", "Give another: --to FOLDER")


def expected_seconds(prepared: Prepared) -> Seconds:
    """Return what :class:`editbench.base.progress.Progress` wants: the one edit, whose earlier chunks count too."""
    [run] = prepared.plan.runs
    cells = estimate(prepared.plan, prepared.dataset)
    counted = cells if run.regime == "sequential" else cells[-1:]
    expected = sum(cell.edit_s or 0.0 for cell in counted)
    return {(run_label(*run.key), run.scales[-1]): expected or float(run.scales[-1])}


def carry_out(
    prepared: Prepared, wanted: Wanted, root: Path, options: RunOptions, progress: Progress
) -> dict[str, Any]:
    """Write the folder, whole or not at all, and return what the edit belongs to.

    An edit that ``editbench run --keep-edits`` kept in the results folder ``root`` is read; else it is made again.
    What is half done when the process is killed lies beside the folder, and the same command goes on from there.
    Raises :class:`UserError`.
    """
    [run] = prepared.plan.runs
    to = wanted.to.resolve()  # a link to an empty folder stays a link
    check_writable(to.parent)  # before torch is imported: a mistake is answered at once
    check_terms([run.model])
    from editbench.running.exporter import Exporter

    work = _work_folder(to, run, wanted.scale)
    exporter = Exporter(prepared.dataset, root, options, progress, work)
    try:
        about = exporter.export(run, wanted.scale, work / "out", delta=wanted.delta)
        refuse_full(to)
        with explained(to):
            if to.exists():
                to.rmdir()
            (work / "out").rename(to)
            shutil.rmtree(work)
        return about
    except StoreError:  # a full disk, say: what the edit has come to is kept for the next attempt
        shutil.rmtree(work / "out", ignore_errors=True)
        raise
    except Exception:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        progress.close()


def _work_folder(to: Path, run: Run, scale: int) -> Path:
    """Make the folder beside the target for what is under way; what an earlier attempt wrote out is swept up."""
    work = to.parent / f".{to.name}.{run.cell_id(scale)[:12]}"
    with explained(work):
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "out", ignore_errors=True)
    return work

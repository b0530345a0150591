"""A small dataset, suite and results tree, made through the real plan, manifest and store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from editbench.datasets import Dataset, load_dataset
from editbench.plan.runs import Plan, Run, RunOptions, bind, make_plan
from editbench.plan.suite import Suite
from editbench.plan.suite_file import parse_suite
from editbench.results.manifest import manifest
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store

SUITE = """\
# small
name: small
title: A small suite
dataset: {data}
models: [smollm2-135m]
methods:
  - none
  - {{method: locft-bf, label: local, hparams: {{layer: 3}}}}
scales: [1, 4]
seeds: [0]
metrics: [reliability, generalisation, locality, edit-seconds]
"""


def save_tiny_model(folder: Path, **sizes: int) -> Path:
    """Save the tiny Llama-like model (``sizes``: of ``tiny_lm``) with its tokeniser, in hub layout."""
    from editbench.testing.tiny import tiny_lm

    lm = tiny_lm("llama", **sizes)  # type: ignore[arg-type]
    lm.model.save_pretrained(folder)
    lm.text.tokenizer.save_pretrained(folder)
    return folder


def write_data(folder: Path, n: int = 8) -> Path:
    """Write a dataset of ``n`` requests in the project's own form."""
    rows = [
        {
            "id": f"r{i}",
            "prompt": f"The colour of thing {i} is",
            "subject": f"thing {i}",
            "target_new": f"blue{i}",
            "target_true": f"red{i}",
            "probes": [{"kind": "rephrase", "prompt": f"Thing {i} has the colour", "answer": f"blue{i}"}],
        }
        for i in range(n)
    ]
    path = folder / "things.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def small_suite(folder: Path) -> Suite:
    """Return the suite above over a dataset in ``folder``."""
    return parse_suite(SUITE.format(data=write_data(folder)), "small.yaml")


def small_plan(folder: Path, options: RunOptions | None = None) -> tuple[Plan, Dataset]:
    """Return the suite's plan bound to its dataset."""
    suite = small_suite(folder)
    dataset = load_dataset(suite.dataset)
    return bind(make_plan(suite, options), dataset), dataset


def record(
    position: int, kind: str, generated: str | None, answer: str = "blue", index: int = 0, **more: object
) -> Record:
    """Return one record of request ``r<position>``."""
    values: dict[str, object] = {"prompt": "p", "target_new": "blue", "target_true": "red", **more}
    return Record(f"r{position}", position, kind, index, answer=answer, generated=generated, **values)  # type: ignore[arg-type]


def good_records(scale: int, right: int) -> list[Record]:
    """Return records of ``scale`` requests of which the first ``right`` were learnt; nothing else moved."""
    rows = []
    for i in range(scale):
        said = "Blue." if i < right else "red"
        rows += [record(i, "edit", said), record(i, "rephrase", said)]
        rows += [record(i, "locality", "same", answer="gold", unedited="same")]
    return rows


Outcomes = Callable[[Run, int], tuple[Sequence[Record], CellOutcome]]


def done(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """Everything learnt, except by ``none``."""
    right = 0 if run.label == "none" else scale
    outcome = CellOutcome(Status.DONE, timings={"edit_s": 2.0 * scale}, counts={"requests": scale, "errors": 0})
    return good_records(scale, right), outcome


def write_run(store: Store, run: Run, dataset: Dataset, outcomes: Outcomes = done) -> None:
    """Write one run as a runner would."""
    typed = "editbench run --suite s --results '/home/me/my results' --seeds 0"
    store.write_manifest(run, manifest(run, dataset, RunOptions(command=typed)))
    for scale in run.scales:
        records, outcome = outcomes(run, scale)
        if records:
            store.append_records(run, scale, records)
        store.finish_cell(run, scale, outcome)


def write_all(folder: Path, outcomes: Outcomes = done) -> tuple[Plan, Store]:
    """Write every run of the small suite into ``folder/results``."""
    plan, dataset = small_plan(folder)
    store = Store(folder / "results")
    for run in plan.runs:
        write_run(store, run, dataset, outcomes)
    return plan, store

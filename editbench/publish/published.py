"""Published results: a suite's clean, finished runs, small enough for git. No torch here.

``<folder>/runs/<suite>/`` is the results tree with one ``records.parquet`` in the place of every ``records.jsonl``, so
that whatever reads results reads these too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.analysis.selection import Key, key_of, refuse_mixing
from editbench.analysis.stored import shown_runs, stored_leaderboard, suite_name
from editbench.base.files import check_writable, pretty_json, replace_file
from editbench.base.outputs import OwnFolder, with_option
from editbench.errors import StoreError, UserError
from editbench.publish.placed import HEAD, INDEX, TO, SuiteFolder, adopt, adoptable
from editbench.publish.publishable import named, refuse_unpublishable
from editbench.results.store import SHARED_DOCUMENTS, SHARED_RECORDS, CellResult, RunResult, Status, Store

if TYPE_CHECKING:
    from editbench.analysis.leaderboard import Leaderboard
    from editbench.plan.runs import DType


@dataclass
class Publication:
    """What publishing a suite did.

    Attributes
    ----------
    suite, folder: what was published, where.
    added, replaced, completed, unchanged: runs by name; a ``replaced`` one took the place of an older run of the same
        model, label and seed, a ``completed`` one has other cells than the same run had there.
    kept: runs that are older than what is published of the same model, label and seed.
    notes: what was left out of what the results folder holds, and why.
    """

    suite: str
    folder: Path
    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.added or self.replaced or self.completed)


def publish(
    suite: str, root: Path, to: Path, labels: Sequence[str] | None = None, dtype: DType = "float32"
) -> Publication:
    """Publish the runs that a suite's leaderboard shows; whole or not at all.

    Parameters
    ----------
    suite: a registered name, a YAML file, or the name of results.
    root: the results folder the runs lie in.
    to: the folder of published results.
    labels: only runs with these labels; None: all.
    dtype: of the runs to prefer.

    Raises :class:`UserError` for runs that are not clean, pinned and finished, or that could not stand in one table
    with what is published.
    """
    name, own, place = suite_name(suite), OwnFolder(to, TO), SuiteFolder(to, suite_name(suite))
    _refuse_itself(root, to)
    if not adoptable(to):
        own.refuse_foreign()
    runs, notes = shown_runs(suite, root, dtype)
    runs = _of_labels(runs, labels, name)
    if not runs:
        raise UserError(f"There are no results of {name} in {root}.", hint=f"editbench run --suite {suite}")
    refuse_unpublishable(runs, suite, root)
    with with_option(TO):
        check_writable(to)
    adopt(to)
    with own.held():
        place.settle()
        place.refuse_foreign()
        own.refuse_in_the_way([INDEX])
        _refuse_damaged(to, place.folder)
        done = Publication(name, to, notes=notes)
        together = _joined(Store(to).scan(name), runs, done)
        if done.changed or place.own.missing():
            refuse_mixing(together)
            own.write({})  # marked from the first file on
            with place.rebuilt() as folder:
                _write(folder, together)
        own.write({INDEX: _index(_published(to))})
    return done


def _refuse_itself(root: Path, to: Path) -> None:
    """Raise :class:`UserError` where runs would be published into the folder that they are taken from."""
    place, source = to.resolve(), root.resolve()
    if place == source or place.is_relative_to(source / "runs"):
        raise UserError(
            f"{to} is where the results of {root} lie.",
            "Expected another folder to publish them to. Nothing was written.",
            f"Name it: {TO}",
        )


def _refuse_damaged(to: Path, known: Path) -> None:
    """Raise :class:`StoreError` where published results cannot all be read: written anew, they would be lost.

    The suite whose folder is ``known`` has no records but those that were published.
    """
    store = Store(to)
    found = store.scan()
    cells = [str(cell.data["reason"]) for run in found for cell in run.cells if cell.damaged]
    if damaged := [*store.damaged(), *cells]:
        raise StoreError("\n".join([f"Nothing was published: {to} cannot all be read.", *damaged]))
    for folder in sorted({run.folder.parents[2] for run in _published(to)} - {known}):
        _count(folder / SHARED_RECORDS)


def _published(to: Path) -> list[RunResult]:
    """Return the runs of all suites that were published; what somebody else laid there is not among them."""
    return [run for run in Store(to).scan() if OwnFolder(run.folder.parents[2], TO).marked]


def _of_labels(runs: Sequence[RunResult], labels: Sequence[str] | None, suite: str) -> list[RunResult]:
    there = {run.manifest["label"] for run in runs}
    lacking = [label for label in labels or () if label not in there]
    if lacking:
        raise UserError(f"{suite} has no results of {lacking[0]!r}.", f"There are: {', '.join(sorted(there))}.")
    return [run for run in runs if labels is None or run.manifest["label"] in labels]


def _joined(there: Sequence[RunResult], given: Sequence[RunResult], done: Publication) -> list[RunResult]:
    """Return all that is to be published, in order, and note in ``done`` what happens to each given run."""
    found: dict[Key, RunResult] = {key_of(run): run for run in there}
    for run in given:
        key, said = key_of(run), named(run)
        old = found.get(key)
        if old is None:
            done.added.append(said)
            found[key] = run
        elif old.manifest["run_id"] == run.manifest["run_id"]:
            found[key] = _united(old, run)
            (done.unchanged if _same(old, found[key]) else done.completed).append(said)
        elif str(run.manifest["started"]) > str(old.manifest["started"]):
            done.replaced.append(said)
            found[key] = run
        else:
            done.kept.append(said)
    return [found[key] for key in sorted(found)]


def _united(old: RunResult, new: RunResult) -> RunResult:
    """Return the same run with the cells of both; of two of one scale the new one."""
    cells = {cell.scale: cell for cell in (*old.cells, *new.cells)}
    scales = sorted({int(scale) for run in (old, new) for scale in run.manifest["scales"]})
    both = {"scales": scales, "cells": {**old.manifest["cells"], **new.manifest["cells"]}}
    return RunResult(new.folder, {**new.manifest, **both}, tuple(cells[scale] for scale in sorted(cells)))


def _same(one: RunResult, other: RunResult) -> bool:
    """Return whether two have the same manifest and cells; what a cell says of its times is never twice the same."""
    cells = [{cell.scale: cell.data for cell in run.cells} for run in (one, other)]
    return one.manifest == other.manifest and cells[0] == cells[1]


# -- files


def _write(folder: Path, runs: Sequence[RunResult]) -> None:
    for run in runs:
        place = folder.joinpath(*run.folder.parts[-3:])  # model, label, seed and id
        replace_file(place / "manifest.json", pretty_json(run.manifest))
        for cell in run.cells:
            replace_file(place / "cells" / str(cell.scale) / "cell.json", pretty_json(cell.data))
    write_records(folder / SHARED_RECORDS, runs)
    _write_documents(folder / SHARED_DOCUMENTS, runs)


def write_records(path: Path, runs: Sequence[RunResult]) -> None:
    """Write the records of all cells that are done as parquet: a row group per cell, the same bytes for the same runs.

    Raises :class:`StoreError` for records that cannot be read, or are fewer than their cell says.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from editbench.analysis.records import LABELS, schema

    wanted = pa.schema([*((name, kind) for name, kind in LABELS.items()), *((f.name, f.type) for f in schema())])
    with pq.ParquetWriter(path, wanted, compression="zstd", compression_level=9) as writer:
        for run in runs:
            for cell in run.cells:
                if cell.status is Status.DONE:
                    writer.write_table(_labelled(run, cell).cast(wanted))


def _labelled(run: RunResult, cell: CellResult) -> Any:
    from editbench.analysis.records import record_table

    table = record_table(cell.records, cell.where)
    written = int(cell.data.get("counts", {}).get("records", table.num_rows))
    if table.num_rows != written:
        raise StoreError(
            f"{cell.records} has {table.num_rows:,} records of {named(run)} at {cell.scale:,}, not {written:,}.",
            hint="Copy it again, or delete that cell's folder and run it again.",
        )
    return _with_labels(run, cell, table)


def _with_labels(run: RunResult, cell: CellResult, table: Any) -> Any:
    """Return a table with the columns that tell cells apart in front."""
    import pyarrow as pa

    from editbench.analysis.records import LABELS

    values = (*key_of(run), cell.scale)
    columns = [pa.array([value] * table.num_rows, kind) for value, kind in zip(values, LABELS.values(), strict=True)]
    return pa.Table.from_arrays([*columns, *table.columns], names=[*LABELS, *table.column_names])


def _write_documents(path: Path, runs: Sequence[RunResult]) -> None:
    """Write what became of each document of capability tasks, for the cells that were asked any; else no file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from editbench.analysis.documents import read_documents

    tables = []
    for run in runs:
        for cell in run.cells:
            frame = read_documents(cell) if cell.status is Status.DONE else None
            if frame is not None:
                tables.append(_with_labels(run, cell, pa.Table.from_pandas(frame, preserve_index=False)))
    if tables:
        pq.write_table(
            pa.concat_tables(tables).replace_schema_metadata(), path, compression="zstd", compression_level=9
        )


def _index(runs: Sequence[RunResult]) -> bytes:
    """Return the page that lists what is published: a line per suite."""
    lines = [
        f"{HEAD}`../README.md` explains every file and column.",
        "",
        "| suite | models | methods | seeds | scales | records | commits |",
        "|---|---|---|---|---|---|---|",
    ]
    for suite in sorted({str(run.manifest["suite"]) for run in runs}):
        lines.append(_line(suite, [run for run in runs if run.manifest["suite"] == suite]))
    return ("\n".join(lines) + "\n").encode()


def _line(suite: str, runs: Sequence[RunResult]) -> str:
    from editbench.report import escape

    records = _count(runs[0].folder.parents[2] / SHARED_RECORDS)
    manifests = [run.manifest for run in runs]
    commits = sorted({str(m["checkout"]["commit"])[:10] for m in manifests})
    cells = [
        suite,
        ", ".join(sorted({m["model"]["name"] for m in manifests})),
        ", ".join(sorted({m["label"] for m in manifests})),
        ", ".join(map(str, sorted({m["seed"] for m in manifests}))),
        ", ".join(f"{scale:,}" for scale in sorted({cell.scale for run in runs for cell in run.cells})),
        f"{records:,}",
        ", ".join(commits),
    ]
    return "| " + " | ".join(escape.markdown(cell) for cell in cells) + " |"


def _count(path: Path) -> int:
    """Return how many records a shared file has. Raises :class:`StoreError` for one that is damaged or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        given = f"Nothing was published: cannot read {path}: {str(error).rstrip('.')}."
        hint = "Put it back (git checkout), or remove its suite's folder and publish it anew."
        raise StoreError(given, hint=hint) from error


def published_boards(folder: Path) -> list[Leaderboard]:
    """Return the leaderboard of every published suite, in order of name; none if nothing is published."""
    suites = sorted({str(run.manifest["suite"]) for run in Store(folder).scan()})
    return [stored_leaderboard(suite, folder) for suite in suites]


def draw(folder: Path, figures: Mapping[str, bytes]) -> None:
    """Write figures by their files' names into a folder of published results.

    Raises :class:`StoreError`, before anything is written, where one would replace what is not ours.
    """
    adopt(folder)
    OwnFolder(folder, "--from DIR").write({f"figures/{name}": data for name, data in figures.items()})

"""Results that somebody cut, copied half, deleted or replaced: named, no crash, and made anew where that can be."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_tree import save_tiny_model, write_all, write_data

import editbench
from editbench.analysis.records import record_table
from editbench.analysis.stored import stored_leaderboard
from editbench.base.files import append_lines, read_json, read_lines
from editbench.errors import DamagedFile, StoreError
from editbench.results.store import Status, Store

SUITE = "name: small\ntitle: T\ndataset: {data}\nmodels: [{model}]\nmethods: [none]\nscales: [2, 4]\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite's file, and the results of its one run."""
    folder = tmp_path_factory.mktemp("finished")
    model = save_tiny_model(folder / "model")
    suite = folder / "small.yaml"
    suite.write_text(SUITE.format(data=write_data(folder), model=model))
    assert editbench.run(suite, results=folder / "results", device="cpu").trouble == 0
    return suite, folder / "results"


@pytest.fixture
def copy(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same, to be damaged."""
    return finished[0], Path(shutil.copytree(finished[1], tmp_path / "results"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _fewer(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _one_more(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines]))


def _nulls(path: Path) -> None:
    path.write_text("null\n" * len(read_lines(path)))


def _write(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


RECORDS: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "emptied": _write(""),
    "cut": _cut,
    "one fewer": _fewer,
    "one more": _one_more,
    "null": _write("null"),
    "as many nulls": _nulls,
    "parquet's garbage": _write("PAR1\n\0\0PAR1"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_records_that_are_not_what_was_written_are_a_failed_cell_that_run_makes_anew(
    copy: tuple[Path, Path], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    suite, results = copy
    [path] = results.glob("runs/small/*/*/*/cells/4/records.jsonl")
    whole = path.read_bytes()
    RECORDS[what](path)
    rows = {row.scale: row for row in stored_leaderboard("small", results).rows}
    assert [rows[scale].status for scale in (2, 4)] == [Status.DONE, Status.FAILED]
    assert str(path) in rows[4].reason
    again = editbench.run(suite, results=results, device="cpu")
    assert again.trouble == 0
    assert path.read_bytes() == whole
    assert f"{path}" in caplog.text and "made anew" in caplog.text


CELLS = ["null", "{}", "[]", '{"id": "a", "scale": 4, "status": ["done"], "reason": ""}', "\0", "[" * 5000]


@pytest.mark.parametrize("text", CELLS)
def test_a_cell_of_another_shape_is_a_failed_cell_that_run_makes_anew(copy: tuple[Path, Path], text: str) -> None:
    suite, results = copy
    [path] = results.glob("runs/small/*/*/*/cells/4/cell.json")
    path.write_text(text)
    rows = {row.scale: row for row in stored_leaderboard("small", results).rows}
    assert (rows[4].status, str(path) in rows[4].reason) == (Status.FAILED, True)
    assert editbench.run(suite, results=results, device="cpu").trouble == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counts", 5),
        ("counts", {"records": "many"}),
        ("timings", {"edit_s": "long"}),
        ("pulse", {"seen": [3]}),
        ("drift", {"continuations": 3}),
        ("capability", {"core": 3}),
        ("failures", ["r1"]),
        ("reason", None),
        ("scale", 5),
        ("made_by", "me"),
    ],
)
def test_a_cell_with_a_value_of_another_type_is_named(tmp_path: Path, key: str, value: Any) -> None:
    plan, store = write_all(tmp_path)
    path = store.cell_folder(plan.runs[0], 4) / "cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    [cell] = [c for run in store.scan() for c in run.cells if c.damaged]
    assert cell.scale == 4
    assert f"{path} is damaged: " in cell.data["reason"]
    assert key in cell.data["reason"]
    assert store.cell(plan.runs[0], 4) is None
    stored_leaderboard("small", store.root)


def test_a_deleted_manifest_is_named_and_run_writes_it_anew(copy: tuple[Path, Path]) -> None:
    suite, results = copy
    [path] = results.glob("runs/small/*/*/*/manifest.json")
    before = json.loads(path.read_text())
    path.unlink()
    [said] = Store(results).damaged("small")
    assert f"{path} is not there" in said
    with pytest.raises(StoreError, match="editbench run makes it anew"):
        stored_leaderboard("small", results)
    assert editbench.run(suite, results=results, device="cpu").trouble == 0
    now = json.loads(path.read_text())
    assert {key: now[key] for key in ("run_id", "cells", "method", "model", "dataset")} == {
        key: before[key] for key in ("run_id", "cells", "method", "model", "dataset")
    }


MANIFESTS: dict[str, Any] = {
    "empty": {},
    "a list": [],
    "a seed of another type": {"seed": "nought"},
    "no model": {"model": None},
    "a method that is a text": {"method": "none"},
    "scales that are a number": {"scales": 3},
    "cells that are a list": {"cells": []},
    "capability that is a number": {"capability": 3},
    "packages that are a list": {"packages": []},
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_of_another_shape_is_left_out_and_named(tmp_path: Path, what: str) -> None:
    plan, store = write_all(tmp_path)
    path, value = store.run_folder(plan.runs[0]) / "manifest.json", MANIFESTS[what]
    path.write_text(json.dumps({**json.loads(path.read_text()), **value} if value else value))
    assert [run.manifest["label"] for run in store.scan("small")] == ["local"]
    [said] = store.damaged()
    assert str(path) in said and "delete it: editbench run makes it anew" in said
    board = stored_leaderboard("small", store.root)
    assert any(str(path) in note for note in board.notes)
    with pytest.raises(DamagedFile):
        store.manifest(plan.runs[0])


@pytest.mark.parametrize("name", ["manifest.json", "cells/4/cell.json", "cells/4/records.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a FIFO", "a folder"])
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    plan, store = write_all(tmp_path)
    path = store.run_folder(plan.runs[0]) / name
    path.unlink()
    make(path)
    board = stored_leaderboard("small", store.root)
    assert any(str(path) in text for text in (*board.notes, *(row.reason for row in board.rows)))
    with pytest.raises(DamagedFile):
        read_json(path)
    with pytest.raises(DamagedFile):
        read_lines(path)
    with pytest.raises(DamagedFile):
        append_lines(path, ["x\n"])


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = write_all(tmp_path)
    closed = store.run_folder(plan.runs[0])
    scandir = os.scandir

    def refusing(path: Any) -> Any:  # what a test that root runs cannot have otherwise
        if Path(path) in (closed, closed.parent):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in refusing(path)])
    [said] = store.damaged("small")
    assert f"{closed.parent} cannot be read: Permission denied" in said or f"{closed} cannot be read" in said


@pytest.mark.parametrize(
    "text", ["null\n", "[1]\n", '{"request": "a"}\nnull\n', '{"a":' + "[" * 100_000 + "\n", '{"request": "\\ud800"}\n']
)
def test_records_that_crashed_the_reader_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(StoreError, match="Cannot read"):
        record_table(path)


def test_bytes_that_are_no_text_are_refused_in_records(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_bytes(b'{"request": "\xff"}\n')
    with pytest.raises(StoreError, match="Cannot read"):
        record_table(tmp_path / "records.jsonl")
    (tmp_path / "records.parquet").write_bytes(b"PAR1 garbage PAR1")
    with pytest.raises(StoreError, match="Cannot read"):
        record_table(tmp_path / "records.parquet", {"scale": 1})

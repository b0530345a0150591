from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from results_tree import good_records, small_plan, write_all

from editbench.base.files import append_lines, check_writable, read_json, read_lines, replace_file, slug, truncate_torn
from editbench.errors import DamagedFile, StoreError
from editbench.results import lock
from editbench.results.store import CellOutcome, Status, Store


def test_replace_file_makes_folders_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_full_disk_is_named_with_its_path_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell.json"
    replace_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        replace_file(path, b"new")
    assert str(path) in str(caught.value)
    assert "free some space" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["cell.json"]


def test_a_half_written_last_line_is_dropped_on_reading_and_cut_before_appending(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes('{"a": 1}\n{"ü": 2}\n{"tor'.encode())
    assert read_lines(path) == ['{"a": 1}', '{"ü": 2}']
    append_lines(path, ['{"b": 3}\n'])
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n{"ü": 2}\n{"b": 3}\n'


def test_a_file_of_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"no newline")
    truncate_torn(path)
    assert path.read_bytes() == b""
    truncate_torn(tmp_path / "absent")
    assert read_lines(tmp_path / "absent") == []


def test_damaged_json_is_an_error_that_says_what_to_delete(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text("{")
    with pytest.raises(DamagedFile, match="editbench run makes it anew"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(StoreError, match="expected a JSON object"):
        read_json(path)


def test_check_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--results DIR"):
        check_writable(tmp_path / "file" / "results")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_results_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="--results DIR"):
            check_writable(tmp_path / "results")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("org/model", "org--model"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB--SmolLM2-135M-Instruct"),
        ("./mine", r"mine~\w{8}"),
        ("a b*c", r"a-b-c~\w{8}"),
        ("..", r"unnamed~\w{8}"),
        ("", r"unnamed~\w{8}"),
        ("lr=1.0e-4", "lr=1.0e-4"),
        ("n" * 300, r"n{120}~\w{8}"),
        ("ü" * 300, r"-{120}~\w{8}"),
    ],
)
def test_a_name_becomes_one_harmless_folder(name: str, folder: str) -> None:
    assert re.fullmatch(folder, slug(name))
    assert len(slug(name).encode()) < 200


def test_no_two_names_become_one_folder() -> None:
    names = ["é", "ü", "e\u0301", "-", "a/b", "a--b", "a/-b", "a-/b", "a-b", "zz", "zz.", ".zz", "./zz", "zz/", "a/b/c"]
    names += ["a--b/c", "a/b--c", "a b", "a\tb", "", "unnamed", ".", "..", "n" * 120, "n" * 121, "n" * 300, "\ud800"]
    names += [slug(name) for name in names if slug(name) not in names]
    assert len({slug(name) for name in names}) == len(names)


def test_two_labels_that_look_alike_are_two_runs(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    store, run = Store(tmp_path / "results"), plan.runs[0]
    folders = {store.run_folder(replace(run, label=label)) for label in ("é", "ü", "a/b", "a--b")}
    folders |= {store.run_folder(replace(run, suite=suite)) for suite in ("zz", "zz.")}
    folders |= {store.run_folder(replace(run, model=model)) for model in ("./m", "m", "/m", "ö", "ä")}
    assert len(folders) == 11


def test_a_cell_is_finished_only_once_its_outcome_is_written(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    store, run = Store(tmp_path / "results"), plan.runs[0]
    store.append_records(run, 4, good_records(4, 2))
    assert store.cell_status(run, 4) is None
    assert [row["position"] for row in store.read_records(run, 4) if row["kind"] == "edit"] == [0, 1, 2, 3]
    store.finish_cell(run, 4, CellOutcome(Status.DIVERGED, "the loss is NaN"))
    assert store.cell_status(run, 4) is Status.DIVERGED
    cell = store.cell(run, 4)
    assert cell is not None
    assert (cell["id"], cell["reason"]) == (run.cell_id(4), "the loss is NaN")


def test_the_first_records_of_a_cell_can_be_kept(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    store, run = Store(tmp_path / "results"), plan.runs[0]
    store.append_records(run, 4, good_records(4, 2))
    all_records = store.read_records(run, 4)
    store.keep_records(run, 4, 5)
    assert store.read_records(run, 4) == all_records[:5]


def test_scan_finds_every_run_with_its_cells_in_order_of_scale(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    found = store.scan("small")
    assert {run.manifest["label"] for run in found} == {"none", "local"}
    assert [[cell.scale for cell in run.cells] for run in found] == [[1, 4], [1, 4]]
    assert all(cell.status is Status.DONE for run in found for cell in run.cells)
    assert {run.folder for run in found} == {store.run_folder(run) for run in plan.runs}
    assert store.scan("another") == []
    assert len(store.scan()) == 2


@pytest.mark.parametrize("text", ["", '{"id": "ab', "[]", "{}", '{"scale": 4, "status": "fine"}'])
def test_a_damaged_cell_is_one_that_failed_when_read_and_is_not_finished_when_run(tmp_path: Path, text: str) -> None:
    plan, store = write_all(tmp_path)
    path = store.cell_folder(plan.runs[0], 4) / "cell.json"
    path.write_text(text)
    cells = [cell for run in store.scan("small") if run.manifest["label"] == "none" for cell in run.cells]
    assert [(cell.scale, cell.status, cell.damaged) for cell in cells] == [
        (1, Status.DONE, False),
        (4, Status.FAILED, True),
    ]
    assert f"{path} is damaged" in cells[1].data["reason"]
    assert store.cell_status(plan.runs[0], 4) is None


def test_a_run_with_a_damaged_manifest_is_left_out_and_named_and_never_written_over(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path)
    path = store.run_folder(plan.runs[0]) / "manifest.json"
    assert store.damaged() == []
    path.write_text(path.read_text()[:100])
    assert [run.manifest["label"] for run in store.scan("small")] == ["local"]
    [said] = store.damaged("small")
    assert str(path) in said
    assert "editbench run makes it anew" in said
    assert store.damaged("another") == []
    with pytest.raises(DamagedFile, match="Copy it again, or delete it"):
        store.manifest(plan.runs[0])


def test_a_lock_is_held_once_and_goes_with_a_killed_process(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    store, run = Store(tmp_path / "results"), plan.runs[0]
    folder = store.run_folder(run)
    folder.mkdir(parents=True)
    hold = (
        "import sys, time\nfrom editbench.results.lock import hold\nfrom pathlib import Path\n"
        "with hold(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, str(folder / ".lock")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with store.lock(run, wait=False) as held:
        assert not held
    (folder / ".cell.json.abc.tmp").write_text("half")
    other.send_signal(signal.SIGKILL)
    other.wait()
    began = time.monotonic()
    with store.lock(run) as held:
        assert held
    assert time.monotonic() - began < 5
    assert not (folder / ".cell.json.abc.tmp").exists()


def test_who_waits_for_another_process_is_told_for_which_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    plan, _ = small_plan(tmp_path)
    told: list[str] = []
    let_go = threading.Event()
    store, run = Store(tmp_path / "results", waiting=lambda said: (told.append(said), let_go.set())), plan.runs[0]
    other = threading.Thread(target=_hold_until, args=(store.run_folder(run) / ".lock", let_go))
    store.run_folder(run).mkdir(parents=True)
    other.start()
    while not (store.run_folder(run) / ".lock").exists():
        time.sleep(0.01)
    with store.lock(run, wait=False) as held:  # it does not wait, and nobody is told
        assert not held and told == []
    with store.lock(run) as held:
        assert held
    assert told == [f"waiting for another process that works in {store.run_folder(run)}"]
    other.join()


def _hold_until(path: Path, let_go: threading.Event) -> None:
    with lock.hold(path):
        let_go.wait(30)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_said_and_a_file_that_nobody_would_remove_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    plan, _ = small_plan(tmp_path)
    store = Store(tmp_path / "results")
    with pytest.raises(StoreError, match="holds no locks"), store.lock(plan.runs[0]):
        raise AssertionError("not reached")


def test_a_lock_that_lies_there_from_long_ago_is_no_ones(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("4194304\nanother-host\n")
    with lock.hold(tmp_path / ".lock", wait=False) as held:
        assert held


def test_a_child_that_outlives_a_killed_process_does_not_hold_its_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom editbench.results.lock import hold\nfrom pathlib import Path\n"
        "with hold(Path(sys.argv[1])):\n"
        "    if os.fork() == 0:\n        print('held', flush=True)\n        time.sleep(8)\n        os._exit(0)\n"
        "    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.hold(tmp_path / ".lock", wait=False) as held:
        assert held


def test_statuses_that_are_tried_again_are_those_that_count_as_trouble() -> None:
    assert {status for status in Status if status.settled} == {Status.DONE, Status.SKIPPED, Status.DIVERGED}
    assert {status for status in Status if status.bad} == {status for status in Status if not status.settled}

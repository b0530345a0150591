"""Whatever moment a process is killed at, what it published is the old or the new, and users' files are there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_outputs import PUBLISHED, SMALL, lay, put_newer_local, snapshot
from test_published import tree

from editbench.base.outputs import MARK, OwnFolder
from editbench.publish.published import publish

__all__ = ["tree"]  # a fixture


class Killed(BaseException):
    """Stands for the end of the process: nothing on disk changes after it."""


CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
_left: list[int] = []  # how many changes of the disk are still allowed; empty: all


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if not _left or not (event in CHANGES or (event == "open" and _writes(arguments))):
        return
    if _left[0] == 0:
        raise Killed
    _left[0] -= 1


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(path, str) and not path.startswith("/dev") and bool(flags & (os.O_WRONLY | os.O_RDWR))


@contextmanager
def killed_after(changes: int) -> Iterator[None]:
    """Let no more than so many changes of the disk happen; every further one raises :class:`Killed`."""
    if not getattr(sys, "_editbench_counts", False):
        sys.addaudithook(_count)  # it cannot be taken away again
        sys._editbench_counts = True  # type: ignore[attr-defined]
    _left[:] = [changes]
    try:
        yield
    finally:
        _left.clear()


def test_a_publish_that_is_killed_anywhere_leaves_the_old_or_the_new_and_every_file_of_the_user(
    request: pytest.FixtureRequest,
) -> None:
    store = request.getfixturevalue("tree")[1]
    publish("small.yaml", store.root, PUBLISHED)
    [run] = SMALL.glob("*/local/*")
    lay(PUBLISHED / "note", SMALL / "note", run / "note", run / "cells" / "n")
    old = snapshot(PUBLISHED)
    put_newer_local()
    shutil.copytree("results", "start")
    publish("small.yaml", store.root, PUBLISHED)
    new = snapshot(PUBLISHED)
    mine = sorted(held for name, held in old.items() if Path(name).name in ("note", "n"))
    kills, ended = 0, False
    while not ended:
        shutil.rmtree("results")
        shutil.copytree("start", "results")
        with killed_after(kills):
            try:
                publish("small.yaml", store.root, PUBLISHED)
                ended = True
            except Killed:
                kills += 1
        now = snapshot(PUBLISHED)
        assert sorted(held for name, held in now.items() if Path(name).name in ("note", "n")) == mine, kills
        suite = {name: held for name, held in now.items() if name.startswith("runs/small/") and "note" not in name}
        for whole in (old, new):
            missing = [n for n in whole if n.startswith("runs/small/") and whole[n] != now.get(n) and n[-4:] == "json"]
            if not missing:
                break
        else:
            assert not suite and (PUBLISHED / ".old-small").is_dir(), (kills, missing)  # between the two renames
        publish("small.yaml", store.root, PUBLISHED)
        assert snapshot(PUBLISHED) == new, kills
    assert kills > 40


def test_a_folder_whose_writing_is_killed_anywhere_is_ours_afterwards(tmp_path: Path) -> None:
    files = {"a.txt": b"one", "b/c.txt": b"two"}
    later = {**files, "a.txt": b"three"}
    kills, ended = 0, False
    while not ended:
        folder = tmp_path / str(kills)
        with killed_after(kills):
            try:
                OwnFolder(folder, "--out DIR").write(files)
                OwnFolder(folder, "--out DIR").write(later)
                ended = True
            except Killed:
                kills += 1
        OwnFolder(folder, "--out DIR").write(later)
        left = {name: held for name, held in snapshot(folder).items() if name not in (MARK, "b")}
        assert left == later, kills
        assert set(json.loads((folder / MARK).read_text())["files"]) == set(files)
    assert kills > 15

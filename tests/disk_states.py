"""What a process that is killed leaves on disk, at every moment that makes a difference, without killing any.

A killed process runs nothing more: what it leaves is what lay on disk just then. So one unbroken run is watched, and
its folder is copied whenever a file in it is about to change, and once more with the file half written. Whatever writes
is seen, since the interpreter tells of every file that is opened, renamed or removed (``sys.addaudithook``).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EVENTS = ("open", "os.rename", "os.remove", "os.truncate", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class State:
    """What a kill leaves: a copy of the folder, after how many writes, and which file was about to change."""

    folder: Path
    after: int
    at: str


@dataclass
class Watch:
    """What happens to the files of a folder; names are paths within it, of a temporary file that of what it becomes.

    Attributes
    ----------
    folder: the folder that is watched.
    copies: where copies of it go; None: none are made.
    chosen: at which files copies are made.
    writes: the name of every file that was written, in order.
    states: the copies made, in order.
    unsynced: names that were begun, and that nobody has waited for until they were on disk.
    """

    folder: Path
    copies: Path | None = None
    chosen: Callable[[str], bool] = bool
    writes: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    unsynced: set[str] = field(default_factory=set)
    _sizes: dict[Path, int] = field(default_factory=dict)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of what the interpreter is about to do."""
        path = self._within(arguments[1 if event == "os.rename" else 0])
        if path is None or (event == "open" and not arguments[2] & _WRITING):
            return
        if event == "open":
            self._sizes[path] = path.stat().st_size if path.exists() else 0
            self.unsynced.add(self.name(path))
        # A temporary file is no loss: what is kept instead is the state in which half of it is written.
        moved = event == "os.rename" and _temporary(self._within(arguments[0]))
        if not _temporary(path) and not moved and (event == "open" or path.exists()):
            self._copy(path)
        if not _temporary(path) and event in ("open", "os.rename"):
            self.writes.append(self.name(path))

    def syncing(self, descriptor: int) -> None:
        """Take note that a file is written and will be on disk next; a kill just before may leave half of it."""
        path = self._within(Path(f"/proc/self/fd/{descriptor}").readlink())
        if path is None:
            return
        self.unsynced.discard(self.name(path))
        copy = self._copy(path)
        if copy is not None:
            half = (self._sizes.get(path, 0) + path.stat().st_size) // 2
            os.truncate(copy / path.relative_to(self.folder), half)

    def name(self, path: Path) -> str:
        """Return the name that a file has within the folder, or will have."""
        final = path.with_name(path.name[1:].rsplit(".", 2)[0]) if _temporary(path) else path
        return str(final.relative_to(self.folder))

    def _within(self, path: Any) -> Path | None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        found = Path(os.path.realpath(os.fsdecode(path)))
        inside = self.folder in found.parents and found.name != ".lock" and not found.is_dir()
        return found if inside else None

    def _copy(self, path: Path) -> Path | None:
        if self.copies is None or not self.chosen(self.name(path)):
            return None
        copy = self.copies / f"{len(self.states):03d}"
        shutil.copytree(self.folder, copy)
        self.states.append(State(copy, len(self.writes), self.name(path)))
        return copy


def _temporary(path: Path | None) -> bool:
    return path is not None and path.name.startswith(".") and path.suffix == ".tmp"


_watching: list[Watch] = []


def _tell(act: Callable[[Watch], None]) -> None:
    watching = _watching.copy()
    _watching.clear()  # what a watch does itself is not watched
    try:
        for watch in watching:
            act(watch)
    finally:
        _watching.extend(watching)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _EVENTS:
        _tell(lambda watch: watch.heard(event, arguments))


sys.addaudithook(_hook)  # there is no way to take one out: it hears as long as somebody watches


def _fsync(descriptor: int) -> None:
    _tell(lambda watch: watch.syncing(descriptor))  # and no more: no power fails here, and disks are slow


@contextmanager
def watched(folder: Path, copies: Path | None = None, chosen: Callable[[str], bool] = bool) -> Iterator[Watch]:
    """Watch a folder while something writes in it.

    ``copies``: keep the states that a kill could leave there, in this folder; ``chosen``: only those in which a file of
    such a name changes. What is written must be on disk at the end: the files in ``unsynced`` are not.
    """
    watch = Watch(Path(os.path.realpath(folder)), copies, chosen)
    _watching.append(watch)
    kept, os.fsync = os.fsync, _fsync
    try:
        yield watch
    finally:
        os.fsync = kept
        _watching.remove(watch)

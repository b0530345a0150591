"""Where a suite's published runs lie, and how that folder is made anew: whole, and with whatever else lies in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from editbench.base.files import explained, slug
from editbench.base.outputs import MARK, OwnFolder, with_option
from editbench.errors import StoreError
from editbench.results.store import SHARED_DOCUMENTS, SHARED_RECORDS

TO = "--to DIR"
# The page that lists what is published, and what it begins with.
INDEX = "README.md"
HEAD = "# Published results\n\nWritten by `editbench results publish`; "
_RUN = r"[^/]+/[^/]+/seed-[^/]+"
_WRITTEN = re.compile(rf"{SHARED_RECORDS}|{SHARED_DOCUMENTS}|{_RUN}/manifest\.json|{_RUN}/cells/\d+/cell\.json")
_HALF = re.compile(r"\.(manifest\.json|cell\.json|\.editbench\.json)\.[a-z0-9_]{8}\.tmp")
_FIGURE = r"{suite}(-[^/]+)?-(scale|capability)\.(svg|csv)"


class SuiteFolder:
    """The folder of a suite in a folder of published results.

    It is replaced by another one that was written beside it, so that a process that is killed leaves the old one or the
    new. What we did not write is moved from one into the other.

    Parameters
    ----------
    to: the folder of published results.
    suite: its name.
    """

    def __init__(self, to: Path, suite: str) -> None:
        self.folder = to / "runs" / slug(suite)
        self.own = OwnFolder(self.folder, TO)
        self._new, self._old = to / f".new-{slug(suite)}", to / f".old-{slug(suite)}"

    def settle(self) -> None:
        """Undo or end what a process that was killed left half done. Raises :class:`StoreError`."""
        with with_option(TO), explained(self.folder):
            if self._old.is_dir() and not os.path.lexists(self.folder):
                self._old.rename(self.folder)
            if self._old.is_dir():
                self._hand_over()
            self._sweep()

    def refuse_foreign(self) -> None:
        """Raise :class:`StoreError` where what lies here was not published, or is not as it was published."""
        for path in (self.folder.parent, self.folder):
            if path.is_symlink():
                raise StoreError(f"Nothing was published: {path} is a symbolic link.", "Expected a folder.")
        try:
            self.own.refuse_foreign()
            self.own.refuse_changed()
        except StoreError as error:
            raise type(error)(f"Nothing was published. {error.given}", error.expected, error.hint) from error

    @contextmanager
    def rebuilt(self) -> Iterator[Path]:
        """Yield a folder that takes the place of the suite's when all is written.

        Raises :class:`StoreError`, with nothing changed, where a file of somebody else would be replaced.
        """
        with with_option(TO), explained(self.folder):
            self._new.mkdir(parents=True, exist_ok=True)
        try:
            yield self._new
            names = written(self._new)
            self.own.refuse_in_the_way(names)
            OwnFolder(self._new, TO).claim(names)
        except BaseException:
            self._sweep()
            raise
        with with_option(TO), explained(self.folder):
            self.folder.parent.mkdir(exist_ok=True)
            if self.folder.exists():
                self.folder.rename(self._old)
            self._new.rename(self.folder)
            if self._old.exists():
                self._hand_over()

    def _hand_over(self) -> None:
        """Move what we did not write from the old folder into the new one, and remove the rest of the old one."""
        own = OwnFolder(self._old, TO)
        ours = own.owned() | {part.as_posix() for name in own.sums() for part in PurePosixPath(name).parents}
        for path in _leaves(self._old):
            name = path.relative_to(self._old)
            if name.as_posix() not in ours | {MARK}:
                _move(path, self.folder / name)
            elif name.as_posix() != MARK and not path.is_dir():
                path.unlink()
        _remove_empty(self._old)
        (self._old / MARK).unlink(missing_ok=True)  # last: it says which folders are ours
        _remove_empty(self._old)

    def _sweep(self) -> None:
        """Remove what we wrote of a folder that was never ended; anything else in it stays."""
        if not self._new.is_dir():
            return
        for path in _leaves(self._new):
            name = path.relative_to(self._new).as_posix()
            if not path.is_dir() and (name == MARK or _WRITTEN.fullmatch(name) or _HALF.fullmatch(path.name)):
                path.unlink()
        _remove_empty(self._new)


def written(folder: Path) -> list[str]:
    """Return the names of the files in a suite's folder that publishing writes, by what they are called."""
    names = [path.relative_to(folder).as_posix() for path in _leaves(folder)]
    return sorted(name for name in names if _WRITTEN.fullmatch(name) and not (folder / name).is_symlink())


def adoptable(to: Path) -> bool:
    """Return whether a folder was published before lists were kept of what was written: its README says so."""
    readme = to / INDEX
    return not OwnFolder(to, TO).marked and readme.is_file() and readme.read_bytes().startswith(HEAD.encode())


def adopt(to: Path) -> None:
    """List as ours what is called as publishing calls its files, if the folder is :func:`adoptable`."""
    if not adoptable(to):
        return
    own, names = OwnFolder(to, TO), [INDEX]
    for folder in sorted(path for path in (to / "runs").glob("*") if (path / SHARED_RECORDS).is_file()):
        there = OwnFolder(folder, TO)
        if not there.marked:
            there.claim(written(folder))
        figure = re.compile(_FIGURE.format(suite=re.escape(folder.name)))
        names += [f"figures/{path.name}" for path in (to / "figures").glob("*") if figure.fullmatch(path.name)]
    own.claim(names)


def _leaves(folder: Path) -> list[Path]:
    """Return all that lies in a folder and is none itself, and folders with nothing in them; links are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        found += [here / name for name in files]
        found += [here / name for name in folders if (here / name).is_symlink() or not any((here / name).iterdir())]
    return sorted(found)


def _move(path: Path, to: Path) -> None:
    if os.path.lexists(to):
        raise StoreError(f"{path} could not be put back: {to} is there.", hint="Move it to where it belongs.")
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)


def _remove_empty(folder: Path) -> None:
    """Remove a folder, and those in it, if there is nothing in any of them."""
    for place, _, _ in os.walk(folder, topdown=False):
        if not any(Path(place).iterdir()):
            Path(place).rmdir()

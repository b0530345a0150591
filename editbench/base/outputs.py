"""What commands write for people to keep: only what they wrote themselves is ever replaced or removed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from editbench.base.files import end_of, explained, pretty_json, read_json, replace_file
from editbench.errors import DamagedFile, StoreError

# In a folder of ours: the list of the files we wrote, and what one process holds while it writes.
MARK, LOCK = ".editbench.json", ".editbench.lock"
ABOUT = "What editbench wrote into this folder, with the SHA-256 of each file. It replaces and removes nothing else."
WAIT_SECONDS = 60.0
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.tmp")  # what replace_file leaves behind when it is killed
_NAMED = 3


class OwnFolder:
    """A folder that a command writes into: new, empty, or with a list of what was written there.

    The list has the SHA-256 of every file. It is written before the files are, with the sums of what is there and of
    what is to come, so that a process that is killed leaves no file that would be taken for somebody else's.

    Parameters
    ----------
    folder: need not be there.
    option: what names it on the command line, such as ``--out DIR``; for hints.
    """

    def __init__(self, folder: Path, option: str) -> None:
        self.folder, self.option = folder, option
        self._lock = FileLock(folder / LOCK, timeout=WAIT_SECONDS)

    @property
    def marked(self) -> bool:
        """Whether there is a list of what was written here."""
        return _is_regular(self.folder / MARK)

    def refuse_foreign(self) -> None:
        """Raise :class:`StoreError` for a folder that holds something but no list of ours, and for what is none."""
        if self.marked or not os.path.lexists(self.folder):
            return
        hint = f"Give another: {self.option}"
        if not self.folder.is_dir():
            raise StoreError(f"{self.folder} is {kind_of(self.folder)}.", "Expected a folder.", hint)
        with with_option(self.option), explained(self.folder):
            empty = all(_is_trace(path.name) for path in self.folder.iterdir())
        if not empty:
            raise StoreError(
                f"{self.folder} is not empty, and not a folder that this command made. It holds {listed(self.folder)}.",
                "Expected a new folder, an empty one, or one that it made. Nothing was written.",
                hint,
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it for this process. Raises :class:`StoreError` where another one keeps it."""
        self.refuse_foreign()
        with with_option(self.option), explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout as error:
                said = f"Another editbench is writing into {self.folder}."
                raise StoreError(said, hint="Wait for it to end.") from error
        try:
            yield
        finally:
            self._lock.release()

    def sums(self) -> dict[str, list[str]]:
        """Return name -> the sums that a file of ours may have; two where a write was cut off, else one.

        Raises :class:`DamagedFile` for a list that cannot be read.
        """
        if not self.marked:
            return {}
        try:
            files = (read_json(self.folder / MARK) or {})["files"]
            return {str(name): [found] if isinstance(found, str) else list(found) for name, found in files.items()}
        except (DamagedFile, KeyError, AttributeError, TypeError) as error:
            raise DamagedFile(
                f"{self.folder / MARK} is damaged: which files are editbench's is not known. Nothing was written.",
                hint=f"Put it back (git checkout), or give another folder: {self.option}",
            ) from error

    def owned(self) -> set[str]:
        """Return the names of files that are there and as we wrote them."""
        return {name for name, sums in self.sums().items() if sum_of(self.folder / name) in sums}

    def missing(self) -> list[str]:
        """Return the names of files that we wrote and that are not there any more."""
        return [name for name in self.sums() if not os.path.lexists(self.folder / name)]

    def refuse_changed(self) -> None:
        """Raise :class:`StoreError` where a file that we wrote is another one now."""
        self.refuse_in_the_way(self.sums())

    def refuse_in_the_way(self, names: Iterable[str]) -> None:
        """Raise :class:`StoreError` unless each of these is free, or there as we wrote it."""
        sums = self.sums()
        found = [text for name in names if (text := self._in_the_way(name, sums.get(name, [])))]
        if found:
            raise StoreError(
                "\n".join([*found[:_NAMED], *([f"So are {len(found) - _NAMED} more."] if found[_NAMED:] else [])]),
                "Only what editbench wrote, as it wrote it, is replaced. Nothing was written.",
                "Move it away, or put back what was there (git checkout); then type the same command.",
            )

    def _in_the_way(self, name: str, sums: list[str]) -> str:
        """Return what lies where a file is to be written, as a sentence; "" if nothing is in the way."""
        path = self.folder / name
        for part in reversed(path.relative_to(self.folder).parents):
            above = self.folder / part
            if part.parts and os.path.lexists(above) and (above.is_symlink() or not above.is_dir()):
                return f"{above} is in the way: it is {kind_of(above)}, not a folder."
        if not os.path.lexists(path) or sum_of(path) in sums:
            return ""
        if not _is_regular(path):
            return f"{path} is in the way: it is {kind_of(path)}."
        return f"{path} is in the way: it {'was changed since' if sums else 'is not what'} editbench wrote it."

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files by name, whole or not at all, and list them.

        Raises :class:`StoreError`, before anything is written, where one would replace what is not ours.
        """
        with self.held():
            self.refuse_in_the_way(files)
            before, coming = self.sums(), {name: [_sum(data)] for name, data in files.items()}
            stale = {name: data for name, data in files.items() if [sum_of(self.folder / name)] != coming[name]}
            if stale:
                both = {name: [*before.get(name, ()), *coming[name]] for name in stale}
                self._mark({**before, **both})
            self._sweep(files)
            with with_option(self.option):
                for name, data in stale.items():
                    replace_file(self.folder / name, data)
            self._mark({**before, **coming})

    def claim(self, names: Iterable[str]) -> None:
        """List these files, that are there, as ours, in the place of what was listed."""
        self._mark({name: [sum_of(self.folder / name)] for name in names})

    def _mark(self, sums: Mapping[str, list[str]]) -> None:
        shown = {name: found[0] if len(found) == 1 else list(dict.fromkeys(found)) for name, found in sums.items()}
        data = pretty_json({"about": ABOUT, "files": shown})
        path = self.folder / MARK
        if not self.marked or path.read_bytes() != data:
            with with_option(self.option):
                replace_file(path, data)

    def _sweep(self, names: Iterable[str]) -> None:
        """Remove what a killed process left half-written of these files, and of the list."""
        for folder in {(self.folder / name).parent for name in (MARK, *names)}:
            for path in folder.glob(".*.tmp"):
                found = _TEMPORARY.fullmatch(path.name)
                name = path.with_name(found["name"]).relative_to(self.folder).as_posix() if found else ""
                if (name == MARK or name in names) and _is_regular(path):
                    path.unlink(missing_ok=True)


def refuse_others(path: Path, option: str, is_ours: Callable[[bytes], bool]) -> None:
    """Raise :class:`StoreError` unless a file may be written: a free name in a folder, an empty file, or one of ours.

    Parameters
    ----------
    option: what names it on the command line, such as ``--out FILE``.
    is_ours: whether a file's bytes are what the command once wrote.
    """
    hint = f"Give another name: {option}"
    if path.is_dir():
        raise StoreError(f"{path} is a folder.", "Expected a file name.", hint)
    if not path.absolute().parent.is_dir():
        raise StoreError(f"There is no folder {path.parent} for it.", hint=f"Make it: mkdir -p {path.parent}")
    with with_option(option), explained(path):
        data = end_of(path).read_bytes() if os.path.lexists(path) else b""
    if data and not is_ours(data):
        raise StoreError(
            f"{path} is there, and is not what this command wrote, or was changed since.",
            "Only what it wrote, as it wrote it, is replaced. Nothing was written.",
            f"{hint}; or move that file away.",
        )


@contextmanager
def with_option(option: str) -> Iterator[None]:
    """Let hints about where to write name this option."""
    try:
        yield
    except StoreError as error:
        raise type(error)(error.given, error.expected, error.hint.replace("--results DIR", option)) from error


def kind_of(path: Path) -> str:
    """Return what lies at a path, in words: ``a folder``, ``a symbolic link``, ``a FIFO``, …"""
    mode = path.lstat().st_mode
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a FIFO"}
    return kinds.get(stat.S_IFMT(mode), "a device or socket")


def listed(folder: Path) -> str:
    """Return the first names in a folder, and how many more there are."""
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return ", ".join(names[:_NAMED]) + more


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal; "" for anything else, a link to one too."""
    if not _is_regular(path):
        return ""
    with explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_trace(name: str) -> bool:
    """Whether a file is what a killed process left in a folder before it was marked."""
    found = _TEMPORARY.fullmatch(name)
    return name == LOCK or (found is not None and found["name"] == MARK)

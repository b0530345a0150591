"""Reading and writing files that a killed process cannot tear, with errors that say what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from editbench.errors import DamagedFile, StoreError

MAKE_ANEW = "Copy it again, or delete the folder it lies in: editbench run makes it anew."


_WHAT_TO_DO = {
    errno.ENOSPC: "The disk is full: free some space; the same command continues.",
    errno.EDQUOT: "The disk quota is used up: free some space; the same command continues.",
    errno.EACCES: "Choose a folder you may write to, with --results DIR.",
    errno.EPERM: "Choose a folder you may write to, with --results DIR.",
    errno.EROFS: "That file system is read-only: choose another folder, with --results DIR.",
    errno.ENOTDIR: "Part of that path is a file: choose another folder, with --results DIR.",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a :class:`StoreError` that names the path and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _WHAT_TO_DO.get(error.errno or 0, "Choose another folder, with --results DIR.")
        raise StoreError(f"Cannot write {path}: {reason}.", hint=hint) from error


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all; makes the folders above it, and keeps the mode of what was there.

    What a symbolic link leads to is replaced, never the link. Raises :class:`StoreError`, for what is no file too.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = end_of(path)
        mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(place)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def end_of(path: Path) -> Path:
    """Return the file that is written when ``path`` is: what a symbolic link leads to, else ``path`` itself.

    Raises :class:`StoreError` for what can be no file: a folder, a device, a FIFO, a link to nothing. Such are neither
    opened nor replaced.
    """
    if not os.path.lexists(path):
        return path
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise StoreError(f"Cannot write {path}: it is a link to {path.readlink()}, which is not there.") from None
    if stat.S_ISREG(mode):
        return Path(os.path.realpath(path))
    what = "a folder" if stat.S_ISDIR(mode) else "a FIFO" if stat.S_ISFIFO(mode) else "a device or socket"
    raise StoreError(f"Cannot write {path}: it is {what}.", "Expected a file, or a name that is free.")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append ``lines`` (each ends with a newline) and wait until they are on disk. Raises :class:`StoreError`.

    A half-written last line that a killed process left behind is cut off first.
    """
    data = "".join(lines).encode()
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        truncate_torn(path)
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def truncate_torn(path: Path) -> None:
    """Cut off what follows the last newline; a file that is not there stays so."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0 or _ends_with_newline(file, end):
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _ends_with_newline(file: Any, end: int) -> bool:
    file.seek(end - 1)
    return bool(file.read(1) == b"\n")


def read_lines(path: Path) -> list[str]:
    """Return the whole lines of a file, without their newlines; a half-written last one is dropped."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1].decode().split("\n")[:-1]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if it is not there.

    Raises :class:`DamagedFile` if it is damaged, :class:`StoreError` if it cannot be read at all.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: {error}.", hint=MAKE_ANEW) from error
    if not isinstance(value, dict):
        raise DamagedFile(f"{path} is damaged: expected a JSON object.", hint=MAKE_ANEW)
    return value


def check_writable(root: Path) -> None:
    """Raise :class:`StoreError` unless files can be made in ``root``, or where it would be made. Leaves nothing."""
    with explained(root):
        existing = next((folder for folder in (root, *root.absolute().parents) if folder.exists()), Path("/"))
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass


def slug(name: str) -> str:
    """Return ``name`` as one folder name: ``a/b`` becomes ``a--b``, other odd characters ``-``."""
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", name.strip("./").replace("/", "--")) or "unnamed"


def pretty_json(value: Mapping[str, Any]) -> bytes:
    """Return an object as JSON that people can read and git can compare: sorted keys, one line each."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()

"""Reading and writing files that a killed process cannot tear, with errors that say what to do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from editbench.base.parsing import parse_json
from editbench.errors import DamagedFile, StoreError

MAKE_ANEW = "Copy it again, or delete it: editbench run makes it anew."


RESULTS = "choose another folder, with --results DIR"
CACHE = "choose another folder for the cache: export EDITBENCH_CACHE=DIR"

_WHAT_TO_DO = {
    errno.ENOSPC: "The disk is full: free some space; the same command continues.",
    errno.EDQUOT: "The disk quota is used up: free some space; the same command continues.",
    errno.ENAMETOOLONG: "A name may have 255 bytes: choose a shorter one.",
    errno.EACCES: "You may not write there: {instead}.",
    errno.EPERM: "You may not write there: {instead}.",
    errno.EROFS: "That file system is read-only: {instead}.",
    errno.ENOTDIR: "Part of that path is a file: {instead}.",
}


@contextmanager
def explained(path: Path, instead: str = RESULTS) -> Iterator[None]:
    """Turn an ``OSError`` into a :class:`StoreError` that names the path and what to do.

    Parameters
    ----------
    path: what is written.
    instead: how to write elsewhere, as the end of a sentence.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _WHAT_TO_DO.get(error.errno or 0, "{instead}.").format(instead=instead)
        raise StoreError(f"Cannot write {path}: {reason}.", hint=hint[0].upper() + hint[1:]) from error


def replace_file(path: Path, *data: bytes | memoryview, instead: str = RESULTS) -> None:
    """Write ``data``, one piece after another, to ``path`` whole or not at all; makes the folders above it.

    What a symbolic link leads to is replaced, never the link, and the mode of what was there is kept. Raises
    :class:`StoreError` with ``instead``, how to write elsewhere, as its hint; for what is no file too.
    """
    with explained(path, instead):
        path.parent.mkdir(parents=True, exist_ok=True)
        place = end_of(path)
        mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(place)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def no_plain_file(path: Path) -> str:
    """Return why a path that is there cannot be read or written as a file, such as a FIFO, which would wait for ever;
    "" for a plain file and for a path that is not there.
    """
    try:
        found = path.stat()
    except OSError:
        return ""
    if stat.S_ISREG(found.st_mode):
        return ""
    return f"{path} is a folder" if stat.S_ISDIR(found.st_mode) else f"{path} is no file but a device, pipe or socket"


def _refuse_no_file(path: Path) -> None:
    if why := no_plain_file(path):
        raise DamagedFile(f"{why}.", hint="Move it away: editbench run makes it anew.")


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
    """Append ``lines`` (each ends with a newline) and wait until they are on disk.

    Raises :class:`StoreError`, for what is no plain file :class:`DamagedFile`.

    A half-written last line that a killed process left behind is cut off first.
    """
    data = "".join(lines).encode()
    _refuse_no_file(path)
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
    """Return the whole lines of a file, without their newlines; a half-written last one is dropped.

    Raises :class:`DamagedFile` for what is no plain file or not UTF-8, :class:`StoreError` if it cannot be read.
    """
    _refuse_no_file(path)
    try:
        data = path.read_bytes()
        return data[: data.rfind(b"\n") + 1].decode().split("\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path} is damaged: it is not UTF-8.", hint=MAKE_ANEW) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if it is not there.

    Raises :class:`DamagedFile` if it is damaged or no file, :class:`StoreError` if it cannot be read at all.
    """
    _refuse_no_file(path)
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: {error}.", hint=MAKE_ANEW) from error
    if not isinstance(value, dict):
        raise DamagedFile(f"{path} is damaged: expected a JSON object.", hint=MAKE_ANEW)
    return value


def refuse_unreadable(path: Path, error: BaseException) -> None:
    """Raise :class:`StoreError` if ``error`` is the system's refusal to read a file: what is in it is not damaged."""
    if isinstance(error, OSError) and error.errno is not None:
        hint = f"See who may read it: ls -l {shlex.quote(str(path))}"
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.", hint=hint) from error


def check_writable(root: Path, instead: str = RESULTS) -> None:
    """Raise :class:`StoreError` unless files can be made in ``root``, or where it would be made. Leaves nothing."""
    with explained(root, instead):
        existing = next((folder for folder in (root, *root.absolute().parents) if folder.exists()), Path("/"))
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass


# A name that is its own folder's, and a hub id, which becomes one; nothing else is spelt like these as a folder.
_PLAIN = r"(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9._=+-]*[A-Za-z0-9_=+])?"
_PLAIN_NAME, _HUB_ID = re.compile(_PLAIN), re.compile(f"{_PLAIN}/{_PLAIN}")
_LONGEST_NAME = 120  # a file system takes 255 bytes, of which temporary names need some


def slug(name: str) -> str:
    """Return ``name`` as one folder name, another one for every other name.

    Plain names stay as they are and a hub id ``a/b`` becomes ``a--b``; what is left of any other name ends with ``~``
    and 8 hex digits of its sha256.
    """
    if len(name) <= _LONGEST_NAME and (_PLAIN_NAME.fullmatch(name) or _HUB_ID.fullmatch(name)):
        return name.replace("/", "--")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable(name)[:_LONGEST_NAME].rstrip('.')}~{digest[:8]}"


def readable(name: str) -> str:
    """Return ``name`` in letters that a folder may have: ``a/b`` becomes ``a--b``, other odd characters ``-``.

    Several names may become one: where they must be told apart, :func:`slug`.
    """
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", name.strip("./").replace("/", "--")) or "unnamed"


def pretty_json(value: Mapping[str, Any]) -> bytes:
    """Return an object as JSON that people can read and git can compare: sorted keys, one line each."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()

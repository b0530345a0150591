"""The one door through which errors leave: what was given, what was expected, what to do; never a traceback.

What the user can mend ends with exit code 2, what nobody expected with 1 and the file that holds its traceback,
a signal with 128 + its number, as shells expect.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import click

from editbench.base.plain import clean, one_line, shortened
from editbench.cli.ending import Ended
from editbench.cli.streams import OutputLost
from editbench.errors import UserError

_LONGEST = 1000  # characters of a line of a message
_SEE = "See who may use it: ls -ld {path}"
# errno -> what was expected, what to do; {path} is the file's
_MENDED = {
    errno.EACCES: ("Expected a file or folder that you may use.", _SEE),
    errno.EPERM: ("Expected a file or folder that you may use.", _SEE),
    errno.ENAMETOOLONG: ("Expected names of at most 255 bytes.", "Choose a shorter name."),
    errno.ENOSPC: ("Expected free space on the disk.", "Free some space; the same command continues."),
    errno.EDQUOT: ("Expected free space in your quota.", "Free some space; the same command continues."),
    errno.EROFS: ("Expected a file system that can be written to.", "Choose another folder."),
    errno.EISDIR: ("Expected a file, not a folder.", "Give the name of a file."),
    errno.ENOTDIR: ("Expected a folder; part of that path is a file.", "Give another path."),
    errno.ENOENT: ("Expected a file or folder that is there.", "Look at the path again."),
    errno.ELOOP: ("Expected a path without links that lead in a circle.", "See where it leads: ls -l {path}"),
    errno.EMFILE: ("Expected room for more open files.", "Raise the limit: ulimit -n 4096"),
}


class Shown(click.ClickException):
    """A mistake on its way to stderr, in a line or three; exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message, without a traceback."""
        first, *rest = (shortened(line, _LONGEST) for line in self.message.split("\n"))
        click.echo("\n".join([f"Error: {first}", *(f"  {line}" for line in rest)]), file=file or sys.stderr)


class Unexpected(Shown):
    """What only a programmer can mend."""

    exit_code = 1


class Interrupted(click.ClickException):
    """Ctrl-C; exit code 128 + the signal's number, as shells expect."""

    exit_code = 128 + signal.SIGINT

    def show(self, file: IO[Any] | None = None) -> None:
        """Say that nothing is lost."""
        click.echo(self.message, file=file or sys.stderr)


class Terminated(Interrupted):
    """SIGTERM."""

    exit_code = 128 + signal.SIGTERM


class HungUp(Interrupted):
    """SIGHUP, which Windows lacks."""

    exit_code = 128 + 1


def interrupted(error: BaseException, kept: str = "the same command continues") -> Interrupted:
    """Return what to say about Ctrl-C, SIGTERM or SIGHUP, and about what becomes of the work."""
    if not isinstance(error, Ended):
        return Interrupted(f"Interrupted; {kept}.")
    kind = Terminated if error.number == signal.SIGTERM else HungUp
    return kind(f"Ended by {signal.Signals(error.number).name}; {kept}.")


class Unread(click.ClickException):
    """Nobody reads stdout any more, such as after ``| head``: nothing is said, exit code 141."""

    exit_code = 128 + 13  # SIGPIPE, which Windows lacks

    def show(self, file: IO[Any] | None = None) -> None:
        """Say nothing."""


def through(call: Callable[[], Any]) -> int:
    """Call, write out what is left to write, and return the exit code; whatever is raised is told on stderr."""
    try:
        code = call()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as error:  # of click itself: the shell's completion
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        found, said = told(error), io.StringIO()
        found.show(said)
        click.echo(clean(said.getvalue()), file=sys.stderr, nl=False)
        return found.exit_code


def told(error: BaseException) -> click.ClickException:
    """Return what to say about an error, and how to end."""
    if isinstance(error, click.ClickException):
        return error
    if isinstance(error, click.Abort):
        return interrupted(error.__cause__ or error)
    if isinstance(error, KeyboardInterrupt):
        return interrupted(error)
    if isinstance(error, OutputLost):
        hint = "What was done is kept; only what would have been printed is lost."
        return Unread("") if error.number == errno.EPIPE else Shown(f"{error}\n{hint}")
    if isinstance(error, UserError):
        return Shown(str(error))
    lines = list(_mendable(error))
    return Shown("\n".join(lines)) if lines else _unexpected(error)


def _mendable(error: BaseException) -> Iterator[str]:
    """Yield the lines about what the system refused; none for what only a programmer can mend."""
    if isinstance(error, MemoryError):
        yield from ("There is not enough memory.", "Choose a smaller model, --dtype bfloat16 or fewer requests.")
    elif isinstance(error, UnicodeEncodeError):
        text = ascii(shortened(error.object, 80))
        yield from (f"{text} is no text.", "Expected UTF-8.", "Choose another name, or mend the file it comes from.")
    elif isinstance(error, OSError) and _folder_is_gone():
        yield from ("The folder you are in was deleted.", "Expected one that is there.", "Go to another: cd")
    elif isinstance(error, OSError) and error.errno in _MENDED and error.strerror:
        path = None if error.filename is None else os.fsdecode(error.filename)
        expected, hint = _MENDED[error.errno]
        quoted = "." if path is None else shlex.quote(shortened(path))
        yield f"{error.strerror}." if path is None else f"{shortened(path)}: {error.strerror}."
        yield expected
        yield hint.format(path=quoted)
    elif isinstance(error, OSError):
        yield f"The system refused: {one_line(str(error)) or type(error).__name__}."
        yield _kept(error)


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _unexpected(error: BaseException) -> Unexpected:
    said = one_line(f"{type(error).__name__}: {error}").rstrip(":. ")
    return Unexpected(f"Something that nobody expected: {shortened(said)}.\n{_kept(error)}")


def _kept(error: BaseException) -> str:
    """Write the traceback to a file and return the sentence that says where it is."""
    whole = "".join(traceback.format_exception(error))
    text = f"{shlex.join(['editbench', *sys.argv[1:]])}\n\n{whole}"
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".txt", "traceback-", folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return f"Its traceback, for a report: {name}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f"Its traceback can be written nowhere; raised {', '.join(f'in {f.filename}:{f.lineno}' for f in last)}."


def _folders() -> Iterator[Path]:
    """Yield where a traceback may be kept: the cache, else the folder for temporary files."""
    from editbench.cache import cache_folder

    with suppress(RuntimeError):  # there is no home
        yield cache_folder() / "tracebacks"
    with suppress(OSError):
        yield Path(tempfile.gettempdir())

"""The standard streams of a process, whatever the terminal, the pipe or the disk behind them can take.

Results keep a stream of their own: what a method prints, C libraries and children included, goes to stderr. What a
terminal cannot show is replaced by what it can. Output that is lost is said once; messages that are lost stop nothing.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import Any, TextIO

_ERRORS = "editbench-shown"
# what has no likeness among the letters of ASCII
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("─━═╴╶╸╺╼╾‐‑‒–—−·•", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╞╡╪╇╈╋┏┓┗┛┡┩╷╵", "+"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”„", '"'),
        **{"→": "->", "←": "<-", "↑": "^", "↓": "v", "×": "x", "±": "+-", "★": "*", "≤": "<=", "≥": ">=", "≈": "~"},
        **{"Δ": "D", "χ": "chi", "∞": "inf", "█": "#", "ß": "ss"},
    }
)


class OutputLost(Exception):
    """Standard output cannot be written to.

    Parameters
    ----------
    number: the ``errno``; ``EPIPE`` where the reader, such as ``head``, has seen enough.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"Cannot write to standard output: {os.strerror(number)}.")


class _Results(io.FileIO):
    """Standard output: the first write that fails raises :class:`OutputLost`, what follows is dropped."""

    fault: int | None = None
    lost = False

    def write(self, data: Any) -> int:
        if self.lost:
            return memoryview(data).nbytes
        try:
            if self.fault is not None:
                raise OSError(self.fault, os.strerror(self.fault))
            return super().write(data)
        except OSError as error:
            self.lost = True
            raise OutputLost(error.errno or errno.EIO) from error


class _Messages(io.FileIO):
    """Standard error: a message that cannot be written is dropped, for what it is about goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def take_over() -> None:
    """Give results a stream of their own, and point whatever else writes to stdout at stderr.

    For the process of the command line alone: it replaces ``sys.stdout`` and ``sys.stderr``, and file descriptor 1.
    """
    codecs.register_error(_ERRORS, shown)
    out, err = sys.stdout, sys.stderr
    for descriptor in range(3):
        _hold_open(descriptor)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - it stays open
    results = _Results(os.dup(1), "wb")
    results.fault = errno.EBADF if out is None else None
    os.dup2(2, 1)
    sys.stdout = _text(results, out, line_buffering=results.isatty())
    sys.stderr = _text(_Messages(2, "wb", closefd=False), err, line_buffering=True)


def _hold_open(descriptor: int) -> None:
    """Put the null device where a standard stream is closed: the next file opened would take its place."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _text(raw: io.FileIO, before: TextIO | None, *, line_buffering: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ERRORS, line_buffering=line_buffering)


def shown(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for text that an encoding lacks: the likeness of a sign, a letter without its accent, ``?``.

    A handler for :func:`codecs.register_error`.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ALIKE)
    plain = (unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?" for char in text)
    return "".join(plain), error.end

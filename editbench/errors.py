"""What editbench says when something cannot be done.

A :class:`UserError` is shown without a traceback and ends the command with exit code 2. Each one says what was
given, what was expected, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EditbenchError(Exception):
    """Base of every exception editbench raises on purpose."""


class UserError(EditbenchError):
    """A mistake in what was asked for: shown as one to three lines, exit code 2.

    Parameters
    ----------
    given: what was found, named as the user wrote it.
    expected: what would have been right.
    hint: what to type or change next.
    """

    def __init__(self, given: str, expected: str = "", hint: str = "") -> None:
        self.given, self.expected, self.hint = given, expected, hint
        super().__init__("\n".join(line for line in (given, expected, hint) if line))


class UnknownName(UserError):
    """A suite, method, model, dataset or metric that nobody registered."""

    def __init__(self, noun: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.known = sorted(known)
        close = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        expected = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(self.known) or 'none'}."
        super().__init__(f"There is no {noun} named {name!r}.", expected, hint)


class BadSuite(UserError):
    """A suite file that cannot be read or does not make sense; names file, line and key."""


class BadData(UserError):
    """A dataset file or record that does not have the documented form."""


class BadModel(UserError):
    """A model that cannot be found, loaded or understood."""


class BadPlugin(UserError):
    """A method, suite or dataset that is registered or named but cannot be loaded."""


class StoreError(UserError):
    """A results folder that cannot be read or written."""


class DamagedFile(StoreError):
    """A file of a results folder that is there and is not what was once written."""


class Diverged(EditbenchError):
    """Raised by a method whose optimisation left the finite numbers; recorded as the status ``diverged``."""


class RequestFailed(EditbenchError):
    """One request cannot be edited or probed; it is recorded as failed and the others go on.

    Parameters
    ----------
    request: id of the request.
    reason: one sentence.
    """

    def __init__(self, request: str, reason: str) -> None:
        self.request, self.reason = request, reason
        super().__init__(f"request {request}: {reason}")

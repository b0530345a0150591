"""Another process that computes what this one asks for: started at the first question, then ready for all others.

What decides an edit must be in its seed and its requests, not in a hash's salt or an address in memory. A process of
its own for each question would spend nearly all its time on importing torch.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import traceback
from contextlib import suppress
from functools import cache
from typing import Any, TextIO


class ElsewhereFailed(Exception):
    """The other process raised something, or ended; the message says what was seen."""


class Elsewhere:
    """Another process, which calls functions by their address and returns what they return.

    Attributes
    ----------
    started: how often a process had to be started: once, unless one ended.
    """

    def __init__(self) -> None:
        self.started = 0
        self._process: subprocess.Popen[str] | None = None

    def call(self, function: str, *arguments: Any) -> str:
        """Return what ``module:function`` returns there for these arguments, which must be Python literals.

        The other process sees today's working folder and path of imports. Raises :class:`ElsewhereFailed`.
        """
        process = self._running()
        asked = {"function": function, "arguments": repr(arguments), "path": sys.path, "folder": os.getcwd()}  # noqa: PTH109
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process = None
            raise ElsewhereFailed(f"it ended with {process.wait()}")
        said = json.loads(answer)
        if "error" in said:
            raise ElsewhereFailed(said["error"])
        return str(said["returned"])

    def close(self) -> None:
        """End the other process, if there is one."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()
        self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen([sys.executable, "-c", code], text=True, encoding="utf-8", **pipes)
            self.started += 1
        return self._process


@cache
def elsewhere() -> Elsewhere:
    """Return the one other process that everything in this process shares; it ends when this one does."""
    return Elsewhere()


def serve() -> None:
    """Answer one question a line until there are no more; what the functions print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        _answer(json.loads(line), answers)


def _answer(asked: dict[str, Any], answers: TextIO) -> None:
    try:
        sys.path[:] = asked["path"]
        os.chdir(asked["folder"])
        module, _, name = asked["function"].partition(":")
        returned = getattr(importlib.import_module(module), name)(*ast.literal_eval(asked["arguments"]))
        said = {"returned": returned}
    except BaseException as error:  # a method that calls sys.exit is no reason to end
        said = {"error": traceback.format_exception_only(error)[-1].strip()}
    answers.write(json.dumps(said) + "\n")
    answers.flush()

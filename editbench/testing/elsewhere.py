"""Another process that makes the same edits again: the law about other processes, and edits that are loaded there."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from editbench.edits import SIDE_DOOR
from editbench.errors import EditbenchError

if TYPE_CHECKING:
    from editbench.method import Method
    from editbench.testing.trial import Trial

# What an answer's line begins with: a method may print.
_ANSWER, _END = "editbench-answer ", "editbench-end"


class NotElsewhere(EditbenchError):
    """Another process could not do what this one does; the message is the last that it said."""


class OtherProcess:
    """One more Python, started when it is first asked and ended with the context; it serves many trials.

    Its hashes of strings are salted otherwise than here, and its objects lie elsewhere.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> OtherProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def fingerprint(self, trial: Trial, kept: Path | None = None) -> dict[str, str]:
        """Return the fingerprint of the trial's model with its first edit, made there or loaded there from a file.

        Raises :class:`NotElsewhere`.
        """
        order = {
            "method": address(trial.method_class),
            "model": asdict(trial.model),
            "given": dict(trial.given),
            "kept": None if kept is None else str(kept),
        }
        answer = self._asked(json.dumps(order))
        if "error" in answer:
            raise NotElsewhere(f"another process failed: {answer['error']}")
        found: dict[str, str] = answer["fingerprint"]
        return found

    def _asked(self, order: str) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(order + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = {"error": "it ended without a word"}
        for line in process.stdout:
            if line.startswith(_ANSWER):
                answer = json.loads(line.removeprefix(_ANSWER))
            elif line.startswith(_END):
                break
        return answer

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        salt = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": salt}
        code = "from editbench.testing.elsewhere import serve; serve()"
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment)


def address(method_class: type[Method]) -> str:
    """Return where another process finds a method: ``module:Class``, or ``./file.py:Class``.

    Raises :class:`NotElsewhere` for a class that is not at the top level of its module.
    """
    if "<locals>" in method_class.__qualname__:
        raise NotElsewhere(f"{method_class.__qualname__} is not at the top level of a module")
    if method_class.__module__.startswith(SIDE_DOOR):
        return f"{inspect.getfile(method_class)}:{method_class.__qualname__}"
    return f"{method_class.__module__}:{method_class.__qualname__}"


def _at(place: str) -> type[Method]:
    from editbench.plan.registry import load_method

    if ".py:" in place:
        return load_method(place)
    module, _, name = place.partition(":")
    found: type[Method] = getattr(importlib.import_module(module), name)
    return found


def serve() -> None:
    """Answer orders, one a line, until standard input ends: each in a process of its own, so that none finds traces.

    This one only imports what takes long; where a process cannot be forked it answers by itself.
    """
    models = "transformers.models.llama.modeling_llama", "transformers.models.gpt2.modeling_gpt2"
    for module in ("editbench.testing.check", *models):
        importlib.import_module(module)
    for line in sys.stdin:
        if not hasattr(os, "fork"):
            _answer(line)
        elif (child := os.fork()) == 0:
            _answer(line)
            os._exit(0)
        else:
            os.waitpid(child, 0)
        sys.stdout.write(f"\n{_END}\n")
        sys.stdout.flush()


def _answer(line: str) -> None:
    try:
        answer: Mapping[str, Any] = {"fingerprint": _fingerprint(json.loads(line))}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(f"\n{_ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


def _fingerprint(order: Mapping[str, Any]) -> dict[str, str]:
    from editbench.cache import Cache
    from editbench.ledger import Ledger
    from editbench.running.kept import put_back
    from editbench.testing.trial import Trial, TrialModel, fingerprint

    method_class = _at(order["method"])
    with tempfile.TemporaryDirectory() as folder:
        model = TrialModel(**order["model"])
        trial = Trial(method_class, order["given"], model, Cache(Path(folder) / "cache"), Path(folder))
        if order["kept"] is None:
            trial.renew_after_first()
            return trial.print_of_first
        put_back(Ledger(trial.lm), Path(order["kept"]), method_class.__module__)
        return fingerprint(trial.lm, trial.requests)

"""Signals that end a command: they tidy up and say so; one that is ignored stays so."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from results_tree import SUITE, write_data

from editbench.cli import ending


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDITBENCH_CACHE", str(folder))
    return folder


WAITING = """
import sys, time
from contextlib import suppress
module = type(sys)("editbench.running.runner")
def execute(plan, dataset, store, options, progress):
    progress.stage("waiting")
    try:
        time.sleep(600)
    finally:
        print("TIDIED")
module.execute = execute
sys.modules["editbench.running.runner"] = module
from editbench.cli import main
main()
"""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    os.close(ends[0])


def read(end: int, until: bytes | None) -> bytes:
    """Read what a terminal is sent: until something is seen, else to the end."""
    seen = b""
    while until is None or until not in seen:
        if not select.select([end], [], [], 60)[0]:
            break
        try:
            got = os.read(end, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not got:
            break
        seen += got
    return seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_tidies_up_and_shows_the_cursor_again(
    tmp_path: Path, terminal: tuple[int, int], number: signal.Signals
) -> None:
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE.format(data=write_data(tmp_path)))
    command = [sys.executable, "-c", WAITING, "run", "--suite", str(suite), "--results", str(tmp_path / "r")]
    before = signal.signal(number, signal.SIG_DFL)  # which whoever started these tests may have ignored
    try:
        one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal[1], env={**os.environ, "TERM": "xterm"})
    finally:
        signal.signal(number, before)
    os.close(terminal[1])
    seen = read(terminal[0], b"waiting")
    one.send_signal(number)
    seen += read(terminal[0], None)
    assert one.wait(60) == 128 + number
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"TIDIED" in seen
    assert f"Ended by {number.name}; the same command continues.".encode() in seen
    assert b"Traceback" not in seen


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ending.end_as_by_ctrl_c()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(ending.Ended):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a second one leaves the tidying up alone
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

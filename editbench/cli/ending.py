"""How the process of the command line ends: at a signal as at Ctrl-C, and at all, whatever a method left running."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE = 2.0
"""Seconds that threads have to end by themselves."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP: whatever tidies up after Ctrl-C does so after these.

    Parameters
    ----------
    number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def end_as_by_ctrl_c() -> None:
    """Make SIGTERM and SIGHUP raise :class:`Ended`; one that is ignored, as ``nohup`` does, stays so."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    for name in ("SIGTERM", "SIGHUP"):  # a second one, which terminals send, would cut off the tidying up
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Ended(number)


def leave(code: int | str | None) -> NoReturn:
    """End the process; threads that are no daemons, which Python would wait for without end, have :data:`GRACE`."""
    if _left_running():
        threading.Thread(target=_cut, args=(code if isinstance(code, int) else 1,), daemon=True).start()
    sys.exit(code)


def _left_running() -> list[str]:
    own = threading.main_thread(), threading.current_thread()
    return [thread.name for thread in threading.enumerate() if not thread.daemon and thread not in own]


def _cut(code: int) -> None:
    time.sleep(GRACE)
    if left := _left_running():
        sys.stderr.write(f"What was left running is ended: {', '.join(left)}.\n")
        sys.stderr.flush()
        os._exit(code)

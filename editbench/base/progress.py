"""What a run shows while it goes: a live line with the time left, one plain line per cell, or nothing.

The runner calls, in order: ``begin_run``, then for each scale ``stage`` and ``update`` as often as it likes and
``cell_done`` once, then ``end_run``. All of it goes to stderr; stdout is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from editbench.base.plain import one_line, shortened

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

# How much of the expected work the estimate counts for, against the pace seen.
_TRUST_IN_ESTIMATE = 0.2

Seconds = Mapping[tuple[str, int], float]


class Progress:
    """Shows nothing (``-q``); base of those that show something. Keeps count, so that every kind knows the time left.

    Parameters
    ----------
    expected: expected seconds of each cell, by (label shown with ``begin_run``, scale); their ratio is what counts.
    """

    def __init__(self, expected: Seconds | None = None) -> None:
        self.expected = dict(expected or {})
        self.total = sum(self.expected.values()) or 1.0
        self.finished = 0.0
        self.label = ""
        self.share = 0.0
        self.text = ""
        self._began: float | None = None
        self._skipped = 0.0
        self._scales: list[int] = []

    def begin_run(self, label: str) -> None:
        """A run begins; ``label`` is model, method and seed, as :func:`run_label` puts them."""
        self._began = self._began or time.monotonic()
        self.label, self.share = label, 0.0
        self._scales = sorted(scale for name, scale in self.expected if name == label)

    def stage(self, name: str) -> None:
        """What the run does now: ``loading``, ``preparing``, ``editing 100``, ``probing 100``."""
        self.text = name
        self.show()

    def waiting(self, why: str) -> None:
        """Nothing goes on, for a reason outside: ``waiting for another process …``."""
        self.stage(why)

    def update(self, share: float, note: str = "") -> None:
        """How much of the current cell is done (0 to 1), and what is going on in a few words."""
        self.share = min(max(share, 0.0), 1.0)
        self.text = note or self.text
        self.show()

    def cell_done(self, scale: int, status: str, summary: str = "") -> None:
        """A cell is finished, or was found finished (``summary`` says so: "already there")."""
        weight = self.expected.get((self.label, scale), 0.0)
        self.finished += weight
        if summary == ALREADY_THERE:
            self._skipped += weight
        self._scales = [other for other in self._scales if other != scale]
        self.share = 0.0
        self.show()

    def end_run(self) -> None:
        """The run is over; cells that were never begun count as finished."""
        self.finished += sum(self.expected.get((self.label, scale), 0.0) for scale in self._scales)
        self._scales = []
        self.show()

    def close(self) -> None:
        """Nothing more comes."""

    def show(self) -> None:
        """Show what changed."""

    @property
    def done(self) -> float:
        """Share of all expected work that is done, 0 to 1."""
        current = self.expected.get((self.label, self._scales[0]), 0.0) if self._scales else 0.0
        return min((self.finished + self.share * current) / self.total, 1.0)

    def seconds_left(self) -> float | None:
        """Return the expected seconds to the end; None before the first run, and where nothing is expected.

        The pace is that of the work so far, drawn towards the estimate while little is done, so that loading a model
        before a first small cell does not look like the pace of everything.
        """
        worked = self.done * self.total - self._skipped
        if self._began is None or not self.expected:
            return None
        trust = _TRUST_IN_ESTIMATE * self.total
        pace = (time.monotonic() - self._began + trust) / (worked + trust)
        return (1 - self.done) * self.total * pace


ALREADY_THERE = "already there"


def run_label(model: str, label: str, seed: int) -> str:
    """Return how progress names a run."""
    return f"{model} · {label} · seed {seed}"


def clock(seconds: float | None) -> str:
    """Return a duration as ``42 s``, ``3 min``, ``2 h 05 min``; "" for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _fit(text: str) -> str:
    """Return what methods and data say as one line that is fit for a terminal."""
    return shortened(one_line(text))


class PlainProgress(Progress):
    """One line per finished cell, for logs and pipes."""

    def __init__(self, expected: Seconds | None = None, stream: TextIO | None = None) -> None:
        super().__init__(expected)
        self.stream = stream or sys.stderr

    def waiting(self, why: str) -> None:
        """Write one line: a log that stands still would not say why."""
        super().waiting(why)
        self.stream.write(f"{self.label}: {why}\n")
        self.stream.flush()

    def cell_done(self, scale: int, status: str, summary: str = "") -> None:
        """Write one line."""
        super().cell_done(scale, status, summary)
        left = clock(self.seconds_left())
        parts = [f"{self.label} · {scale:,}: {status}", summary, f"{left} left" if left and self.done < 1 else ""]
        self.stream.write(", ".join(_fit(part) for part in parts if part) + "\n")
        self.stream.flush()


class LiveProgress(Progress):
    """One live line on a terminal with bar, run, note and time left; finished cells scroll by above it."""

    def __init__(self, expected: Seconds | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        super().__init__(expected)
        self.bar: RichProgress = RichProgress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", style="cyan"),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("", total=1.0, left="")
        self.bar.start()

    def cell_done(self, scale: int, status: str, summary: str = "") -> None:
        """Write one line above the live one."""
        super().cell_done(scale, status, summary)
        text = f"{self.label} · {scale:,}: {status}" + (f", {summary}" if summary else "")
        self.bar.console.print(_fit(text), markup=False, highlight=False)

    def show(self) -> None:
        """Redraw the live line."""
        left = clock(self.seconds_left())
        text = f"{self.label}: {self.text}" if self.text else self.label
        self.bar.update(self.task, completed=self.done, description=_fit(text), left=f"{left} left" if left else "")

    def close(self) -> None:
        """Take the live line away."""
        self.bar.stop()


def progress_for(expected: Seconds | None = None, quiet: bool = False) -> Progress:
    """Return the progress that suits: silent, live on a terminal, else plain lines."""
    if quiet:
        return Progress(expected)
    return LiveProgress(expected) if sys.stderr.isatty() else PlainProgress(expected)

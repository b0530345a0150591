"""Seconds and peak memory of a stretch of work, with the device waited for."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(slots=True)
class Stopwatch:
    """Seconds between entering and leaving :func:`timed`; 0 while inside."""

    seconds: float = 0.0


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def timed(device: torch.device) -> Iterator[Stopwatch]:
    """Time a stretch of work, waiting for the device at both ends; counts even if the work raises."""
    watch = Stopwatch()
    _wait_for(device)
    start = time.perf_counter()
    try:
        yield watch
    finally:
        _wait_for(device)
        watch.seconds = time.perf_counter() - start


def release_freed_memory(device: torch.device) -> None:
    """Give memory that was freed back to the system, so that one cell's peak does not count what another left.

    The C library keeps what was freed for later use; only glibc can be told to let go of it.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak: of device memory, and of this process's memory where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return peak bytes since :func:`reset_peak_memory`: ``rss_bytes``, and ``device_bytes`` on an accelerator."""
    found = {"rss_bytes": _peak_rss()}
    if device.type == "cuda":
        found["device_bytes"] = int(torch.cuda.max_memory_allocated(device))
    return found


def _peak_rss() -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

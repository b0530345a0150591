"""A lock on a folder that two processes share, held by the operating system for the process that took it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from editbench.base.files import explained
from editbench.errors import StoreError

# Seconds of waiting after which it is told; between two looks at a lock that another process holds.
PATIENCE = 5.0
_BETWEEN_LOOKS = 0.2


@contextmanager
def hold(path: Path, *, wait: bool = True, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Hold the lock of this file for this process; yield whether it is held (always, if ``wait``).

    It is a lock of the system's, which ends with the process, however that ends; the file stays and means nothing.
    ``waiting`` is told in a few words once another process has held it for :data:`PATIENCE` seconds. Raises
    :class:`StoreError` where the file cannot be made, or where its file system has no such locks.
    """
    # a lock that is a file's mere existence would outlive a killed process: not where the system has no locks either
    lock = FileLock(path, fallback_to_soft=False, poll_interval=_BETWEEN_LOOKS)
    held = _acquire(lock, path, 0.0 if not wait else PATIENCE)
    if not held and wait:
        if waiting is not None:
            waiting(f"waiting for another process that works in {path.parent}")
        held = _acquire(lock, path, -1)
    try:
        yield held
    finally:
        if held:
            lock.release()


def _acquire(lock: FileLock, path: Path, seconds: float) -> bool:
    """Return whether the lock was got within ``seconds``; -1 waits for ever."""
    try:
        with explained(path):
            lock.acquire(timeout=seconds)
    except StoreError as error:
        if isinstance(error.__cause__, Timeout):
            return False
        if getattr(error.__cause__, "errno", None) in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise StoreError(
                f"The file system of {path.parent} holds no locks, which keep two processes apart.",
                "Expected one with flock: a local disk, NFS, or Lustre mounted with -o flock.",
                "Choose another folder, with --results DIR.",
            ) from error
        raise
    return True

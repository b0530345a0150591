"""Test processes side by side (``pytest -n 2``) each compute on their share of the cores, and so do those they start.

Threads of several processes on the same cores wait for each other while they spin, and everything takes many times as
long.
"""

from __future__ import annotations

import os

workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    # before torch is imported, which reads it once
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

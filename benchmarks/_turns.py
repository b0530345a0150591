"""Runs the variants of a benchmark in turns, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def in_turns(file: str, variants: Sequence[str], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return what each variant printed as JSON in its last line, round after round.

    A process of its own keeps a variant's peak memory apart; turns let a machine whose speed drifts slow all alike.
    ``file`` is called with this process's arguments and ``--variant``.
    """
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            command = [sys.executable, file, *sys.argv[1:], "--variant", variant]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[variant].append(json.loads(done.stdout.splitlines()[-1]))
    return found

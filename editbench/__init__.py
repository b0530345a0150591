"""editbench compares ways of writing facts into a language model, from 1 to 100,000 edits.

In a notebook: ``results = editbench.run("quickstart")``, then ``results.to_frame()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.errors import EditbenchError, UserError

if TYPE_CHECKING:
    from editbench.plan.suite import Suite
    from editbench.running.outcome import Results

__all__ = ["EditbenchError", "UserError", "apply_delta", "run"]


def run(
    suite: str | Path | Suite,
    *,
    methods: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    max_scale: int | None = None,
    results: str | Path = "results",
    device: str = "auto",
    dtype: Any = "float32",
) -> Results:
    """Run a suite, or what is missing of it; see :func:`editbench.running.launch.run`."""
    from editbench.running.launch import run as run_suite

    return run_suite(
        suite,
        methods=methods,
        models=models,
        seeds=seeds,
        max_scale=max_scale,
        results=results,
        device=device,
        dtype=dtype,
    )


def apply_delta(model: Any, path: str | Path) -> None:
    """Write an exported delta into the model it was made for; see :func:`editbench.running.delta.apply_delta`."""
    from editbench.running.delta import apply_delta as apply

    apply(model, path)

"""editbench compares ways of writing facts into a language model, from 1 to 100,000 edits.

In a notebook: ``results = editbench.run("quickstart")``, then ``results.to_frame()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.errors import EditbenchError, UserError

if TYPE_CHECKING:
    from editbench.ledger import Ledger
    from editbench.models.lm import LM
    from editbench.plan.suite import Suite
    from editbench.running.outcome import Results

__all__ = ["EditbenchError", "UserError", "apply_edit", "load_model", "run"]


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


def load_model(name: str, *, revision: str | None = None, device: str = "auto", dtype: Any = "float32") -> LM:
    """Load a model as editbench edits and questions it; see :func:`editbench.models.load.load_lm`."""
    from editbench.models.load import load_lm

    return load_lm(name, revision=revision, device=device, dtype=dtype)


def apply_edit(model: Any, path: str | Path, *, trust_source: bool = False) -> Ledger | None:
    """Put a kept or exported edit into the model it was made for; see :func:`editbench.running.kept.apply_edit`."""
    from editbench.running.kept import apply_edit as apply

    return apply(model, path, trust_source=trust_source)

"""Registered readers of datasets, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from editbench.base.plugins import load

DATASETS = "editbench.datasets"


def load_dataset_reader(name: str) -> Callable[..., Any]:
    """Return the registered dataset reader of this name. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    reader: Callable[..., Any] = load(
        DATASETS, "dataset", name, "A path to a .json, .jsonl or .parquet file also works."
    )
    return reader

"""What became of each document of lm-eval's tasks: what capability is the mean of, and methods are paired on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from editbench.capability.spec import DOCUMENTS
from editbench.errors import StoreError
from editbench.metrics.capability import counted
from editbench.store import CellResult, read_lines


def document_table(cell: CellResult) -> pd.DataFrame | None:
    """Return a row per document and a column per task: its outcome over the task's highest value, NaN in other tasks.

    Only tasks that count for ``capability``. A row is named by task, settings and document, so that only what was
    asked alike is paired. None where a task's value is no mean over documents that were kept: a published cell, a
    group that weighs its tasks, a score of the whole output. Raises :class:`StoreError` for a damaged file.
    """
    path, tasks = cell.records.parent / DOCUMENTS, counted(cell.data)
    if cell.where or not tasks or not path.is_file():
        return None
    frame = _read(path)
    frame = frame[frame["task"].isin(list(tasks))]
    sizes = frame.dropna(subset="outcome").groupby("task").size().to_dict()
    if sizes != {name: entry["n"] for name, entry in tasks.items()}:
        return None
    settings = frame["task"].map({name: entry["settings"] for name, entry in tasks.items()})
    names = frame["task"] + "/" + settings + "/" + frame["doc_id"].astype(str) + "/" + frame["doc_hash"]
    place = {name: number for number, name in enumerate(sorted(tasks))}
    table = np.full((len(frame), len(place)), np.nan)
    scales = frame["task"].map({name: float(entry["scale"]) for name, entry in tasks.items()})
    table[np.arange(len(frame)), frame["task"].map(place)] = frame["outcome"] / scales
    return pd.DataFrame(table, pd.Index(names, dtype="str"), columns=list(place))


def same_tasks(tables: Sequence[pd.DataFrame]) -> bool:
    """Whether all tables are of the same tasks: capability over others is another quantity."""
    return len({tuple(table.columns) for table in tables}) <= 1


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.DataFrame([json.loads(line) for line in read_lines(path)])
        return frame[["task", "doc_id", "doc_hash", "outcome"]].astype({"outcome": float})
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"{path} is damaged: {error}", hint="Copy it again, or delete that cell's folder and run it again."
        ) from error

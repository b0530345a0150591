"""What became of each document of lm-eval's tasks: what capability is the mean of, and methods are paired on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from editbench.base.files import no_plain_file, read_lines, refuse_unreadable
from editbench.base.parsing import parse_json
from editbench.capability.spec import DOCUMENTS
from editbench.errors import StoreError
from editbench.metrics.capability import counted
from editbench.results.store import SHARED_DOCUMENTS, CellResult

COLUMNS = {"task": "str", "doc_id": "int64", "doc_hash": "str", "outcome": "float64"}


def document_table(cell: CellResult) -> pd.DataFrame | None:
    """Return a row per document and a column per task: its outcome over the task's highest value, NaN in other tasks.

    Only tasks that count for ``capability``. A row is named by task, settings and document, so that only what was
    asked alike is paired. None where a task's value is no mean over documents that were kept: a group that weighs its
    tasks, a score of the whole output. Raises :class:`StoreError` for a damaged file.
    """
    tasks = counted(cell.data)
    frame = read_documents(cell) if tasks else None
    if frame is None:
        return None
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


def read_documents(cell: CellResult) -> pd.DataFrame | None:
    """Return a cell's documents in their order, columns task, doc_id, doc_hash and outcome (NaN: none), or None if it
    has none. Raises :class:`StoreError` for a damaged file.
    """
    path = cell.records.parent / (SHARED_DOCUMENTS if cell.where else DOCUMENTS)
    if why := no_plain_file(path):
        raise StoreError(f"{why}.")
    if not path.is_file():
        return None
    try:
        if cell.where:
            filters = [(name, "==", value) for name, value in cell.where.items()]
            frame = pd.read_parquet(path, columns=list(COLUMNS), filters=filters)
        else:
            frame = pd.DataFrame([parse_json(line) for line in read_lines(path)], columns=list(COLUMNS))
        return frame.astype(COLUMNS)
    except (ValueError, OSError, KeyError, TypeError, AttributeError, StoreError) as error:
        refuse_unreadable(path, error)
        again = "Copy it again." if cell.where else "Copy it again, or delete that cell's folder and run it again."
        raise StoreError(f"{path} is damaged: {str(error).rstrip('.')}.", hint=again) from error

"""A cell's raw records as an Arrow table, from its own file or from one that it shares with other cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from editbench.base.files import refuse_unreadable
from editbench.errors import StoreError
from editbench.results.records import Record

TEXT = ("request", "kind", "prompt", "target_new", "target_true", "answer", "generated", "stop", "unedited", "error")
WHOLE = ("position", "index", "hits", "tokens")
REAL = ("nll_new", "nll_true")
COLUMNS = tuple(field.name for field in fields(Record))
# What tells the cells of a shared file apart, in front of the columns above.
LABELS = {"model": pa.string(), "method": pa.string(), "seed": pa.int64(), "scale": pa.int64()}


def schema(columns: Sequence[str] | None = None) -> Any:
    """Return the Arrow schema of records, or of some of their columns."""
    types = {
        **dict.fromkeys(TEXT, pa.string()),
        **dict.fromkeys(WHOLE, pa.int64()),
        **dict.fromkeys(REAL, pa.float64()),
    }
    return pa.schema([(name, types[name]) for name in COLUMNS if columns is None or name in columns])


def record_table(path: Path, where: Mapping[str, Any] | None = None, columns: Sequence[str] | None = None) -> Any:
    """Return a cell's records, in their order; an empty table if there is no file.

    Parameters
    ----------
    path: ``records.jsonl`` of a cell, or ``records.parquet`` of many.
    where: of a shared file, the values of :data:`LABELS` that the cell's rows have.
    columns: only these; None: all.

    Raises :class:`StoreError` for a file that is damaged, ``ValueError`` for a shared file without ``where``.
    """
    wanted = schema(columns)
    if not path.is_file() or path.stat().st_size == 0:
        return wanted.empty_table()
    try:
        if path.suffix == ".parquet":
            if not where:
                raise ValueError(f"{path} holds the records of many cells; say which one's are meant")
            filters = [(name, "==", value) for name, value in where.items()]
            return pq.read_table(path, columns=wanted.names, filters=filters, use_threads=False).cast(wanted)
        parse = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        return pj.read_json(path, pj.ReadOptions(block_size=1 << 24), parse)
    except (pa.ArrowInvalid, OSError) as error:
        refuse_unreadable(path, error)
        again = "Copy it again." if path.suffix == ".parquet" else "Delete that cell's folder and run it again."
        raise StoreError(f"Cannot read {path}: {str(error).rstrip('.')}.", hint=again) from error

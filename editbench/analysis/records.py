"""A cell's raw records as an Arrow table, from its own file or from one that it shares with other cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from editbench.base.files import no_plain_file, refuse_unreadable
from editbench.base.parsing import parse_json
from editbench.errors import StoreError
from editbench.results.records import Record

TEXT = ("request", "kind", "prompt", "target_new", "target_true", "answer", "generated", "stop", "unedited", "error")
WHOLE = ("position", "index", "hits", "tokens")
REAL = ("nll_new", "nll_true")
COLUMNS = tuple(field.name for field in fields(Record))
# A value that is a list or an object, which no record has; text may look like it.
_NESTED = re.compile(rb'"\s*:\s*[\[{]')
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
    if path.suffix == ".parquet" and not where and path.is_file():
        raise ValueError(f"{path} holds the records of many cells; say which one's are meant")
    again = "Copy it again." if path.suffix == ".parquet" else "Delete that cell's folder and run it again."
    if why := no_plain_file(path):
        raise StoreError(f"Cannot read {path}: {why}.", hint=again)
    if not path.is_file() or path.stat().st_size == 0:
        return wanted.empty_table()
    try:
        table = _shared(path, where or {}, wanted) if path.suffix == ".parquet" else _own(path, wanted)
        table.validate(full=True)  # text that is no UTF-8 is found here and not by who reads it
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        refuse_unreadable(path, error)
        raise StoreError(f"Cannot read {path}: {str(error).rstrip('.')}.", hint=again) from error
    return table


def _shared(path: Path, where: Mapping[str, Any], wanted: Any) -> Any:
    filters = [(name, "==", value) for name, value in where.items()]
    return pq.read_table(path, columns=wanted.names, filters=filters, use_threads=False).cast(wanted)


def _own(path: Path, wanted: Any) -> Any:
    """Return the records of JSON lines. Arrow's reader takes the interpreter with it where a line is no flat object."""
    data = path.read_bytes()
    if (not data.startswith(b"{") or data.count(b"\n{") + 1 < data.count(b"\n")) or _NESTED.search(data):
        rows = [parse_json(line) for line in data.splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line of it is no JSON object")
        return pa.Table.from_pylist([{name: row.get(name) for name in wanted.names} for row in rows], wanted)
    parse = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
    return pj.read_json(pa.BufferReader(data), pj.ReadOptions(block_size=1 << 24), parse)

"""What methods recorded of themselves, per chunk and per request: read from runs, and made into curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from editbench.analysis.selection import choose_runs, key_of, merge_folders, refuse_mixing
from editbench.analysis.statistics import mean_interval
from editbench.analysis.stored import stored_runs
from editbench.base.files import MAKE_ANEW, read_lines, refuse_unreadable
from editbench.errors import DamagedFile
from editbench.results.store import CellResult, RunResult, Status

if TYPE_CHECKING:
    from editbench.plan.runs import DType

COLUMNS = {
    **{"model": "str", "method": "str", "seed": "int64", "scale": "int64"},
    **{"requests": "Int64", "request": "object", "name": "str", "value": "float64"},
}
FILE = "numbers.jsonl"  # of a cell, beside its records
_CURVE = ("model", "method", "scale", "metric", "value", "low", "high", "n", "seeds", "status", "reason")


def number_rows(runs: Sequence[RunResult]) -> pd.DataFrame:
    """Return a row for each number that methods recorded.

    Columns: model, method (its label), seed, scale (of the cell), requests (in the model when it was recorded; missing
    where nobody wrote that down), request (its id, or None for a number of a chunk), name, value (NaN: no finite
    number). In a stream a larger scale's cell has the numbers of the smaller ones too. Raises :class:`DamagedFile`.
    """
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        model, label, seed = key_of(run)
        for cell in run.cells:
            named = model, label, seed, cell.scale
            rows += [(*named, *row) for row in (*_of_chunks(cell.data), *_of_requests(cell))]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _of_chunks(data: Mapping[str, Any]) -> Iterator[tuple[int, None, str, float]]:
    """Yield what ``cell.json`` has; cells of old have nothing, and what is no pair of numbers is none."""
    found = data.get("numbers")
    for name, pairs in found.items() if isinstance(found, Mapping) else ():
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int):
                yield pair[0], None, str(name), _value(pair[1])


def _of_requests(cell: CellResult) -> Iterator[tuple[int | None, str, str, float]]:
    """Yield what the cell's file has; published cells have none, nor have those where nothing was recorded."""
    path = cell.records.with_name(FILE)
    if cell.where or not path.is_file():
        return
    for row in _lines(path):
        requests = row.get("requests")
        yield (
            requests if isinstance(requests, int) else None,
            str(row["request"]),
            str(row["name"]),
            _value(row["value"]),
        )


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in read_lines(path)]
        if not all(isinstance(row, dict) and {"request", "name", "value"} <= row.keys() for row in rows):
            raise ValueError("expected lines with request, name and value")
    except (ValueError, OSError) as error:
        refuse_unreadable(path, error)
        raise DamagedFile(f"{path} is damaged: {error}.", hint=MAKE_ANEW) from error
    return rows


def _value(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def stored_numbers(suite: str, roots: Sequence[Path], dtype: DType = "float32") -> tuple[pd.DataFrame, list[RunResult]]:
    """Return :func:`number_rows` of the runs that a suite's leaderboard is made from, and these runs.

    Parameters are those of :func:`editbench.analysis.stored.stored_leaderboard`. Raises :class:`UserError`.
    """
    stored = stored_runs(suite, roots, None, dtype)
    chosen, _ = choose_runs(merge_folders(stored.runs)[0], stored.plan)
    refuse_mixing(chosen)
    return number_rows(chosen), chosen


def curve_rows(rows: pd.DataFrame, name: str, runs: Sequence[RunResult] = ()) -> pd.DataFrame:
    """Return a number over the edits in the model: a row per model, method and number of edits.

    Columns: model, method, scale (edits in the model), metric (the name), value, low, high, n, seeds, status, reason.
    Of several values of a chunk the last counts; a number of single requests is their mean in each chunk. With one seed
    such a mean has Student's interval over requests. Several seeds: the mean of their values, without an interval.

    Parameters
    ----------
    rows: of :func:`number_rows`; of a number recorded both ways, per chunk and per request, the chunk's are taken.
    runs: whose cells that are not done get a row without a value, with status and reason, where their method has
        this number at all.
    """
    mine = rows[(rows["name"] == name) & rows["requests"].notna()]
    found: list[dict[str, Any]] = []
    for (model, method), own in mine.groupby(["model", "method"]):
        chunks = own[own["request"].isna()]
        values = _by_seed(chunks if len(chunks) else own)
        for requests in sorted(set(map(int, values["requests"]))):
            same = values[values["requests"] == requests]
            found.append(
                {"model": model, "method": method, "scale": requests, "metric": name}
                | _together(list(same["values"]))
                | {"seeds": " ".join(map(str, same["seed"])), "status": str(Status.DONE), "reason": ""}
            )
    pairs = {(row["model"], row["method"]) for row in found}
    found += [row for row in _troubled(runs, name) if (row["model"], row["method"]) in pairs]
    frame = pd.DataFrame(found, columns=list(_CURVE)).astype(dict.fromkeys(("value", "low", "high"), float))
    return frame.sort_values(["model", "method", "scale"], kind="stable", ignore_index=True)


def _by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per seed and number of edits: seed, requests and their values, from the largest cell."""
    largest = rows.groupby(["seed", "requests"])["scale"].transform("max")
    rows = rows[rows["scale"] == largest]
    last = rows["request"].notna() | ~rows.duplicated(["seed", "requests"], keep="last")
    grouped = rows[last].groupby(["seed", "requests"])["value"]
    return grouped.agg(lambda values: values.dropna().tolist()).rename("values").reset_index()


def _together(seeds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return value, interval and n of some seeds' values: one each of a chunk, or one for each request."""
    there = [pd.Series(values, dtype=float) for values in seeds if len(values)]
    if not there:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    interval = mean_interval(there[0].to_numpy()) if len(there) == 1 else None
    low, high = interval or (math.nan, math.nan)
    value = sum(float(values.mean()) for values in there) / len(there)
    return {"value": value, "low": low, "high": high, "n": sum(map(len, there))}


def _troubled(runs: Sequence[RunResult], name: str) -> Iterator[dict[str, Any]]:
    for run in runs:
        model, method, seed = key_of(run)
        for cell in run.cells:
            if cell.status is not Status.DONE:
                why = {"status": str(cell.status), "reason": str(cell.data.get("reason") or "")}
                empty = {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0, "seeds": str(seed)}
                yield {"model": model, "method": method, "scale": cell.scale, "metric": name, **empty, **why}

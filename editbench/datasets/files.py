"""Raw records from local files and from the hub; every error says where it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editbench.base.parsing import Unparsable, parse_json, read_text
from editbench.datasets.record import Rows
from editbench.errors import BadData

SUFFIXES = (".json", ".jsonl", ".parquet")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is of the form org/name and neither looks like a path nor is one."""
    return not looks_like_path(name) and _HUB_ID.fullmatch(name) is not None


def looks_like_path(name: str) -> bool:
    """Whether ``name`` must be a file: by its ending or its beginning, or because it is one."""
    return name.endswith(SUFFIXES) or name.startswith((".", "/", "~")) or Path(name).expanduser().is_file()


def check_source(name: str) -> None:
    """Refuse, without reading, a file that is not there or is no dataset; a hub id passes. Raises :class:`BadData`."""
    path = Path(name).expanduser()
    if is_hub_id(name) or (path.is_file() and path.suffix in SUFFIXES):
        return
    if path.is_file():
        raise BadData(f"{name} is no dataset file.", f"Expected a file ending in {', '.join(SUFFIXES)}.")
    beside = sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES) if path.parent.is_dir() else []
    there = f"{path.parent} holds {', '.join(beside[:5])}." if beside else f"{path.parent} holds no dataset file."
    raise BadData(f"There is no file {name}.", there)


def read_source(name: str, revision: str | None = None, split: str | None = None) -> Rows:
    """Return the records of a file or, at this revision and split, of a hub dataset. Raises :class:`BadData`."""
    return read_hub(name, revision, split) if is_hub_id(name) else read_file(Path(name).expanduser())


def read_file(path: Path, name: str = "") -> Rows:
    """Return the records of a .json, .jsonl or .parquet file.

    Raises :class:`BadData` if the file is missing, is of another kind, is not valid, or does not hold records.
    """
    name = name or path.name
    if not path.is_file():
        raise BadData(f"There is no file {path}.", f"Expected a file ending in {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        return Rows(_parquet(path, name), name)
    if path.suffix not in SUFFIXES:
        raise BadData(f"{name} is no dataset file.", f"Expected a file ending in {', '.join(SUFFIXES)}.")
    text = read_text(path, BadData, name)
    return Rows(_lines(text, name) if path.suffix == ".jsonl" else _json(text, name), name)


def _parquet(path: Path, name: str) -> list[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # not read_table: it imports pyarrow.dataset and pandas, half a second
        rows: list[Mapping[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    except UnicodeDecodeError as error:
        raise BadData(f"{name} holds text that is not UTF-8: {error.reason}: {error.object[:40]!r}.") from error
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise BadData(f"{name} cannot be read as parquet: {error}") from error
    return rows


def _json(text: str, name: str) -> list[Mapping[str, Any]]:
    try:
        value = parse_json(text)
    except Unparsable as error:
        # some public sets are JSON lines under the name .json
        if error.reason == "Extra data" and text[: error.position].strip().endswith("}"):
            return _lines(text, name)
        raise BadData(f"{name}{error.place}: {error.reason}.", "Expected valid JSON.") from error
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 and len(value) == 1 else [value]
    if not isinstance(value, list):
        raise BadData(f"{name} holds a {type(value).__name__}.", "Expected a list of objects, one per request.")
    return [_record(item, name, f"record {number}") for number, item in enumerate(value, 1)]


def _lines(text: str, name: str) -> list[Mapping[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(_record(parse_json(line), name, f"line {number}"))
        except Unparsable as error:
            said = f"{name}{error.in_line(number)}: {error.reason}."
            raise BadData(said, "Expected one JSON object per line.") from error
    return rows


def _record(value: Any, name: str, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadData(f"{name}, {place}: {type(value).__name__} instead of an object.", 'Expected {"prompt": …, …}.')
    return value


def read_hub(name: str, revision: str | None, split: str | None) -> Rows:
    """Return the records of a hub dataset (downloads it, or reads the local cache).

    Raises :class:`BadData` if it cannot be loaded, or if it has several splits and none is named.
    """
    import datasets

    title = f"{name}@{revision}" if revision else name
    try:
        loaded = datasets.load_dataset(name, revision=revision, split=split)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise BadData(
            f"The hub dataset {title} cannot be loaded: {type(error).__name__}: {reason}",
            "Expected a dataset id on the Hugging Face hub that can be reached or is cached.",
            "With a copy on disk, give its path instead: dataset: path/to/file.json",
        ) from error
    if split is None:
        splits = list(loaded)
        if "train" not in splits and len(splits) > 1:
            raise BadData(
                f"{title} has the splits {', '.join(splits)}.", "Expected one to be named.", f"split: {splits[0]}"
            )
        loaded = loaded["train" if "train" in splits else splits[0]]
    return Rows(list(loaded), title)

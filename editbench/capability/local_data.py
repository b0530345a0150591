"""lm-eval's datasets from files in a folder, for machines without the hub (``--capability-data DIR``).

A task reads dataset X/Y, perhaps in a configuration C. A file in DIR is taken for it if a folder of its path or its
name is X/Y, X--Y or Y (case, ``-``, ``_`` and ``.`` do not matter), and, where the dataset has several
configurations, another one is C; or if C alone is in its path. The split is a word of its name, or a folder.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from editbench.base.parsing import Unparsable, parse_json
from editbench.cache import content_key
from editbench.capability.original_forms import as_on_hub
from editbench.errors import UserError

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".tsv")
# Words for a split, by the name lm-eval's tasks use.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test", "testing"),
}
_SPLIT_WORDS = {word for words in SPLITS.values() for word in words}
# Configurations that say nothing: they are in no file's name.
_PLAIN = ("", "default", "main", "all")
# Columns of a CSV that hold numbers where they hold nothing else.
_WHOLE = ("label", "answer", "gold")


def _same(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


@dataclass(frozen=True)
class DataFile:
    """A data file in the folder.

    Attributes
    ----------
    path: where it is.
    parts: its path inside the folder, without the suffix.
    """

    path: Path
    parts: tuple[str, ...]

    @cached_property
    def words(self) -> list[str]:
        """The words of its name."""
        return [word for word in re.split(r"[-_.\s]+", self.parts[-1].lower()) if word]

    @cached_property
    def split(self) -> str:
        """The word for a split in its name, else a folder of that name, else ""."""
        named = [word for word in self.words if word in _SPLIT_WORDS]
        folders = [part.lower() for part in self.parts[:-1] if part.lower() in _SPLIT_WORDS]
        return (named or folders or [""])[-1]

    @cached_property
    def names(self) -> set[str]:
        """What the dataset or configuration in it may be called: its folders, and its name with and without a split."""
        unsharded = re.sub(r"\d+-of-\d+", "", self.parts[-1].lower())
        words = [word for word in re.split(r"[-_.\s]+", unsharded) if word not in _SPLIT_WORDS]
        stem = "".join(word for word in words if not word.isdigit())
        folders = [_same(part) for part in self.parts[:-1]]
        pairs = [a + b for a, b in pairwise(folders)]
        return {*folders, *pairs, _same(self.parts[-1]), stem} - {""}


@dataclass(frozen=True, slots=True)
class LocalDataset:
    """A dataset's files by split, as lm-eval names the splits; ``files`` are those that were read."""

    splits: dict[str, list[Path]]

    @property
    def files(self) -> list[Path]:
        """Every file, once."""
        return list(dict.fromkeys(path for paths in self.splits.values() for path in paths))


class LocalData:
    """A folder of data.

    Parameters
    ----------
    folder: where to look, with all folders in it. Raises :class:`UserError` if it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"--capability-data {folder}: there is no such folder.")
        self.folder = folder
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        self.files = [DataFile(path, path.relative_to(folder).with_suffix("").parts) for path in found]

    @cached_property
    def state(self) -> str:
        """12 hex digits of which files there are, how large, and when they were written; nothing is read for it."""
        found = [(path.relative_to(self.folder).as_posix(), path.stat()) for path in (f.path for f in self.files)]
        return content_key({"files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]})[:12]

    def find(self, dataset: str, config: str | None, splits: Sequence[str], evaluated: str) -> LocalDataset | None:
        """Return the files of a dataset's splits, or None if the folder has none of it.

        ``evaluated`` is the split the task evaluates; a file without a split's name is taken for it. Splits that are
        not there are left out.
        """
        files = self._of(dataset, config or "")
        if not files:
            return None
        words = {split: word for split in splits for word in _words(files, split)}
        chosen = {split: [file.path for file in files if file.split == word] for split, word in words.items()}
        if not chosen.get(evaluated):
            chosen[evaluated] = [file.path for file in files if not file.split]
        chosen = {split: paths for split, paths in chosen.items() if paths}
        return LocalDataset(chosen) if chosen else None

    def _of(self, dataset: str, config: str) -> list[DataFile]:
        names = {_same(dataset), _same(dataset.rpartition("/")[2])}
        of_dataset = [file for file in self.files if names & file.names]
        if config.lower() in _PLAIN:
            return of_dataset
        both = [file for file in of_dataset if _same(config) in file.names]
        of_config = both or [file for file in self.files if _same(config) in file.names]
        if of_config:
            return of_config
        # A dataset of one configuration's files often does not name it: winogrande_xl in winogrande.jsonl.
        return of_dataset if len({frozenset(file.names) for file in of_dataset}) == 1 else []


def _words(files: Sequence[DataFile], split: str) -> list[str]:
    """Return the word these files use for a split: the first that one of them has."""
    there = {file.split for file in files}
    return [word for word in SPLITS.get(split, (split,)) if word in there][:1]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a data file. Raises :class:`UserError` for one that cannot be read."""
    try:
        rows = _READERS[path.suffix.lower()](path)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {str(error).rstrip('.')}.") from error
    odd = next((number for number, row in enumerate(rows, 1) if not isinstance(row, dict)), None)
    if odd is not None:
        raise UserError(f"{path}, row {odd}: {type(rows[odd - 1]).__name__} instead of an object.")
    return rows


def _json(path: Path) -> list[dict[str, Any]]:
    value = parse_json(path.read_bytes())
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError("expected a list of objects, or one under 'data'")
    return rows


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            rows += [parse_json(line)] if line.strip() else []
        except Unparsable as error:
            raise ValueError(f"line {number}: {error.reason}") from error
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _delimited(path: Path) -> list[dict[str, Any]]:
    tabs = path.suffix.lower() == ".tsv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        # in the TSV files of GLUE and others a quotation mark is a character like any other
        plain: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
        rows: list[dict[str, Any]] = list(csv.DictReader(file, **plain))
    for name in _WHOLE:
        if rows and all(re.fullmatch(r"-?\d+", row.get(name) or "") for row in rows):
            rows = [{**row, name: int(row[name])} for row in rows]
    return rows


_READERS = {".json": _json, ".jsonl": _json_lines, ".parquet": _parquet, ".csv": _delimited, ".tsv": _delimited}


def load(found: LocalDataset, dataset: str, config: str | None) -> Any:
    """Return a ``datasets.DatasetDict`` of the splits found, in memory. Raises :class:`UserError`."""
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    made = {}
    for split, paths in found.splits.items():
        rows = as_on_hub([row for path in paths for row in read_rows(path)], dataset, config)
        try:
            made[split] = Dataset.from_list(rows)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:  # columns of several types
            named = ", ".join(path.name for path in paths)
            raise UserError(f"{named}: its rows make no table: {str(error).rstrip('.')}.") from error
    return DatasetDict(made)


def described(found: LocalDataset, folder: Path) -> list[dict[str, str]]:
    """Return name and sha256 of each file read, for the manifest."""
    return [
        {"file": path.relative_to(folder).as_posix(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in found.files
    ]

"""The source that decides what a method computes: its file, and whatever that imports, as it was read once.

Imports are followed wherever they stand (inside functions too, relative or not) to files of the method's own project:
its package, the files beside one that came through the side door, whatever else on the path has no version of its own
(not installed, or in editable form). Libraries are known by their versions, which the manifest holds. Of editbench the
modules count that compute (:data:`ENGINE`), and of those only what the method reaches, with what every method is handed
(:data:`HANDED`).

Not seen: a module whose name is made while the method runs (``importlib.import_module(name)``), one that lies in a
folder which the method puts on ``sys.path`` itself, and files that are read as data.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editbench.base.parsing import Unparsable, parse_yaml, read_text
from editbench.errors import BadPlugin
from editbench.plan.address import OURS, Address, address_of, read_source, understood
from editbench.plan.modules import find_file, is_library
from editbench.plan.parsed import Import

ENGINE = tuple(
    f"editbench.{name}" for name in ("models", "method", "edits", "ledger", "context", "requests", "base.seeds")
)
"""What of editbench can decide an edit's bits: these modules and those inside them."""
_FETCHING = ("builtin", "builtin_models", "fetched", "gguf_file", "hashes", "load", "quiet", "terms")
_NAMING = tuple(f"editbench.models.{name}" for name in _FETCHING)
"""Of those, what fetches a model and names it: its weights' hash, which every run is held against, says what came."""
HANDED = (
    *(f"editbench.{name}" for name in ("method", "edits", "ledger", "context", "requests")),
    *(f"editbench.models.{name}" for name in ("lm", "tokens", "layout")),
)
"""What a method computes with whether it imports it or not: its base class, and the parts of the model it is given."""


SAID = ("source", "searched")
"""What an entry of settings says about where it comes from."""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of one module.

    Attributes
    ----------
    module: what it is imported as.
    path: its file.
    content: the file's bytes when it was read.
    hash: sha256 (hex) of what they mean; of the bytes themselves where it is no Python source.
    """

    module: str
    path: Path
    content: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class Closure:
    """All source that decides what a method computes.

    Attributes
    ----------
    address: the method's.
    sources: module -> its source, the method's own module first.
    libraries: top-level modules of other packages that these import.
    published: the settings in the YAML beside the class, by model family.
    """

    address: Address
    sources: Mapping[str, Source]
    libraries: frozenset[str]
    published: Mapping[str, list[dict[str, Any]]]

    @property
    def main(self) -> Source:
        """The method's own file."""
        return self.sources[self.address.module]

    @property
    def hash(self) -> str:
        """Return the sha256 (hex) over the sources and the values of the published settings: another, other results."""
        labels = {self.address.module: self.address.label}
        sources = sorted((labels.get(name, name), source.hash) for name, source in self.sources.items())
        values = {
            str(family): [{str(key): value for key, value in one.items() if key not in SAID} for one in entries]
            for family, entries in self.published.items()
        }
        text = json.dumps([sources, values], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def is_engine(module: str) -> bool:
    """Return whether a module is one of :data:`ENGINE`."""
    return module not in _NAMING and any(module == part or module.startswith(f"{part}.") for part in ENGINE)


def closure_of(name: str) -> Closure:
    """Read the source of a method and of all that it imports. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    address = address_of(name)
    reader = _Reader(address)
    reader.read()
    path = reader.sources[_defining(reader, address.module, address.attribute)].path
    settings = read_published(path.with_suffix(".yaml"))
    return Closure(address, reader.sources, frozenset(reader.libraries), settings)


def read_published(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the settings in a YAML file, by model family; {} if it is not there. Raises :class:`BadPlugin`.

    A family's are one entry, or a list of them by range of scale.
    """
    if not path.is_file():
        return {}
    expected = "Expected a model family, and below it the method's hyper-parameters with their values."
    try:
        found = parse_yaml(read_text(path, BadPlugin))[1] or {}
    except Unparsable as error:
        raise BadPlugin(f"{path}{error.place}: this is no YAML that can be read: {error.reason}.", expected) from error
    if not isinstance(found, dict):
        raise BadPlugin(f"{path} is no list of published settings.", expected)
    entries = {family: entry if isinstance(entry, list) else [entry] for family, entry in found.items()}
    if not all(isinstance(entry, dict) for same in entries.values() for entry in same):
        raise BadPlugin(f"{path} is no list of published settings.", expected)
    return entries


class _Reader:
    """Follows imports from a method's file.

    Attributes
    ----------
    sources: module -> its source, in the order in which they were found.
    libraries: top-level modules that were not followed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.sources: dict[str, Source] = {}
        self.libraries: set[str] = set()
        self._waiting = [(address.module, address.path)]
        self._seen = {address.module}

    def read(self) -> None:
        """Read the method's file, what it is handed, and all that these import."""
        for module in (*_parents(self.address.module), *(part for name in HANDED for part in _lineage(name))):
            self._want(module)
        while self._waiting:
            source = self._read(*self._waiting.pop())
            self.sources[source.module] = source
            for module in self.imported(source):
                self._want(module)
        first = self.sources.pop(self.address.module)
        self.sources = {first.module: first, **dict(sorted(self.sources.items()))}

    def imported(self, source: Source) -> Iterator[str]:
        """Yield every module that a source may import, with those around it; attributes of modules among them."""
        if source.path.suffix == ".py":
            for statement in understood(source.content, source.path, self.address.name).imports:
                yield from _candidates(statement, source)

    def _want(self, module: str) -> None:
        if module in self._seen:
            return
        self._seen.add(module)
        top = module.partition(".")[0]
        if top == "editbench":
            followed = is_engine(module)
        else:
            followed = top in self.address.own or top == OURS or not is_library(top)
            if not followed and top not in sys.stdlib_module_names:
                self.libraries.add(top)
        path = find_file(module, self.address.root if top not in ("editbench", OURS) else None) if followed else None
        if path is not None:
            self._waiting.append((module, path))

    def _read(self, module: str, path: Path) -> Source:
        content = read_source(path, f"--method {self.address.name}")
        if path.suffix != ".py":
            return Source(module, path, content, hashlib.sha256(content).hexdigest())
        return Source(module, path, content, understood(content, path, self.address.name).hash)


def _lineage(module: str) -> Iterator[str]:
    """Yield the packages around a module, outermost first, and itself: all are run when it is imported."""
    parts = module.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _parents(module: str) -> list[str]:
    return [*_lineage(module)][:-1]


def _base(statement: Import, source: Source) -> str:
    """Return the absolute name of the module that a statement imports from; "" where a dot leads nowhere."""
    if not statement.level:
        return statement.module
    up = statement.level - (source.path.name == "__init__.py")
    parts = source.module.split(".")
    parts = parts[: len(parts) - up] if up < len(parts) else []
    return ".".join([*parts, statement.module] if statement.module and parts else parts)


def _candidates(statement: Import, source: Source) -> Iterator[str]:
    base = _base(statement, source)
    if base:
        yield from _lineage(base)
        yield from (f"{base}.{name}" for name in statement.names if name != "*")


def _defining(reader: _Reader, module: str, name: str) -> str:
    """Return the module whose file spells a class out, from one that has it by import."""
    seen: set[str] = set()
    while module not in seen:
        seen.add(module)
        source = reader.sources[module]
        if source.path.suffix != ".py":
            break
        body = understood(source.content, source.path, name).tree.body
        for node in (statement for statement in body if isinstance(statement, ast.ImportFrom)):
            base = _base(Import(node.module or "", (), node.level), source)
            for alias in node.names:
                if (alias.asname or alias.name) == name and base in reader.sources:
                    module, name = base, alias.name
    return module

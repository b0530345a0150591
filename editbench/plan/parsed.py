"""What a Python file means, whatever its layout: a hash of the code that runs, and the modules it imports.

Comments, blank lines, docstrings, types that only a checker reads and what a file does as a script decide no bit of an
edit, so that they are in no hash. The hash is over the syntax tree, written out here and not by :func:`ast.dump`, whose
form changes with Python's version: fields that are empty or that newer versions added without a meaning are left out.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Blocks whose condition is False when a module is imported to be used.
_NOT_RUN = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")
# Fields that say nothing about what runs: how a name is used, a string's prefix, comments for type checkers.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement.

    Attributes
    ----------
    module: dotted name behind ``import`` or ``from``; "" in ``from . import x``.
    names: what is taken from it, which may be modules; () for a plain ``import``.
    level: number of leading dots.
    """

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A Python file, read.

    Attributes
    ----------
    tree: its syntax tree. Not to be changed.
    hash: sha256 (hex) over the code that runs.
    imports: its imports wherever they stand, those inside functions too.
    """

    tree: ast.Module
    hash: str
    imports: tuple[Import, ...]


@lru_cache(maxsize=1024)
def parsed(content: bytes) -> Parsed:
    """Return what the bytes of a Python file mean. Raises ``SyntaxError``, ``ValueError`` or ``RecursionError``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python says them when the module is imported
        tree = ast.parse(content)
    digest = hashlib.sha256("".join(_written(tree)).encode("ascii")).hexdigest()
    return Parsed(tree, digest, tuple(_imports(tree)))


def _written(value: Any) -> Iterator[str]:
    """Yield a syntax tree as text: a node is its type and those of its fields that hold something."""
    if isinstance(value, ast.AST):
        yield f"{type(value).__name__}("
        for field, inner in ast.iter_fields(value):
            if field not in _SILENT and inner is not None and inner != []:
                yield f"{field}="
                yield from _written(inner)
        yield ")"
    elif isinstance(value, list):
        yield "["
        for item in _that_run(value):
            yield from _written(item)
            yield ","
        yield "]"
    else:  # hexadecimal, for Python writes no integer of more than 4,300 decimal digits
        yield f"{value:#x}" if type(value) is int else ascii(value)


def _that_run(nodes: list[Any]) -> Iterator[Any]:
    """Yield what runs of a list of nodes: no docstring, no bare string, no block for checkers or scripts only."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) in _NOT_RUN:
            yield from _that_run(node.orelse)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.module or "", tuple(alias.name for alias in node.names), node.level)
    for _, value in ast.iter_fields(node):
        for inner in _that_run(value) if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                yield from _imports(inner)

"""What a method's source says of it, read without importing it: its name, where it lies, its first line.

``editbench list`` must answer at once and name a plugin that cannot work, whatever that plugin would import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.errors import BadPlugin
from editbench.plan.address import Address, address_of, module_file, read_source, understood
from editbench.plan.modules import find_file
from editbench.plan.registry import load_method

if TYPE_CHECKING:
    from editbench.plan.closure import Closure


@dataclass(frozen=True, slots=True)
class MethodSource:
    """A method's source, as text.

    Attributes
    ----------
    name: the class attribute ``name``, or the class's own name where the source does not spell it out.
    path: its file.
    title: first line of the class docstring.
    cite: its class attribute, or "".
    """

    name: str
    path: Path
    title: str
    cite: str


def method_source(name: str, closure: Closure | None = None) -> MethodSource:
    """Read what the source of a method says of it: of a ``closure`` that was read before, or of its file as it is now.

    Raises :class:`UnknownName` or :class:`BadPlugin`.
    """
    address = address_of(name) if closure is None else closure.address
    content = read_source(address.path, f"--method {name}") if closure is None else closure.main.content
    tree = understood(content, address.path, name).tree
    if closure is None:
        _refuse_missing_imports(tree, address)
    found = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == address.attribute), None)
    if found is None:  # made by a call, or imported from elsewhere
        cls = load_method(name, None if closure is None else closure.hash)
        return MethodSource(cls.name, address.path, (cls.__doc__ or "").strip().partition("\n")[0], cls.cite)
    title = (ast.get_docstring(found) or "").partition("\n")[0]
    return MethodSource(_constant(found, "name") or address.attribute, address.path, title, _constant(found, "cite"))


def _constant(node: ast.ClassDef, attribute: str) -> str:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        named = any(isinstance(target, ast.Name) and target.id == attribute for target in targets)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return ""


def _refuse_missing_imports(tree: ast.Module, address: Address) -> None:
    for package in _imported_packages(tree):
        try:
            missing = find_spec(package) is None and find_file(package, address.root) is None
        except (ImportError, ValueError):
            missing = False
        if missing and not (address.root is not None and (address.root / package).is_dir()):
            raise BadPlugin(
                f"The method {address.name!r} cannot be loaded: ModuleNotFoundError: No module named {package!r}",
                hint=f"Install {package}, or leave this method out.",
            )


def _imported_packages(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.module.partition(".")[0]


def first_line(target: str) -> str:
    """Return the first docstring line of ``module:attribute`` without importing it; "" where it has none.

    Raises :class:`BadPlugin` if there is no such module.
    """
    module, _, attribute = target.partition(":")
    path = module_file(module, target)
    tree = understood(read_source(path, target), path, target).tree
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""

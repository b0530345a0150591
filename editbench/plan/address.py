"""What a method's name points at: a module of an installed package, or a file through the side door."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from editbench.base.plugins import package, single
from editbench.errors import BadPlugin
from editbench.plan.modules import find_file, package_root
from editbench.plan.parsed import Parsed, parsed

METHODS = "editbench.methods"
OURS = "editbench_methods"
"""Our own package of methods: one file each, and what they share in ``_*.py`` files."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a method's class is written.

    Attributes
    ----------
    name: as the user typed it.
    module: what the file is imported as.
    label: what it is called in a hash: ``module``, and for the side door the file alone, wherever its folder lies.
    attribute: the class.
    path: the file.
    root: folder to import from, for the side door; None for an installed package.
    own: top-level modules that belong to the method's project.
    """

    name: str
    module: str
    label: str
    attribute: str
    path: Path
    root: Path | None = None
    own: frozenset[str] = frozenset()


def is_file_address(name: str) -> bool:
    """Return whether ``name`` is the side door ``./file.py:Class`` instead of a registered name."""
    return ":" in name and name.rpartition(":")[0].endswith(".py")


def address_of(name: str) -> Address:
    """Return what a method's name points at. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    if is_file_address(name):
        return _side_door(name)
    point = single(METHODS, "method", name, "See them all: editbench list methods")
    path = module_file(point.module, name)
    return Address(name, point.module, point.module, point.attr, path, own=_project(point))


def module_file(module: str, name: str) -> Path:
    """Return the file of the module that ``name`` is registered with. Raises :class:`BadPlugin`."""
    path = find_file(module)
    if path is None:
        raise BadPlugin(f"The method {name!r} cannot be loaded: there is no module {module}.")
    return path


def _side_door(name: str) -> Address:
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser().resolve()
    content = read_source(path, f"--method {name}")
    if find_file(OURS) == path.parent / "__init__.py":
        return Address(name, f"{OURS}.{path.stem}", path.stem, attribute, path, own=frozenset({OURS}))
    if any(imported.level for imported in understood(content, path, name).imports):
        root, module = package_root(path)
        if "." in module:
            return Address(name, module, module, attribute, path, root, frozenset({module.partition(".")[0]}))
    return Address(name, _alone(path), path.stem, attribute, path, path.parent)


def _alone(path: Path) -> str:
    """Return a module name for a file that belongs to no package, different from that of any other file."""
    return f"_editbench_side_door_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def read_source(path: Path, asked: str) -> bytes:
    """Return a file's bytes. Raises :class:`BadPlugin` that begins with what was ``asked`` for."""
    if not path.is_file():
        raise BadPlugin(f"{asked}: there is no file {path}.", "Expected ./my_method.py:MyMethod")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPlugin(f"{asked}: {path} cannot be read: {error.strerror}.") from error


def understood(content: bytes, path: Path, name: str) -> Parsed:
    """Return what a file of the method ``name`` means. Raises :class:`BadPlugin` if it is no Python."""
    try:
        return parsed(content)
    except (SyntaxError, ValueError, RecursionError) as error:
        said = str(error) or type(error).__name__
        raise BadPlugin(f"The method {name!r} cannot be loaded: {path.name}: {said}") from error


def _project(point: EntryPoint) -> frozenset[str]:
    """Return the top-level modules of the distribution that registered an entry point; its own at least."""
    own = {point.module.partition(".")[0]}
    files = point.dist.files if point.dist is not None and package(point) != "editbench" else None
    for file in files or ():
        if file.suffix == ".py" and len(file.parts) <= 2 and (len(file.parts) == 1 or file.name == "__init__.py"):
            own.add(file.parts[0].removesuffix(".py"))
    return frozenset(own)

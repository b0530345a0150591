"""Where a module's source lies, and whether it is a library's: found without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from editbench.base.machine import PACKAGES


def find_file(dotted: str, beside: Path | None = None) -> Path | None:
    """Return the file of a module; None where there is none: an attribute, a built-in, a folder without ``__init__``.

    ``beside``: a folder whose modules come first.
    """
    top, *rest = dotted.split(".")
    file, folders = _inside(top, [beside]) if beside is not None else (None, [])
    if file is None and not folders:
        file, folders = _top(top)
    for part in rest:
        file, folders = _inside(part, folders)
    return file


def _top(name: str) -> tuple[Path | None, list[Path]]:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return None, []
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return file, [Path(folder) for folder in spec.submodule_search_locations or ()]


def _inside(name: str, folders: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """Return the file of a module in one of these folders, and the folders of its own modules."""
    for folder in folders:
        inner = folder / name
        if (inner / "__init__.py").is_file():
            return inner / "__init__.py", [inner]
        for suffix in (".py", *EXTENSION_SUFFIXES):
            if (file := folder / f"{name}{suffix}").is_file():
                return file, []
    return None, [folder / name for folder in folders if (folder / name).is_dir()]


def is_library(top: str) -> bool:
    """Return whether a top-level module is known by its version: Python's own, or installed as a package.

    What lies on the path without being installed, and what is installed in editable form, has no version that says
    what is in it.
    """
    if top in sys.stdlib_module_names or top in PACKAGES:
        return True
    file, folders = _top(top)
    place = file or next(iter(folders), None)
    if place is None:
        return False
    return _holds_packages(place.parent.parent if place.name == "__init__.py" else place.parent)


@cache
def _holds_packages(folder: Path) -> bool:
    """Return whether pip installs packages into this folder."""
    return folder.is_dir() and any(folder.glob("*.dist-info"))


def package_root(path: Path) -> tuple[Path, str]:
    """Return the folder that a file's package lies in, and the file's module name from there."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)

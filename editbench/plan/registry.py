"""Methods and suites by name; a method also by ``./file.py:Class``, the side door for private experiments."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.plugins import blamed, load, package, single
from editbench.edits import SIDE_DOOR
from editbench.errors import BadPlugin

if TYPE_CHECKING:
    from editbench.method import Method

METHODS, SUITES = "editbench.methods", "editbench.suites"


def load_method(name: str) -> type[Method]:
    """Return the method class of this name, or of ``./file.py:Class`` (the side door for private experiments).

    Raises :class:`UnknownName` or :class:`BadPlugin`.
    """
    from editbench.method import Method

    if ":" in name and name.rpartition(":")[0].endswith(".py"):
        loaded = _load_from_file(name)
    else:
        loaded = load(METHODS, "method", name, "See them all: editbench list methods")
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise BadPlugin(f"{name} is {loaded!r}.", "Expected a subclass of editbench.method.Method.")
    if not getattr(loaded, "name", None):
        raise BadPlugin(f"{name} has no name.", 'Expected a class attribute: name = "my-method"')
    return loaded


def _load_from_file(address: str) -> Any:
    file, _, attribute = address.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise BadPlugin(f"--method {address}: there is no file {path}.", "Expected ./my_method.py:MyMethod")
    module_name = f"{SIDE_DOOR}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadPlugin(f"--method {address}: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with blamed(f"--method {address}: {path.name} fails to import", f"Try it by itself: python {path}"):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(module_name, None)
        raise
    if not hasattr(module, attribute):
        raise BadPlugin(f"--method {address}: {path.name} has no class {attribute}.")
    return getattr(module, attribute)


def suite_file(name: str) -> Path:
    """Return the YAML file of the registered suite of this name. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    point = single(SUITES, "suite", name, "A path to a .yaml file also works; see them all: editbench list suites")
    with blamed(f"The suite {name!r} of {package(point)} ({point.value}) cannot be loaded"):
        path = Path(str(files(point.module).joinpath(point.attr)))
    if not path.is_file():
        raise BadPlugin(f"The suite {name!r} of {package(point)} points at {path}, which is not there.")
    return path

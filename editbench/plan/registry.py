"""Methods and suites by name; a method also by ``./file.py:Class``, the side door for private experiments."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.plugins import blamed, load, package, single
from editbench.errors import BadPlugin
from editbench.plan.address import METHODS, Address, is_file_address
from editbench.plan.held import hold, planned_closure, read_closure
from editbench.plan.settings import remember_settings

if TYPE_CHECKING:
    from editbench.method import Method

SUITES = "editbench.suites"


def load_method(name: str, planned: str | None = None) -> type[Method]:
    """Return the method class of this name, or of ``./file.py:Class`` (the side door for private experiments).

    ``planned``: the hash of the source that a run is named after; what is loaded is run from that source, whatever
    has become of the files. None: from the source as it is now, also where this process had loaded it from another.

    Raises :class:`UnknownName` or :class:`BadPlugin`.
    """
    from editbench.method import Method

    closure = read_closure(name) if planned is None else planned_closure(name, planned)
    hold(closure)
    if is_file_address(name):
        loaded = _load_from_file(closure.address)
    else:
        loaded = load(METHODS, "method", name, "See them all: editbench list methods")
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise BadPlugin(f"{name} is {loaded!r}.", "Expected a subclass of editbench.method.Method.")
    if not getattr(loaded, "name", None):
        raise BadPlugin(f"{name} has no name.", 'Expected a class attribute: name = "my-method"')
    remember_settings(loaded, closure.published)
    return loaded


def _load_from_file(address: Address) -> Any:
    asked, path = f"--method {address.name}", address.path
    with blamed(f"{asked}: {path.name} fails to import", f"Try it by itself: python {path}"):
        module = import_module(address.module)
    if not hasattr(module, address.attribute):
        raise BadPlugin(f"{asked}: {path.name} has no class {address.attribute}.")
    return getattr(module, address.attribute)


def suite_file(name: str) -> Path:
    """Return the YAML file of the registered suite of this name. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    point = single(SUITES, "suite", name, "A path to a .yaml file also works; see them all: editbench list suites")
    with blamed(f"The suite {name!r} of {package(point)} ({point.value}) cannot be loaded"):
        path = Path(str(files(point.module).joinpath(point.attr)))
    if not path.is_file():
        raise BadPlugin(f"The suite {name!r} of {package(point)} points at {path}, which is not there.")
    return path

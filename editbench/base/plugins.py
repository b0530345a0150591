"""Names to things that packages register: found through entry points, loaded when asked for.

Built-in ones come through the same door as everyone else's. A plugin that cannot be loaded is shown as broken in
``editbench list`` and is an error only when it is asked for; two plugins of one name are always an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

from editbench.errors import BadPlugin, UnknownName, UserError


@dataclass(frozen=True, slots=True)
class Registration:
    """One name that a package registered.

    Attributes
    ----------
    name: what users type.
    target: ``module:attribute`` it points at.
    package: the distribution that registered it.
    """

    name: str
    target: str
    package: str


@cache
def _found(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        same = found.setdefault(point.name, [])
        if all(point.value != other.value or package(point) != package(other) for other in same):
            same.append(point)
    return found


def package(point: EntryPoint) -> str:
    """Return the name of the distribution that registered an entry point."""
    return _name(point.dist) if point.dist is not None else "unknown package"


@cache  # which reads and parses the distribution's METADATA at every look
def _name(distribution: Distribution) -> str:
    return distribution.name or "unknown package"


def names(group: str) -> list[str]:
    """Return every registered name of a group, sorted."""
    return sorted(_found(group))


def entries(group: str) -> list[Registration]:
    """Return every registration of a group, duplicates included, sorted by name."""
    return [Registration(name, p.value, package(p)) for name in names(group) for p in _found(group)[name]]


def single(group: str, noun: str, name: str, hint: str) -> EntryPoint:
    """Return the one entry point of this name. Raises :class:`UnknownName` for none, :class:`BadPlugin` for two."""
    points = _found(group).get(name)
    if not points:
        raise UnknownName(noun, name, names(group), hint)
    if len(points) > 1:
        owners = ", ".join(f"{package(p)} ({p.value})" for p in points)
        raise BadPlugin(
            f"Two plugins register a {noun} named {name!r}: {owners}.",
            "A name must mean one thing.",
            "Uninstall one of them (pip uninstall …), or rename it.",
        )
    return points[0]


def load(group: str, noun: str, name: str, hint: str) -> Any:
    """Import what is registered under this name. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    point = single(group, noun, name, hint)
    with blamed(
        f"The {noun} {name!r} of {package(point)} ({point.value}) cannot be loaded",
        "Reinstall or mend that package, or leave this name out.",
    ):
        return point.load()


@contextmanager
def blamed(given: str, hint: str = "") -> Iterator[None]:
    """Turn whatever somebody else's code raises, ``sys.exit`` too, into a :class:`BadPlugin` that names the cause.

    Ctrl-C, and what is a :class:`UserError` already, pass.

    Parameters
    ----------
    given: what was asked for and cannot be had.
    hint: what to do.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BadPlugin(f"{given}: {_said(error)}", hint=hint) from error


def _said(error: BaseException) -> str:
    kind = "it calls sys.exit" if isinstance(error, SystemExit) else type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception:  # its own __str__ may be what is broken
        return kind

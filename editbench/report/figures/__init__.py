"""Figures, one file per kind: the numbers behind it, and how they are drawn."""

from __future__ import annotations

from importlib import import_module

from editbench.errors import UnknownName
from editbench.report.figures.kind import Kind

# in the order of the documentation
KINDS = ("scale", "capability", "retention", "drift", "cost", "critical-difference", "panel")


def kind(name: str) -> Kind:
    """Return a kind of figure. Raises :class:`editbench.errors.UnknownName`."""
    if name not in KINDS:
        raise UnknownName("kind of figure", name, KINDS)
    found: Kind = import_module(f"editbench.report.figures.{name.replace('-', '_')}").KIND
    return found

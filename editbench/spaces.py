"""What a search may try of a hyper-parameter; stands in the annotation where the hyper-parameter is declared.

``lr: Annotated[PositiveFloat, LogRange(1e-5, 1e-1)] = 5e-4``. Ranges and places belong to the model: a value that suits
one model is never taken for another. A choice, and what has no space (an order, a variant), may hold for any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class LogRange:
    """Any number from ``low`` to ``high``, tried evenly in its logarithm."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Range:
    """Any number from ``low`` to ``high``; whole numbers if both ends are."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Depth:
    """One block of the model, from share ``low`` to share ``high`` of its depth; 1 is the last block."""

    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class Blocks:
    """Neighbouring blocks: as many as one of ``sizes`` (0: none), the last within these shares of the model's depth."""

    sizes: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


Space = LogRange | Range | Depth | Blocks | Choice


def spaces_of(hparams: type[BaseModel]) -> dict[str, Space]:
    """Return the hyper-parameters that a search may vary, each with its space, in the order of their declaration."""
    found: dict[str, Space] = {}
    for name, field in hparams.model_fields.items():
        for note in field.metadata:
            if isinstance(note, Space):
                found[name] = note
    return found


def of_one_model(hparams: type[BaseModel]) -> set[str]:
    """Return the hyper-parameters whose values belong to the model that they were found on: ranges and places."""
    return {name for name, space in spaces_of(hparams).items() if not isinstance(space, Choice)}


def checked_spaces(method: str, hparams: type[BaseModel]) -> Mapping[str, Space]:
    """Return :func:`spaces_of` a method's hyper-parameters. Raises :class:`UserError` for one that makes no sense."""
    found = spaces_of(hparams)
    for name, space in found.items():
        why = _fault(space)
        if why:
            raise UserError(
                f"{method}: the space of {name} {why}.", hint="Mend it where the hyper-parameter is declared."
            )
    return found


def _fault(space: Space) -> str:
    """Return what is wrong with a space; "" if nothing is."""
    match space:
        case Choice(values):
            return "" if values else "has no values"
        case Blocks(sizes) if not sizes or min(sizes) < 0:
            return f"has sizes {sizes}, expected whole numbers from 0"
        case LogRange(low) if low <= 0:
            return f"begins at {low:g}, and a logarithm wants more than 0"
    if space.low > space.high:
        return f"has its lower end {space.low:g} above its upper end {space.high:g}"
    if isinstance(space, Depth | Blocks) and not (0 <= space.low <= space.high <= 1):
        return f"reaches from {space.low:g} to {space.high:g}, expected shares of the depth from 0 to 1"
    return ""

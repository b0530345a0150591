"""Spaces of hyper-parameters as Optuna asks for them, and back: from a trial's parameters to hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.errors import UserError
from editbench.spaces import Blocks, Choice, Depth, LogRange, Range, Space, checked_spaces

if TYPE_CHECKING:
    from optuna.trial import Trial

    from editbench.method import Method
    from editbench.models.lm import ModelShape

SIZE, LAST = ".size", ".last"
"""After a hyper-parameter that is several neighbouring blocks: how many, and which is the last of them."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What a search may vary of one method on one model.

    Attributes
    ----------
    spaces: by hyper-parameter.
    layers: blocks of the model.
    own: the values that the method has without a search; every space reaches them.
    """

    spaces: Mapping[str, Space]
    layers: int
    own: Mapping[str, Any]

    @classmethod
    def of(cls, method: type[Method], shape: ModelShape, own: Mapping[str, Any]) -> SearchSpace:
        """Return the space of a method on a model. Raises :class:`UserError` if it has none, or one without sense."""
        spaces = checked_spaces(method.name, method.Hparams)
        if not spaces:
            raise UserError(
                f"{method.name} declares no space to search.",
                "Expected a hyper-parameter such as lr: Annotated[float, LogRange(1e-5, 1e-1)].",
                "See docs/settings-by-hand.md, and editbench.spaces.",
            )
        return cls(spaces, shape.n_layers, own)

    def first(self) -> dict[str, Any]:
        """Return the parameters of the method's own values: what a search begins with."""
        found: dict[str, Any] = {}
        for name, space in self.spaces.items():
            value = self.own.get(name)
            if isinstance(space, Blocks):
                blocks = tuple(value or ())
                if not blocks or _neighbours(blocks):
                    found |= {name + SIZE: len(blocks), **({name + LAST: blocks[-1]} if blocks else {})}
            elif isinstance(value, int | float | str) or value is None:
                found[name] = value
        return {name: value for name, value in found.items() if value is not None}

    def ask(self, trial: Trial) -> dict[str, Any]:
        """Return the hyper-parameters that a trial is to try."""
        return {name: self._value(trial, name, space) for name, space in self.spaces.items()}

    def _value(self, trial: Trial, name: str, space: Space) -> Any:
        match space:
            case LogRange(low, high):
                low, high = self._reaching(name, low, high)
                return trial.suggest_float(name, low, high, log=True)
            case Range(low, high) if isinstance(low, int) and isinstance(high, int):
                low, high = self._reaching(name, low, high)
                return trial.suggest_int(name, int(low), int(high))
            case Range(low, high):
                return trial.suggest_float(name, *self._reaching(name, low, high))
            case Choice(values):
                return trial.suggest_categorical(name, self._with_own(values, self.own.get(name)))
            case Depth(low, high):
                low, high = self._reaching(name, *self._blocks(low, high))
                return trial.suggest_int(name, int(low), int(high))
            case Blocks(sizes, low, high):
                return self._neighbouring(trial, name, sizes, self._blocks(low, high))
        raise TypeError(space)

    def _neighbouring(self, trial: Trial, name: str, sizes: tuple[int, ...], ends: tuple[int, int]) -> tuple[int, ...]:
        own = tuple(self.own.get(name) or ())
        choices = self._with_own(sizes, len(own)) if not own or _neighbours(own) else sizes
        size = int(trial.suggest_categorical(name + SIZE, choices))
        if not size:
            return ()
        low, high = min(ends[0], own[-1]) if own else ends[0], max(ends[1], own[-1]) if own else ends[1]
        last = trial.suggest_int(name + LAST, low, high)
        return tuple(range(max(0, last + 1 - size), last + 1))

    def _blocks(self, low: float, high: float) -> tuple[int, int]:
        """Return the blocks at two shares of the depth."""
        most = self.layers - 1
        return round(low * most), round(high * most)

    def _reaching(self, name: str, low: float, high: float) -> tuple[float, float]:
        """Return a range that reaches the method's own value too."""
        own = self.own.get(name)
        if isinstance(own, bool) or not isinstance(own, int | float):
            return low, high
        return min(low, own), max(high, own)

    @staticmethod
    def _with_own(values: tuple[Any, ...], own: Any) -> tuple[Any, ...]:
        return values if own in values or not isinstance(own, int | float | str) else (*values, own)


def _neighbours(blocks: tuple[int, ...]) -> bool:
    """Return whether blocks follow one another without a gap."""
    return list(blocks) == list(range(blocks[0], blocks[0] + len(blocks)))

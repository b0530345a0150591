"""How long each method is searched: the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editbench.tune.trial import Tried


@dataclass(frozen=True, slots=True)
class Budget:
    """What each method may spend at each scale; one of the two is given.

    Attributes
    ----------
    trials: how many trials.
    hours: of computing, over all processes that share the search. A trial that began in time is carried to its end.
    """

    trials: int | None = None
    hours: float | None = None

    def left(self, tried: Sequence[Tried], running: int = 0) -> float:
        """Return which share of the budget is left; nothing at 0 or below.

        Parameters
        ----------
        tried: the trials that ended.
        running: trials that other processes carry out now.
        """
        if self.trials is not None:
            return 1 - (len(tried) + running) / self.trials
        assert self.hours is not None
        return 1 - sum(one.seconds for one in tried) / (3600 * self.hours)

    def __str__(self) -> str:
        """Return it as a file of settings has it."""
        return f"{self.trials} trials" if self.trials is not None else f"{self.hours:g} hours"

"""Where an edit under way keeps what it has done, so that one that was cut off goes on and does not begin again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.errors import StoreError

if TYPE_CHECKING:
    import torch

# A save is due when this many seconds have passed, and this many times what the last one took.
SECONDS, TIMES_ITS_COST = 30.0, 50.0


class Savepoint:
    """A file that a long ``edit`` may write its state to and, in another process, take it back from.

    Parameters
    ----------
    path: the file; None: nothing is kept, and no save is ever due.
    edit: what tells the edit from every other one that might have left a file there.

    Attributes
    ----------
    earlier_s: seconds that attempts cut off have spent on what :meth:`load` returned; 0 until then.
    """

    def __init__(self, path: Path | None = None, edit: str = "") -> None:
        self.path, self.edit = path, edit
        self.earlier_s = 0.0
        self._begun = self._saved = time.monotonic()
        self._cost = 0.0

    def load(self) -> dict[str, torch.Tensor]:
        """Return what an attempt at this edit saved last (on the CPU); {} if there was none.

        A file that is not what was written, to the bit, counts as none.
        """
        from editbench.base.tensors import load_tensors

        try:
            found = None if self.path is None else load_tensors(self.path)
            if found is None or found.facts["edit"] != self.edit:
                return {}
            self.earlier_s = float(found.facts["seconds"])
            return found.tensors
        except (StoreError, KeyError, ValueError, TypeError):
            return {}

    @property
    def due(self) -> bool:
        """Whether it is time to save again: often enough to lose little, seldom enough to cost little."""
        return self.path is not None and time.monotonic() - self._saved > max(SECONDS, TIMES_ITS_COST * self._cost)

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replace what is kept by ``state``. Raises :class:`~editbench.errors.StoreError`."""
        from editbench.base.tensors import save_tensors

        if self.path is None:
            return
        begun = time.monotonic()
        facts = {"edit": self.edit, "seconds": self.earlier_s + begun - self._begun}
        save_tensors(self.path, state, facts)
        self._saved = time.monotonic()
        self._cost = self._saved - begun

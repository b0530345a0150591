"""Where an edit under way keeps what it has done, so that one that was cut off goes on and does not begin again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.base.files import replace_file

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
        """Return what an attempt at this edit saved last (on the CPU); {} if there was none."""
        from safetensors import SafetensorError, safe_open

        if self.path is None:
            return {}
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads(file.metadata()["savepoint"])
                if facts["edit"] != self.edit:
                    return {}
                self.earlier_s = float(facts["seconds"])
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — no mapping
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return {}

    @property
    def due(self) -> bool:
        """Whether it is time to save again: often enough to lose little, seldom enough to cost little."""
        return self.path is not None and time.monotonic() - self._saved > max(SECONDS, TIMES_ITS_COST * self._cost)

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replace what is kept by ``state``. Raises :class:`~editbench.errors.StoreError`."""
        from safetensors.torch import save

        if self.path is None:
            return
        begun = time.monotonic()
        facts = {"edit": self.edit, "seconds": self.earlier_s + begun - self._begun}
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        replace_file(self.path, save(plain, metadata={"savepoint": json.dumps(facts)}))
        self._saved = time.monotonic()
        self._cost = self._saved - begun

"""What every measurement is made with, whatever is measured: where results go, what is told, what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from editbench.base.progress import Progress
    from editbench.cache import Cache
    from editbench.capability.desk import Desk
    from editbench.plan.runs import RunOptions
    from editbench.results.store import Store


@dataclass(frozen=True)
class Kit:
    """The tools of one process.

    Attributes
    ----------
    store: the results folder.
    options: device, dtype and the like.
    progress: what is told how far it is.
    cache: for what is computed once per model.
    capability: the desk that knows what a cell's capability still needs.
    """

    store: Store
    options: RunOptions
    progress: Progress
    cache: Cache
    capability: Desk

"""Where to edit: the same requests trained at every block and in every kind of weights (arXiv:2509.22072, section 4).

Every place is a run like any other, with the method's own settings but for its place. Places are tried from coarse to
fine, so that a study that is ended early has looked everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, get_args

from editbench.base.files import readable
from editbench.errors import UserError
from editbench.models.roles import Module
from editbench.results.lock import hold
from editbench.tune.frame import CAPABILITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from editbench.tune.bench import Bench

PAIR = "pair"
"""The output projections of two neighbouring blocks, placed at the lower one."""
KINDS = ("down", "up", "gate", "attention", "mlp", "block", PAIR)
"""The kinds of weights that a study trains unless it is told otherwise."""
COARSEST = 8
RULE = (
    "The place with the largest objective, averaged with that of the blocks beside it, of those that keep enough "
    "capability; of equals the one with fewer weights."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study trains: a kind of weights of a block, or of it and the next one."""

    kind: str
    block: int

    @property
    def hparams(self) -> dict[str, Any]:
        """Return what a fine-tuning method is given to train there."""
        if self.kind == PAIR:
            return {"module": "down", "layer": [self.block, self.block + 1]}
        return {"module": self.kind, "layer": self.block}


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a place.

    Attributes
    ----------
    place: where.
    status, reason: how the run ended.
    value: the objective; None where there is none.
    metrics: metric -> mean over seeds.
    seconds: what it took.
    """

    place: Place
    status: str
    reason: str = ""
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def allowed(self, keep: float) -> bool:
        """Return whether it keeps so much of the unedited model's capability."""
        return self.value is not None and (not keep or self.metrics.get(CAPABILITY, 0.0) >= keep)


def places(layers: int, kinds: Sequence[str]) -> list[Place]:
    """Return every place of a model with so many blocks, from coarse to fine: first every eighth block, last each one.

    Raises :class:`UserError` for a kind of weights that there is not.
    """
    known = (*get_args(Module), PAIR)
    unknown = sorted(set(kinds) - set(known))
    if unknown:
        raise UserError(f"There are no weights called {unknown[0]!r}.", f"Known: {', '.join(known)}.")
    found: dict[Place, None] = {}
    stride = COARSEST
    while stride:
        for block in range(stride // 2, layers, stride):
            found |= dict.fromkeys(Place(kind, block) for kind in kinds if kind != PAIR or block + 1 < layers)
        stride //= 2  # the last stride, 1, begins at block 0
    return list(found)


class Study:
    """Tries places; a place that was tried before, by whichever process, is read.

    Parameters
    ----------
    bench: measures them.
    folder: where the study is kept.
    method: a fine-tuning method, with hyper-parameters ``layer`` and ``module``.
    hours: of computing, after which no new place is begun; None: all places.
    """

    def __init__(self, bench: Bench, folder: Path, method: str, hours: float | None) -> None:
        self.bench, self.folder, self.method, self.hours = bench, folder, method, hours
        self.locks = folder / "locks"
        self.locks.mkdir(parents=True, exist_ok=True)

    def run(self, kinds: Sequence[str], said: Callable[[Seen, int, int], None]) -> list[Seen]:
        """Try every place; return what came of those that were tried, in the order of trying.

        ``said`` is told of each, with how many are done, and how many there are.
        """
        todo = places(self.bench.model().shape.n_layers, kinds)
        number = len(todo)
        found: dict[Place, Seen] = {}
        while todo and not self._over(list(found.values())):
            left = []
            for place, seen in self._tried(todo, list(found.values())):
                if seen is None:
                    left.append(place)
                else:
                    found[place] = seen
                    said(seen, len(found), number)
            # what another process has in hand is waited for, by trying it when that is over
            todo = left
            if left:
                self._wait(left[0])
        return list(found.values())

    def _tried(self, todo: Sequence[Place], before: Sequence[Seen]) -> Iterator[tuple[Place, Seen | None]]:
        seen = list(before)
        for place in todo:
            if self._over(seen):
                return
            with hold(self._lock(place), wait=False) as free:
                one = self._measured(place) if free else None
            if one is not None:
                seen.append(one)
            yield place, one

    def _over(self, seen: Sequence[Seen]) -> bool:
        return self.hours is not None and sum(one.seconds for one in seen) >= 3600 * self.hours

    def _lock(self, place: Place) -> Path:
        return self.locks / f"{readable(place.kind)}-{place.block}.lock"

    def _wait(self, place: Place) -> None:
        with hold(self._lock(place)):
            return

    def _measured(self, place: Place) -> Seen:
        frame, [scale] = self.bench.frame, self.bench.frame.scales
        try:
            plan = self.bench.plan(frame.suite(self.method, place.hparams, scale, rungs=[scale]))
        except UserError as error:
            return Seen(place, "failed", error.given)
        found = self.bench.measure(plan, scale)
        value = frame.aim.value(found.metrics, scale) if found.status == "done" else None
        return Seen(place, found.status, found.reason, value, found.metrics, found.seconds)


def smoothed(seen: Sequence[Seen]) -> dict[Place, float]:
    """Return the objective of each place that has one, averaged with that of the blocks beside it."""
    values = {one.place: one.value for one in seen if one.value is not None}
    return {
        place: fmean(
            values[near] for near in (Place(place.kind, place.block + step) for step in (-1, 0, 1)) if near in values
        )
        for place in values
    }


def chosen(seen: Sequence[Seen], keep: float) -> Seen | None:
    """Return the place that :data:`RULE` chooses, or None if no place has a value."""
    value = smoothed(seen)
    size = {kind: number for number, kind in enumerate(("down", "up", "gate", "attention", PAIR, "mlp", "block"))}
    pool = [one for one in seen if one.allowed(keep)] or [one for one in seen if one.value is not None]
    return max(pool, key=lambda one: (value[one.place], -size[one.place.kind], -one.place.block), default=None)

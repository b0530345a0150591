"""What is the same for every trial of a search: the model, the requests, how much is asked, what counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from editbench.datasets import DatasetSpec
from editbench.errors import UserError
from editbench.plan.suite import Suite
from editbench.tune.objective import Objective, objective_named

if TYPE_CHECKING:
    from editbench.method import Regime

SUITE = "tune"
"""What the suite of every trial is called: a folder of the results that a search keeps."""
CAPABILITY = "capability-ratio"
FIRST_SHARE = 4
"""A trial is looked at after this part of its requests: those that lose there are ended."""
DOCUMENTS = 10
"""Documents of each core task, on which the constraint is measured."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same for every trial of a search.

    Attributes
    ----------
    model, revision: what is edited.
    dataset: where requests come from: none that a suite edits.
    scales: numbers of requests to search at, each by itself.
    seeds: of each trial; its value is the mean over them.
    objective: the name of what is made large.
    keep: share of the unedited model's capability below which settings do not count; 0: none is measured.
    chunk: requests per chunk, on top of each other; None: all at once.
    dtype: of the weights.
    """

    model: str
    dataset: DatasetSpec
    scales: tuple[int, ...] = (100,)
    seeds: tuple[int, ...] = (0,)
    objective: str = "harmonic"
    keep: float = 0.9
    revision: str | None = None
    chunk: int | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse an objective that there is not."""
        objective_named(self.objective)

    @property
    def aim(self) -> Objective:
        """The objective."""
        return objective_named(self.objective)

    @property
    def regime(self) -> Regime:
        """How requests come."""
        return "batch" if self.chunk is None else "sequential"

    @property
    def metrics(self) -> list[str]:
        """What is measured of every trial: the objective's metrics, those that a reader wants beside them."""
        beside = ("reliability", "generalisation", "ns", "neighbour-locality", "perplexity-ratio", "edit-seconds")
        return list(dict.fromkeys((*self.aim.metrics, *beside, *([CAPABILITY] if self.keep else []))))

    def rungs(self, scale: int) -> list[int]:
        """Return the numbers of requests at which a trial is looked at."""
        first = scale // FIRST_SHARE
        return [first, scale] if first > 1 else [scale]

    def suite(self, method: str, hparams: Mapping[str, Any], scale: int, rungs: Sequence[int] | None = None) -> Suite:
        """Return the suite that one trial is; ``rungs``: where it is looked at, in place of :meth:`rungs`."""
        core = {"tasks": ["core"], "scales": [scale], "limit": DOCUMENTS}
        return Suite.model_validate(
            {
                "name": SUITE,
                "title": f"One trial of a search on {self.model}",
                "dataset": self.dataset.model_dump(),
                "models": [{"name": self.model, "revision": self.revision}],
                "methods": [{"method": method, "hparams": {self.model: dict(hparams)} if hparams else {}}],
                "scales": list(rungs or self.rungs(scale)),
                "seeds": list(self.seeds),
                "regime": "batch" if self.chunk is None else {"sequential": self.chunk},
                "protocol": {"max_new_tokens": 16},
                "probes": {
                    "rephrase": 1,
                    "prefixed": 0,
                    "neighbour": 1,
                    "locality": 0,
                    "portability": 0,
                    "budget": 300,
                },
                "metrics": self.metrics,
                "capability": core if self.keep else None,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **asdict(self),
            "dataset": self.dataset.model_dump(),
            "scales": list(self.scales),
            "seeds": list(self.seeds),
        }


def ranges(scales: Sequence[int]) -> dict[int, list[int | None]]:
    """Return for each scale searched at the scales that its settings hold for: up to the geometric mean to the next.

    Raises :class:`UserError` for scales that do not ascend.
    """
    if list(scales) != sorted(set(scales)) or not scales or scales[0] < 1:
        raise UserError(f"--scales {','.join(map(str, scales))}: expected numbers that ascend, such as 100,1000.")
    edges = [int((low * high) ** 0.5) for low, high in pairwise(scales)]
    starts, ends = [1, *(edge + 1 for edge in edges)], [*edges, None]
    return {scale: [start, end] for scale, start, end in zip(scales, starts, ends, strict=True)}

"""What a search makes as large as it can: named, and written into the file of settings that comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import harmonic_mean

from editbench.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Objective:
    """The harmonic mean of some metrics.

    A metric that is nought counts as half of one request, so that a search can tell trials apart of which all say no
    rephrase, and the mean is not nought whatever the others are.

    Attributes
    ----------
    name: what ``--objective`` calls it.
    metrics: names of metrics between 0 and 1, higher being better.
    says: what it is for, in a few words.
    """

    name: str
    metrics: tuple[str, ...]
    says: str

    def value(self, found: Mapping[str, float], requests: int) -> float:
        """Return the objective of what was measured on so many requests; a metric without a value counts as 0."""
        least = 0.5 / requests
        return float(harmonic_mean([max(found.get(name, 0.0), least) for name in self.metrics]))


OBJECTIVES = {
    one.name: one
    for one in (
        Objective(
            "harmonic", ("reliability", "generalisation", "ns"), "says the new object, also rephrased, not of others"
        ),
        Objective(
            "unchanged", ("reliability", "generalisation", "neighbour-locality"), "as harmonic; others as unedited"
        ),
        Objective("likelihood", ("es", "ps", "ns"), "the score of ROME's and MEMIT's papers"),
        Objective("reliability", ("reliability",), "says the new object, whatever else becomes of the model"),
        Objective("generalisation", ("generalisation",), "says the new object when asked otherwise"),
    )
}


def objective_named(name: str) -> Objective:
    """Return an objective by name. Raises :class:`UnknownName`."""
    if name not in OBJECTIVES:
        raise UnknownName("objective", name, OBJECTIVES)
    return OBJECTIVES[name]

"""What a metric is: a name, a direction, a range, and a function over records, cells or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """Base of the kinds of metric.

    Attributes
    ----------
    name: what suites, tables and JSON call it.
    title: the column head.
    direction: which way is better.
    range: smallest and largest value; None where there is no bound.
    says: one sentence: the definition.
    source: where the definition is from, or "".
    """

    name: str
    title: str
    direction: Direction
    range: tuple[float | None, float | None]
    says: str
    source: str = ""

    @property
    def is_share(self) -> bool:
        """Whether values lie between 0 and 1, so that a Wilson interval applies."""
        return self.range == (0, 1)


@dataclass(frozen=True, slots=True)
class ProbeMetric(Metric):
    """Computed for each record of some probe kinds; a request's value is the mean over its probes of those kinds.

    Attributes
    ----------
    kinds: the probe kinds it reads.
    function: records of those kinds -> one value per row, NaN where it does not apply.
    """

    kinds: tuple[str, ...] = ()
    function: Callable[[pd.DataFrame], pd.Series[float]] = lambda frame: frame.iloc[:, 0]


@dataclass(frozen=True, slots=True)
class HarmonicMetric(Metric):
    """The harmonic mean of other metrics' cell values, over the requests that have all of them.

    Attributes
    ----------
    parts: names of probe metrics.
    """

    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgeMetric(Metric):
    """The area under another metric's curve over edit age.

    Attributes
    ----------
    of: name of a probe metric.
    """

    of: str = ""


@dataclass(frozen=True, slots=True)
class CellMetric(Metric):
    """Read from a cell's ``cell.json``.

    Attributes
    ----------
    function: ``cell.json`` -> the value, or None where the cell does not say.
    unit: ``s``, ``B`` or "".
    reads_talk: whether it is read from what the model says at length, which takes time and is measured only for it.
    error: ``cell.json`` -> the value's standard error, or None where it has none.
    by_document: whether it is a mean over documents whose outcomes the cell keeps, on which methods can be paired.
    """

    function: Callable[[Mapping[str, Any]], float | None] = lambda cell: None
    unit: str = ""
    reads_talk: bool = False
    error: Callable[[Mapping[str, Any]], float | None] = lambda cell: None
    by_document: bool = False

"""A metric over scales as one number: the area under its curve over log(scale)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from editbench.analysis.sample import Weighted

if TYPE_CHECKING:
    from editbench.analysis.aggregate import CellFrame
    from editbench.metrics import ProbeMetric


def scale_weights(scales: Sequence[int]) -> list[float]:
    """Return how much each scale weighs in the area under a curve over log(scale), trapezoids, normalised to 1.

    Ten times as many edits are one step to the right wherever one stands; a curve that is 1 everywhere has area 1.

    Parameters
    ----------
    scales: ascending, each once.
    """
    if len(scales) == 1:
        return [1.0]
    x = np.log([float(scale) for scale in scales])
    steps = np.diff(x) / (x[-1] - x[0])
    return [float(w) for w in np.concatenate([[0.0], steps]) / 2 + np.concatenate([steps, [0.0]]) / 2]


def curve_columns(metric: ProbeMetric, cells: Mapping[int, CellFrame]) -> pd.DataFrame:
    """Return a request's value at each scale, NaN at scales it was not asked at; a column per scale, ascending."""
    parts = [cells[scale].per_request(metric) for scale in sorted(cells)]
    return pd.concat(parts, axis=1, keys=map(str, sorted(cells)))


def area_statistic(scales: Sequence[int]) -> Weighted:
    """Return the area under the means of :func:`curve_columns`."""
    weights = scale_weights(sorted(scales))
    assert math.isclose(sum(weights), 1.0)
    return Weighted(tuple(weights))

"""Which methods nobody beats in everything: fronts of success, capability and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def front(values: NDArray[Any], higher_is_better: Sequence[bool]) -> NDArray[Any]:
    """Return which rows no other row beats: at least as good in every column and better in one.

    Estimates are compared as they stand, without their intervals. A row with a NaN is on no front and beats nobody;
    rows that are equal are on it together.

    Parameters
    ----------
    values: one row per method, one column per metric.  # [methods, metrics]
    higher_is_better: of each column.
    """
    good = values * np.where(np.asarray(higher_is_better), 1.0, -1.0)
    known = ~np.isnan(good).any(axis=1)
    as_good = (good[:, None, :] >= good[None, :, :]).all(axis=2)  # [i, j]: i is nowhere worse than j
    beaten = (as_good & ~as_good.T & known[:, None]).any(axis=0)
    return np.asarray(known & ~beaten)

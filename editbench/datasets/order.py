"""In what order requests are edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editbench.base.seeds import numpy_generator
from editbench.errors import UserError
from editbench.requests import Request

if TYPE_CHECKING:
    from editbench.datasets.load import Dataset


def ordered(dataset: Dataset, n: int, seed: int) -> list[Request]:
    """Return the first ``n`` requests in this seed's order.

    The order depends on the dataset's content and the seed alone, and prefixes nest: the first 10 of the first 1,000
    are the first 10. Raises :class:`UserError` if the dataset has fewer than ``n`` requests.
    """
    size = len(dataset.requests)
    if n > size:
        raise UserError(
            f"The scale {n:,} is larger than the dataset {dataset.name}, which has {size:,} requests.",
            f"Expected scales up to {size:,}.",
            "Leave the larger scales out, or name a larger dataset.",
        )
    if n < 0:
        raise UserError(f"The scale {n:,} is negative.", f"Expected 0 to {size:,}.")
    order = numpy_generator(seed, "order", dataset.content_hash).permutation(size)
    return [dataset.requests[i] for i in order[:n]]

"""Many leaderboards as one: mean ranks of methods over blocks, a block being a suite on a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pandas as pd

from editbench.analysis.blocks import Friedman, friedman
from editbench.analysis.multiple import ALPHA
from editbench.errors import UserError
from editbench.metrics import METRICS

if TYPE_CHECKING:
    from editbench.analysis.leaderboard import Leaderboard


@dataclass(frozen=True, slots=True)
class Overall:
    """Methods over blocks.

    Attributes
    ----------
    values: one row per block ("suite / model / scale"), one column per method, gaps as NaN; of the main metric.
    tests: mean ranks and what they say, over the methods and blocks without gaps; None where none are left.
    metric: name of the metric.
    notes: what was left out, and what cannot be said.
    """

    values: pd.DataFrame
    tests: Friedman | None
    metric: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        rows = {
            str(block): {str(method): None if pd.isna(value) else float(value) for method, value in row.items()}
            for block, row in self.values.iterrows()
        }
        tests = None if self.tests is None else self.tests.as_dict()
        return {"metric": self.metric, "blocks": rows, "tests": tests, "notes": list(self.notes)}


def overall(boards: Sequence[Leaderboard]) -> Overall:
    """Return the methods' mean ranks over the blocks of some leaderboards, each at one scale or over scales.

    Of a board with several scales the largest counts, so that a block is one measurement. Only ranks go from block to
    block; datasets and protocols may differ there, and are named. No ranks where one model's name stands for different
    weights. Raises :class:`UserError` if the boards have different main metrics.
    """
    metric = boards[0].about.metrics[0]
    other = [board.about.suite for board in boards if board.about.metrics[0] != metric]
    if other:
        raise UserError(
            f"The main metric of {boards[0].about.suite} is {metric}, that of {', '.join(other)} another.",
            hint="Name it: --metrics reliability",
        )
    values = _values(boards, metric)
    notes = [_about_blocks(boards)] if len({board.protocol_hash for board in boards}) > 1 else []
    if other_weights := _other_weights(boards):
        return Overall(values, None, metric, (*notes, other_weights))
    whole = values.dropna(axis=1)
    left_out = [str(method) for method in values.columns if method not in whole.columns]
    if left_out:
        notes.append(f"not in every block, and so without a mean rank: {', '.join(left_out)}")
    if whole.shape[1] < 2:
        return Overall(values, None, metric, (*notes, "fewer than two methods are in every block: no ranks"))
    tests = friedman(whole, lower_is_better=METRICS[metric].direction == "lower")
    return Overall(values, tests, metric, (*notes, *_cannot(tests)))


def _values(boards: Sequence[Leaderboard], metric: str) -> pd.DataFrame:
    found: dict[str, dict[str, float]] = {}
    for board in boards:
        for model in dict.fromkeys(row.model for row in board.rows):
            rows = [row for row in board.rows if row.model == model and metric in row.values]
            largest = max((row.scale for row in rows), default=0)
            place = f"over {board.span}" if board.over else f"{largest:,}"
            block = f"{board.about.suite} / {model} / {place}"
            found[block] = {row.method: row.values[metric].value for row in rows if row.scale == largest}
    return pd.DataFrame.from_dict(found, orient="index").reindex(list(found))


def _about_blocks(boards: Sequence[Leaderboard]) -> str:
    said = "; ".join(f"{board.about.suite} {board.protocol_hash}" for board in boards)
    return f"blocks differ in protocol ({said}): methods are ranked within a block, numbers are not mixed"


def _cannot(tests: Friedman) -> list[str]:
    if tests.blocks < 2:
        return ["one block: its own leaderboard says all there is; a second suite or model makes a second block"]
    said = [] if len(tests.mean_ranks) > 2 else ["two methods: Friedman's test needs three; see the pair"]
    pairs = len(tests.wilcoxon)
    if tests.blocks < (needed := blocks_needed(pairs)):
        said.append(
            f"{tests.blocks} blocks: of {pairs} pair(s), corrected by Holm, Wilcoxon's test can separate none at 5% "
            f"with fewer than {needed}, whatever they show"
        )
    return said


def blocks_needed(pairs: int) -> int:
    """Return the fewest blocks in which Wilcoxon's signed ranks can reach 5% in one of so many pairs, after Holm.

    The smallest p of n blocks is 2 / 2^n, where one method is better in all of them; Holm multiplies it by the pairs.
    """
    return next(n for n in count(1) if 2 * 0.5**n * pairs <= ALPHA)


def _other_weights(boards: Sequence[Leaderboard]) -> str:
    """Say which model's name stands for different weights, and where; "" if none does."""
    known: dict[str, dict[str, str]] = {}
    for board in boards:
        for row in board.rows:
            for run in row.runs:
                if weights := str(run.get("weights_hash") or "")[:12]:
                    known.setdefault(row.model, {}).setdefault(weights, f"{board.about.suite} in {run.get('dtype')}")
    several = {model: found for model, found in known.items() if len(found) > 1}
    listed = "; ".join(f"{model}: {', '.join(found.values())}" for model, found in several.items())
    return (
        f"no ranks over these suites, their weights differ ({listed}): name those that belong together"
        if listed
        else ""
    )

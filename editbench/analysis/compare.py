"""B against A, cell by cell: better, worse, no difference found, or nothing to be said, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from editbench.analysis.aggregate import CellFrame
from editbench.analysis.contest import FEWEST, at_scale, is_tested, shared_units
from editbench.analysis.multiple import ALPHA, holm
from editbench.analysis.paired import Test, difference_interval, paired_test
from editbench.analysis.sides import Match, other_conditions, without_a_side
from editbench.base.plain import shortened
from editbench.errors import StoreError
from editbench.metrics import METRICS, CellMetric, Metric
from editbench.results.store import CellResult, RunResult, Status


class Mark(StrEnum):
    """What a comparison came to."""

    BETTER = "+"
    WORSE = "−"
    ALIKE = "~"
    NOTHING = "!"


@dataclass(frozen=True, slots=True)
class Verdict:
    """B against A in one cell and metric.

    Attributes
    ----------
    suite, model, a, b, scale, metric: what is compared; ``a`` and ``b`` are labels.
    mark: + B is better, − B is worse, ~ no difference found, ! nothing can be said.
    test: the paired test, None where nothing can be said.
    low, high: 95% interval of the effect.
    p: corrected by Holm over all verdicts that have a test.
    says: why, in one sentence or two.
    """

    suite: str
    model: str
    a: str
    b: str
    scale: int
    metric: str
    mark: Mark
    says: str
    test: Test | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values, for JSON."""
        test = self.test
        names = ("suite", "model", "a", "b", "scale", "metric", "says")
        return {name: getattr(self, name) for name in names} | {
            "mark": str(self.mark),
            "effect": None if test is None else test.effect,
            "low": self.low,
            "high": self.high,
            "p_corrected": self.p,
            "p": None if test is None else test.p,
            "requests": 0 if test is None else test.requests,
            "seeds": 0 if test is None else test.seeds,
            "test": None if test is None else test.name,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All verdicts, in order of suite, model, label and scale, and what all of them share."""

    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values, for JSON."""
        return {"verdicts": [verdict.as_dict() for verdict in self.verdicts], "notes": list(self.notes)}


def compare(
    matches: Sequence[Match], metrics: Mapping[str, Sequence[str]], scales: Sequence[int] | None = None
) -> Comparison:
    """Compare B with A wherever both have runs; where one has none is said once, in a note.

    Parameters
    ----------
    matches: what goes together.
    metrics: suite -> names; those without a value per request or document cannot be tested, which is said.
    scales: only these; None: all.
    """
    both = [one for one in matches if one.a and one.b]
    found = [verdict for one in both for verdict in _of_match(one, metrics[one.suite], scales)]
    tested = [verdict for verdict in found if verdict.test is not None]
    corrected = iter(holm([verdict.test.p for verdict in tested if verdict.test is not None]))
    verdicts = [_decided(v, next(corrected)) if v.test is not None else v for v in found]
    notes = [f"{line} ({one.model}, {one.labels[0]})" for one in both for line in other_conditions(one)]
    notes += without_a_side(matches)
    if tested:
        names = "; ".join(dict.fromkeys(v.test.name for v in tested if v.test is not None))
        units = " or ".join(dict.fromkeys(_units(METRICS[v.metric])[:-1] for v in tested))
        notes.insert(0, f"{len(tested)} comparison(s), paired by {units}: {names}; p corrected by Holm; 5%.")
    return Comparison(tuple(verdicts), tuple(notes))


def _of_match(one: Match, metrics: Sequence[str], scales: Sequence[int] | None) -> list[Verdict]:
    runs = [*one.a.values(), *one.b.values()]
    there = sorted({int(s) for run in runs for s in run.manifest["scales"]} | {c.scale for r in runs for c in r.cells})
    return [
        verdict for scale in there if scales is None or scale in scales for verdict in _of_scale(one, scale, metrics)
    ]


def _of_scale(one: Match, scale: int, metrics: Sequence[str]) -> list[Verdict]:
    a, b = one.labels
    sides, why = [], []
    for name, label, runs in (("A", a, one.a), ("B", b, one.b)):
        cells, trouble = _finished(runs, scale, metrics)
        sides.append(cells)
        why += [f"{name} ({label}) has no numbers: {trouble}"] if not cells else []
    nothing = "; ".join(why) or ("" if set(sides[0]) & set(sides[1]) else _no_common_seed(sides))
    return [_verdict(one, scale, METRICS[name], sides, nothing) for name in metrics]


def _no_common_seed(sides: Sequence[dict[int, CellFrame]]) -> str:
    seeds = [", ".join(map(str, sorted(side))) for side in sides]
    return f"no seed in common (A: {seeds[0]}; B: {seeds[1]}), and so no requests in the same order"


def _ended(cell: CellResult) -> str:
    return f"{cell.status}: {shortened(str(cell.data.get('reason', '')))}"


def _finished(runs: Mapping[int, RunResult], scale: int, metrics: Sequence[str]) -> tuple[dict[int, CellFrame], str]:
    """Return the readable finished cells by seed, and why there are no others."""
    found, trouble = {}, []
    for seed, run in sorted(runs.items()):
        cell = next((cell for cell in run.cells if cell.scale == scale), None)
        if cell is None or cell.status is not Status.DONE:
            trouble.append(_absent(run, scale) if cell is None else _ended(cell))
            continue
        try:
            found[seed] = CellFrame(cell).condense(metrics)
        except StoreError as error:
            trouble.append(str(error).replace("\n", " "))
    return found, "; ".join(dict.fromkeys(trouble))


def _absent(run: RunResult, scale: int) -> str:
    return "not finished" if scale in run.manifest["scales"] else f"it was not to be run at {scale:,}"


def _verdict(one: Match, scale: int, metric: Metric, sides: Sequence[dict[int, CellFrame]], why: str) -> Verdict:
    a, b = one.labels
    empty = Verdict(one.suite, one.model, a, b, scale, metric.name, Mark.NOTHING, why)
    if why:
        return empty
    if not is_tested(metric):
        return replace(empty, says=f"{metric.title} is a single measurement per run: there is nothing to test it with.")
    samples = at_scale(metric, {"a": sides[0], "b": sides[1]}, scale)
    pairs = shared_units(samples["a"], samples["b"]) if len(samples) == 2 else 0
    if not pairs:
        return replace(empty, says=f"No {_units(metric)[:-1]} has a {metric.title} on both sides.")
    if pairs < FEWEST:
        says = f"{pairs} in common of the {_units(metric)}: fewer than {FEWEST} cannot show a difference."
        return replace(empty, says=says)
    test = paired_test(samples["a"], samples["b"])
    low, high = difference_interval(samples["a"], samples["b"], metric.is_share, test.p) or (None, None)
    return replace(empty, test=test, low=low, high=high)


def _decided(verdict: Verdict, p: float) -> Verdict:
    test, metric = verdict.test, METRICS[verdict.metric]
    assert test is not None
    if p > ALPHA:
        return replace(verdict, mark=Mark.ALIKE, p=p, says=_alike(verdict, test, metric, p))
    better = (test.effect > 0) == (metric.direction == "higher")
    return replace(verdict, mark=Mark.BETTER if better else Mark.WORSE, p=p, says=_apart(verdict, test, metric, p))


def _who(verdict: Verdict) -> tuple[str, str]:
    return ("A", "B") if verdict.a == verdict.b else (verdict.a, verdict.b)


def _apart(verdict: Verdict, test: Test, metric: Metric, p: float) -> str:
    a, b = _who(verdict)
    way = "higher" if test.effect > 0 else "lower"
    return (
        f"{metric.title} of {b} is {way} than that of {a} by {abs(test.effect):.3f}: {_wins(test, metric, a, b)} "
        f"(corrected p {p_text(p)}). {_seeds(test)}"
    )


def _alike(verdict: Verdict, test: Test, metric: Metric, p: float) -> str:
    a, b = _who(verdict)
    if not test.a_only and not test.b_only and not test.split:
        return f"{metric.title} is the same on every one of {test.asked:,} {_units(metric)}. {_seeds(test)}"
    bound = max(abs(verdict.low or 0.0), abs(verdict.high or 0.0))
    limit = f"; one beyond ±{bound:.3f} is unlikely" if bound else ""
    if test.p <= ALPHA:
        limit += f"; alone p would be {p_text(test.p)}, and --scale or --metrics compare fewer cells"
    wins = _wins(test, metric, a, b)
    return f"No difference found in {metric.title}: {wins} (corrected p {p_text(p)}){limit}. {_seeds(test)}"


def _units(metric: Metric) -> str:
    return "documents" if isinstance(metric, CellMetric) else "requests"


def _wins(test: Test, metric: Metric, a: str, b: str) -> str:
    ours, theirs = (test.b_only, test.a_only) if metric.direction == "higher" else (test.a_only, test.b_only)
    equal = test.asked - test.a_only - test.b_only - test.split
    split = f"each in another part of {metric.title} on {test.split:,}, " if test.split else ""
    return (
        f"of {test.asked:,} {_units(metric)} {b} did better on {ours:,}, {a} on {theirs:,}, {split}equal on {equal:,}"
    )


def _seeds(test: Test) -> str:
    return "One seed: nothing is said about others." if test.seeds == 1 else f"{test.seeds} seeds."


def p_text(p: float) -> str:
    """Return a p-value with two figures that matter, or that it is below 0.0001."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"

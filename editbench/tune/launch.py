"""From what was asked for to a search: what ``editbench tune`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from editbench.base.files import check_writable, replace_file
from editbench.cache import Cache
from editbench.datasets import load_dataset
from editbench.errors import UserError
from editbench.plan.registry import load_method
from editbench.results.lock import hold
from editbench.tune.budget import Budget
from editbench.tune.frame import Frame, ranges
from editbench.tune.kept import about_model, about_requests, claim_folder, write
from editbench.tune.space import SearchSpace
from editbench.tune.trial import Tried

if TYPE_CHECKING:
    from editbench.base.progress import Progress
    from editbench.datasets import Dataset
    from editbench.plan.runs import RunOptions
    from editbench.tune.location import Seen

TRIALS = "trials"
"""Folder of a search's trials: a tree of results like any other."""
INPUTS = "inputs"
"""Folder of what enters the blocks, as long as a study of places goes on."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes
    ----------
    settings: the file of settings.
    tried: every trial that ended.
    lacking: methods that cannot be used on this model, and why.
    """

    settings: Path
    tried: tuple[Tried, ...]
    lacking: tuple[str, ...]


def check(methods: Sequence[str], frame: Frame) -> Dataset:
    """Check what can be checked before a model is loaded, and read the requests.

    Raises :class:`UserError` for a method that there is not or that has no space, for scales that do not ascend, for
    fewer requests than the largest scale wants.
    """
    from editbench.models.builtin import check_model_name
    from editbench.models.lm import ModelShape

    check_model_name(frame.model)
    ranges(frame.scales)
    for name in methods:
        method = load_method(name)
        SearchSpace.of(method, ModelShape("", 1, 1, 1, 1, 1), {})
        if frame.regime not in method.regimes:
            other = "Give --chunk, requests per chunk." if frame.chunk is None else "Leave --chunk out."
            raise UserError(f"{method.name} does not work in the {frame.regime} regime.", hint=other)
    dataset = load_dataset(frame.dataset, held_out=frame.scales[-1])
    if len(dataset.requests) < frame.scales[-1]:
        raise UserError(
            f"There are {len(dataset.requests):,} requests to search on, and --scales asks for {frame.scales[-1]:,}.",
            hint="Give smaller --scales, more data, or a larger --holdout.",
        )
    return dataset


def search(
    methods: Sequence[str],
    frame: Frame,
    budget: Budget,
    folder: Path,
    options: RunOptions,
    *,
    progress: Progress,
    said: Callable[[str], None] = lambda line: None,
) -> Found:
    """Search the settings of methods on a model; go on with what ``folder`` holds.

    ``said`` is told a line per trial, ``progress`` how far one is. Raises :class:`UserError`.
    """
    dataset = check(methods, frame)
    check_writable(folder.parent)
    claim_folder(folder, frame, "settings")
    from editbench.tune.bench import Bench
    from editbench.tune.search import CLAIM, Search, Task

    bench = Bench(frame, dataset, folder / TRIALS, options, progress)
    tasks = [Task(method, scale) for scale in frame.scales for method in methods]
    about = {"model": about_model(bench.model(), frame), **about_requests(dataset)}

    def tried() -> list[Tried]:
        return [one for task in tasks for one in seeker.tried(task)]

    def finished(last: Tried, left: float) -> None:
        with hold(folder / CLAIM):
            write(folder, frame, budget, tried(), about)
        said(_line(last, tried(), frame, left))

    seeker = Search(bench, folder, budget, finished)
    lacking = seeker.run(methods)
    with hold(folder / CLAIM):
        settings = write(folder, frame, budget, tried(), about)
    _draw(folder, frame, tried())
    return Found(settings, tuple(tried()), tuple(lacking))


def study_location(
    method: str,
    frame: Frame,
    kinds: Sequence[str],
    hours: float | None,
    folder: Path,
    options: RunOptions,
    *,
    progress: Progress,
    said: Callable[[str], None] = lambda line: None,
) -> tuple[Path, list[Seen]]:
    """Try a fine-tuning method at every place of a model; return the file of settings, and what came of each place.

    Raises :class:`UserError` for a method that trains at no place, or for several scales.
    """
    from editbench.tune.location import places

    places(1, kinds)
    if not {"layer", "module"} <= set(load_method(method).Hparams.model_fields):
        raise UserError(
            f"{method} has no hyper-parameters layer and module, whose values are places.",
            hint="Study locft-bf, ft-breadth-first or ft-depth-first.",
        )
    if len(frame.scales) > 1:
        raise UserError(f"A location study has one scale, not {len(frame.scales)}.", hint=f"--scales {frame.scales[0]}")
    dataset = check([method], frame)
    check_writable(folder.parent)
    claim_folder(folder, frame, "location")
    from editbench.models.kept_inputs import kept_inputs
    from editbench.tune import location_kept
    from editbench.tune.bench import Bench
    from editbench.tune.location import Study

    bench = Bench(frame, dataset, folder / TRIALS, options, progress)
    about = {"model": about_model(bench.model(), frame), **about_requests(dataset)}
    so_far: list[Seen] = []

    def tried(one: Seen, done: int, number: int) -> None:
        so_far.append(one)
        location_kept.write(folder, frame, method, so_far, about)
        said(_place_line(one, done, number, sum(each.seconds for each in so_far), hours))

    with kept_inputs(bench.model(), Cache(folder / INPUTS)) as kept:
        seen = Study(bench, folder, method, hours).run(kinds, tried)
        kept.remove()
    return location_kept.write(folder, frame, method, seen, about), seen


def _place_line(one: Seen, done: int, number: int, seconds: float, hours: float | None) -> str:
    from editbench.base.progress import clock

    value = "" if one.value is None else f" {one.value:.3f}"
    reason = f" ({one.reason})" if one.reason else ""
    left = seconds / done * (number - done)
    left = left if hours is None else min(left, max(0.0, 3600 * hours - seconds))
    where = f"{one.place.kind} of block {one.place.block} · {done} of {number}"
    return f"{where}: {one.status}{value}{reason}, {clock(left)} left"


def _draw(folder: Path, frame: Frame, tried: Sequence[Tried]) -> None:
    from editbench.tune.figures import files

    for name, content in files(tried, frame.keep, frame.objective):
        replace_file(folder / name, content)


def _line(last: Tried, tried: Sequence[Tried], frame: Frame, left: float) -> str:
    """Return what is said of a trial: what came of it, the best so far, how much of the budget is left."""
    from editbench.base.progress import clock
    from editbench.tune.trial import best

    here = [one for one in tried if (one.method, one.scale) == (last.method, last.scale)]
    top = best(here, frame.keep)
    value = "" if last.value is None else f" {last.value:.3f}"
    keeps = "" if last.keeps is None else f", capability × {last.keeps:.2f}"
    shown = "" if top is None or top.value is None else f"; best {top.value:.3f}"
    spent = sum(one.seconds for one in here)
    rest = spent * left / (1 - left) if 0 < left < 1 else 0.0
    time = f", {clock(rest)} left" if rest else ""
    reason = f" ({last.reason})" if last.reason else ""
    where = f"{last.method} · {last.scale:,} · trial {len(here)}"
    return f"{where}: {last.outcome}{value}{keeps}{reason}{shown}{time}"

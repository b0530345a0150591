"""``editbench tune``: search the settings of methods on a model, each with the same budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.options import (
    CommaList,
    Hours,
    RegisteredName,
    json_option,
    model_options,
    results_option,
    run_options,
)
from editbench.cli.output import Command, echo_json, echo_rich, say
from editbench.cli.terms import settle_terms
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.base.progress import Progress
    from editbench.plan.runs import RunOptions
    from editbench.tune.frame import Frame
    from editbench.tune.launch import Found
    from editbench.tune.location import Seen


@click.command("tune", cls=Command)
@click.argument("methods", nargs=-1, required=True, type=RegisteredName("method"))
@click.option("--model", required=True, help="A name, hub id, folder, or GGUF file.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--trials", type=click.IntRange(min=1), help="Trials of each method at each scale; 20 if no --hours.")
@click.option("--hours", type=Hours(min=0, min_open=True), help="Hours of each method at each scale, instead.")
@click.option("--scales", type=CommaList(int), default="100", show_default=True, help="Numbers of requests.")
@click.option(
    "--seeds", type=CommaList(int), default="0", show_default=True, help="Of each trial, which is their mean."
)
@click.option("--objective", default="harmonic", show_default=True, help="What is made large.")
@click.option("--keep", type=click.FloatRange(0, 1), default=0.9, show_default=True, help="Least capability ratio.")
@click.option("--chunk", type=click.IntRange(min=1), help="Requests per chunk on top of each other; all at once.")
@click.option("--data", help="Your own requests, of which --holdout are searched on: a file or hub dataset.")
@click.option("--holdout", type=click.FloatRange(0, 1, True, True), help="Share of --data's subjects to search on.")
@click.option("--study", type=click.Choice(["settings", "location"]), default="settings", help="What is searched.")
@click.option("--modules", type=CommaList(), help="Weights that a location study trains: down,up,gate,attention,…")
@click.option("--name", help="What the search is called: a folder of its own. Default: the model's name.")
@results_option
@model_options
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(methods: tuple[str, ...], results: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Search the settings of METHODS on a model, on requests that no suite edits, each with the same budget.

    What comes out is a file of settings for editbench run --settings. The same command goes on where it stopped, in
    several processes at once too. Exit code 1 if a method found nothing.
    """
    from editbench.base.files import readable
    from editbench.base.progress import progress_for
    from editbench.models.device import check_device
    from editbench.tune.budget import Budget
    from editbench.tune.launch import search

    if given["trials"] and given["hours"]:
        raise UserError("--trials and --hours are both given.", "Expected one of them: it is each method's budget.")
    budget = Budget(None if given["hours"] else given["trials"] or 20, given["hours"])
    frame, options = _frame(given), run_options(given)
    check_device(options.device)
    settle_terms([frame.model])
    called = given["name"] or Path(given["model"]).name + ("-places" if given["study"] == "location" else "")
    folder = results / "tune" / readable(called)
    said = _silent if quiet else _said
    with closing(progress_for(quiet=quiet)) as progress:
        if given["study"] == "location":
            _show_study(_study(methods, frame, folder, given, options, progress, said), frame, folder, as_json)
            return
        found = search(methods, frame, budget, folder, options, progress=progress, said=said)
    _show(found, frame, methods, as_json)
    if any(not any(one.method == name and one.outcome == "done" for one in found.tried) for name in methods):
        raise click.exceptions.Exit(1)


def _study(
    methods: tuple[str, ...],
    frame: Frame,
    folder: Path,
    given: dict[str, Any],
    options: RunOptions,
    progress: Progress,
    said: Callable[[str], None],
) -> tuple[Path, list[Seen]]:
    from editbench.tune.launch import study_location
    from editbench.tune.location import KINDS

    if len(methods) > 1 or given["trials"]:
        raise UserError("A location study is of one method, and tries its places once.", hint="Give one, no --trials.")
    kinds = given["modules"] or KINDS
    return study_location(methods[0], frame, kinds, given["hours"], folder, options, progress=progress, said=said)


def _show_study(found: tuple[Path, list[Seen]], frame: Frame, folder: Path, as_json: bool) -> None:
    from editbench.tune.location import RULE, chosen
    from editbench.tune.location_kept import HEAT_MAP

    settings, seen = found
    best = chosen(seen, frame.keep)
    if as_json:
        told = None if best is None else {**best.place.hparams, "value": best.value}
        echo_json({"settings": str(settings), "places": len(seen), "chosen": told, "rule": RULE})
    elif best is not None:
        say(f"Chosen: {best.place.kind} of block {best.place.block}. {RULE}")
        say(f"Heat maps: {folder / HEAT_MAP}")
        say(f"Settings:  {settings}")
    if best is None:
        raise click.exceptions.Exit(1)


def _frame(given: dict[str, Any]) -> Frame:
    from editbench.datasets import DatasetSpec
    from editbench.tune.frame import Frame

    if (given["data"] is None) != (given["holdout"] is None):
        raise UserError(
            "--data and --holdout belong together: that share of your requests is searched on, and left out of runs.",
            hint="--data mine.jsonl --holdout 0.1",
        )
    own = {"name": given["data"], "holdout": given["holdout"], "side": "search"}
    dataset = DatasetSpec.parse("search" if given["data"] is None else own)
    names = ("model", "revision", "objective", "keep", "chunk", "dtype")
    chosen = {name: given[name] for name in names}
    return Frame(dataset=dataset, scales=tuple(given["scales"]), seeds=tuple(given["seeds"]), **chosen)


def _said(line: str) -> None:
    say(line, err=True)


def _silent(line: str) -> None:
    return


def _show(found: Found, frame: Frame, methods: Sequence[str], as_json: bool) -> None:
    from editbench.tune.table import as_rich, as_rows

    if as_json:
        echo_json(
            {"settings": str(found.settings), "found": as_rows(found.tried, frame), "lacking": list(found.lacking)}
        )
        return
    echo_rich(as_rich(found.tried, frame))
    for line in found.lacking:
        say(f"not searched: {line}")
    say(f"Settings: {found.settings}")
    say(f"Use them: editbench run --suite SUITE --models {frame.model} --settings {found.settings}")

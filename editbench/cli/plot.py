"""``editbench plot``: the figures of a suite, for a paper or the screen, with the numbers behind them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.options import CommaList, RegisteredName, dtype_option, results_option, sorted_targets
from editbench.cli.output import Command, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from editbench.report.figures.evidence import Evidence
    from editbench.report.figures.numbers import Recorded


@click.command("plot", cls=Command)
@click.argument("targets", metavar="[SUITE]... [DIR]...", nargs=-1, type=RegisteredName("suite"))
@results_option
@click.option(
    "--kind",
    "kinds",
    type=CommaList(),
    default="all",
    show_default=True,
    help="scale, capability, retention, drift, cost, critical-difference, panel.",
)
@click.option(
    "--preset", default="screen", show_default=True, help="Widths and fonts: neurips, icml, iclr, acl or screen."
)
@click.option("--format", "formats", type=CommaList(), default="pdf", show_default=True, help="Of pdf, pgf, svg, png.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("figures"),
    show_default=True,
    help="Folder for figures: new, empty, or made by this command.",
)
@click.option("--metric", "metrics", type=CommaList(), help="Instead of the suite's; each kind takes what it can show.")
@click.option("--scale", "scales", type=CommaList(int), help="Only these scales.")
@click.option("--number", "numbers", multiple=True, help="Draw a number that methods recorded of themselves.")
@click.option("--data", is_flag=True, help="Write the numbers behind each figure too, as CSV.")
@dtype_option
def command(targets: tuple[str, ...], results: Path, out: Path, **given: Any) -> None:
    """Draw figures of a SUITE, or of all suites that have results.

    A DIR is a results folder, instead of --results; several are merged. Runs are chosen as by: editbench leaderboard.
    With --number only these are drawn, and the kinds that --kind names.
    """
    from editbench.base.outputs import OwnFolder
    from editbench.report.figures.book import Order, check_metrics, files, names, pages
    from editbench.report.figures.numbers import number_pages
    from editbench.report.figures.style import PRESETS, Look, marks

    kinds = () if "all" in given["kinds"] else tuple(dict.fromkeys(given["kinds"]))
    order = Order(kinds, given["preset"], tuple(dict.fromkeys(given["formats"])), given["data"])
    metrics, numbers = given["metrics"] or [], tuple(dict.fromkeys(given["numbers"]))
    draws_kinds = not numbers or _was_given("kinds")
    _check(order, metrics)
    check_metrics(metrics, kinds)
    own = OwnFolder(out, "--out DIR")
    own.refuse_foreign()
    _refuse_unused(metrics, draws_kinds)
    suites, roots = sorted_targets(targets, results)
    evidence = _evidence(suites, roots, order, given) if draws_kinds else None
    recorded = _recorded(suites, roots, given, tell=not draws_kinds) if numbers else []
    found, notes = pages(evidence, kinds) if evidence else ([], [])
    more, more_notes = number_pages(recorded, numbers) if numbers else ([], [])
    methods = {*(evidence.methods() if evidence else ()), *(name for part in recorded for name in part.methods())}
    look = Look(PRESETS[order.preset], marks(methods))
    for note in [*notes, *more_notes]:
        say(note, err=True)
    own.refuse_in_the_way([name for page in (*found, *more) for name in names(page, order)])
    for page in [*found, *more]:
        for name, data in files(page, look, order):
            own.write({name: data})
            say(str(out / name))


def _was_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not click.core.ParameterSource.DEFAULT


def _refuse_unused(metrics: Sequence[str], draws_kinds: bool) -> None:
    from editbench.errors import UserError

    if metrics and not draws_kinds:
        raise UserError(
            "--metric was given with --number, which draws no metric.",
            "Expected --kind too, for the figures of that metric.",
            "Such as: --kind scale",
        )


def _recorded(suites: Sequence[str], roots: Sequence[Path], given: dict[str, Any], *, tell: bool) -> list[Recorded]:
    """Return what methods recorded, in cells of the scales asked for; ``tell``: say which runs cannot be read."""
    from editbench.analysis.numbers import stored_numbers
    from editbench.analysis.stored import left_out, stored_suites, suite_name
    from editbench.report.figures.numbers import Recorded

    scales, found = given["scales"] or (), []
    for suite in suites or stored_suites(roots):
        rows, runs = stored_numbers(suite, roots, given["dtype"])
        for note in left_out(roots, suite_name(suite)) if tell else ():
            say(note, err=True)
        found.append(Recorded(suite_name(suite), rows[rows["scale"].isin(scales)] if scales else rows, runs))
    return found


def _check(order: Any, metrics: Sequence[str]) -> None:
    from editbench.errors import UnknownName
    from editbench.metrics import check_metric_name
    from editbench.report.figures import kind
    from editbench.report.figures.style import PRESETS
    from editbench.report.figures.writing import FORMATS

    if order.preset not in PRESETS:
        raise UnknownName("preset", order.preset, PRESETS)
    for name in order.formats:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    for name in order.kinds:
        kind(name)
    for name in metrics:
        check_metric_name(name)


def _evidence(suites: Sequence[str], roots: Sequence[Path], order: Any, given: dict[str, Any]) -> Evidence:
    from editbench.analysis.stored import left_out, metrics_of, stored_ages, stored_leaderboard, stored_suites
    from editbench.report.figures.evidence import Evidence, age_metric, needed_metrics

    asked, dtype = tuple(given["metrics"] or ()), given["dtype"]
    boards, ages = [], {}
    for suite in suites or stored_suites(roots):
        own = metrics_of(suite)
        board = stored_leaderboard(suite, roots, needed_metrics(own, asked), dtype)
        boards.append(board)
        for note in left_out(roots, board.about.suite):
            say(note, err=True)
        if not order.kinds or "retention" in order.kinds:
            ages[board.about.suite] = stored_ages(suite, roots, age_metric(own, asked), dtype)
    return Evidence(tuple(boards), asked, tuple(given["scales"] or ()), ages).checked()

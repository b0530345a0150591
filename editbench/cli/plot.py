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
@click.option("--data", is_flag=True, help="Write the numbers behind each figure too, as CSV.")
@dtype_option
def command(targets: tuple[str, ...], results: Path, out: Path, **given: Any) -> None:
    """Draw figures of a SUITE, or of all suites that have results.

    A DIR is a results folder, instead of --results; several are merged. Runs are chosen as by: editbench leaderboard.
    """
    from editbench.base.outputs import OwnFolder
    from editbench.report.figures.book import Order, check_metrics, files, look_of, names, pages

    kinds = () if "all" in given["kinds"] else tuple(dict.fromkeys(given["kinds"]))
    order = Order(kinds, given["preset"], tuple(dict.fromkeys(given["formats"])), given["data"])
    metrics = given["metrics"] or []
    _check(order, metrics)
    check_metrics(metrics, kinds)
    own = OwnFolder(out, "--out DIR")
    own.refuse_foreign()
    suites, roots = sorted_targets(targets, results)
    evidence = _evidence(suites, roots, order, given)
    found, notes = pages(evidence, kinds)
    look = look_of(evidence, order.preset)
    for note in notes:
        say(note, err=True)
    own.refuse_in_the_way([name for page in found for name in names(page, order)])
    for page in found:
        for name, data in files(page, look, order):
            own.write({name: data})
            say(str(out / name))


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

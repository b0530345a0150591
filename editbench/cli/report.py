"""``editbench report``: one HTML page of a suite's results, or of several suites'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from editbench.cli.options import CommaList, RegisteredName, dtype_option, results_option, sorted_targets
from editbench.cli.output import Command, say

if TYPE_CHECKING:
    from editbench.plan.runs import DType


@click.command("report", cls=Command)
@click.argument("targets", metavar="[SUITE]... [DIR]...", nargs=-1, type=RegisteredName("suite"))
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page; one that this command wrote, as it wrote it, is replaced.",
)
@click.option("--metrics", type=CommaList(), help="Columns, instead of the suite's; see: editbench list metrics")
@dtype_option
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def command(
    targets: tuple[str, ...], results: Path, out: Path, metrics: list[str] | None, dtype: DType, show: bool
) -> None:
    """Write one self-contained HTML page: leaderboard, figures, requests, statuses, how to reproduce.

    Of a SUITE, or of all suites that have results. A DIR is a results folder, instead of --results; several are
    merged. Needs no server and loads nothing: it can be mailed, or put beside a paper.
    """
    from editbench.analysis.stored import stored_runs, stored_suites
    from editbench.base.files import replace_file
    from editbench.base.outputs import refuse_others
    from editbench.report.page.page import render
    from editbench.report.page.seal import is_sealed, sealed

    refuse_others(out, "--out FILE", is_sealed)
    suites, roots = sorted_targets(targets, results)
    stored = [stored_runs(suite, roots, metrics, dtype) for suite in suites or stored_suites(roots)]
    page = sealed(render(stored).encode())
    replace_file(out, page, instead="choose another file, with --out FILE")
    say(f"{out}: {len(page) / 1e6:.2f} MB, {', '.join(one.about.suite for one in stored)}")
    if show:
        click.launch(str(out))

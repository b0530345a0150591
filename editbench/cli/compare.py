"""``editbench compare``: is B better than A, worse, or can nobody tell?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.options import CommaList, RegisteredName, json_option, results_option
from editbench.cli.output import Command, echo_json, echo_rich, say

if TYPE_CHECKING:
    from editbench.analysis.compare import Comparison
    from editbench.analysis.sides import Match


@click.command("compare", cls=Command)
@click.argument("a", type=RegisteredName("method"))
@click.argument("b", type=RegisteredName("method"))
@results_option
@click.option("--suite", type=RegisteredName("suite"), help="Only this one.")
@click.option("--metrics", type=CommaList(), help="Instead of the suite's; see: editbench list metrics")
@click.option("--scale", "scales", type=CommaList(int), help="Only these scales.")
@click.option("--markdown", is_flag=True, help="Write Markdown.")
@json_option
def command(a: str, b: str, results: Path, as_json: bool, markdown: bool, **given: Any) -> None:
    """Compare B with A on the same requests, cell by cell.

    A and B are methods' labels, results folders, FOLDER:LABEL, or a run's folder. Each cell gets + (B is better),
    − (worse), ~ (no difference found) or ! (nothing can be said), the effect with its interval, p corrected for the
    number of cells, and why.
    """
    from editbench.analysis.compare import compare
    from editbench.analysis.sides import find_side, match, unread
    from editbench.analysis.stored import suite_name
    from editbench.report.comparisons import compared_as_markdown, compared_as_rich

    suite = suite_name(given["suite"]) if given["suite"] else None
    matches = match(find_side(a, results, suite), find_side(b, results, suite))
    found = compare(matches, _metrics(given["metrics"], matches, given["suite"]), given["scales"])
    found = replace(found, notes=(*found.notes, *unread((a, b), results, suite)))
    _refuse_nothing(found, given["scales"])
    if as_json:
        echo_json(found.as_dict())
    elif markdown:
        say(compared_as_markdown(found), nl=False)
    else:
        echo_rich(compared_as_rich(found))


def _metrics(given: list[str] | None, matches: list[Match], asked: str | None) -> dict[str, list[str]]:
    """Return for each suite the metrics asked for, else those of its own that can be tested."""
    from editbench.analysis.contest import is_tested
    from editbench.analysis.stored import metrics_of
    from editbench.metrics import METRICS, check_metric_name

    for name in given or ():
        check_metric_name(name)
    suites = dict.fromkeys(one.suite for one in matches)
    return {suite: given or [n for n in metrics_of(asked or suite) if is_tested(METRICS[n])] for suite in suites}


def _refuse_nothing(found: Comparison, scales: list[int] | None) -> None:
    from editbench.errors import UserError

    if not found.verdicts:
        raise UserError(
            f"There is nothing to compare at scale {', '.join(map(str, scales or []))}.", hint="Leave out --scale."
        )

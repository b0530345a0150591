"""``editbench leaderboard``: methods with intervals and ranks, at each scale or over scales; and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.options import (
    CommaList,
    RegisteredName,
    dtype_option,
    json_option,
    results_option,
    sorted_targets,
)
from editbench.cli.output import Command, echo_json, echo_rich, say

if TYPE_CHECKING:
    from editbench.analysis.leaderboard import Leaderboard
    from editbench.analysis.overall import Overall

FORMS = ("as_json", "markdown", "csv", "latex")
NOT_WITH_FAILURES = ("metrics", "over_scales", "pareto", "markdown", "csv", "latex")


@click.command("leaderboard", cls=Command)
@click.argument("targets", metavar="[SUITE]... [DIR]...", nargs=-1, type=RegisteredName("suite"))
@results_option
@click.option("--metrics", type=CommaList(), help="Columns, instead of the suite's; see: editbench list metrics")
@click.option("--scale", "scales", type=CommaList(int), help="Only these scales.")
@click.option("--over-scales", is_flag=True, help="One row per method: areas under the curves over log(scale).")
@click.option("--pareto", type=CommaList(), help="Mark whom nobody beats in all of these metrics.")
@dtype_option
@click.option("--markdown", is_flag=True, help="Write Markdown.")
@click.option("--csv", is_flag=True, help="Write CSV: suites' rows with values, intervals and ranks.")
@click.option("--latex", is_flag=True, help="Write LaTeX tables (booktabs).")
@click.option("--failures", is_flag=True, help="What went wrong instead: reasons, requests, tracebacks.")
@json_option
def command(targets: tuple[str, ...], results: Path, **given: Any) -> None:
    """Show the leaderboard of a SUITE, or of all suites that have results, and overall ranks.

    A DIR is a results folder, instead of --results; several are merged. Of several runs of one method the one is taken
    that the suite would make today (with --dtype), else the newest; what was left out is said.
    """
    from editbench.analysis.overall import overall
    from editbench.analysis.stored import stored_suites

    form = _form(given)
    suites, roots = sorted_targets(targets, results)
    if given["failures"]:
        _show_failures(suites, roots, given)
        return
    boards = [_board(suite, roots, given) for suite in suites or stored_suites(roots)]
    one = len(boards) == 1 and len(suites) == 1
    _show(boards, form, None if one else overall(boards))
    if not form:
        show_hint(boards, targets, results)


def show_hint(boards: Sequence[Leaderboard], targets: Sequence[str], results: Path) -> None:
    """Say how to see what went wrong in some leaderboards' cells, if anything did."""
    from editbench.report.failures import hint

    where = [] if str(results) == "results" else ["--results", str(results)]
    if line := hint(boards, ["editbench", "leaderboard", *targets, *where]):
        say(line)


def _show_failures(suites: Sequence[str], roots: Sequence[Path], given: dict[str, Any]) -> None:
    from editbench.analysis.failures import stored_failures
    from editbench.analysis.stored import stored_suites
    from editbench.report.failures import as_text

    scales, dtype = given["scales"] or (), given["dtype"]
    found = [stored_failures(suite, roots, scales, dtype) for suite in suites or stored_suites(roots)]
    if given["as_json"]:
        echo_json(found[0].as_dict() if len(suites) == 1 else {"suites": [one.as_dict() for one in found]})
    else:
        say("\n".join(map(as_text, found)), nl=False)


def _form(given: dict[str, Any]) -> str:
    from editbench.errors import UserError

    chosen = [form for form in FORMS if given[form]]
    if len(chosen) > 1:
        names = " and ".join("--" + form.removeprefix("as_") for form in chosen)
        raise UserError(f"{names} were given together.", "Expected one form.")
    odd = [name for name in NOT_WITH_FAILURES if given[name]]
    if given["failures"] and odd:
        names = " and ".join("--" + name.replace("_", "-") for name in odd)
        raise UserError(f"{names} was given with --failures.", "Expected --json, --scale or --dtype beside it.")
    return chosen[0] if chosen else ""


def _board(suite: str, roots: Sequence[Path], given: dict[str, Any]) -> Leaderboard:
    from editbench.analysis.leaderboard import with_fronts
    from editbench.analysis.stored import metrics_of, stored_leaderboard
    from editbench.errors import UserError
    from editbench.metrics import check_metric_name

    scales, pareto = given["scales"], given["pareto"] or []
    for name in pareto:
        check_metric_name(name)
    metrics = given["metrics"]
    if pareto:
        metrics = list(dict.fromkeys([*(metrics or metrics_of(suite)), *pareto]))
    over = (scales or []) if given["over_scales"] else None
    board = stored_leaderboard(suite, roots, metrics, given["dtype"], over)
    if scales and over is None:
        there = sorted({row.scale for row in board.rows})
        board = replace(board, rows=tuple(row for row in board.rows if row.scale in scales))
        if not board.rows:
            asked, found = (", ".join(f"{scale:,}" for scale in some) for some in (scales, there))
            raise UserError(f"There are no results of {suite} at scale {asked}.", f"There are: {found}.")
    return with_fronts(board, pareto) if pareto else board


def _show(boards: Sequence[Leaderboard], form: str, ranks: Overall | None = None) -> None:
    from editbench.report import comparisons, latex, tables

    if form == "as_json":
        together = {"suites": [board.as_dict() for board in boards], "overall": ranks and ranks.as_dict()}
        echo_json(together if ranks else boards[0].as_dict())
    elif form == "csv":
        say(tables.as_csv(boards), nl=False)
    elif form == "markdown":
        texts = [tables.as_markdown(board) for board in boards]
        say("\n".join([*texts, *([comparisons.overall_as_markdown(ranks)] if ranks else [])]), nl=False)
    elif form == "latex":
        texts = [latex.as_latex(board) for board in boards]
        say("\n".join([*texts, *([comparisons.overall_as_latex(ranks, boards)] if ranks else [])]), nl=False)
    else:
        echo_rich(*map(tables.as_rich, boards), *([comparisons.overall_as_rich(ranks)] if ranks else []))

"""``editbench score``: measure a model that was edited elsewhere."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.leaderboard import show_hint
from editbench.cli.options import (
    RegisteredName,
    holdout_option,
    json_option,
    model_options,
    question_options,
    results_option,
    run_options,
    with_capability,
)
from editbench.cli.output import Command, echo_json, echo_rich, say
from editbench.cli.terms import settle_terms
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.plan.suite import Suite
    from editbench.running.outcome import Results


@click.command("score", cls=Command)
@click.option("--model", required=True, help="The edited model: a folder, GGUF file, hub id or built-in name.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--unedited", metavar="MODEL", help="The model it was made from, for the metrics that compare.")
@click.option("--suite", type=RegisteredName("suite"), help="Take dataset, protocol, probes and metrics from it.")
@click.option("--dataset", help="Without a suite: what was written, a name, file or hub id.")
@click.option("--data", help="The file to read the requests from, or hub dataset (org/name@revision).")
@holdout_option
@click.option("--scale", type=click.IntRange(min=1), help="How many requests, in the order of --seed; default: all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the requests' order.")
@click.option("--label", default="", help="What tables call it; default: the end of the model's name.")
@results_option
@model_options
@question_options
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(model: str, results: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Measure a model that was edited elsewhere, with the same questions, records and files as a run.

    With --suite it stands in that suite's leaderboard as a submission of its own. The same command after an
    interruption does only what is missing. Exit code 1 if the cell failed, 2 if the request makes no sense.
    """
    from editbench.base.progress import progress_for
    from editbench.models.device import check_device
    from editbench.running.score import Submission, carry_out, expected_seconds, models_of, prepare, uncompared

    suite = with_capability(_suite(given).with_holdout(given["holdout"]), given)
    submission = Submission(model, **{name: given[name] for name in ("revision", "unedited", "label", "scale", "seed")})
    options = run_options(given)
    prepared = prepare(suite, submission, options)
    check_device(options.device)
    settle_terms(models_of(prepared.plan))
    lost = [] if submission.unedited else uncompared(suite.metrics)
    if not submission.unedited:
        say(f"Nothing is compared without --unedited MODEL{_left_out(lost)}.", err=True)
    with closing(progress_for(expected_seconds(prepared.plan), quiet)) as progress:
        found = carry_out(prepared, results, options, progress)
    _show(found, results, given["suite"] or suite.name, as_json)
    if found.trouble:
        raise click.exceptions.Exit(1)


def _left_out(metrics: list[str]) -> str:
    return f"; left out: {', '.join(metrics)}" if metrics else ""


def _suite(given: dict[str, Any]) -> Suite:
    """Return the suite that was named, or one made for the dataset."""
    from editbench.datasets import DatasetSpec
    from editbench.plan.suite_file import load_suite
    from editbench.running.score import suite_of

    if given["suite"] and given["dataset"]:
        raise UserError("--suite and --dataset were both given.", "A suite has its dataset.", "Leave one of them out.")
    if given["suite"]:
        suite = load_suite(given["suite"]).with_options(data=given["data"])
        if given["scale"] is None:
            scales = ", ".join(str(scale) for scale in suite.scales)
            raise UserError(
                "How many of the suite's requests were written into the model is not given.",
                f"The suite {suite.name} measures at {scales}.",
                f"--scale {suite.scales[-1]}",
            )
        return suite
    if not given["dataset"] and not given["data"]:
        raise UserError(
            "What the model was edited with is not given.",
            "Expected --suite NAME, --dataset NAME or --data FILE.",
            "See what there is: editbench list",
        )
    name, path = (given["dataset"], given["data"]) if given["dataset"] else (given["data"], None)
    return suite_of(DatasetSpec(name=name, path=path))


def _show(found: Results, results: Path, suite: str, as_json: bool) -> None:
    from editbench.report.tables import as_rich

    board = found.leaderboard()
    if as_json:
        echo_json({**board.as_dict(), "results": str(results)})
        return
    echo_rich(as_rich(board))
    beside = ["editbench", "leaderboard", suite] + ([] if str(results) == "results" else ["--results", str(results)])
    say(f"Results: {results / 'runs' / found.plan.suite.name}")
    say(f"Beside the others: {shlex.join(beside)}")
    show_hint([board], [suite], results)

"""``editbench run``: carry out a suite, or what is missing of it."""

from __future__ import annotations

import shlex
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.leaderboard import show_hint
from editbench.cli.options import (
    CommaList,
    Hours,
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
    from editbench.plan.runs import Run
    from editbench.running.launch import Prepared
    from editbench.running.outcome import Results


@click.command("run", cls=Command)
@click.option("--suite", required=True, type=RegisteredName("suite"), help="A suite's name, or a YAML file.")
@click.option("--methods", type=CommaList(), help="Only these: labels of the suite, or any registered method.")
@click.option("--method", "added", multiple=True, type=RegisteredName("method"), help="Add ./file.py:Class or a name.")
@click.option("--models", type=CommaList(), help="Instead of the suite's: names, hub ids, folders, GGUF files.")
@click.option("--data", help="Read the requests from this file, or hub dataset (org/name@revision).")
@holdout_option
@click.option("--revision", help="Pin the hub models that the suite does not pin.")
@click.option("--seeds", type=CommaList(int), help="Instead of the suite's.")
@click.option("--scales", type=CommaList(int), help="Numbers of edits to measure at, instead of the suite's.")
@click.option("--max-scale", type=click.IntRange(min=1), help="Measure no scale above this.")
@click.option("--hours", type=Hours(min=0, min_open=True), help="Leave out what would not fit into this.")
@click.option("--settings", multiple=True, type=click.Path(path_type=Path), help="A file that editbench tune wrote.")
@click.option("--set", "sets", multiple=True, metavar="METHOD.NAME=VALUE", help="As in --set locft-bf.lr=5e-4.")
@results_option
@model_options
@question_options
@click.option("--keep-edits", is_flag=True, help="Keep each cell's edits, for editbench export.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="Most seconds for a cell.")
@click.option("--dry-run", is_flag=True, help="Show runs and cells with estimated time and memory; run nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(suite: str, results: Path, dry_run: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Run a suite and show its leaderboard.

    The same command after an interruption does only what is missing. Exit code 1 if a cell failed, 2 if the request
    makes no sense; then nothing is written.
    """
    from editbench.base.progress import progress_for
    from editbench.models.device import check_device
    from editbench.plan.estimate import expected_seconds
    from editbench.plan.overrides import strangers
    from editbench.plan.suite_file import load_suite
    from editbench.running.launch import carry_out, prepare

    choices = ("methods", "models", "revision", "data", "seeds", "scales", "max_scale")
    chosen = load_suite(suite).with_options(add_methods=given["added"], **{name: given[name] for name in choices})
    chosen = chosen.with_holdout(given["holdout"]).with_settings(given["settings"], given["sets"])
    options = run_options(given)
    prepared = prepare(with_capability(chosen, given), options)
    for line in (*strangers(prepared.plan.suite), prepared.dataset.split_note):
        if line:
            say(line, err=True)
    if given["hours"]:
        prepared = _within(prepared, given["hours"], results, options.device)
    if dry_run:
        _show_plan(prepared, options.device, as_json)
        return
    check_device(options.device)
    settle_terms(model.name for model in prepared.plan.suite.models)
    with closing(progress_for(expected_seconds(prepared.plan, prepared.dataset), quiet)) as progress:
        found = carry_out(prepared, results, options, progress)
    _show(found, results, suite, as_json)
    if found.trouble:
        raise click.exceptions.Exit(1)


def _show(found: Results, results: Path, suite: str, as_json: bool) -> None:
    from editbench.report.tables import as_rich

    board = found.leaderboard()
    if as_json:
        echo_json({**board.as_dict(), "results": str(results)})
        return
    echo_rich(as_rich(board))
    again = ["editbench", "leaderboard", suite] + ([] if str(results) == "results" else ["--results", str(results)])
    say(f"Results: {results / 'runs' / found.plan.suite.name}")
    say(f"Again:   {shlex.join(again)}")
    show_hint([board], [suite], results)


def _within(prepared: Prepared, hours: float, results: Path, device: str) -> Prepared:
    """Leave out what is not expected to fit into ``hours``, and say so on stderr."""
    from editbench.plan.estimate import trim
    from editbench.report.plans import left_out
    from editbench.results.store import Store

    store = Store(results)

    def settled(run: Run, scale: int) -> bool:
        status = store.cell_status(run, scale)
        return status is not None and status.settled

    found = trim(prepared.plan, prepared.dataset, hours, settled, device)
    for line in left_out(found.left_out):
        say(line, err=True)
    if found.plan is None:
        raise UserError(
            f"Nothing fits into {hours:g} hours.", hint="See what it takes: the same command with --dry-run"
        )
    return replace(prepared, plan=found.plan)


def _show_plan(prepared: Prepared, device: str, as_json: bool) -> None:
    from editbench.plan.estimate import estimate
    from editbench.plan.planned import planned_settings
    from editbench.report.plans import as_rich, as_rows, settings_lines, settings_rows

    plan, found = prepared.plan, estimate(prepared.plan, prepared.dataset, device)
    settings = planned_settings(plan)
    if as_json:
        echo_json({"suite": plan.suite.name, "cells": as_rows(found), "settings": settings_rows(settings)})
    else:
        echo_rich(as_rich(plan, found))
        for line in settings_lines(settings):
            say(line)

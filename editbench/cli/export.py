"""``editbench export``: the edited model, or only what the edits changed, as files."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from editbench.cli.options import (
    CommaList,
    RegisteredName,
    holdout_option,
    json_option,
    model_options,
    results_option,
    run_options,
)
from editbench.cli.output import Command, echo_json, say
from editbench.cli.terms import settle_terms


@click.command("export", cls=Command)
@click.option("--suite", required=True, type=RegisteredName("suite"), help="A suite's name, or a YAML file.")
@click.option("--method", required=True, type=RegisteredName("method"), help="Label in the suite, or any method.")
@click.option("--scale", required=True, type=click.IntRange(min=1), help="How many edits are in the model.")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--model", help="One of the suite's models, or another; default: the suite's only one.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the requests' order; default: the suite's first.")
@click.option("--delta", is_flag=True, help="Only the edit, as edit.safetensors, for editbench.apply_edit.")
@click.option("--scales", type=CommaList(int), help="The run's scales, if it had others than the suite's.")
@click.option("--data", help="Read the requests from this file, or hub dataset (org/name@revision).")
@holdout_option
@click.option("--revision", help="Branch, tag or commit of a hub model that the suite does not pin.")
@results_option
@model_options
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(suite: str, results: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Write the model that a run of a suite edits, in a form that transformers loads.

    An edit that was kept (editbench run --keep-edits) is read from the results, any other is made again, with the same
    bits; the same command after an interruption goes on.
    """
    from editbench.base.progress import progress_for
    from editbench.models.device import check_device
    from editbench.plan.suite_file import load_suite
    from editbench.running.export import Wanted, carry_out, expected_seconds, prepare

    chosen = load_suite(suite).with_options(data=given["data"], revision=given["revision"])
    chosen = chosen.with_holdout(given["holdout"])
    options = run_options(given)
    wanted = Wanted(**{name: given[name] for name in ("method", "scale", "to", "model", "seed", "scales", "delta")})
    prepared = prepare(chosen, wanted, options)
    check_device(options.device)
    settle_terms(run.model for run in prepared.plan.runs)
    with closing(progress_for(expected_seconds(prepared), quiet)) as progress:
        about = carry_out(prepared, wanted, results, options, progress)
    if as_json:
        echo_json({"folder": str(wanted.to), **about})
        return
    say(f"{'Edit' if wanted.delta else 'Model'}: {wanted.to}")
    if wanted.delta:
        say(f"How to apply it: {wanted.to / 'README.md'}")
    if not wanted.delta or about["edits"]:
        say(f"Measure it: {shlex.join(_score(suite, about, wanted.to, results, given))}")


def _score(suite: str, about: dict[str, Any], to: Path, results: Path, given: dict[str, Any]) -> list[str]:
    """Return the command that measures the exported model as its run was measured."""
    model = about["model"]
    command = ["editbench", "score", "--model", str(to), "--unedited", model["name"], "--suite", suite]
    command += ["--scale", str(about["scale"]), "--label", to.name]
    usual = {
        "--seed": (str(about["seed"]), "0"),
        "--dtype": (model["dtype"], "float32"),
        "--data": (given["data"] or "", ""),
        "--holdout": (str(given["holdout"] or ""), ""),
        "--results": (str(results), "results"),
    }
    return command + [part for name, (value, default) in usual.items() if value != default for part in (name, value)]

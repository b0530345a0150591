"""``editbench show``: all that is known about one named thing."""

from __future__ import annotations

import click

from editbench.cli.options import holdout_option, json_option
from editbench.cli.output import Command, echo_json, say

NOUNS = ("suite", "method", "dataset", "metric", "model")


@click.command("show", cls=Command)
@click.argument("what", nargs=-1, required=True, metavar="[suite|method|dataset|metric|model] NAME")
@holdout_option
@json_option
def command(what: tuple[str, ...], holdout: float | None, as_json: bool) -> None:
    """Show one thing by NAME.

    A suite's file, a method's hyper-parameters, a dataset's faults, a metric's definition, a model's shape.
    """
    from editbench.plan.details import describe, find

    if len(what) > 2 or (len(what) == 2 and what[0] not in NOUNS):
        raise click.UsageError(f"Expected one NAME, or one of {', '.join(NOUNS)} and a NAME.")
    noun, name = (find(what[0]), what[0]) if len(what) == 1 else (what[0], what[1])
    if holdout is not None and noun != "dataset":
        raise click.UsageError(f"--holdout is about a dataset, and {name} is a {noun}: show dataset FILE --holdout 0.1")
    details = describe(noun, name, holdout)
    if as_json:
        echo_json(details.data)
    else:
        say("\n".join(details.lines))

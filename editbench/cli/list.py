"""``editbench list``: everything that has a name."""

from __future__ import annotations

from dataclasses import asdict

import click

from editbench.cli.options import json_option
from editbench.cli.output import Command, echo_json, say

NOUNS = ("methods", "suites", "datasets", "models", "metrics")


@click.command("list", cls=Command)
@click.argument("kind", required=False, type=click.Choice(NOUNS))
@json_option
def command(kind: str | None, as_json: bool) -> None:
    """List methods, suites, datasets, models and metrics, or one KIND of them.

    A plugin that cannot be loaded is shown as broken, with the reason.
    """
    from editbench.plan.catalogue import KINDS

    found = {name: KINDS[name]() for name in ([kind] if kind else NOUNS)}
    if as_json:
        echo_json({name: [asdict(item) for item in items] for name, items in found.items()})
        return
    for name, items in found.items():
        say("", mark=click.style(f"{name}:", bold=True))
        width = max((len(item.name) for item in items), default=0)
        for item in items:
            say(f"  {item.name:<{width}}  {item.says}")

"""The command group: commands are imported when they are called for, and mistakes become short messages."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click
from click.exceptions import Exit

from editbench.cli import door
from editbench.cli.output import Group, never_from_environment

COMMANDS = (
    "run",
    "score",
    "export",
    "leaderboard",
    "compare",
    "plot",
    "report",
    "results",
    "list",
    "show",
    "check",
    "tune",
    "locate",
    "completion",
)


class EditbenchGroup(Group):
    """Loads ``editbench.cli.<command>`` on demand; its attribute ``command`` is the click command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        show_version = click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        )
        never_from_environment(show_version)
        self.params.append(show_version)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's file."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"editbench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=2)
            meant = f" Did you mean {' or '.join(close)}?" if close else f" Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever it raises, ``sys.exit`` too, becomes a message."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, Exit):
            raise
        except BaseException as error:
            raise door.told(error) from error

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run the command line and exit; what happens before a command is found, and after it, is told as well."""
        call: Any = super().main
        if not standalone_mode:
            return call(*arguments, standalone_mode=False, **options)
        sys.exit(door.through(lambda: call(*arguments, standalone_mode=False, **options)))


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"editbench {version('editbench')}")
        ctx.exit()

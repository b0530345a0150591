"""The command group: commands are imported when they are called for, and mistakes become short messages."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import version
from typing import IO, Any

import click

from editbench.errors import UserError

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
    "locate",
    "completion",
)


class Shown(click.ClickException):
    """A :class:`UserError` on its way to stderr; exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message, without a traceback."""
        first, *rest = self.message.split("\n")
        click.echo("\n".join([f"Error: {first}", *(f"  {line}" for line in rest)]), file=file, err=file is None)


class Interrupted(click.ClickException):
    """Ctrl-C; exit code 130, as shells expect."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Say that nothing is lost."""
        click.echo(self.message, file=file, err=file is None)


class EditbenchGroup(click.Group):
    """Loads ``editbench.cli.<command>`` on demand; its attribute ``command`` is the click command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        show_version = click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        )
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
        """Run a command; what the user did wrong is said in a line or three."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Shown(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted("Interrupted; the same command continues.") from error


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"editbench {version('editbench')}")
        ctx.exit()

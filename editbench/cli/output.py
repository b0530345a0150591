"""What commands say: results to stdout and nothing else there, messages to stderr, all of it fit for a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from editbench.base.plain import clean, clean_json

if TYPE_CHECKING:
    from rich.console import Console

_RESULTS = "editbench.results"


class Command(click.Command):
    """A command whose code, and whatever that calls, prints to stderr; :func:`say` and its like write results."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with stdout kept for results."""
        ctx.meta[_RESULTS] = sys.stdout
        with redirect_stdout(sys.stderr):
            return super().invoke(ctx)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return ``--help``, which no variable of the environment sets."""
        return never_from_environment(super().get_help_option(ctx))


class Group(click.Group):
    """A group of :class:`Command`."""

    command_class = Command

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return ``--help``, which no variable of the environment sets."""
        return never_from_environment(super().get_help_option(ctx))


def never_from_environment(option: click.Option | None) -> click.Option | None:
    """Return an option that the environment (``EDITBENCH_HELP``) cannot set."""
    if option is not None:
        option.allow_from_autoenv = False
    return option


def results() -> TextIO:
    """Return where results go."""
    context = click.get_current_context(silent=True)
    found: Any = context.meta.get(_RESULTS, sys.stdout) if context else sys.stdout
    return cast(TextIO, found)


def say(text: str, *, mark: str = "", nl: bool = True, err: bool = False) -> None:
    """Write a text to stdout, or to stderr, without what a terminal would obey.

    Parameters
    ----------
    mark: what stands before it and may have a style (``click.style``).
    nl: whether a line end follows.
    """
    click.echo(mark + clean(text), file=sys.stderr if err else results(), nl=nl)


def echo_json(value: Any) -> None:
    """Write a value as JSON to stdout."""
    click.echo(clean_json(json.dumps(value, ensure_ascii=False, indent=2)), file=results())


def echo_rich(*things: Any) -> None:
    """Write Rich tables to stdout: as wide as the terminal, or as wide as they need to be where there is none."""
    console = _console(results())
    for thing in things:
        console.print(thing)


def _console(file: TextIO) -> Console:
    """Return a console that takes control characters out of whatever it is given."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Clean(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            return _cleaned(super().render(renderable, options))

    def _cleaned(segments: Iterable[Segment]) -> Iterator[Segment]:
        for text, style, control in segments:
            yield Segment(text if control else clean(text), style, control)

    if not file.isatty():
        return Clean(file=file, width=220, color_system=None)
    # Rich would ask the terminal behind file descriptor 1, which is stderr's
    width = None if "COLUMNS" in os.environ else os.get_terminal_size(file.fileno()).columns or None
    return Clean(file=file, width=width)

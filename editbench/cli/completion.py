"""``editbench completion``: the script that teaches a shell the commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from editbench.cli.output import Command, say

_HOW = {
    "bash": 'eval "$(editbench completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(editbench completion zsh)"   # in ~/.zshrc',
    "fish": "editbench completion fish | source   # in ~/.config/fish/config.fish",
}


@click.command("completion", cls=Command, epilog="\b\n" + "\n".join(_HOW.values()))
@click.argument("shell", type=click.Choice(tuple(_HOW)))
def command(shell: str) -> None:
    """Write the completion script for a SHELL."""
    from editbench.cli import cli

    kind = get_completion_class(shell)
    if kind is not None:
        say(kind(cli, {}, "editbench", "_EDITBENCH_COMPLETE").source())

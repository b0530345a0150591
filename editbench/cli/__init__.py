"""The command line: one command per file, no logic. ``editbench --help`` loads nothing heavy."""

from __future__ import annotations

from typing import NoReturn

from editbench.cli import ending, streams
from editbench.cli.group import COMMANDS, EditbenchGroup

__all__ = ["COMMANDS", "cli", "main"]

cli = EditbenchGroup(
    name="editbench",
    help="Compare knowledge-editing methods for language models, from 1 to 100,000 edits.\n\n"
    "Begin with: editbench run --suite quickstart",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EDITBENCH"},
)


def main() -> NoReturn:
    """Run the command line; the entry point of the ``editbench`` command."""
    ending.end_as_by_ctrl_c()
    streams.take_over()
    try:
        cli(prog_name="editbench")
        code: int | str | None = 0
    except SystemExit as end:
        code = end.code
    ending.leave(code)

"""Runs the variants of a benchmark in turns, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

Found = dict[str, list[dict[str, Any]]]


def parser_of(doc: str | None, **numbers: int) -> argparse.ArgumentParser:
    """Return a benchmark's command line: its numbers, each with what it is unless given, and the rounds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {**numbers, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser


def carry_out(
    parser: argparse.ArgumentParser,
    file: str,
    variants: Sequence[str],
    run_variant: Callable[[str, argparse.Namespace], dict[str, Any]],
    report: Callable[[Found], None],
) -> None:
    """Run every variant in turns and ``report`` what they found; or, in a process for one of them, that one."""
    parser.add_argument("--variant", choices=variants, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(run_variant(arguments.variant, arguments)))
    else:
        report(in_turns(file, variants, arguments.rounds))


def in_turns(file: str, variants: Sequence[str], rounds: int) -> Found:
    """Return what each variant printed as JSON in its last line, round after round.

    A process of its own keeps a variant's peak memory apart; turns let a machine whose speed drifts slow all alike.
    ``file`` is called with this process's arguments and ``--variant``.
    """
    found: Found = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            command = [sys.executable, file, *sys.argv[1:], "--variant", variant]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[variant].append(json.loads(done.stdout.splitlines()[-1]))
    return found

"""Options that several commands share, and lists written with commas."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])

if TYPE_CHECKING:
    from editbench.plan.runs import RunOptions
    from editbench.plan.suite import Suite

    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic for type checkers only: older click cannot be subscripted

DTYPES = ("float32", "bfloat16", "float16")


class CommaList(_ParamType):
    """Values separated by commas, such as ``1,10,100``.

    Parameters
    ----------
    item: what each value becomes; ``int`` refuses what is no whole number.
    """

    def __init__(self, item: Callable[[str], Any] = str) -> None:
        self.item = item
        self.name = "N,N…" if item is int else "A,B…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        """Split and convert."""
        if isinstance(value, list):
            return value
        try:
            found = [self.item(part.strip()) for part in str(value).split(",") if part.strip()]
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers separated by commas, such as 1,10,100", param, ctx)
        if not found:
            self.fail("nothing is named", param, ctx)
        return found


class Hours(click.FloatRange):
    """A number of hours: click's range lets nan pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number."""
        found = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is no number of hours.", param, ctx) if math.isnan(found) else found


class RegisteredName(_ParamType):
    """A name that the shell can complete: of a suite, or of a method."""

    def __init__(self, noun: str) -> None:
        self.name = noun

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the registered names, and files."""
        from editbench.base.plugins import names
        from editbench.plan.address import METHODS
        from editbench.plan.registry import SUITES

        group = SUITES if self.name == "suite" else METHODS
        found = [CompletionItem(name) for name in names(group) if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


def results_option(command: Command) -> Command:
    """Add ``--results``."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        envvar="EDITBENCH_RESULTS",
        show_envvar=True,
        help="Folder of results.",
    )(command)


def holdout_option(command: Command) -> Command:
    """Add ``--holdout``."""
    return click.option(
        "--holdout",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Leave this share of the subjects out, for settings to be searched on.",
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout, and nothing else.")(command)


def dtype_option(command: Command) -> Command:
    """Add ``--dtype``."""
    return click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        envvar="EDITBENCH_DTYPE",
        help="Numbers the weights are held in.",
    )(command)


def model_options(command: Command) -> Command:
    """Add what says where and how a model is loaded: ``--device``, ``--dtype``, ``--device-map``, …"""
    for option in (
        click.option("--trust-remote-code", is_flag=True, help="Let a hub model run its own code."),
        click.option("--device-map", help="Spread a large model over devices: auto, balanced (accelerate)."),
        dtype_option,
        click.option(
            "--device",
            default="auto",
            show_default=True,
            envvar="EDITBENCH_DEVICE",
            help="cpu, cuda, cuda:1, auto.",
        ),
    ):
        command = option(command)
    return command


def question_options(command: Command) -> Command:
    """Add what says how a model is questioned: ``--token-budget``, ``--capability``, …"""
    for option in (
        click.option(
            "--capability-data",
            type=click.Path(exists=True, file_okay=False),
            envvar="EDITBENCH_CAPABILITY_DATA",
            help="Folder of local copies of lm-eval's datasets.",
        ),
        click.option("--trust-task-code", is_flag=True, help="Let Python code that comes with a capability task run."),
        click.option("--no-capability", is_flag=True, help="Leave the suite's capability tasks out."),
        click.option(
            "--capability",
            type=CommaList(),
            help="Sets, lm-eval tasks or folders of YAML, instead of the suite's.",
        ),
        click.option("--token-budget", type=click.IntRange(min=1), help="Most tokens in one batch when probing."),
    ):
        command = option(command)
    return command


def run_options(given: Mapping[str, Any]) -> RunOptions:
    """Return the options that were given, with the command line as it was typed."""
    from editbench.plan.runs import RunOptions

    names = {field.name for field in fields(RunOptions)} & set(given)
    return RunOptions(**{name: given[name] for name in names}, command=shlex.join(["editbench", *sys.argv[1:]]))


def with_capability(suite: Suite, given: Mapping[str, Any]) -> Suite:
    """Return the suite with the capability tasks that were given, or without any if that was asked for."""
    if given["no_capability"]:
        return suite.with_capability([])
    return _with_tasks(suite, given["capability"], given["trust_task_code"]) if given["capability"] else suite


def _with_tasks(suite: Suite, tasks: Sequence[str], trusted: bool) -> Suite:
    from editbench.errors import UserError
    from editbench.plan.runs import check_capability

    changed = suite.with_capability(tasks)
    try:
        check_capability(changed, trusted)
    except UserError as error:
        raise UserError(f"--capability {','.join(tasks)}: {error.given}", error.expected, error.hint) from error
    return changed


def sorted_targets(targets: Sequence[str], results: Path) -> tuple[list[str], list[Path]]:
    """Tell suites from results folders, ``results`` if none is named; a registered suite's name wins."""
    from editbench.base.plugins import names
    from editbench.plan import registry

    known = set(names(registry.SUITES)) if targets else set()
    folders = [target for target in targets if target not in known and Path(target).is_dir()]
    suites = [target for target in targets if target not in folders]
    return list(dict.fromkeys(suites)), [Path(folder) for folder in dict.fromkeys(folders)] or [results]

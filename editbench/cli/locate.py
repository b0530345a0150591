"""``editbench locate``: which block carries a fact, by causal tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from editbench.cli.options import dtype_option, json_option
from editbench.cli.output import Command, echo_json, echo_rich, say
from editbench.cli.terms import settle_terms

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.locate.tracing import Tracing
    from editbench.models.lm import LM


@click.command("locate", cls=Command)
@click.option("--model", default="smollm2-135m", show_default=True, help="A name, hub id, folder, or GGUF file.")
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option("--dataset", default="facts", show_default=True, help="Where the facts come from: name, file, hub id.")
@click.option("--data-path", metavar="PATH", help="The file to read, for datasets that cannot be shipped.")
@click.option("--requests", type=click.IntRange(min=1), default=200, show_default=True, help="Facts to try.")
@click.option("--draws", type=click.IntRange(min=1), default=4, show_default=True, help="Noise draws per fact.")
@click.option("--noise", type=click.FloatRange(min=0), default=3.0, show_default=True, help="In standard deviations.")
@click.option("--window", type=click.IntRange(min=1), help="Blocks restored together; default: about a fifth of all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of facts, and of the noise.")
@click.option("--device", default="auto", show_default=True, envvar="EDITBENCH_DEVICE", help="cpu, cuda, cuda:1, auto.")
@dtype_option
@click.option("--figure", type=click.Path(path_type=Path), help="Write a figure: .svg, .pdf or .png.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
def command(figure: Path | None, seed: int, quiet: bool, as_json: bool, **given: Any) -> None:
    """Find the block to edit in a model without published settings.

    Causal tracing on facts that the model knows (Meng et al. 2022): the subject is made unreadable, and parts of the
    model are given their clean values back, one block at a time. A starting point for a small search, not its result.
    """
    from editbench.report.tracing import as_dict, check_figure_path, draw

    if figure is not None:
        check_figure_path(figure)
    data = _dataset(given)
    settle_terms([given["model"]])
    with _progress(quiet) as (say, note):
        say("loading the model")
        lm = _load(given, say)
        say("tracing")
        found = _trace(lm, data, seed, given, note)
    if figure is not None:
        draw(found, figure)
    if as_json:
        about = {"source": lm.source, "dataset": data.name, "figure": str(figure) if figure else None}
        echo_json({**as_dict(found), **about})
    else:
        _show(found, figure)


def _dataset(given: dict[str, Any]) -> Dataset:
    """Read the dataset; the model's name is checked first, for reading may take long."""
    from editbench.datasets import DatasetSpec, load_dataset
    from editbench.models.builtin import check_model_name
    from editbench.models.device import check_device

    check_model_name(given["model"])
    check_device(given["device"])
    # what makes a request unfit to be edited does not matter here, so that it is no reason to refuse the others
    return load_dataset(DatasetSpec(name=given["dataset"], path=given["data_path"], on_fault="drop"))


def _load(given: dict[str, Any], say: Callable[[str], None]) -> LM:
    from editbench.models.load import load_lm

    names = ("revision", "dtype", "device")
    return load_lm(given["model"], **{name: given[name] for name in names}, progress=say)


def _trace(lm: LM, data: Dataset, seed: int, given: dict[str, Any], note: Callable[[float], None]) -> Tracing:
    from editbench.datasets import ordered
    from editbench.locate.tracing import TraceOptions, trace

    options = TraceOptions(given["draws"], given["noise"], given["window"], seed)
    return trace(lm, ordered(data, min(given["requests"], len(data.requests)), seed), options, note)


@contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[float], None]]]:
    """Show what is done and the time left on stderr, if that is a terminal; Ctrl-C says that nothing is kept."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from editbench.cli.door import interrupted

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    left = (TextColumn("left:"), TimeRemainingColumn())
    shown = not quiet and console.is_terminal
    with Progress(*columns, *left, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=1.0)
        try:
            yield lambda text: bar.update(task, description=text), lambda share: bar.update(task, completed=share)
        except KeyboardInterrupt as error:
            raise interrupted(error, "nothing was written") from error


def _show(found: Tracing, figure: Path | None) -> None:
    from editbench.report.tracing import advice, as_rich

    echo_rich(as_rich(found))
    say(f"Advice: {advice(found)}")
    say(f"Figure: {figure}" if figure else "Figure: none; --figure locate.svg writes one.")

"""``editbench results``: what may be published, publishing it, and the README made from it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from editbench.cli.options import CommaList, RegisteredName, dtype_option, json_option, results_option
from editbench.cli.output import Group, echo_json, say
from editbench.errors import UserError

_PUBLISHED = Path("results/published")
_README = Path("README.md")


@click.group("results", cls=Group)
def command() -> None:
    """Publish finished runs, and make the README's leaderboard from what is published."""


@command.command("list")
@click.argument("suite", required=False, type=RegisteredName("suite"))
@results_option
@json_option
def list_runs(suite: str | None, results: Path, as_json: bool) -> None:
    """List the runs in a results folder, of one SUITE or all, and whether they can be published."""
    from editbench.analysis.stored import suite_name
    from editbench.publish.publishable import named, problems
    from editbench.results.store import Store

    found, wanted = [], suite_name(suite) if suite else None
    for line in Store(results).damaged(wanted):
        say(line, err=True)
    for run in Store(results).scan(wanted):
        name = run.manifest["suite"]
        wrong = [problem.what for problem in problems(run, name, results)]
        scales = [cell.scale for cell in run.cells]
        found.append({"suite": name, "run": named(run), "scales": scales, "problems": wrong, "folder": str(run.folder)})
    if as_json:
        echo_json({"runs": found})
        return
    if not found:
        raise UserError(f"There are no results in {results}.", hint=f"editbench run --suite {suite or 'quickstart'}")
    for row in found:
        said = f"no: {'; '.join(row['problems'])}" if row["problems"] else "can be published"
        say(f"{row['suite']}: {row['run']}, at {', '.join(f'{s:,}' for s in row['scales']) or 'no scale'}: {said}")


@command.command("publish")
@click.argument("suite", type=RegisteredName("suite"))
@results_option
@click.option("--to", type=click.Path(path_type=Path), default=_PUBLISHED, show_default=True, help="Where they go.")
@click.option("--methods", type=CommaList(), help="Only these labels.")
@dtype_option
@json_option
def publish(suite: str, results: Path, to: Path, methods: list[str] | None, dtype: Any, as_json: bool) -> None:
    """Publish the runs that the leaderboard of SUITE shows.

    Only finished runs of committed sources on pinned models are taken; a newer run takes the place of an older one of
    the same model, label and seed. The same command again changes nothing.
    """
    from editbench.publish.published import publish as publish_suite

    done = publish_suite(suite, results, to, methods, dtype)
    shown = {
        "added": done.added,
        "replaced": done.replaced,
        "completed": done.completed,
        "unchanged": done.unchanged,
        "kept": done.kept,
    }
    if as_json:
        echo_json({"suite": done.suite, "folder": str(done.folder), **shown, "notes": done.notes})
        return
    words = {"kept": "not published, older than what is there", "replaced": "replaced an older run"}
    for what, runs in shown.items():
        for run in runs:
            say(f"{words.get(what, what)}: {run}")
    for note in done.notes:
        say(note)
    say(f"See it: {shlex.join(['editbench', 'leaderboard', done.suite, '--results', str(to)])}")
    say(f"Then:   {_readme_command(to)}")


@command.command("readme")
@click.option("--from", "published", type=click.Path(path_type=Path), default=_PUBLISHED, show_default=True)
@click.option("--readme", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=_README)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the README is not up to date.")
def readme(published: Path, readme: Path, check: bool) -> None:
    """Make the README's part about published results anew, and the figures it shows."""
    from editbench.base.files import replace_file
    from editbench.publish.published import draw, published_boards
    from editbench.report.readme import figures, filled

    text = _text(readme)
    boards = published_boards(published)
    files = figures(boards)
    folder = published / "figures"
    seen = Path(os.path.relpath(folder, readme.parent)).as_posix()
    drawn = {suite: [f"{seen}/{name}" for name in found if name.endswith(".svg")] for suite, found in files.items()}
    wanted = filled(text, boards, drawn)
    drawings = {folder / name: data for found in files.values() for name, data in found.items()}
    same = _is_drawn if check else _is_written
    stale = {path: data for path, data in drawings.items() if not same(path, data)}
    if wanted == text and not stale:
        say(f"{readme} is up to date.")
    elif check:
        say(f"{readme} is not up to date. Type: {_readme_command(published, readme)}", err=True)
        raise click.exceptions.Exit(1)
    else:
        if stale:
            draw(published, {path.name: data for path, data in stale.items()})
        replace_file(readme, wanted.encode(), instead="choose another file, with --readme FILE")
        say(f"{readme} shows what is in {published}.")


def _text(readme: Path) -> str:
    """Return the README as it is, the ends of its lines too. Raises :class:`UserError` for what is no text file."""
    from editbench.base.files import end_of, explained
    from editbench.base.outputs import with_option

    with with_option("--readme FILE"), explained(readme):
        data = end_of(readme).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{readme} is not UTF-8: {error}.", hint="Name another: --readme FILE") from error


def _readme_command(published: Path, readme: Path = _README) -> str:
    """Return what to type to make the README anew, with the options that are not as they come."""
    options = [("--from", published, _PUBLISHED), ("--readme", readme, _README)]
    given = [text for option, value, default in options if value != default for text in (option, str(value))]
    return shlex.join(["editbench", "results", "readme", *given])


def _is_drawn(path: Path, data: bytes) -> bool:
    """Whether a figure's file is there, and, of its numbers, the same: a drawing's bytes vary with the fonts."""
    return path.is_file() and (path.suffix != ".csv" or path.read_bytes() == data)


def _is_written(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data

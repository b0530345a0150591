"""``editbench check``: try every law of the contract on a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from editbench.base.plain import shortened
from editbench.cli.options import RegisteredName, json_option, model_options
from editbench.cli.output import Command, echo_json, say
from editbench.cli.terms import settle_terms

if TYPE_CHECKING:
    from editbench.testing.check import LawResult

_MARKS = {"holds": ("ok    ", "green"), "broken": ("BROKEN", "red"), "not applicable": ("n/a   ", "yellow")}


@click.command("check", cls=Command)
@click.option("--method", required=True, type=RegisteredName("method"), help="A registered name, or ./file.py:Class.")
@click.option("--model", help="A real model instead of the tiny ones: a name, hub id, folder, or GGUF file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A hyper-parameter.")
@model_options
@json_option
def command(method: str, model: str | None, overrides: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Check that a method obeys the contract, on tiny models made in memory or on a real one.

    Tiny models take the method's hyper-parameters for them, a real one those that a run would take. Exit code 1 if a
    law is broken, or if none could be tried.
    """
    from editbench.testing.check import check_method
    from editbench.testing.trial import TrialModel

    real = None if model is None else TrialModel(model, tiny=False, options=given)
    settle_terms([] if model is None else [model])
    found = check_method(method, _parsed(overrides), model=real)
    broken = [law for law in found if not law.passed]
    if as_json:
        laws = [{**asdict(law), "passed": law.passed} for law in found]
        echo_json({"method": method, "passed": not broken, "laws": laws})
    else:
        _show(found)
    if broken or not any(law.status == "holds" for law in found):
        raise click.exceptions.Exit(1)


def _show(found: Sequence[LawResult]) -> None:
    """Print one line a law; laws that one cause breaks, or that do not apply for one reason, share a line."""
    told: set[tuple[str, str]] = set()
    for law in found:
        share = (law.kind, law.same_as or (law.detail if law.status == "not applicable" else ""))
        if not share[1]:
            _line(law, law.law + (f": {law.detail}" if law.detail else ""))
        elif share not in told:
            same = [one for one in found if (one.kind, one.status, one.detail) == (law.kind, law.status, law.detail)]
            what = law.law if len(same) == 1 else f"{len(same)} laws"
            _line(law, f"{what}: {law.detail}")
        told.add(share)
    numbers = [sum(law.status == status for law in found) for status in _MARKS]
    say(f"{numbers[0]} of {numbers[0] + numbers[1]} laws hold; {numbers[2]} do not apply.")


def _line(law: LawResult, said: str) -> None:
    mark, colour = _MARKS[law.status]
    say(f" {law.kind:<6} {shortened(said)}", mark=click.style(mark, fg=colour))


def _parsed(overrides: tuple[str, ...]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in overrides]
    for key, sign, _ in pairs:
        if not sign or not key:
            raise click.BadParameter(f"{key!r}: expected KEY=VALUE, such as layer=1", param_hint="--set")
    return {key: _value(key, value) for key, _, value in pairs}


def _value(key: str, text: str) -> Any:
    from editbench.base.parsing import Unparsable, parse_yaml

    try:
        return parse_yaml(text)[1]
    except Unparsable as error:
        raise click.BadParameter(f"{key}={text[:40]}: {error.reason}", param_hint="--set") from error

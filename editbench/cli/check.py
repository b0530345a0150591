"""``editbench check``: try every law of the contract on a method."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from editbench.base.plain import shortened
from editbench.cli.options import RegisteredName, json_option
from editbench.cli.output import Command, echo_json, say


@click.command("check", cls=Command)
@click.option("--method", required=True, type=RegisteredName("method"), help="A registered name, or ./file.py:Class.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A hyper-parameter, for tiny models.")
@json_option
def command(method: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check that a method obeys the contract, on tiny models made in memory.

    Exit code 1 if a law is broken.
    """
    from editbench.testing.laws import check_method

    chosen = _parsed(overrides)
    _refuse_wrong(method, chosen)
    found = check_method(method, chosen)
    broken = [law for law in found if not law.passed]
    if as_json:
        echo_json({"method": method, "passed": not broken, "laws": [asdict(law) for law in found]})
    else:
        for law in found:
            _show(law)
        say(f"{len(found) - len(broken)} of {len(found)} laws hold.")
    if broken:
        raise click.exceptions.Exit(1)


def _refuse_wrong(method: str, chosen: dict[str, Any]) -> None:
    """Raise :class:`UserError` for a hyper-parameter that is none or has a wrong value, before any law is tried."""
    from editbench.plan.registry import load_method
    from editbench.plan.settings import settings_for
    from editbench.testing.laws import LAW_KINDS
    from editbench.testing.tiny import tiny_lm

    found = load_method(method)
    for kind in LAW_KINDS if chosen else ():
        settings_for(found, tiny_lm(kind).shape, {**found.tiny, **chosen})


def _show(law: Any) -> None:
    mark = click.style("ok    ", fg="green") if law.passed else click.style("BROKEN", fg="red")
    say(f" {law.kind:<6} {law.law}" + (f": {shortened(law.detail)}" if law.detail else ""), mark=mark)


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

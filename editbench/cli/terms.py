"""Terms of a model, asked about once at a terminal, before a command begins."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from editbench.cli.output import say
from editbench.errors import UserError


def settle_terms(models: Iterable[str]) -> None:
    """Name the terms of every model that has some nobody accepted here yet, and ask; what is accepted is remembered.

    Raises :class:`UserError` if they are not accepted, or if there is no terminal to ask at.
    """
    from editbench.models.builtin_models import DEFAULT
    from editbench.models.terms import accept, check_terms, waiting_for

    names = list(models)
    if not _at_terminal():
        check_terms(names)
    for model in waiting_for(names):
        assert model.terms is not None
        say(f"{model.name} ({model.title}) comes under the {model.terms.name}: {model.terms.url}", err=True)
        if not click.confirm("Have you read them, and do you accept them?", err=True):
            raise UserError(
                f"The {model.terms.name} were not accepted; nothing was fetched.",
                hint=f"A model without terms: --models {DEFAULT}",
            )
        accept(model, "typed at a terminal")


def _at_terminal() -> bool:
    """Whether a question would be seen, and could be answered."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

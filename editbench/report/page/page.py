"""A page as one HTML text: template, styles, script and data in one, with a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from editbench.report.page.content import Content, content
from editbench.report.page.escape import for_script
from editbench.report.page.samples import as_many_as_fit

if TYPE_CHECKING:
    from editbench.analysis.stored import Stored

LIMIT = 4_800_000  # bytes of the whole page, as far as records decide it
_SCRIPTS = ("dom.js", "leaderboard.js", "chart.js", "figures.js", "requests.js", "page.js")


def render(suites: Sequence[Stored], limit: int = LIMIT) -> str:
    """Return the page of some suites; the same results make the same text.

    Parameters
    ----------
    suites: what is stored of each.
    limit: bytes; requests are shown as far as they fit.

    Raises :class:`UserError` where a suite's runs must not be mixed.
    """
    contents = [content(stored) for stored in suites]
    fixed = len(_page([{**part.values, "texts": [], "probes": [], "cells": []} for part in contents]).encode())
    share = max(limit - fixed, 0) // max(len(contents), 1)
    return _page([_with_records(part, share) for part in contents])


def _with_records(part: Content, budget: int) -> dict[str, Any]:
    return {**part.values, **as_many_as_fit(part.cells, budget)}


def _page(suites: Sequence[dict[str, Any]]) -> str:
    style, script = _source("page.css"), "".join(map(_source, _SCRIPTS))
    data = {"editbench": version("editbench"), "suites": list(suites)}
    return Template(_source("page.html")).substitute(
        script_hash=_hash(script), style_hash=_hash(style), style=style, script=script, data=for_script(data)
    )


def _source(name: str) -> str:
    return (files(__package__ or "") / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

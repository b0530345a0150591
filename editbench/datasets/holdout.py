"""Which requests of a dataset settings are searched on: told by their subject alone, not by their place in a file."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import sha256

from editbench.errors import BadData
from editbench.requests import Request

_SALT = "editbench holdout 1"
"""Part of what every split is made of: with another, settings that were searched are tried on requests they saw."""
_SCALE = 2**64


def place(request: Request) -> float:
    """Return where a request's subject falls in [0, 1], the same in every file: below ``share``, it is held out.

    Spellings that differ in case, in how a mark is encoded or in white space are one subject. Where a request has none,
    its prompt stands for it.
    """
    name = " ".join((request.subject if request.subject.strip() else request.prompt).split())
    name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return int.from_bytes(sha256(f"{_SALT}\x1f{name}".encode()).digest()[:8], "big") / _SCALE


def held_out(request: Request, share: float) -> bool:
    """Return whether settings are searched on this request, ``share`` (above 0, below 1) of the subjects being so.

    What is held out at one share is held out at every larger one.
    """
    return place(request) < share


def split(requests: Sequence[Request], share: float) -> tuple[list[Request], list[Request]]:
    """Return the requests that runs edit, and those that settings are searched on, each in the order given."""
    rest: list[Request] = []
    search: list[Request] = []
    for request in requests:
        (search if held_out(request, share) else rest).append(request)
    return rest, search


def share_for(requests: Sequence[Request], wanted: int) -> float | None:
    """Return a short share that holds ``wanted`` requests out and leaves some; None where there is none."""
    places = sorted(map(place, requests))
    if not 0 < wanted < len(places):
        return None
    least, most = places[wanted - 1], places[-1]
    return next((share for digits in (2, 3, 4) if least < (share := _above(least, digits)) <= most), None)


def _above(least: float, digits: int) -> float:
    """Return the next number above ``least`` with so many digits after the point."""
    steps = 10.0**digits
    return round((int(least * steps) + 1) / steps, digits)


def refuse_too_small(requests: Sequence[Request], share: float, wanted: int, source: str) -> None:
    """Raise :class:`BadData` if fewer than ``wanted`` (1 or more) of a whole dataset's requests are held out, or all.

    The message says how many there are and what to type.
    """
    there = sum(held_out(request, share) for request in requests)
    if wanted <= there < len(requests):
        return
    enough = share_for(requests, wanted)
    left = ", and some that are left to edit" if there == len(requests) else ""
    hint = "No holdout does that: take a dataset of more subjects."
    raise BadData(
        f"{source}: a holdout of {share:g} holds {there:,} of {len(requests):,} requests out, to search settings on.",
        f"Expected {wanted:,} or more{left}.",
        hint if enough is None else f"Type --holdout {enough:g} (in a suite, holdout: {enough:g})",
    )


def split_note(whole: int, here: int, side: str) -> str:
    """Say how many of a ``whole`` dataset's requests are held out, ``here`` being those of one side."""
    out = here if side == "search" else whole - here
    return f"{out:,} of {whole:,} requests {'is' if out == 1 else 'are'} held out for searching settings."

"""Text from elsewhere made fit to be shown: no control characters, no endless lines.

Names, reasons and answers come from data, methods and models. Printed as they are, they could move a terminal's cursor,
set its title or turn its text around.
"""

from __future__ import annotations

import re

LONGEST = 300
"""Characters of a reason that tables and lines show; all of it is in ``cell.json``."""

# C0 without tab and newline, DEL and C1, marks that change the direction of writing
_OBEYED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_HALVES = "\ud800-\udfff"  # of a pair: what is left of bytes that are no text
_NEVER = re.compile(f"[{_OBEYED}]")
_HALF = re.compile(f"[{_HALVES}]")
_ESCAPED = re.compile(f"[{_OBEYED}{_HALVES}]")


def clean(text: str) -> str:
    """Return a text without what a terminal would obey; tabs and line ends stay."""
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", _NEVER.sub("", text))


def clean_json(text: str) -> str:
    r"""Return JSON that says the same, with what a terminal would obey as ``\\uXXXX``."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Return a text with every run of white space, line ends included, as one space; no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most about ``longest`` characters; one that was longer says how long it was."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"

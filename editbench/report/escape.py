"""Names and sentences from data made harmless in the language they are written into."""

from __future__ import annotations

import html
import re
from itertools import pairwise

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "χ": r"$\chi$",
    "²": "$^2$",
    "–": "--",
    "—": "---",
    "−": r"$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "‖": r"$\|$",
    "Δ": r"$\Delta$",
    "★": r"$\star$",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
}
# A bracket before a number or not before another bracket makes no link: intervals stay readable in the source.
_MARKDOWN = re.compile(r"([\\`*_|#~$]|\[(?![-+\d])|\](?=[(\[:]))")


def one_line(text: str) -> str:
    """Return a text with every run of white space, line ends included, as one space; no control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def latex(text: str) -> str:
    """Return a text as LaTeX that prints it; two hyphens stay two hyphens."""
    plain = one_line(text)
    pieces = ("{}-" if pair == "--" else _LATEX.get(pair[1], pair[1]) for pair in map("".join, pairwise(f" {plain}")))
    return "".join(pieces)


def markdown(text: str) -> str:
    """Return a text as Markdown that shows it, in a table too; HTML in it is shown, not obeyed."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))

"""Names and sentences from data made harmless in the language they are written into."""

from __future__ import annotations

import html
import re
import unicodedata
from itertools import pairwise
from typing import Any

from editbench.base.plain import one_line

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
    "“": "``",
    "”": "''",
    "·": r"$\cdot$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
# combining marks -> the commands that every font of LaTeX has
_MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327\u0304\u0306\u0307\u030b\u0323"
_ACCENTS = dict(zip(_MARKS, "`'^~\"rvc=u.Hd", strict=True))
_GREEK = re.compile(
    "GREEK (SMALL|CAPITAL) LETTER ((?<=SMALL LETTER )(?:ALPHA|BETA|EPSILON|ZETA|ETA|IOTA|KAPPA|MU|NU|RHO|TAU|CHI)"
    "|GAMMA|DELTA|THETA|LAMDA|XI|PI|SIGMA|UPSILON|PHI|PSI|OMEGA)"
)
# A bracket before a number or not before another bracket makes no link: intervals stay readable in the source.
_MARKDOWN = re.compile(r"([\\`*_|#~$]|\[(?![-+\d])|\](?=[(\[:]))")


def latex(text: str) -> str:
    """Return a text as LaTeX that prints it, whatever the engine; two hyphens stay two hyphens.

    A sign that pdflatex's own fonts lack, such as an emoji, is printed as its number: ``<U+1F600>``.
    """
    plain = unicodedata.normalize("NFC", one_line(text))
    pairs = map("".join, pairwise(f" {plain}"))
    pieces = ["{}-" if pair == "--" else _LATEX.get(pair[1]) or _latex(pair[1]) for pair in pairs]
    if plain[:1] in ("[", "*"):  # after the end of a table's row these would be its options
        pieces[0] = f"{{{pieces[0]}}}"
    return "".join(pieces)


def _latex(char: str) -> str:
    """Return LaTeX for a sign that has no entry of its own: accents on plain letters, Greek, else its number."""
    if char.isascii():
        return char
    letter, *marks = list(unicodedata.normalize("NFKD", char))
    if letter.isascii() and letter.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{letter}}}"
    greek = _GREEK.fullmatch(unicodedata.name(char, ""))
    if greek:
        name = greek[2].lower().replace("lamda", "lambda")
        return f"$\\{name.capitalize() if greek[1] == 'CAPITAL' else name}$"
    plain = unicodedata.normalize("NFKC", char)
    if plain.isascii():  # another width, or several letters in one
        return "".join(_LATEX.get(one, one) for one in plain)
    return f"\\textless{{}}U+{ord(char):04X}\\textgreater{{}}"


def csv_cell(value: Any) -> Any:
    """Return a value for a cell that no spreadsheet takes for a formula: a quote before a text; numbers stay."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def markdown(text: str) -> str:
    """Return a text as Markdown that shows it, in a table too; HTML in it is shown, not obeyed."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))

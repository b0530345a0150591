"""Leaderboards as LaTeX tables for a paper: booktabs, best and not separably worse in bold, a caption in words.

A table is printed at 8 pt, its intervals at 7 pt, in the text block of 5.5 in that conferences with one column have (in
two columns ``table*`` spans both). What is wider, or higher than a page, becomes several tables: print that has to be
shrunk cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from editbench.analysis.leaderboard import Leaderboard, Row
from editbench.analysis.notes import listed
from editbench.base.plain import one_line
from editbench.report import captions
from editbench.report.escape import latex
from editbench.report.tables import cells, first_metric, headers, marked, split_columns
from editbench.results.store import Status

WIDTH = 397.0  # points: 5.5 in
_HEIGHT = 440.0  # points of the rows in one table: with its caption that is most of a page
_SIZE, _SMALL = 8.0, 7.0  # points: \footnotesize and \scriptsize
_GAP = 6.0  # points between columns
_NAME = 110.0  # points of the widest name; longer ones are folded
_LONGEST = 24  # characters of a word; longer ones, paths above all, may be broken
# For a text block narrower than 5.5 in: shrinks a table that is wider than the line, and enlarges none.
_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
_WITH_INTERVAL = re.compile(r"(\S+) \[(.*?)\](.*)")
# Parts of an em, of Computer Modern; Times is narrower.
_EMS = {**dict.fromkeys("iljtfI.,:;'|!()[] ", 0.33), **dict.fromkeys("mwMW%×", 0.83)}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a table: its text, what stands in small print under it, and whether it is bold."""

    text: str
    under: str = ""
    bold: bool = False

    @property
    def width(self) -> float:
        """Points that it takes."""
        return max(points(self.text) * (1.15 if self.bold else 1.0), points(self.under, _SMALL))


def points(text: str, size: float = _SIZE) -> float:
    """Return about how wide a text is printed, rather too wide than too narrow."""
    return size * sum(_EMS.get(letter, 0.75 if letter.isupper() else 0.57) for letter in text)


def as_latex(board: Leaderboard) -> str:
    """Return ``table*`` environments for a paper, as many as it takes; text from data is escaped."""
    heads = headers(board)
    texts = [cells(board, row) for row in board.rows]
    kept = [k for k, head in enumerate(heads) if not _needless(head, [text[k] for text in texts])]
    fields = [[_fields(board, row)[k] for k in kept] for row in board.rows]
    heads, names = [heads[k] for k in kept], first_metric(board)
    marks = _marks(board.rows)
    wide = [_GAP + max(Field(head).width, *(row[k].width for row in fields)) for k, head in enumerate(heads)]
    wide[:names] = [min(width, _NAME + _GAP) for width in wide[:names]]
    parts = [(rows, columns) for rows in _blocks(board.rows) for columns in split_columns(wide, names, WIDTH)]
    tables = []
    for number, (rows, columns) in enumerate(parts):
        body = [" & ".join(latex(heads[k]) for k in columns) + " \\\\"]
        body += _body([(board.rows[row], [fields[row][k] for k in columns]) for row in rows], names, marks)
        sides = "".join("r" if heads[k] in ("Scale", "Scales", "n") else "l" if k < names else "c" for k in columns)
        said = _caption(board, [heads[k] for k in columns[names:]], number, len(parts))
        label = board.about.suite + (f"-{number + 1}" if number else "")
        notes = list(dict.fromkeys(_note(board.rows[row], marks) for row in rows))
        tables.append(environment(said, sides, body, label, list(filter(None, notes))))
    return "\n".join(tables)


def environment(caption: str, columns: str, lines: Sequence[str], label: str, notes: Sequence[str] = ()) -> str:
    """Return a ``table*`` environment, no wider than the line, that needs booktabs and graphicx.

    Parameters
    ----------
    caption, columns, lines, notes: LaTeX; the first line is the head, notes stand under the table.
    label: any text.
    """
    whole = [
        "% needs \\usepackage{booktabs,graphicx}; table* spans two columns, and is a table where there is one",
        "\\begin{table*}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{_key(label)}}}",
        "\\smallskip",
        "\\footnotesize",
        f"\\setlength{{\\tabcolsep}}{{{_GAP / 2:g}pt}}",
        _FIT,
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        lines[0],
        "\\midrule",
        *lines[1:],
        "\\bottomrule",
        "\\end{tabular}}",
        *(f"\\par\\smallskip\n{{\\scriptsize\\raggedright {note}\\par}}" for note in notes),
        "\\end{table*}",
    ]
    return "\n".join(whole) + "\n"


def folded(text: str, mark: str = "") -> str:
    """Return a name as LaTeX, on several lines where it is long, with the mark of a note behind it."""
    said = breakable(text) + mark
    return said if points(text) <= _NAME else f"\\parbox[t]{{{_NAME:g}pt}}{{\\raggedright {said}\\strut}}"


def breakable(text: str) -> str:
    """Return a text as LaTeX in which a line may end within words that are too long for one."""
    return " ".join(latex(word) if len(word) <= _LONGEST else _broken(word) for word in one_line(text).split())


def _broken(word: str) -> str:
    return "\\allowbreak{}".join(map(latex, re.findall(r"[^\W_]{1,12}|[\W_]", word)))


def _key(label: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", label)


def _needless(head: str, texts: Sequence[str]) -> bool:
    """Whether a column has no news for print: seeds that all share are in the caption, how a row ended in the notes."""
    return head == "Status" or (len(set(texts)) == 1 and (head == "Seeds" or texts[0] == "–"))


def _blocks(rows: Sequence[Row]) -> list[list[int]]:
    """Return the rows of each table, by number: whole scales, as many as go on a page."""
    found: list[list[int]] = []
    for _, same in groupby(range(len(rows)), lambda k: _place(rows[k])):
        scale = list(same)
        if found and _height([rows[k] for k in (*found[-1], *scale)]) <= _HEIGHT:
            found[-1] += scale
        else:
            found.append(scale)
    return found


def _height(rows: Sequence[Row]) -> float:
    """Return about how many points high some rows are with their notes."""
    names = sum(2 + max(2, ceil(points(row.method) / _NAME)) * 1.15 * _SIZE for row in rows)
    notes = {_ended(row) for row in rows}
    return names + sum(ceil(points(note, _SMALL) / WIDTH) * 1.2 * _SMALL + 3 for note in notes if note)


def _place(row: Row) -> tuple[str, int]:
    return row.model, row.scale


def _ended(row: Row) -> str:
    """Return how a row ended, and why; "" where there is nothing to say."""
    return f"{row.status}: {row.reason}" if row.reason else "" if row.status is Status.DONE else str(row.status)


def _marks(rows: Sequence[Row]) -> dict[str, str]:
    """Return a letter for each way in which rows ended."""
    ways = dict.fromkeys(said for row in rows if (said := _ended(row)))
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {said: letters[k % 26] * (1 + k // 26) for k, said in enumerate(ways)}


def _note(row: Row, marks: dict[str, str]) -> str:
    said = _ended(row)
    return f"$^{{\\mathrm{{{marks[said]}}}}}$ {breakable(captions.sentence(said))}" if said else ""


def _fields(board: Leaderboard, row: Row) -> list[Field]:
    start = first_metric(board)
    bold = {start + k for k, top in enumerate(marked(board, row)) if top}
    texts = cells(board, row)
    return [Field(text) if k < start else _field(text, k in bold) for k, text in enumerate(texts)]


def _field(text: str, bold: bool) -> Field:
    """Return a field with what is in brackets, an interval or the places a rank may have, under it."""
    found = _WITH_INTERVAL.fullmatch(text)
    return Field(f"{found[1]}{found[3]}", found[2], bold) if found else Field(text, "", bold)


def _body(rows: Sequence[tuple[Row, list[Field]]], names: int, marks: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a table: two per row, where it has intervals, and a rule between scales."""
    previous: Row | None = None
    for row, fields in rows:
        if previous is not None:
            yield "\\midrule" if _place(row) != _place(previous) else "\\addlinespace[2pt]"
        previous = row
        mark = f"$^{{\\mathrm{{{marks[_ended(row)]}}}}}$" if _ended(row) else ""
        texts = [*(folded(f.text) for f in fields[: names - 1]), folded(fields[names - 1].text, mark)]
        values = [f"\\textbf{{{latex(f.text)}}}" if f.bold else latex(f.text) for f in fields[names:]]
        yield " & ".join([*texts, *values]) + " \\\\"
        under = [f"{{\\scriptsize {latex(field.under)}}}" if field.under else "" for field in fields]
        if any(under):
            yield " & ".join(under).strip() + " \\\\"


def _caption(board: Leaderboard, heads: Sequence[str], number: int, tables: int) -> str:
    first = f"Table~\\ref{{tab:{_key(board.about.suite)}}}"
    if number:
        shown = latex(listed(re.sub(" [↑↓]$", "", head) for head in heads))
        return (
            f"{latex(board.about.suite)}, continued ({number + 1} of {tables}): {shown}. {first} says how it was made."
        )
    more = f" This is the first of {captions.counted(tables, 'table')}." if tables > 1 else ""
    under = "Under a value stands its interval, under a rank the places it may have."
    return " ".join(map(latex, [*captions.caption(board), under])) + more

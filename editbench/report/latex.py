"""The leaderboard as a LaTeX table for a paper: booktabs, best and not separably worse in bold, a caption in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from editbench.analysis.leaderboard import Leaderboard, Row
from editbench.report.escape import latex
from editbench.report.tables import cells, first_metric, headers, heading, marked, statement

# Shrinks a table that is wider than the line, and enlarges none.
_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
# Left out of a table for print where every row says it: nothing, or that it is done. The caption has the seeds.
_NO_NEWS = ("–", "done")


def as_latex(board: Leaderboard) -> str:
    """Return a ``table`` environment for a paper; text from data is escaped."""
    heads = headers(board)
    texts = [cells(board, row) for row in board.rows]
    kept = [k for k, head in enumerate(heads) if not _needless(head, [text[k] for text in texts])]
    columns = "".join("r" if heads[k] in ("Scale", "n") else "l" for k in kept)
    lines = [" & ".join(latex(heads[k]) for k in kept) + " \\\\", *_body(board, kept)]
    return environment(_caption(board), columns, lines, board.about.suite)


def environment(caption: str, columns: str, lines: Sequence[str], label: str) -> str:
    """Return a ``table`` environment, no wider than the line, that needs booktabs and graphicx.

    Parameters
    ----------
    caption, columns, lines: LaTeX; the first line is the head.
    label: any text.
    """
    whole = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', label)}}}",
        _FIT,
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        *lines,
        "\\bottomrule",
        "\\end{tabular}}",
        "\\end{table}",
    ]
    return "\n".join(whole) + "\n"


def _needless(head: str, texts: Sequence[str]) -> bool:
    return len(set(texts)) == 1 and (head == "Seeds" or texts[0] in _NO_NEWS)


def _caption(board: Leaderboard) -> str:
    rows = [row for row in board.rows if row.n]
    counts = sorted({row.n for row in rows})
    seeds = sorted({seed for row in rows for seed in row.seeds})
    n = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}" if counts else "no"
    said = f"n: {n} requests per row, over all its seeds; {len(seeds)} seed(s): {', '.join(map(str, seeds)) or 'none'}."
    end = "." if not heading(board).endswith(".") else ""
    return " ".join(latex(_sentence(text)) for text in [heading(board) + end, *statement(board), said])


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _body(board: Leaderboard, kept: Sequence[int]) -> list[str]:
    lines: list[str] = []
    previous: tuple[str, int] | None = None
    for row in board.rows:
        place = (row.model, row.scale)
        lines += ["\\midrule"] if place != previous else []
        previous = place
        texts = _texts(board, row)
        lines.append(" & ".join(texts[k] for k in kept) + " \\\\")
    return lines


def _texts(board: Leaderboard, row: Row) -> Sequence[str]:
    start = first_metric(board)
    bold = {start + k for k, top in enumerate(marked(board, row)) if top}
    return [_text(text, k in bold) for k, text in enumerate(cells(board, row))]


def _text(text: str, bold: bool) -> str:
    """Return a cell's LaTeX; an interval after its value is small, and not bold."""
    value, _, interval = text.partition(" [")
    if not interval.endswith("]"):
        value, interval = text, ""
    said = f"\\textbf{{{latex(value)}}}" if bold else latex(value)
    return f"{said} {{\\scriptsize [{latex(interval)}}}" if interval else said

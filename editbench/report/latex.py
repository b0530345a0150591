"""The leaderboard as a LaTeX table for a paper: booktabs, best and not separably worse in bold, a caption in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from editbench.analysis.leaderboard import Leaderboard, Row
from editbench.report.escape import latex
from editbench.report.tables import cells, first_metric, headers, heading, marked, statement


def as_latex(board: Leaderboard) -> str:
    r"""Return a ``table`` environment; it needs ``\usepackage{booktabs}``. Text from data is escaped."""
    heads = headers(board)
    right = {"Scale", "n"}
    columns = "".join("r" if head in right else "l" for head in heads)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_caption(board)}}}",
        f"\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', board.about.suite)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(latex(head) for head in heads) + " \\\\",
        *_body(board),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


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


def _body(board: Leaderboard) -> list[str]:
    lines: list[str] = []
    previous: tuple[str, int] | None = None
    for row in board.rows:
        place = (row.model, row.scale)
        lines += ["\\midrule"] if place != previous else []
        previous = place
        lines.append(" & ".join(_texts(board, row)) + " \\\\")
    return lines


def _texts(board: Leaderboard, row: Row) -> Sequence[str]:
    start = first_metric(board)
    bold = {start + k for k, top in enumerate(marked(board, row)) if top}
    return [f"\\textbf{{{latex(text)}}}" if k in bold else latex(text) for k, text in enumerate(cells(board, row))]

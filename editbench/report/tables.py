"""The leaderboard as a terminal table, Markdown, CSV, or a frame. Every form states its protocol, n and seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.analysis.aggregate import Value
from editbench.analysis.leaderboard import Leaderboard, Row
from editbench.analysis.multiple import Standing
from editbench.metrics import METRICS, CellMetric
from editbench.report import escape
from editbench.results.store import Status

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

_ARROW = {"higher": "↑", "lower": "↓"}
FRONT = "★"
_STATUS_WIDTH = 30  # a reason is longer, and folded


def amount(value: float, unit: str) -> str:
    """Return a number with three figures that matter: ``0.95``, ``12.3 s``, ``1.2 GB``."""
    if unit == "B":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.1f} {name}"
        return f"{value:.0f} B"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 0.1 else f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def cell_text(name: str, value: Value | None) -> str:
    """Return a value with its interval, ``0.950 [0.888–0.978]``, or ``–`` where the metric does not apply."""
    if value is None:
        return "–"
    metric = METRICS[name]
    unit = metric.unit if isinstance(metric, CellMetric) else ""
    text = amount(value.value, unit)
    if value.low is None or value.high is None:
        return text
    return f"{text} [{value.low:.3f}–{value.high:.3f}]"


def rank_text(standing: Standing | None) -> str:
    """Return a rank with the places it may have and its groups: ``2 [2–3] bc``; ``–`` without one."""
    if standing is None:
        return "–"
    places = "" if standing.low == standing.high else f" [{standing.low}–{standing.high}]"
    return f"{standing.rank}{places} {standing.letters}"


def is_ranked(board: Leaderboard) -> bool:
    """Whether methods were compared by the main metric."""
    main = board.about.metrics[0]
    places = [(row.model, row.scale) for row in board.rows if main in row.standings]
    return len(set(places)) < len(places)


def marked(board: Leaderboard, row: Row) -> list[bool]:
    """Return for each metric whether the row is the best of its scale, or not separably worse."""
    rivals = [other for other in board.rows if (other.model, other.scale) == (row.model, row.scale)]
    found = []
    for name in board.about.metrics:
        compared = sum(name in other.standings for other in rivals) > 1
        found.append(compared and name in row.standings and row.standings[name].top)
    return found


def headers(board: Leaderboard) -> list[str]:
    """Return the column heads."""
    model = ["Model"] if _several_models(board) else []
    metrics = [f"{METRICS[name].title} {_ARROW[METRICS[name].direction]}" for name in board.about.metrics]
    rank = ["Rank"] if is_ranked(board) else []
    front = ["Front"] if board.front else []
    return ["Scales" if board.over else "Scale", *model, "Method", *metrics, *rank, *front, "n", "Seeds", "Status"]


def scale_text(board: Leaderboard, row: Row) -> str:
    """Return a row's scale, or the scales that it is over."""
    return board.span if board.over else f"{row.scale:,}"


def cells(board: Leaderboard, row: Row) -> list[str]:
    """Return a row's texts, in the order of :func:`headers`."""
    model = [row.model] if _several_models(board) else []
    metrics = [cell_text(name, row.values.get(name)) for name in board.about.metrics]
    rank = [rank_text(row.standings.get(board.about.metrics[0]))] if is_ranked(board) else []
    front = [FRONT if row.front else ""] if board.front else []
    status = str(row.status) + (f": {row.reason}" if row.reason else "")
    seeds = ",".join(map(str, row.seeds)) or "–"
    return [scale_text(board, row), *model, row.method, *metrics, *rank, *front, f"{row.n:,}", seeds, status]


def first_metric(board: Leaderboard) -> int:
    """Return the column of the main metric."""
    return 3 if _several_models(board) else 2


def _several_models(board: Leaderboard) -> bool:
    return len({row.model for row in board.rows}) > 1


def statement(board: Leaderboard) -> list[str]:
    """Return the lines every table carries: model, data, protocol, what the intervals cover, what was left out."""
    p = board.protocol
    eos = "targets end with EOS" if p["eos"] else "targets without EOS"
    protocol = (
        f"Protocol {board.protocol_hash}: target field {p['target_field']}, {eos}, {p['context']} prompt, "
        f"{p['decoding']} decoding, at most {p['max_new_tokens']} new tokens, stop {p['stop']}, scored {p['scored']}."
    )
    models = ", ".join(sorted({row.model for row in board.rows}))
    return [f"Model: {models}. Dataset: {board.dataset}.", protocol, *_about_area(board), *board.notes]


def _about_area(board: Leaderboard) -> list[str]:
    if not board.over:
        return []
    listed = ", ".join(f"{scale:,}" for scale in board.over)
    return [
        f"Values are areas under the curve over log(scale), from 0 to 1, at scales {listed}; n counts requests once."
    ]


def heading(board: Leaderboard) -> str:
    """Return the table's title."""
    return f"{board.about.suite}: {board.about.title}" if board.about.title else board.about.suite


def split_columns(wide: Sequence[float], names: int, width: float) -> list[list[int]]:
    """Return the columns of each table: the first ``names``, that name a row, and as many others as fit."""
    parts: list[list[int]] = [[]]
    for column in range(names, len(wide)):
        if parts[-1] and sum(wide[k] for k in (*range(names), *parts[-1], column)) > width:
            parts.append([])
        parts[-1].append(column)
    return [[*range(names), *part] for part in parts]


@dataclass(frozen=True)
class Printed:
    """A leaderboard for a terminal: one table, or several with the same rows where its columns need more width."""

    board: Leaderboard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Yield the tables; the first has the title, the last the statement."""
        parts = self._parts(options.max_width)
        for number, columns in enumerate(parts):
            yield self._table(columns, first=number == 0, last=number == len(parts) - 1)

    def _parts(self, width: int) -> list[list[int]]:
        """Return the columns of each table: what names a row, and as many others as fit."""
        heads, rows = headers(self.board), [cells(self.board, row) for row in self.board.rows]
        wide = [3 + max(len(text) for text in (head, *(row[k] for row in rows))) for k, head in enumerate(heads)]
        wide[-1] = min(wide[-1], _STATUS_WIDTH)
        return split_columns(wide, first_metric(self.board), width)

    def _table(self, columns: Sequence[int], *, first: bool, last: bool) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        board, heads = self.board, headers(self.board)
        title = Text(heading(board), "table.title") if first else None
        caption = Text("\n".join(statement(board)), "table.caption") if last else None
        table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left")
        table.caption_justify = "left"
        for k in columns:
            free = heads[k] in ("Method", "Status")
            right = "right" if heads[k] in ("Scale", "n") else "left"
            table.add_column(heads[k], justify=right, overflow="fold", no_wrap=not free)  # type: ignore[arg-type]
        for row, following in zip(board.rows, (*board.rows[1:], None), strict=True):
            ends = following is None or (following.scale, following.model) != (row.scale, row.model)
            table.add_row(*self._texts(row, columns), end_section=ends)
        return table

    def _texts(self, row: Row, columns: Sequence[int]) -> list[Text]:
        from rich.text import Text

        style = "" if row.status is Status.DONE else "yellow"
        start, texts = first_metric(self.board), cells(self.board, row)
        bold = {start + k for k, top in enumerate(marked(self.board, row)) if top}
        return [Text(texts[k], f"bold {style}" if k in bold else style) for k in columns]


def as_rich(board: Leaderboard) -> Printed:
    """Return the leaderboard for a terminal; what is best, or not separably worse, is bold."""
    return Printed(board)


def as_markdown(board: Leaderboard) -> str:
    """Return the leaderboard as Markdown; text from data is escaped."""
    lines = [_line(headers(board)), "| " + " | ".join(["---"] * len(headers(board))) + " |"]
    start = first_metric(board)
    for row in board.rows:
        bold = {start + k for k, top in enumerate(marked(board, row)) if top}
        lines.append(_line(cells(board, row), bold))
    said = [f"{escape.markdown(line)}  " for line in statement(board)]
    return "\n".join([f"### {escape.markdown(heading(board))}", "", *lines, "", *said]) + "\n"


def _line(texts: Sequence[str], bold: set[int] | frozenset[int] = frozenset()) -> str:
    shown = [escape.markdown(text) for text in texts]
    return "| " + " | ".join(f"**{text}**" if k in bold else text for k, text in enumerate(shown)) + " |"


def as_csv(boards: Sequence[Leaderboard]) -> str:
    """Return leaderboards as one CSV: a column each for value, low, high and top of every metric; gaps are empty."""
    metrics = list(dict.fromkeys(name for board in boards for name in board.about.metrics))
    rows = [_plain(board, row, metrics) for board in boards for row in board.rows]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: escape.csv_cell(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def _plain(board: Leaderboard, row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    main = row.standings.get(board.about.metrics[0])
    found: dict[str, Any] = {
        "suite": board.about.suite,
        "dataset": board.dataset,
        "protocol": board.protocol_hash,
        "model": row.model,
        "method": row.method,
        "scale": " ".join(map(str, board.over)) if board.over else row.scale,
    }
    for name in metrics:
        value, top = row.values.get(name), row.standings.get(name)
        found[name] = None if value is None else value.value
        found[f"{name}_low"] = None if value is None else value.low
        found[f"{name}_high"] = None if value is None else value.high
        found[f"{name}_top"] = None if top is None else int(top.top)
    rank = {
        "rank": main and main.rank,
        "rank_low": main and main.low,
        "rank_high": main and main.high,
        "groups": main and main.letters,
    }
    front = {"front": None if row.front is None else int(row.front)}
    end = {"n": row.n, "seeds": " ".join(map(str, row.seeds)), "status": str(row.status), "reason": row.reason}
    return found | rank | front | end


def as_frame(board: Leaderboard) -> pd.DataFrame:
    """Return the leaderboard as a frame of texts, for a notebook."""
    import pandas as pd

    return pd.DataFrame([cells(board, row) for row in board.rows], columns=headers(board))

"""``compare`` and the overall ranks as terminal tables, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from editbench.analysis.compare import Comparison, Mark, Verdict, p_text
from editbench.analysis.overall import Overall
from editbench.metrics import METRICS
from editbench.report import captions, escape
from editbench.report.latex import WIDTH, environment, folded, points
from editbench.report.tables import split_columns

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

    from editbench.analysis.leaderboard import Leaderboard

LEGEND = "+ B is better, − B is worse, ~ no difference found, ! nothing can be said. Effect: B − A, with 95% interval."
_STYLE = {Mark.BETTER: "green", Mark.WORSE: "red", Mark.ALIKE: "", Mark.NOTHING: "yellow"}
# of :func:`texts`, those in a row: the four between are the same for many rows and stand above them
_SCALE = 5
_SHOWN = (0, _SCALE, 6, 7, 8)
_HEADS = ("", "Suite", "Model", "A", "B", "Scale", "Metric", "Effect", "p", "Why")


def texts(verdict: Verdict) -> list[str]:
    """Return a verdict's texts: mark, suite, model, A, B, scale, metric, effect with interval, corrected p, why."""
    test = verdict.test
    effect = "–" if test is None else f"{test.effect:+.3f}"
    if verdict.low is not None and verdict.high is not None:
        effect += f" [{verdict.low:+.3f}, {verdict.high:+.3f}]"
    place = [verdict.suite, verdict.model, verdict.a, verdict.b, f"{verdict.scale:,}", METRICS[verdict.metric].title]
    return [str(verdict.mark), *place, effect, "–" if verdict.p is None else p_text(verdict.p), verdict.says]


@dataclass(frozen=True)
class Compared:
    """A comparison for a terminal: a table for each pair of methods on a model, under each row the sentence why.

    The sentence has the whole width: a column of its own would leave it none in a terminal of 80 columns.
    """

    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield a head for each pair, its rows, and at last what all of them share."""
        from rich.text import Text

        rows = [texts(verdict) for verdict in self.comparison.verdicts]
        heads = [_HEADS[k] for k in _SHOWN]
        wide = [max(len(head), *(len(row[k]) for row in rows)) for head, k in zip(heads, _SHOWN, strict=True)]
        yield Text("B against A", "table.title")
        place: list[str] = []
        for row, verdict in zip(rows, self.comparison.verdicts, strict=True):
            if place != row[1:5]:
                place = row[1:5]
                yield from _head(place, heads, wide)
            yield from _row(row, wide, _STYLE[verdict.mark])
        yield Text("\n".join(["", LEGEND, *self.comparison.notes]), "table.caption")


def _head(place: Sequence[str], heads: Sequence[str], wide: Sequence[int]) -> Iterator[Text]:
    from rich.text import Text

    suite, model, a, b = place
    yield Text(f"\n{suite}, {model}\nA: {a}\nB: {b}", "bold")
    yield _line(heads, wide, "bold")
    yield Text(" " + "─" * (sum(wide) + 2 * len(wide)))


def _row(row: Sequence[str], wide: Sequence[int], style: str) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    yield _line([row[k] for k in _SHOWN], wide, style)
    yield Padding(Text(row[-1], "dim"), (0, 0, 0, wide[0] + 4))


def _line(fields: Sequence[str], wide: Sequence[int], style: str) -> Text:
    from rich.text import Text

    sides = [
        text.rjust(width) if k == _SCALE else text.ljust(width)
        for k, text, width in zip(_SHOWN, fields, wide, strict=True)
    ]
    return Text("  " + "  ".join(sides).rstrip(), style)


def compared_as_rich(comparison: Comparison) -> Compared:
    """Return the comparison for a terminal, a row per verdict."""
    return Compared(comparison)


def compared_as_markdown(comparison: Comparison) -> str:
    """Return the same as Markdown; text from data is escaped."""
    rows = [texts(verdict) for verdict in comparison.verdicts]
    return _markdown("B against A", _HEADS, rows, [LEGEND, *comparison.notes])


def overall_rows(found: Overall) -> list[list[str]]:
    """Return a row per method: mean rank, and its value in every block; those with a rank first, best first."""
    ranks = {} if found.tests is None else found.tests.mean_ranks
    methods = sorted(map(str, found.values.columns), key=lambda method: (method not in ranks, ranks.get(method, 0.0)))
    return [
        [
            method,
            f"{ranks[method]:.2f}" if method in ranks else "–",
            *("–" if math.isnan(value) else f"{value:.3f}" for value in found.values[method]),
        ]
        for method in methods
    ]


def overall_heads(found: Overall) -> list[str]:
    """Return the column heads of :func:`overall_rows`."""
    return ["Method", "Mean rank", *map(str, found.values.index)]


def overall_lines(found: Overall) -> list[str]:
    """Return what the ranks say, in sentences."""
    lines = [captions.ranks_of(found.metric, len(found.values))]
    tests = found.tests
    if tests is not None and tests.blocks > 1:
        if not math.isnan(tests.p):
            lines.append(f"Friedman: χ² {tests.statistic:.2f}, p {p_text(tests.p)}.")
        lines.append(f"Nemenyi: mean ranks {tests.critical_difference:.2f} apart differ at 5%.")
        lines += [
            f"Between {a} and {b}: Nemenyi p {p_text(p)}, Wilcoxon with Holm p {p_text(tests.wilcoxon[a, b])}."
            for (a, b), p in tests.nemenyi.items()
        ]
    return [*lines, *map(captions.sentence, found.notes)]


def overall_as_rich(found: Overall) -> Table:
    """Return the overall ranks as a Rich table."""
    return _rich("Overall", overall_heads(found), overall_rows(found), overall_lines(found))


def overall_as_markdown(found: Overall) -> str:
    """Return the same as Markdown; text from data is escaped."""
    return _markdown("Overall", overall_heads(found), overall_rows(found), overall_lines(found))


def overall_as_latex(found: Overall, boards: Sequence[Leaderboard]) -> str:
    """Return the same as booktabs tables, as many as it takes, for a paper; text from data is escaped.

    Parameters
    ----------
    boards: the leaderboards that the ranks are over; the caption has their protocols, requests and seeds.
    """
    heads, rows = overall_heads(found), overall_rows(found)
    said = " ".join(map(escape.latex, captions.overall_caption(found, overall_lines(found), boards)))
    tables = []
    for number, columns in enumerate(_overall_parts(heads, rows)):
        body = [" & ".join(_stacked(heads[k]) for k in columns) + " \\\\"]
        body += [" & ".join([folded(row[0]), *(escape.latex(row[k]) for k in columns[1:])]) + " \\\\" for row in rows]
        caption = "Overall, continued: other blocks of Table~\\ref{tab:overall}." if number else said
        label = f"overall-{number + 1}" if number else "overall"
        tables.append(environment(caption, f"l{'r' * (len(columns) - 1)}", body, label))
    return "\n".join(tables)


def _overall_parts(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return the columns of each table: methods and mean ranks, and as many blocks as fit."""
    wide = [
        6 + max(points(text) for text in (*head.split(" / "), *(row[k] for row in rows)))
        for k, head in enumerate(heads)
    ]
    return split_columns([min(wide[0], 116.0), *wide[1:]], 2, WIDTH)


def _stacked(head: str) -> str:
    """Return a block's name with suite, model and scale one above the other."""
    parts = [escape.latex(part) for part in head.split(" / ")]
    lines = " \\\\ ".join(parts)
    return parts[0] if len(parts) == 1 else f"\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{lines}\\end{{tabular}}"


def _rich(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=Text("\n".join(said), "table.caption"), box=box.SIMPLE_HEAD)
    table.title_justify = table.caption_justify = "left"
    for head in heads:
        table.add_column(Text(head), overflow="fold", justify="right" if head in ("Scale", "Mean rank") else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> str:
    lines = [" | ".join(map(escape.markdown, row)) for row in [heads, *rows]]
    lines.insert(1, " | ".join(["---"] * len(heads)))
    table = [f"| {line} |" for line in lines]
    return "\n".join([f"### {title}", "", *table, "", *(f"{escape.markdown(line)}  " for line in said)]) + "\n"

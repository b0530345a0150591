"""``compare`` and the overall ranks as terminal tables, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from editbench.analysis.compare import Comparison, Mark, Verdict, p_text
from editbench.analysis.overall import Overall
from editbench.metrics import METRICS
from editbench.report import escape
from editbench.report.latex import environment

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = "+ B is better, − B is worse, ~ no difference found, ! nothing can be said. Effect: B − A, with 95% interval."
_STYLE = {Mark.BETTER: "green", Mark.WORSE: "red", Mark.ALIKE: "", Mark.NOTHING: "yellow"}
_HEADS = ("", "Suite", "Model", "A", "B", "Scale", "Metric", "Effect", "p", "Why")


def texts(verdict: Verdict) -> list[str]:
    """Return a verdict's texts: mark, suite, model, A, B, scale, metric, effect with interval, corrected p, why."""
    test = verdict.test
    effect = "–" if test is None else f"{test.effect:+.3f}"
    if verdict.low is not None and verdict.high is not None:
        effect += f" [{verdict.low:+.3f}, {verdict.high:+.3f}]"
    place = [verdict.suite, verdict.model, verdict.a, verdict.b, f"{verdict.scale:,}", METRICS[verdict.metric].title]
    return [str(verdict.mark), *place, effect, "–" if verdict.p is None else p_text(verdict.p), verdict.says]


def compared_as_rich(comparison: Comparison) -> Table:
    """Return a Rich table, one row per verdict."""
    styles = [_STYLE[verdict.mark] for verdict in comparison.verdicts]
    rows = [texts(verdict) for verdict in comparison.verdicts]
    return _rich("B against A", _HEADS, rows, [LEGEND, *comparison.notes], styles)


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
    lines = [f"Ranks by {METRICS[found.metric].title} in {len(found.values)} block(s) (suite / model / scale)."]
    tests = found.tests
    if tests is not None and tests.blocks > 1:
        if not math.isnan(tests.p):
            lines.append(f"Friedman: χ² {tests.statistic:.2f}, p {p_text(tests.p)}.")
        lines.append(f"Nemenyi: mean ranks {tests.critical_difference:.2f} apart differ at 5%.")
        lines += [
            f"{a} and {b}: Nemenyi p {p_text(p)}, Wilcoxon with Holm p {p_text(tests.wilcoxon[a, b])}."
            for (a, b), p in tests.nemenyi.items()
        ]
    return [*lines, *found.notes]


def overall_as_rich(found: Overall) -> Table:
    """Return the overall ranks as a Rich table."""
    return _rich("Overall", overall_heads(found), overall_rows(found), overall_lines(found))


def overall_as_markdown(found: Overall) -> str:
    """Return the same as Markdown; text from data is escaped."""
    return _markdown("Overall", overall_heads(found), overall_rows(found), overall_lines(found))


def overall_as_latex(found: Overall) -> str:
    """Return the same as a booktabs table; text from data is escaped."""
    heads, rows = overall_heads(found), overall_rows(found)
    caption = " ".join(escape.latex(line if line.endswith(".") else f"{line}.") for line in overall_lines(found))
    body = [" & ".join(map(escape.latex, row)) + " \\\\" for row in [heads, *rows]]
    return environment(caption, f"l{'r' * (len(heads) - 1)}", [body[0], "\\midrule", *body[1:]], "overall")


def _rich(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str], styles: Sequence[str] = ()
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=Text("\n".join(said), "table.caption"), box=box.SIMPLE_HEAD)
    table.title_justify = table.caption_justify = "left"
    for head in heads:
        table.add_column(Text(head), overflow="fold", justify="right" if head in ("Scale", "Mean rank") else "left")
    for k, row in enumerate(rows):
        table.add_row(*(Text(text, styles[k] if styles else "") for text in row))
    return table


def _markdown(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> str:
    lines = [" | ".join(map(escape.markdown, row)) for row in [heads, *rows]]
    lines.insert(1, " | ".join(["---"] * len(heads)))
    table = [f"| {line} |" for line in lines]
    return "\n".join([f"### {title}", "", *table, "", *(f"{escape.markdown(line)}  " for line in said)]) + "\n"

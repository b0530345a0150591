"""LaTeX tables can be read at the size they are printed, and their captions are sentences."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from results_tree import write_run
from test_compare import SUITE, WEIRD, fill, invoke, make, outcome

from editbench.analysis.leaderboard import Leaderboard
from editbench.analysis.stored import stored_leaderboard
from editbench.report import escape
from editbench.report.latex import as_latex, breakable
from editbench.report.tables import as_csv
from editbench.results.store import Status, Store

EVERY = ("reliability", "contains", "starts-with", "retention", "locality", "locality-gold", "edit-seconds")
OOM = "CUDA out of memory. Tried to allocate 20.00 GiB, see /home/me/results/runs/a_suite/a_model/a_label/cell.json."
LONG = "my_method=layers:[3,4,5,6],steps:20,lr:1e-4/with_another_name_of_its_own"
# \resizebox is told to say how wide a table is, and to leave it so
DOCUMENT = r"""\documentclass[10pt%s]{article}\usepackage[textwidth=%s,textheight=9in]{geometry}
\usepackage{booktabs,graphicx}
\renewcommand{\resizebox}[3]{\setbox0\hbox{#3}\typeout{WIDE \the\wd0 }\box0}
\begin{document}
%s
\end{document}
"""


def latex(root: Path, *options: object) -> str:
    result = invoke("leaderboard", "many", "--results", root, "--latex", *options)
    assert result.exit_code == 0, result.output
    return result.stdout


def tables(text: str) -> list[str]:
    return text.split("\\end{table*}")[:-1]


def rows(table: str) -> list[list[str]]:
    """Return the fields of a table's lines, its head first; lines of small print are left out."""
    body = table.split("\\toprule")[1].split("\\bottomrule", maxsplit=1)[0]
    found = [re.split(r" (?<!\\)& ", line.removesuffix(" \\\\")) for line in body.splitlines() if line.endswith("\\\\")]
    return [fields for fields in found if fields[0] and not fields[0].startswith("&")]


def caption(table: str) -> str:
    return table.split("\\caption{")[1].split("}\n\\label", maxsplit=1)[0]


def troubled(root: Path) -> Leaderboard:
    """Return the leaderboard with a method of a long name that ran out of memory at every scale."""
    board = stored_leaderboard("many", root, EVERY)
    gone = [
        replace(row, method=LONG, values={}, standings={}, status=Status.OUT_OF_MEMORY, reason=OOM)
        for row in board.rows
        if row.method == "none"
    ]
    return replace(board, rows=(*board.rows, *gone))


def test_a_table_is_whole_marks_the_best_and_escapes_every_special(tmp_path: Path) -> None:
    text = latex(fill(tmp_path), "--scale", "60")
    assert "we\\_ird \\& \\textless{}b\\textgreater{}\\$x\\textasciicircum{}2\\$" in text
    assert "100\\%" in text
    [table] = tables(text)
    fields = rows(table)
    assert len(fields) == 4
    assert {len(one) for one in fields} == {6}  # one seed, all done: left out
    assert ["\\textbf" in one[2] for one in fields] == [False, True, False, False]  # reliability: the best alone
    assert ["\\textbf" in one[3] for one in fields] == [False, True, True, True]  # locality: nobody is worse
    assert re.search(r"\\textbf\{1\.000\} & .*\n& +& \{\\scriptsize 0\.\d{3}--1\.000\} &", text)
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    assert not re.search(r"(?<!\\)[#%]", text.replace("% needs", "").replace("{%\n", ""))


def test_captions_are_in_words(tmp_path: Path) -> None:
    said = caption(tables(latex(fill(tmp_path), "--scale", "60"))[0])
    for words in (
        "end with the end-of-text token",
        "decodes greedily, at most 32 new tokens, until the end-of-text token, a newline or the end of a sentence",
        "scored after the last edit",
        "A row has 60 requests, all its seeds together; the seed is 0.",
        "by the exact McNemar test",
        "corrected by Holm's method at the 5\\% level",
        "One seed",
    ):
        assert words in said
    assert not re.search(r"eos-|after-all|\(s\)|; Holm", said)
    two = caption(tables(latex(fill(tmp_path / "two", (0, 1)), "--scale", "60"))[0])
    assert "A row has 120 requests, all its seeds together; the seeds are 0 and 1." in two


def test_what_is_too_wide_or_too_high_becomes_several_tables_that_name_the_first(tmp_path: Path) -> None:
    root = fill(tmp_path)
    found = tables(latex(root, "--metrics", ",".join(EVERY)))
    assert len(found) == 2
    assert {table.count("\\begin{tabular}") for table in found} == {1}
    assert "This is the first of two tables." in caption(found[0])
    assert "many, continued (2 of 2): " in caption(found[1]) and "Table~\\ref{tab:many}" in caption(found[1])
    assert [re.findall(r"\\label\{(.*)\}", table) for table in found] == [["tab:many"], ["tab:many-2"]]
    board = stored_leaderboard("many", root, ["reliability"])
    many = [replace(row, scale=scale) for scale in range(1, 13) for row in board.rows if row.scale == 60]
    parts = tables(as_latex(replace(board, rows=tuple(many))))
    assert [len({fields[0] for fields in rows(part)[1:]}) for part in parts] == [7, 5]  # whole scales


def test_a_long_reason_is_a_note_and_marks_the_method_in_every_table(tmp_path: Path) -> None:
    for table in tables(as_latex(troubled(fill(tmp_path)))):
        assert "Status" not in table
        body, notes = table.split("\\end{tabular}}")
        assert "memory" not in body
        assert notes.count("CUDA out of memory") == 1  # at both scales
        assert len(re.findall(r"\$\^\{\\mathrm\{a\}\}\$", body)) == 2 and notes.count("\\mathrm{a}") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
@pytest.mark.parametrize(("columns", "width"), [("", "5.5in"), (",twocolumn", "6.75in")])
def test_no_table_is_wider_than_the_text_of_a_paper_so_that_none_is_shrunk(
    tmp_path: Path, columns: str, width: str
) -> None:
    root = fill(tmp_path)
    text = as_latex(troubled(root)) + latex(root, "--metrics", "edit-seconds,seconds-per-edit,retention")
    (tmp_path / "paper.tex").write_text(DOCUMENT % (columns, width, text))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "Output written" in said, said
    assert "Overfull" not in said and "too large" not in said
    wide = [float(found) for found in re.findall(r"WIDE ([\d.]+)pt", said)]
    assert len(wide) == text.count("\\begin{table*}") and max(wide) < 5.5 * 72.27


def test_the_overall_caption_has_protocol_requests_and_seeds_and_its_sentences_begin_large(tmp_path: Path) -> None:
    root = fill(tmp_path)
    _, plan, dataset = make(tmp_path, text=SUITE.replace("name: many", "name: more"))
    for run in plan.runs:
        write_run(Store(root), run, dataset, outcome)
    text = invoke("leaderboard", root, "--latex").stdout
    [table] = [table for table in tables(text) if "{tab:overall}" in table]
    said = caption(table)
    assert said.startswith("Reliability and mean ranks by it in two blocks")
    assert "decodes greedily" in said and "(protocol " in said
    for suite in ("many", "more"):
        assert f"In {suite} a row has 60 requests, all its seeds together; the seed is 0." in said
    assert not re.search(r"\. (?!p )[a-z]", said), said
    assert WEIRD[:2] in table and "block(s)" not in said


def test_overall_ranks_over_many_suites_are_several_tables(tmp_path: Path) -> None:
    root = fill(tmp_path)
    for k in range(9):
        _, plan, dataset = make(tmp_path, text=SUITE.replace("name: many", f"name: a-suite-with-a-long-name-{k}"))
        for run in plan.runs:
            write_run(Store(root), run, dataset, outcome)
    found = [table for table in tables(invoke("leaderboard", root, "--latex").stdout) if "{tab:overall" in table]
    assert len(found) > 1
    assert sum(table.count("a-suite-with-a-long-name-") for table in found) >= 9
    assert "Overall, continued" in caption(found[1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("café Škoda", "caf\\'{e} \\v{S}koda"),
        ("cafe\u0301", "caf\\'{e}"),
        ("α and Ω, λ=1", "$\\alpha$ and $\\Omega$, $\\lambda$=1"),
        ("fast 🚀", "fast \\textless{}U+1F680\\textgreater{}"),
        ("日", "\\textless{}U+65E5\\textgreater{}"),
        ("ｆｕｌｌ＿ﬁ", "full\\_fi"),
        ("[x]", "{[}x]"),
        ("*x", "{*}x"),
        ("\udcff", ""),
    ],
)
def test_whatever_stands_in_a_label_is_ascii_that_every_engine_prints(text: str, said: str) -> None:
    assert escape.latex(text) == said
    assert breakable(text * 20).isascii()


def test_csv_holds_no_formula_and_numbers_stay_numbers() -> None:
    for text in ("=1+1", "+1", "-cmd", "@SUM(A1)", "\tx", "\rx"):
        assert escape.csv_cell(text) == f"'{text}"
    assert [escape.csv_cell(value) for value in (-1.5, 3, None, "plain", "a=b")] == [-1.5, 3, None, "plain", "a=b"]


def test_a_label_that_is_a_formula_is_none_in_the_leaderboards_csv(tmp_path: Path) -> None:
    root = fill(tmp_path)
    board = stored_leaderboard("many", root, EVERY)
    label = "=HYPERLINK(1)"
    board = replace(board, rows=tuple(replace(row, method=label) for row in board.rows))
    [head, *lines] = as_csv([board]).splitlines()
    assert all(f",'{label}," in line for line in lines)
    assert "'" not in head

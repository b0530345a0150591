"""The README's part about published results follows what is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_published import ROOT, invoke, tree  # noqa: F401 — a fixture

from editbench.publish.published import publish, published_boards
from editbench.report.figures.style import marks
from editbench.report.readme import BEGIN, END, figures


@pytest.mark.usefixtures("tree")
def test_the_readme_is_stale_until_the_command_makes_it_anew() -> None:
    readme = Path("README.md")
    readme.write_text(f"# Mine\n{BEGIN}\n{END}\nthe end\n")
    assert invoke("results", "readme").exit_code == 0
    assert "Nothing is published yet" in readme.read_text()
    assert invoke("results", "readme", "--check").exit_code == 0
    publish("small", Path("results"), Path("results/published"))
    empty = readme.read_text()
    assert invoke("results", "readme", "--check").exit_code == 1 and readme.read_text() == empty
    assert invoke("results", "readme").exit_code == 0
    text = readme.read_text()
    assert "| local |" in text and text.startswith("# Mine\n") and text.endswith("\nthe end\n")
    assert invoke("results", "readme", "--check").exit_code == 0
    numbers = Path("results/published/figures/small-scale.csv")
    assert "(results/published/figures/small-scale.svg)" in text and b"<svg" in numbers.with_suffix(".svg").read_bytes()
    numbers.write_text("changed")
    assert invoke("results", "readme", "--check").exit_code == 1
    refused = invoke("results", "readme")
    assert refused.exit_code == 2 and f"{numbers} is in the way" in refused.stderr and numbers.read_text() == "changed"
    numbers.unlink()
    assert invoke("results", "readme").exit_code == 0 and "local" in numbers.read_text()
    readme.write_text("# no markers\n")
    assert invoke("results", "readme").exit_code == 2


@pytest.mark.usefixtures("tree")
def test_a_method_looks_the_same_in_all_figures_of_the_readme() -> None:
    publish("small.yaml", Path("results"), Path("published"))
    [board] = published_boards(Path("published"))
    other = replace(board, about=replace(board.about, suite="other"))
    other = replace(other, rows=tuple(row for row in board.rows if row.method == "none"))
    colours = {name: mark.colour.lower() for name, mark in marks(("local", "none")).items()}
    drawn = figures([board, other])
    assert list(drawn) == ["small", "other"]
    text = drawn["other"]["other-scale.svg"].decode().lower()
    assert colours["none"] in text and colours["local"] not in text


@pytest.mark.usefixtures("tree")
def test_the_commands_that_are_named_have_the_options_that_were_given() -> None:
    readme = Path("my readme.md")
    readme.write_text(f"{BEGIN}\n{END}\n")
    said = invoke("results", "publish", "small.yaml", "--to", "my results").stdout
    assert "editbench leaderboard small --results 'my results'" in said
    assert "editbench results readme --from 'my results'\n" in said
    checked = invoke("results", "readme", "--check", "--from", "my results", "--readme", str(readme))
    assert checked.exit_code == 1
    assert "editbench results readme --from 'my results' --readme 'my readme.md'" in checked.stderr
    assert invoke("results", "publish", "small.yaml").stdout.endswith("editbench results readme\n")


@pytest.mark.usefixtures("tree")
def test_figures_that_are_gone_are_drawn_anew_and_the_check_lets_those_be_that_look_otherwise() -> None:
    readme = Path("README.md")
    readme.write_text(f"{BEGIN}\n{END}\n")
    publish("small", Path("results"), Path("results/published"))
    assert invoke("results", "readme").exit_code == 0
    drawing = Path("results/published/figures/small-scale.svg")
    before = drawing.read_bytes()
    drawing.write_bytes(b"drawn with other fonts")
    assert invoke("results", "readme", "--check").exit_code == 0
    drawing.unlink()
    assert invoke("results", "readme").exit_code == 0 and drawing.read_bytes() == before


def test_the_readme_of_this_project_shows_what_is_published() -> None:
    readme, published = ROOT / "README.md", ROOT / "results" / "published"
    if not readme.is_file():
        pytest.skip("not a checkout")
    result = invoke("results", "readme", "--check", "--from", str(published), "--readme", str(readme))
    assert result.exit_code == 0, result.stderr

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from results_tree import record, write_data, write_run

from editbench.analysis.retention import age_edges
from editbench.analysis.stored import stored_ages, stored_leaderboard
from editbench.cli import cli
from editbench.datasets import load_dataset
from editbench.errors import UserError
from editbench.plan.runs import Run, bind, make_plan
from editbench.plan.suite_file import parse_suite
from editbench.report.figures import KINDS, kind
from editbench.report.figures.evidence import Evidence, needed_metrics
from editbench.report.figures.labels import spread
from editbench.report.figures.style import PRESETS, Look, marks
from editbench.results.records import Record
from editbench.results.store import CellOutcome, Status, Store

WEIRD = "we_ird & <b>$x^2$</b> | 100%"
SHARES = {"none": 0.0, "half": 0.5, WEIRD: 0.8}
SUITE = """\
name: {name}
title: Figures
dataset: {data}
models: {models}
methods:
{methods}
scales: {scales}
seeds: {seeds}
metrics: [reliability, locality, retention, edit-seconds]
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["plot", *map(str, arguments)], prog_name="editbench")


def capability(share: float) -> dict[str, Any]:
    errors = {"stderr": 0.02, "unedited_stderr": 0.02, "difference_stderr": 0.01}
    return {"toy": {"status": "done", "at": "", "value": 0.8 * share, "unedited": 0.8, "scale": 1.0, **errors}}


def outcome(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    """Each method learns its share of the requests, the youngest, and loses capability for it."""
    share = SHARES[run.label]
    first = round(scale * (1 - share))
    rows = [record(i, "edit", "blue" if i >= first else "red") for i in range(scale)]
    rows += [record(i, "locality", "same", answer="gold", unedited="same") for i in range(scale)]
    counts = {"records": 2 * scale}
    seconds = {"edit_s": 2.0 * scale + share}
    return rows, CellOutcome(
        Status.DONE, timings=seconds, counts=counts, capability=capability(1 - share * scale / 100)
    )


def failed(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
    return [], CellOutcome(Status.FAILED, "boom")


def fill(folder: Path, outcomes: Any = outcome, methods: Sequence[str] = tuple(SHARES), **given: str) -> Path:
    """Write a suite file and a results folder with its runs, and return the results folder."""
    folder.mkdir(exist_ok=True)
    values = {"name": "fig", "models": "[smollm2-135m]", "scales": "[3, 40]", "seeds": "[0]", **given}
    listed = "\n".join(f"  - {{method: none, label: '{name}'}}" for name in methods)
    text = SUITE.format(data=write_data(folder, 40), methods=listed, **values)
    (folder / f"{values['name']}.yaml").write_text(text)
    suite = parse_suite(text, "fig.yaml")
    dataset = load_dataset(suite.dataset)
    for run in bind(make_plan(suite), dataset).runs:
        write_run(Store(folder / "results"), run, dataset, outcomes)
    return folder / "results"


def evidence(root: Path, *asked: str, scales: tuple[int, ...] = ()) -> Evidence:
    metrics = needed_metrics(("reliability", "locality", "retention", "edit-seconds"), asked)
    board = stored_leaderboard("fig", root, metrics)
    return Evidence((board,), asked, scales, {"fig": stored_ages("fig", root, "reliability")})


@pytest.mark.parametrize(("name", "metric"), [("scale", "reliability"), ("drift", "capability-ratio"), ("cost", "")])
def test_the_numbers_behind_a_curve_are_the_leaderboards(tmp_path: Path, name: str, metric: str) -> None:
    metric = metric or "seconds-per-edit"
    found = evidence(fill(tmp_path))
    frame = kind(name).numbers(found)
    rows = {(row.method, row.scale): row.values[metric] for row in found.boards[0].rows}
    assert len(frame) == len(rows) == 6
    for row in frame.to_dict("records"):
        value = rows[row["method"], row["scale"]]
        assert (row["metric"], row["value"], row["n"]) == (metric, value.value, value.n)
        assert [row["low"], row["high"]] == [value.low, value.high] or (value.low is None and np.isnan(row["low"]))


def test_the_area_under_the_retention_figure_is_the_leaderboards_retention(tmp_path: Path) -> None:
    found = evidence(fill(tmp_path))
    frame = kind("retention").numbers(found)
    rows = {row.method: row.values["retention"].value for row in found.boards[0].rows if row.scale == 40}
    for method, bins in frame.groupby("method"):
        assert [*bins["youngest"], bins["oldest"].iloc[-1] + 1] == age_edges(40)
        width = np.log1p(bins["oldest"] + 1) - np.log1p(bins["youngest"])
        assert float((width * bins["value"]).sum() / width.sum()) == pytest.approx(rows[str(method)])
        assert bins["n"].sum() == 40
        assert ((bins["low"] <= bins["value"]) & (bins["value"] <= bins["high"])).all()


def test_with_several_seeds_each_age_has_one_value_and_an_interval(tmp_path: Path) -> None:
    frame = stored_ages("fig", fill(tmp_path, seeds="[0, 1]"), "reliability")
    half = frame[(frame["method"] == "half") & (frame["scale"] == 40)]
    assert set(half["seeds"]) == {"0 1"}
    assert half["value"].iloc[0] == 1.0 and half["value"].iloc[-1] < 0.3
    assert (half["low"] <= half["value"]).all() and half["low"].iloc[0] < 1


def test_the_front_holds_whom_nobody_beats_in_success_and_capability(tmp_path: Path) -> None:
    root = fill(tmp_path, methods=("none", "half"))
    frame = kind("capability").numbers(evidence(root))
    assert set(frame["scale"]) == {40} and set(frame["metric"]) == {"reliability", "capability-ratio"}
    assert frame["front"].all()
    values = frame[frame["method"] == "half"].set_index("metric")["value"]
    assert values["capability-ratio"] == pytest.approx(0.8) and values["reliability"] == 0.5
    worse = kind("capability").numbers(evidence(root, "locality"))
    assert dict(zip(worse["method"], worse["front"], strict=True)) == {"none": True, "half": False}


def test_the_diagram_of_one_suite_has_the_leaderboards_letters(tmp_path: Path) -> None:
    found = evidence(fill(tmp_path))
    frame = kind("critical-difference").numbers(found)
    rows = {row.method: row.standings["reliability"].letters for row in found.boards[0].rows if row.scale == 40}
    assert dict(zip(frame["method"], frame["groups"], strict=True)) == rows
    assert set(frame["axis"]) == {"value"}


def test_the_diagram_of_many_suites_has_mean_ranks_and_nemenyis_distance(tmp_path: Path) -> None:
    for k in range(6):
        root = fill(tmp_path, name=f"s{k}", scales="[40]")
    boards = tuple(stored_leaderboard(f"s{k}", root, ["reliability"]) for k in range(6))
    frame = kind("critical-difference").numbers(Evidence(boards)).set_index("method")
    assert frame["position"].to_dict() == {"none": 3.0, "half": 2.0, WEIRD: 1.0}
    distance = float(frame["critical_difference"].iloc[0])
    assert distance == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), abs=1e-3)  # Demšar 2006, table 5
    assert (frame["groups"]["none"], frame["groups"]["half"], frame["groups"][WEIRD]) == ("b", "ab", "a")
    result = invoke("--results", root, "--kind", "critical-difference", "--format", "png", "--out", tmp_path / "f")
    assert result.exit_code == 0 and (tmp_path / "f/overall-critical-difference.png").is_file()


@pytest.mark.parametrize(("methods", "scales"), [(["half"], "[3, 40]"), (["none", WEIRD], "[40]"), (["none"], "[1]")])
@pytest.mark.parametrize("preset", ["screen", "acl"])
def test_every_kind_is_drawn_of_one_method_of_one_scale_and_of_strange_names(
    tmp_path: Path, methods: list[str], scales: str, preset: str
) -> None:
    root = fill(tmp_path, methods=methods, scales=scales)
    out = tmp_path / "figures"
    begins = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG", "pgf": b"% A figure", "csv": b"suite,"}
    if methods != ["half"]:  # of which every format is written
        begins = {"pdf": b"%PDF", "csv": b"suite,"}
    formats = ",".join(name for name in begins if name != "csv")
    result = invoke("fig", root, "--preset", preset, "--format", formats, "--out", out, "--data")
    assert (result.exit_code, result.stderr) == (0, "")
    made = sorted(path.name for path in out.glob("[!.]*"))
    assert made == sorted(f"fig-{name}.{suffix}" for name in KINDS for suffix in begins)
    for path in out.glob("[!.]*"):
        assert path.read_bytes().startswith(begins[path.suffix[1:]])


def test_specials_are_escaped_in_pgf_and_whole_in_the_data(tmp_path: Path) -> None:
    root = fill(tmp_path)
    invoke("fig", root, "--kind", "panel", "--format", "pgf", "--out", tmp_path / "f", "--data")
    text = (tmp_path / "f/fig-panel.pgf").read_text()
    assert "we\\_ird \\& \\textless{}b\\textgreater{}\\$x\\textasciicircum{}2\\$" in text
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    assert str(matplotlib.get_data_path()) not in text
    assert set(pd.read_csv(tmp_path / "f/fig-panel.csv")["method"]) == set(SHARES)


def test_the_same_results_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    root = fill(tmp_path)
    options = [str(root), "--kind", "scale,capability", "--format", "pdf,svg,png,pgf", "--data"]
    before = dict(matplotlib.rcParams)
    assert invoke("fig", *options, "--out", tmp_path / "a").exit_code == 0
    assert dict(matplotlib.rcParams) == before
    code = "import sys; from editbench.cli import main; main()"
    command = [sys.executable, "-c", code, "plot", "fig", *options, "--out", str(tmp_path / "b")]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(path.name for path in (tmp_path / "a").glob("[!.]*"))
    assert len(files) == 10
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_torch_and_pyplot_are_not_imported(tmp_path: Path) -> None:
    root = fill(tmp_path)
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom editbench.cli import cli\n"
        f"result = CliRunner().invoke(cli, ['plot', 'fig', {str(root)!r}, '--out', {str(tmp_path / 'f')!r}])\n"
        "assert result.exit_code == 0, result.output\n"
        "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"


def test_failed_cells_only_are_said_and_nothing_is_written(tmp_path: Path) -> None:
    root = fill(tmp_path, failed)
    for name in ("all", *KINDS):
        result = invoke("fig", root, "--kind", name, "--out", tmp_path / "f")
        assert (result.exit_code, result.stdout) == (2, ""), name
        assert "nothing to draw" in result.stderr and "failed: boom" in result.stderr
    assert not (tmp_path / "f").exists()


def without_capability(run: Run, scale: int) -> Any:
    rows, done = outcome(run, scale)
    return rows, CellOutcome(Status.DONE, timings=done.timings, counts=done.counts)


def crosses(root: Path, name: str) -> list[Any]:
    """Draw a kind of figure and return the colours of the crosses on its axis."""
    found = evidence(root)
    look = Look(PRESETS["icml"], marks(found.methods()))
    with look.settings():
        axes = kind(name).draw(kind(name).numbers(found), look).axes[0]
    return [line.get_color() for line in axes.get_lines() if line.get_marker() == "x"]


def test_a_cell_that_failed_is_a_cross_on_the_axis_and_a_note(tmp_path: Path) -> None:
    def partly(run: Run, scale: int) -> Any:
        return failed(run, scale) if (run.label, scale) == ("half", 40) else outcome(run, scale)

    root = fill(tmp_path, partly)
    result = invoke("fig", root, "--kind", "scale", "--format", "png", "--out", tmp_path / "f")
    assert "half on smollm2-135m at 40 has no numbers: failed: boom" in result.stderr
    assert crosses(root, "scale") == [marks(evidence(root).methods())["half"].colour]


def test_without_capability_all_other_kinds_are_drawn_and_how_to_measure_it_is_said(tmp_path: Path) -> None:
    root = fill(tmp_path, without_capability)
    result = invoke("fig", root, "--format", "png", "--out", tmp_path / "f")
    assert result.exit_code == 0
    assert {path.stem for path in (tmp_path / "f").glob("[!.]*")} == {
        f"fig-{name}" for name in KINDS if name not in ("capability", "drift")
    }
    for name in ("capability", "drift"):
        assert f"{name} is not drawn" in result.stderr
        alone = invoke("fig", root, "--kind", name)
        assert alone.exit_code == 2 and "editbench run --suite fig --capability core" in alone.stderr


def test_a_figure_of_one_suite_that_would_be_empty_is_not_written_and_said(tmp_path: Path) -> None:
    root = fill(tmp_path)
    fill(tmp_path, without_capability, name="bare")
    for kinds in ("all", "drift,capability"):
        out = tmp_path / kinds
        result = invoke("--results", root, "--kind", kinds, "--format", "png", "--out", out)
        assert result.exit_code == 0
        for name in ("drift", "capability"):
            assert [path.stem for path in out.glob(f"*-{name}.png")] == [f"fig-{name}"]
            assert f"bare-{name} is not drawn. There is nothing to draw" in result.stderr
        assert "editbench run --suite bare --capability core" in result.stderr


def test_values_that_have_no_place_on_a_logarithmic_axis_make_no_figure(tmp_path: Path) -> None:
    def free(run: Run, scale: int) -> Any:
        rows, done = outcome(run, scale)
        return rows, CellOutcome(Status.DONE, timings={"edit_s": 0.0}, counts=done.counts)

    result = invoke("fig", fill(tmp_path, free), "--kind", "cost", "--out", tmp_path / "f")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Every value is 0" in result.stderr
    assert not (tmp_path / "f").exists()


def test_a_done_cell_without_the_metric_is_no_cross_but_a_note(tmp_path: Path) -> None:
    def partly(run: Run, scale: int) -> Any:
        rows, done = outcome(run, scale)
        found = {} if (run.label, scale) == ("half", 40) else done.capability
        return rows, CellOutcome(Status.DONE, timings=done.timings, counts=done.counts, capability=found)

    root = fill(tmp_path, partly)
    result = invoke("fig", root, "--kind", "drift", "--format", "png", "--out", tmp_path / "f")
    assert "fig: no capability-ratio of half on smollm2-135m at 40: it was not measured" in result.stderr
    assert crosses(root, "drift") == []


def test_a_panel_of_a_model_without_values_says_so(tmp_path: Path) -> None:
    def partly(run: Run, scale: int) -> Any:
        return failed(run, scale) if run.model == "other" else outcome(run, scale)

    found = evidence(fill(tmp_path, partly, models="[smollm2-135m, other]"))
    look = Look(PRESETS["icml"], marks(found.methods()))
    with look.settings():
        figure = kind("panel").draw(kind("panel").numbers(found), look)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["no values"]] * 4 + [[]] * 4  # models by name


@pytest.mark.parametrize("preset", ["icml", "screen"])
def test_a_bar_of_methods_that_lie_close_is_long_enough_to_be_seen_and_above_the_lines(preset: str) -> None:
    rows = [("first", 0.127, "a"), ("second", 0.121, "a"), ("third", 0.12, "b"), ("none", 0.01, "c")]
    base = {"suite": "s", "model": "m", "scale": 40, "metric": "reliability", "axis": "value"}
    more = {"blocks": 1, "critical_difference": np.nan}
    frame = pd.DataFrame([{**base, "method": m, "position": p, "groups": g, **more} for m, p, g in rows])
    look = Look(PRESETS[preset], marks(frame["method"]))
    with look.settings():
        axes = kind("critical-difference").draw(frame, look).axes[0]
        axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    [bar] = [line for line in axes.get_lines() if line.get_linewidth() == 2.2]
    ends = axes.transData.transform(np.column_stack([bar.get_xdata(), bar.get_ydata()]))[:, 0]
    assert abs(ends[1] - ends[0]) * 72 / axes.figure.dpi > 8
    assert bar.get_zorder() > max(line.get_zorder() for line in axes.get_lines() if len(line.get_xdata()) == 3)  # type: ignore[arg-type]
    assert min(bar.get_xdata()) > 0.12  # not as far as the third, from which they can be told apart


def test_each_model_has_its_figures_and_a_row_in_the_panel(tmp_path: Path) -> None:
    root = fill(tmp_path, models="[smollm2-135m, other]", scales="[3]")
    invoke("fig", root, "--kind", "scale,panel", "--format", "png", "--out", tmp_path / "f", "--data")
    names = {path.name for path in (tmp_path / "f").glob("*.png")}
    assert names == {"fig-smollm2-135m-scale.png", "fig-other-scale.png", "fig-panel.png"}
    assert set(pd.read_csv(tmp_path / "f/fig-other-scale.csv")["model"]) == {"other"}
    assert set(pd.read_csv(tmp_path / "f/fig-panel.csv")["model"]) == {"other", "smollm2-135m"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kind", "retentoin"), "Did you mean retention"),
        (("--preset", "nips"), "no preset named 'nips'"),
        (("--format", "jpg"), "no format named 'jpg'"),
        (("--metric", "nonsense"), "no metric named"),
        (("--kind", "cost", "--metric", "reliability"), "Kinds that can show it: scale"),
        (("--scale", "7"), "There are: 3, 40"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = invoke("fig", fill(tmp_path), "--out", tmp_path / "f", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "f").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("fig", fill(tmp_path), "--kind", "scale", "--out", tmp_path / "file" / "f")
    assert result.exit_code == 2 and "--out DIR" in result.stderr


@pytest.mark.parametrize("preset", ["neurips", "icml", "iclr", "acl"])
def test_a_figure_is_as_wide_as_its_venues_column_and_no_text_is_cut_off(tmp_path: Path, preset: str) -> None:
    found = evidence(fill(tmp_path))
    look = Look(PRESETS[preset], marks(found.methods()))
    for name in KINDS:
        with look.settings():
            figure = kind(name).draw(kind(name).numbers(found), look)
            figure.draw_without_rendering()
            whole = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        width = look.preset.text if name == "panel" else look.preset.column
        assert figure.get_figwidth() == pytest.approx(width)
        assert whole.x0 >= -0.01 and whole.x1 <= width + 0.01 and whole.y0 >= -0.01, name
        assert whole.y1 <= figure.get_figheight() + 0.01, name


def test_methods_differ_in_more_than_colour() -> None:
    found = marks(f"m{k:02}" for k in range(11))
    assert len({mark.marker for mark in found.values()}) == 11
    assert len({(mark.colour, mark.marker, str(mark.line)) for mark in marks(map(str, range(50))).values()}) == 50


def test_labels_are_moved_apart_as_little_as_may_be() -> None:
    assert spread([0.5, 0.1, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.9])
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 1.0, 1.0], 0.2) == pytest.approx([0.0, 0.2, 0.8, 1.0])


def test_a_metric_without_a_value_per_request_has_no_curve_by_age(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="by edit age"):
        stored_ages("fig", fill(tmp_path), "edit-seconds")

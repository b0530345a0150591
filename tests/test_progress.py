from __future__ import annotations

import io
import sys
import time

import pytest

from editbench.base.progress import ALREADY_THERE, LiveProgress, PlainProgress, Progress, clock, progress_for, run_label

LABEL = run_label("m", "none", 0)
WEIGHTS = {(LABEL, 1): 1.0, (LABEL, 10): 9.0}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is set."""
    current = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: current[0])
    return current


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_time_left_is_drawn_from_the_estimate_to_the_pace_so_far(now: list[float]) -> None:
    progress = Progress(WEIGHTS)
    assert progress.seconds_left() is None
    progress.begin_run(LABEL)
    now[0] += 5
    progress.cell_done(1, "done")
    assert progress.done == pytest.approx(0.1)
    assert progress.seconds_left() == pytest.approx((5 + 2) / (1 + 2) * 9)
    progress.update(0.5, "editing")
    assert progress.done == pytest.approx(0.55)
    now[0] += 6
    assert progress.seconds_left() == pytest.approx((11 + 2) / (5.5 + 2) * 4.5)


def test_cells_that_were_already_there_do_not_make_the_pace_look_fast(now: list[float]) -> None:
    progress = Progress(WEIGHTS)
    progress.begin_run(LABEL)
    progress.cell_done(1, "done", ALREADY_THERE)
    assert progress.seconds_left() == pytest.approx(9)
    now[0] += 9
    progress.update(0.5)
    assert progress.seconds_left() == pytest.approx((9 + 2) / (4.5 + 2) * 4.5)


def test_a_run_that_ends_early_counts_as_finished(now: list[float]) -> None:
    progress = Progress(WEIGHTS)
    progress.begin_run(LABEL)
    progress.cell_done(1, "failed")
    progress.end_run()
    assert progress.done == 1


def test_without_a_terminal_there_is_one_line_per_cell(now: list[float]) -> None:
    stream = io.StringIO()
    progress = PlainProgress(WEIGHTS, stream)
    progress.begin_run(LABEL)
    progress.stage("loading")
    progress.update(0.5, "editing")
    now[0] += 2
    progress.cell_done(1, "done", "edit 1 s")
    progress.cell_done(10, "diverged", "the loss is NaN")
    progress.end_run()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "m · none · seed 0 · 1: done, edit 1 s, 12 s left",
        "m · none · seed 0 · 10: diverged, the loss is NaN",
    ]


def test_the_kind_of_progress_suits_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert type(progress_for(WEIGHTS)) is PlainProgress
    assert type(progress_for(WEIGHTS, quiet=True)) is Progress
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    live = progress_for(WEIGHTS)
    live.close()
    assert type(live) is LiveProgress


def test_the_live_line_shows_run_note_and_finished_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = LiveProgress(WEIGHTS)
    progress.begin_run(LABEL)
    progress.update(0.5, "editing [3/10]")
    assert progress.bar.tasks[0].description == f"{LABEL}: editing [3/10]"
    progress.cell_done(1, "done", "edit 1 s")
    progress.close()
    captured = capsys.readouterr()
    assert "1: done, edit 1 s" in captured.err
    assert captured.out == ""


def test_unknown_cells_do_no_harm() -> None:
    progress = Progress()
    progress.begin_run("another")
    progress.update(2.0)
    progress.cell_done(5, "done")
    progress.end_run()
    assert progress.done == 0


def test_a_log_says_why_nothing_goes_on() -> None:
    stream = io.StringIO()
    progress = PlainProgress(WEIGHTS, stream)
    progress.begin_run(LABEL)
    progress.stage("loading the model")
    progress.waiting("waiting for another process that works in results/runs")
    assert stream.getvalue() == f"{LABEL}: waiting for another process that works in results/runs\n"
    Progress(WEIGHTS).waiting("said to nobody")


def test_where_nothing_is_expected_no_time_is_said_to_be_left() -> None:
    progress = Progress()
    progress.begin_run("m · a · seed 0")
    progress.cell_done(1, "done")
    assert progress.seconds_left() is None

"""The other process in which laws are tried: one for all questions, and none of them can end or confuse it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from editbench.testing.elsewhere import Elsewhere, ElsewhereFailed


@pytest.fixture(scope="module")
def other() -> Iterator[Elsewhere]:
    process = Elsewhere()
    yield process
    process.close()


def test_one_other_process_answers_every_question(other: Elsewhere) -> None:
    pids = {other.call("os:getpid") for _ in range(3)}
    assert len(pids) == 1 and str(os.getpid()) not in pids and other.started == 1


def test_it_looks_for_modules_and_files_where_this_process_does_now(
    other: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.call("os:getpid")
    (tmp_path / "written_later.py").write_text("def doubled(text, times=2): print('x'); return text * times\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert other.call("written_later:doubled", "né", 3) == "nénéné"
    assert other.call("os:getcwd") == str(tmp_path)


def test_what_is_raised_there_is_said_here_and_the_next_question_is_answered(other: Elsewhere) -> None:
    for function, arguments, said in (
        ("math:sqrt", (-1,), "ValueError"),
        ("sys:exit", (0,), "SystemExit: 0"),
        ("no_such_module:f", (), "ModuleNotFoundError"),
    ):
        with pytest.raises(ElsewhereFailed, match=said):
            other.call(function, *arguments)
    assert other.call("math:sqrt", 4) == "2.0" and other.started == 1


def test_a_process_that_ended_is_named_and_the_next_question_has_another() -> None:
    other = Elsewhere()
    with pytest.raises(ElsewhereFailed, match="ended with 3"):
        other.call("os:_exit", 3)
    assert other.call("math:sqrt", 4) == "2.0" and other.started == 2
    other.close()

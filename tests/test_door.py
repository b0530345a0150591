"""Every error leaves by one door, as a message; results have stdout for themselves, whatever stands behind it."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from results_tree import SUITE, good_records, write_all, write_data

from editbench.base import files, plain
from editbench.base.progress import LiveProgress, PlainProgress
from editbench.cli import cli, door, ending, streams
from editbench.cli.output import echo_json, say
from editbench.errors import StoreError, UserError
from editbench.plan.runs import Run
from editbench.results.store import CellOutcome, Status

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202eback"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDITBENCH_CACHE", str(folder))
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="editbench")


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Result:
    """Return what ``list`` says when something in it raises."""

    def broken() -> None:
        raise error

    monkeypatch.setattr("editbench.plan.catalogue.KINDS", {"metrics": broken})
    return invoke("list", "metrics")


def process(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "editbench", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def ran(*arguments: object, **options: object) -> tuple[int, str, str]:
    """Run the real command line; return exit code, stdout and stderr."""
    one = process(*arguments, **options)
    out, err = one.communicate(timeout=120)
    return one.returncode, out or "", err or ""


# -- errors


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENAMETOOLONG, errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOENT]
)
def test_what_the_system_refuses_is_a_message_that_names_the_path(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    result = raising(monkeypatch, OSError(number, os.strerror(number), "some/where"))
    assert result.exit_code == 2
    assert "some/where" in result.stderr
    assert os.strerror(number) in result.stderr
    assert 2 <= len(result.stderr.splitlines()) <= 3
    assert result.stdout == ""


def test_what_nobody_expected_is_two_lines_with_the_file_of_its_traceback(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    result = raising(monkeypatch, ZeroDivisionError("by zero"))
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == "Error: Something that nobody expected: ZeroDivisionError: by zero."
    kept = Path(second.rpartition(" ")[2])
    assert kept.parent == cache / "tracebacks"
    assert "in broken" in kept.read_text()


def test_a_traceback_goes_to_the_temporary_folder_where_the_cache_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "file" / "cache"))
    result = raising(monkeypatch, ZeroDivisionError())
    kept = Path(result.stderr.split()[-1])
    assert kept.is_file()
    kept.unlink()


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("done"), GeneratorExit()])
def test_sys_exit_within_a_command_is_no_success(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    result = raising(monkeypatch, error)
    assert result.exit_code == 1
    assert type(error).__name__ in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted; the same command continues."),
        (ending.Ended(signal.SIGTERM), 143, "Ended by SIGTERM; the same command continues."),
        (ending.Ended(signal.SIGHUP), 129, "Ended by SIGHUP; the same command continues."),
    ],
)
def test_signals_end_with_128_and_their_number(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    result = raising(monkeypatch, error)
    assert (result.exit_code, result.stderr.strip()) == (code, said)


def test_memory_and_text_that_is_none_are_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not enough memory" in raising(monkeypatch, MemoryError()).stderr
    with pytest.raises(UnicodeEncodeError) as half:
        "\udcff".encode()
    assert "'\\udcff' is no text" in raising(monkeypatch, half.value).stderr


def test_a_name_of_300_bytes_and_a_deleted_folder_are_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (
        ("leaderboard", "x" * 300),
        ("show", "method", f"{'x' * 300}.py:M"),
        ("report", "--out", "x" * 300),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2, result.output
        assert len(result.stderr.splitlines()) <= 5
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        result = invoke("report", "quickstart", "--out", "page.html")
        assert result.exit_code == 2, result.output
        assert "was deleted" in result.stderr
    finally:
        os.chdir(tmp_path)


def test_a_message_shows_no_escape_sequence_and_no_endless_line(monkeypatch: pytest.MonkeyPatch) -> None:
    result = raising(monkeypatch, UserError(f"{EVIL}{'x' * 100_000}", "expected"))
    assert not OBEYED.search(result.stderr)
    assert len(result.stderr) < 2000
    assert "expected" in result.stderr
    assert not OBEYED.search(invoke("list", EVIL).stderr)  # of click


@pytest.mark.parametrize("name", ["EDITBENCH_VERSION", "EDITBENCH_HELP", "EDITBENCH_LIST_HELP"])
def test_the_environment_cannot_ask_for_version_or_help(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert "metrics:" in invoke("list", "metrics").stdout
    assert "Usage:" in invoke("list", "--help").stdout


# -- what reaches a terminal


@pytest.mark.parametrize("text", [EVIL, "a\r\x00b", "\ud800"])
def test_text_is_cleaned_and_json_says_the_same(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not OBEYED.search(plain.clean(text))
    echo_json({"text": text})
    said = capsys.readouterr().out
    assert not OBEYED.search(said)
    assert json.loads(said) == {"text": text}
    say(text)
    capsys.readouterr().out.encode()


def evil(run: Run, scale: int) -> tuple[list[object], CellOutcome]:
    if run.label == "none":
        return good_records(scale, 0), CellOutcome(Status.DONE, timings={"edit_s": 1.0})  # type: ignore[return-value]
    return [], CellOutcome(Status.FAILED, EVIL + "x" * 100_000)


@pytest.fixture
def damned(tmp_path: Path) -> Path:
    """Return a suite whose method failed for an evil reason of 100 kB; its results lie beside it."""
    write_all(tmp_path, evil)  # type: ignore[arg-type]
    path = tmp_path / "small.yaml"
    path.write_text(SUITE.format(data=write_data(tmp_path)))
    return path


@pytest.mark.parametrize("form", [(), ("--markdown",), ("--csv",), ("--latex",), ("--json",)])
def test_a_reason_is_shortened_and_obeyed_by_no_terminal(damned: Path, form: tuple[str, ...]) -> None:
    result = invoke("leaderboard", damned, "--results", damned.parent / "results", *form)
    assert result.exit_code == 0, result.output
    assert not OBEYED.search(result.stdout)
    assert 0 < result.stdout.count("x") < 3000
    assert "characters" in result.stdout


def test_runs_and_comparisons_shorten_reasons_and_the_file_keeps_them(damned: Path) -> None:
    results = damned.parent / "results"
    for arguments in (("results", "list"), ("compare", "none", "local", "--suite", damned)):
        result = invoke(*arguments, "--results", results)
        assert not OBEYED.search(result.stdout)
        assert result.stdout.count("x") < 3000
    assert any(EVIL + "x" * 100_000 in json.loads(p.read_text())["reason"] for p in results.rglob("cell.json"))


def test_progress_shows_one_clean_line_per_cell(capsys: pytest.CaptureFixture[str]) -> None:
    for progress in (PlainProgress({}, sys.stderr), LiveProgress({})):
        progress.begin_run(EVIL)
        progress.cell_done(1, "failed", f"{EVIL}\n{'x' * 100_000}")
        progress.close()
        progress.close()
    said = capsys.readouterr().err
    assert 0 < said.count("x") < 3000
    assert "\x1b]" not in said
    assert "\x1b[31m" not in said


# -- streams


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_replaced(encoding: str) -> None:
    import codecs

    codecs.register_error("test-shown", streams.shown)
    said = "──│ ↑ → – × ± é ★ 日 … 😀".encode(encoding, "test-shown").decode(encoding)
    accent, times = ("e", "x") if encoding == "ascii" else ("é", "×")
    assert said.replace("±", "+-") == f"--| ^ -> - {times} +- {accent} * ? ... ?"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_no_terminal_loses_the_table(damned: Path, environment: dict[str, str]) -> None:
    code, out, err = ran(
        "leaderboard", damned, "--results", damned.parent / "results", env={**os.environ, **environment}
    )
    assert (code, err) == (0, "")
    assert "Reliability" in out
    assert "none" in out


def test_output_that_cannot_be_written_is_said_and_a_reader_that_has_enough_is_no_error() -> None:
    with Path("/dev/full").open("w") as full:
        code, _, err = ran("list", "metrics", stdout=full)
    assert code == 2
    assert err.splitlines()[0] == "Error: Cannot write to standard output: No space left on device."
    assert len(err.splitlines()) == 2
    code, _, err = ran("list", "metrics", stdout=None, preexec_fn=lambda: os.close(1))
    assert code == 2
    assert "Bad file descriptor" in err
    reading, writing = os.pipe()
    os.close(reading)
    code, _, err = ran("list", "metrics", stdout=writing)
    os.close(writing)
    assert (code, err) == (141, "")


def test_closed_or_full_stderr_and_closed_stdin_stop_nothing(tmp_path: Path) -> None:
    def close() -> None:
        os.close(0)
        os.close(2)

    code, out, _ = ran("list", "metrics", preexec_fn=close, stderr=None, stdin=None)
    assert code == 0
    assert out.startswith("metrics:")
    with Path("/dev/full").open("w") as full:
        assert ran("leaderboard", "nonsense", stderr=full)[0] == 2


LOUD = """
import os, threading, time
from editbench.method import Method
print("printed")
os.write(1, b"written by C\\n")
{more}
class Loud(Method):
    name = "loud"
"""


def test_json_is_json_whatever_a_method_prints(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD.format(more=""))
    code, out, err = ran("show", "method", f"{tmp_path / 'loud.py'}:Loud", "--json")
    assert code == 0, err
    assert json.loads(out)["name"] == "loud"
    assert "printed" in err
    assert "written by C" in err


def test_a_thread_left_running_keeps_no_process(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD.format(more="threading.Thread(target=time.sleep, args=(600,)).start()"))
    began = time.monotonic()
    code, out, err = ran("show", "method", f"{tmp_path / 'loud.py'}:Loud", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "loud"
    assert "What was left running is ended: Thread-" in err
    assert time.monotonic() - began < 100


# -- signals


# -- before anything is written


@pytest.mark.parametrize("device", ["cuda:99", "cud", "cpu:1", "cuda:", "mps:x"])
def test_a_device_that_does_not_exist_is_refused_before_anything_is_written(tmp_path: Path, device: str) -> None:
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE.format(data=write_data(tmp_path)))
    result = invoke("run", "--suite", suite, "--results", tmp_path / "r", "--device", device)
    assert result.exit_code == 2, result.output
    assert "device" in result.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("given", ["layer=wrong", "layer=[1", "layr=1", "layer=" + "[" * 5000])
def test_a_wrong_value_to_check_is_one_message(given: str) -> None:
    result = invoke("check", "--method", "locft-bf", "--set", given)
    assert result.exit_code == 2, result.output
    assert "laws hold" not in result.output
    assert len(result.stderr) < 2000


def test_hints_name_the_option_that_helps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from editbench.cache import Cache

    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file" / "cache").save_json("kind", {}, 1)  # nothing is kept, and that is said
    assert "cannot be written; what is computed is not kept" in caplog.text and "--results" not in caplog.text
    with pytest.raises(StoreError, match="--results DIR"):
        files.replace_file(tmp_path / "file" / "x", b"")
    with pytest.raises(StoreError, match="--out FILE"):
        files.replace_file(tmp_path / "file" / "x", b"", instead="choose another file, with --out FILE")


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from editbench.models import load, whole

    def refused(path: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "model.safetensors").write_bytes(b"")
    source = load._Source(str(tmp_path), "here")
    with pytest.raises(UserError, match="damaged"):
        load._parameter_count(source, None, False)
    monkeypatch.setattr(whole, "_count_in_header", refused)
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read: Permission denied") as error:
        load._parameter_count(source, None, False)
    assert "damaged" not in str(error.value)
    with pytest.raises(StoreError, match="Cannot read"):
        files.refuse_unreadable(tmp_path, PermissionError(errno.EACCES, "Permission denied"))
    files.refuse_unreadable(tmp_path, OSError("Couldn't deserialize"))  # pyarrow's word for damage


def test_the_door_returns_what_a_command_ends_with() -> None:
    def leave(code: int) -> Callable[[], object]:
        return lambda: code

    assert door.through(leave(3)) == 3
    assert isinstance(door.told(click.UsageError("no")), click.UsageError)

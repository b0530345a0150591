"""Terms of a model, asked about at the door of every command that loads one."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from builtin_wheels import NAME, VARIABLE, offer
from click.testing import CliRunner, Result
from results_tree import SUITE, write_data

import editbench
from editbench.cli import cli, terms
from editbench.errors import UserError
from editbench.models.builtin_models import BUILTIN

# command -> its arguments, and what it does once nothing is left to ask
COMMANDS = {
    "run": (("--suite", "small.yaml", "--models", NAME), "editbench.running.launch.carry_out"),
    "score": (("--model", NAME, "--dataset", "facts"), "editbench.running.score.carry_out"),
    "score against it": (
        ("--model", "tiny", "--unedited", NAME, "--dataset", "facts"),
        "editbench.running.score.carry_out",
    ),
    "export": (
        ("--suite", "small.yaml", "--method", "local", "--scale", "4", "--to", "new", "--model", NAME),
        "editbench.running.export.carry_out",
    ),
    "locate": (("--model", NAME), "editbench.models.load.load_lm"),
    "check": (("--method", "none", "--model", NAME), "editbench.testing.check.check_method"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a suite, a model's folder that is only looked at, and a built-in model under terms."""
    offer(monkeypatch, tmp_path)
    work = tmp_path / "work"
    (work / "tiny").mkdir(parents=True)
    (work / "tiny" / "config.json").write_text("{}")
    (work / "tiny" / "model.safetensors").write_text("")
    (work / "small.yaml").write_text(SUITE.format(data=write_data(tmp_path)))
    monkeypatch.chdir(work)
    return work


def ask(monkeypatch: pytest.MonkeyPatch, command: str, answer: str | None) -> Result:
    """Call a command at a terminal where ``answer`` is typed, or without one."""

    def go_on(*_: object, **__: object) -> NoReturn:
        raise UserError("It went on.")

    arguments, begins = COMMANDS[command]
    monkeypatch.setattr(begins, go_on)
    monkeypatch.setattr(terms, "_at_terminal", lambda: answer is not None)
    return CliRunner().invoke(cli, [command.partition(" ")[0], *arguments], input=answer, prog_name="editbench")


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_terminal_a_command_says_what_to_set_and_does_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    before = sorted(folder.rglob("*"))
    result = ask(monkeypatch, command, None)
    said = [line for line in result.stderr.splitlines() if not line.startswith(("Nothing is compared", "small has"))]
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(said) == 3 and "Tiny Terms" in said[0] and f"export {VARIABLE}=1" in said[2]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_at_a_terminal_terms_are_named_and_asked_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    refused = ask(monkeypatch, command, "n\n")
    assert refused.exit_code == 2 and "https://example.org/terms" in refused.stderr and refused.stdout == ""
    assert "not accepted; nothing was fetched" in refused.stderr and "It went on" not in refused.stderr
    assert not (tmp_path / "cache" / "models").exists()
    accepted = ask(monkeypatch, command, "y\n")
    assert "do you accept them?" in accepted.stderr and "It went on." in accepted.stderr
    again = ask(monkeypatch, command, "")
    assert "accept" not in again.stderr and "It went on." in again.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_variable_accepts_without_a_question(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert "It went on." in ask(monkeypatch, command, None).stderr
    monkeypatch.delenv(VARIABLE)
    assert "It went on." in ask(monkeypatch, command, None).stderr


@pytest.mark.parametrize("more", [(), ("--delta",)])
def test_an_exported_model_has_the_terms_it_comes_under_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    given = ("--suite", "small.yaml", "--method", "none", "--scale", "4", "--to", "new", "--model", NAME)
    result = CliRunner().invoke(cli, ["export", *given, *more], prog_name="editbench")
    assert result.exit_code == 0, result.stderr
    assert "Tiny is subject to the Tiny Terms" in (folder / "new" / "NOTICE").read_text()
    assert (folder / "new" / "TERMS.html").read_bytes() == b"<p>terms"


def test_a_dry_run_fetches_nothing_and_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "run", ((*COMMANDS["run"][0], "--dry-run"), COMMANDS["run"][1]))
    result = ask(monkeypatch, "run", None)
    assert result.exit_code == 0 and "accept" not in result.stderr


def test_a_call_from_python_never_asks_and_writes_nothing(folder: Path) -> None:
    with pytest.raises(UserError, match=f"export {VARIABLE}=1"):
        editbench.run("small.yaml", models=[NAME], results=folder / "results")
    with pytest.raises(UserError, match=f"export {VARIABLE}=1"):
        editbench.load_model(NAME)
    assert not (folder / "results").exists()


def test_a_model_without_terms_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: pytest.fail("it was asked"))
    for terminal in (True, False):
        monkeypatch.setattr(terms, "_at_terminal", lambda there=terminal: there)
        terms.settle_terms(["smollm2-135m", "some/model"])


def test_a_real_terminal_is_asked_and_told_what_gemma_comes_under(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "EDITBENCH_CACHE": str(tmp_path / "cache"), "EDITBENCH_ACCEPT_GEMMA_TERMS": ""}
    command = [sys.executable, "-m", "editbench", "locate", "--model", "gemma3-270m"]
    one = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env)
    os.close(theirs)
    seen = b""
    while b"accept them?" not in seen and select.select([ours], [], [], 60)[0]:
        seen += os.read(ours, 1 << 16)
    os.write(ours, b"n\n")
    assert one.wait(60) == 2
    gemma = BUILTIN["gemma3-270m"].terms
    assert gemma is not None and gemma.name.encode() in seen and gemma.url.encode() in seen
    os.close(ours)

"""`editbench check`: what it says, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results_tree import save_tiny_model

from editbench.cli import cli

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call the command line in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="editbench")


OWN = """
from editbench.method import Method, WeightEdit

class Own(Method):
    name = "own"

    def edit(self, lm, requests, rng):
        next(iter(lm.model.parameters())).data.add_(1)
        return WeightEdit({})

class Raises(Own):
    def edit(self, lm, requests, rng):
        return 1 / 0
"""


def test_check_ends_with_exit_code_1_where_a_law_is_broken(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editbench.testing import laws

    claim = "edit leaves the model bitwise as found"  # all of them take a while, and have their own tests
    monkeypatch.setattr("editbench.testing.check.LAWS", {claim: laws.LAWS[claim]})
    own = tmp_path / "own.py"
    own.write_text(OWN)
    result = invoke("check", "--method", f"{own}:Own", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {(law["law"], law["status"], law["passed"]) for law in data["laws"]} == {(claim, "broken", False)}
    fine = invoke("check", "--method", "none")
    assert fine.exit_code == 0
    assert claim in fine.stdout
    assert invoke("check", "--method", "nonsense").exit_code == 2
    assert invoke("check", "--method", "none", "--set", "layer").exit_code == 2


def test_check_tells_one_cause_once(invoke: Invoke, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    result = invoke("check", "--method", f"{own}:Raises")
    assert result.exit_code == 1
    assert result.stdout.count("ZeroDivisionError: division by zero") == 1
    assert len(result.stdout.splitlines()) == 4  # the first, those of the same cause by model, the sum
    wrong = invoke("check", "--method", "ft-depth-first", "--set", "nonsense=1")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.count("nonsense") == 1


def test_check_of_a_model_that_the_method_cannot_edit_says_so_and_fails(invoke: Invoke) -> None:
    result = invoke("check", "--method", "rome", "--set", "layer=99")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3 and "0 of 0 laws hold" in result.stdout


def test_check_tries_a_model_in_a_folder(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from editbench.testing import laws

    claim = "revert restores the model bitwise"
    monkeypatch.setattr("editbench.testing.check.LAWS", {claim: laws.LAWS[claim]})
    folder = save_tiny_model(tmp_path / "model")
    result = invoke("check", "--method", "none", "--model", str(folder), "--dtype", "bfloat16", "--json")
    assert result.exit_code == 0, result.output
    assert [(law["kind"], law["status"]) for law in json.loads(result.stdout)["laws"]] == [(str(folder), "holds")]

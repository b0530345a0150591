"""Whatever a method leaves behind, the control that runs after it has the numbers it has alone; the method is named."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from results_tree import save_tiny_model

import editbench
from editbench.results.store import Status

CULPRITS = '''
import os, random, sys, threading, time
import torch
from editbench.context import Contexts
from editbench.method import Edit, Method, WeightEdit

def noise(lm, rng):
    name = lm.layout.weight_name(1, "down")
    return {name: 0.1 * torch.randn(lm.parameter(name).shape, generator=rng)}

class Base(Method):
    regimes = frozenset({"batch", "sequential"})
    def edit(self, lm, requests, rng):
        self.beside(lm, requests)
        return WeightEdit(noise(lm, rng))

class Sticky(WeightEdit):
    def put_into(self, ledger):
        super().put_into(ledger)
        def cannot():
            raise RuntimeError("nothing comes off")
        ledger.on_revert(cannot)

class CannotRevert(Base):
    """Return an edit that does not come off, and change more when it goes in."""
    name = "cannot-revert"
    def edit(self, lm, requests, rng):
        lm.parameter(lm.layout.weight_name(0, "down")).data.mul_(3.0)
        return Sticky(noise(lm, rng))

class EditsInPlace(Base):
    """Change a weight in place."""
    name = "edits-in-place"
    def beside(self, lm, requests):
        lm.parameter(lm.layout.weight_name(2, "down")).data.mul_(2.0)

class LeavesItsContext(Base):
    """Put its answers before every prompt, and never take them out."""
    name = "leaves-its-context"
    def beside(self, lm, requests):
        said = " ".join(f"{r.prompt} {r.target_new}." for r in requests)
        lm.context = Contexts(lm, (lambda prompts: [said] * len(prompts),))

class LeavesAHook(Base):
    """Leave a hook."""
    name = "leaves-a-hook"
    def beside(self, lm, requests):
        lm.model.get_output_embeddings().register_forward_hook(lambda module, args, out: out * 0.5)

class ChangesTheTokeniser(Base):
    """Change the tokeniser."""
    name = "changes-the-tokeniser"
    def beside(self, lm, requests):
        lm.text.tokenizer.add_tokens(["thing"])

class RaisesHalfWay(Base):
    """Change a weight in place, then raise."""
    name = "raises-half-way"
    def beside(self, lm, requests):
        lm.parameter(lm.layout.weight_name(2, "down")).data.mul_(2.0)
        raise ZeroDivisionError("half way")

class Exits(Base):
    """Call sys.exit(0)."""
    name = "exits"
    def beside(self, lm, requests):
        sys.exit(0)

class ExitsAtOnce(Base):
    """Call os._exit(0)."""
    name = "exits-at-once"
    def beside(self, lm, requests):
        os._exit(0)

class Forks(Base):
    """Fork, and go on in both."""
    name = "forks"
    def beside(self, lm, requests):
        os.fork()

class LeavesAThread(Base):
    """Leave a thread running."""
    name = "leaves-a-thread"
    def beside(self, lm, requests):
        threading.Thread(target=time.sleep, args=(3,), name="mine").start()

class Seeds(Base):
    """Set the global seeds."""
    name = "seeds"
    def beside(self, lm, requests):
        torch.manual_seed(1)
        random.seed(1)

class SetsFlags(Base):
    """Set torch's default dtype and grad mode."""
    name = "sets-flags"
    def beside(self, lm, requests):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)

class ReturnsNothing(Base):
    """Return None."""
    name = "returns-nothing"
    def edit(self, lm, requests, rng):
        return None

class ReturnsNaN(Base):
    """Return numbers that are not finite."""
    name = "returns-nan"
    def edit(self, lm, requests, rng):
        return WeightEdit({name: delta * float("nan") for name, delta in noise(lm, rng).items()})

class ChangesRequests(Base):
    """Change the requests."""
    name = "changes-requests"
    def beside(self, lm, requests):
        object.__setattr__(requests[0], "target_new", "mine")

class ReadsProbes(Base):
    """Fail if there is anything to read of what will be asked."""
    name = "reads-probes"
    def beside(self, lm, requests):
        assert not any(request.probes for request in requests)

class AnotherKind(Base):
    """Declare another kind than it returns."""
    name = "another-kind"
    kind = "context"
    def beside(self, lm, requests):
        pass

class Slow(Base):
    """Take very long."""
    name = "slow"
    def beside(self, lm, requests):
        for _ in range(2000):
            time.sleep(0.01)

class NeedsLess(Base):
    """Run out of memory unless a quarter of the tokens is computed at once."""
    name = "needs-less"
    def beside(self, lm, requests):
        if lm.at_once(1024) > 256:
            raise torch.OutOfMemoryError("no memory left")
'''
SUITE = """
name: control
title: A culprit before the control
dataset: facts
models: [{model}]
methods: [{methods}]
scales: [1, 3]
regime: {regime}
protocol: {{max_new_tokens: 3}}
probes: {{rephrase: 1, neighbour: 1, locality: 1}}
metrics: [reliability, locality, perplexity-ratio]
"""
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    save_tiny_model(folder / "model")
    (folder / "culprits.py").write_text(CULPRITS)
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("EDITBENCH_CACHE", str(place / "cache"))

    def call(*names: str, regime: str = "batch", **options: Any) -> dict[tuple[str, int], Any]:
        methods = ", ".join("none" if name == "none" else f"{place / 'culprits.py'}:{name}" for name in names)
        suite = tmp_path / "control.yaml"
        suite.write_text(SUITE.format(model=place / "model", methods=methods, regime=regime))
        results = editbench.run(suite, results=tmp_path / "-".join(names), **options)
        return {(r.manifest["label"], cell.scale): cell for r in results.runs() for cell in r.cells}

    return call


@pytest.fixture(scope="module")
def alone(place: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What the control says and how it does where nothing ran before it."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITBENCH_CACHE", str(place / "cache"))
        (folder / "control.yaml").write_text(SUITE.format(model=place / "model", methods="none", regime="batch"))
        results = editbench.run(folder / "control.yaml", results=folder / "results")
        return [measured(cell) for r in results.runs() for cell in r.cells]


def measured(cell: Any) -> Any:
    """Return what was measured of a cell, without times."""
    data = {key: cell.data[key] for key in ("status", "pulse", "counts", "edit")}
    return data, cell.data["drift"]["kl"], cell.records.read_bytes()


@pytest.mark.parametrize(
    ("culprit", "label", "said"),
    [
        ("CannotRevert", "cannot-revert", "could not be taken out: RuntimeError: nothing comes off"),
        ("EditsInPlace", "edits-in-place", "left the model changed: model.layers.2.mlp.down_proj.weight"),
        ("LeavesItsContext", "leaves-its-context", "left the model changed: context"),
        ("LeavesAHook", "leaves-a-hook", "left the model changed: modules"),
        ("ChangesTheTokeniser", "changes-the-tokeniser", "left the model changed: tokeniser"),
        ("RaisesHalfWay", "raises-half-way", "ZeroDivisionError: half way"),
    ],
)
def test_the_control_after_a_culprit_is_the_control_alone_and_the_culprit_is_named(
    culprit: str, label: str, said: str, run: Run, alone: list[Any]
) -> None:
    cells = run(culprit, "none")
    assert [measured(cells["none", scale]) for scale in (1, 3)] == alone
    for scale in (1, 3):
        cell = cells[label, scale]
        assert cell.status is Status.FAILED and said in cell.data["reason"], cell.data["reason"]


@pytest.mark.parametrize("regime", ["batch", "{sequential: 1}"])
@pytest.mark.parametrize(
    ("culprit", "label", "status", "said"),
    [
        ("Exits", "exits", Status.FAILED, "edit called sys.exit(0)"),
        ("ExitsAtOnce", "exits-at-once", Status.FAILED, "edit called os._exit(0)"),
        ("LeavesAThread", "leaves-a-thread", Status.FAILED, "left a thread running: mine"),
        ("Seeds", "seeds", Status.FAILED, "edit changed torch's random state, Python's random state"),
        ("SetsFlags", "sets-flags", Status.FAILED, "edit changed torch's default dtype, torch's grad mode"),
        ("ReturnsNothing", "returns-nothing", Status.FAILED, "edit returned nothing; expected an Edit"),
        ("ReturnsNaN", "returns-nan", Status.DIVERGED, "numbers that are not finite"),
        ("ChangesRequests", "changes-requests", Status.FAILED, "edit changed the requests it was given"),
        ("AnotherKind", "another-kind", Status.FAILED, "declares 'context'"),
        ("ReadsProbes", "reads-probes", Status.DONE, ""),
    ],
)
def test_whatever_else_a_method_does_is_a_status_with_a_reason(
    culprit: str, label: str, status: Status, said: str, regime: str, run: Run
) -> None:
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    cells = run(culprit, "none", regime=regime)
    assert {cells["none", scale].status for scale in (1, 3)} == {Status.DONE}
    for scale in (1, 3):
        cell = cells[label, scale]
        assert cell.status is status and said in cell.data["reason"], cell.data["reason"]
    assert torch.equal(torch.get_rng_state(), state) and torch.get_default_dtype() is dtype and torch.is_grad_enabled()


def test_a_fork_goes_on_once(run: Run) -> None:
    pid, threads = os.getpid(), threading.active_count()
    cells = run("Forks", "none")
    assert os.getpid() == pid and threading.active_count() <= threads + 1
    assert cells["forks", 3].status is Status.DONE and cells["none", 3].status is Status.DONE


def test_a_methods_traceback_lies_in_its_cell(run: Run) -> None:
    [cell, *_] = [cell for (label, _), cell in run("RaisesHalfWay").items()]
    assert "culprits.py" in cell.data["traceback"] and "ZeroDivisionError: half way" in cell.data["traceback"]


def test_a_cell_that_takes_too_long_is_timed_out_and_the_rest_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from editbench.cli import cli

    monkeypatch.setenv("EDITBENCH_CACHE", str(place / "cache"))
    methods = f"{place / 'culprits.py'}:Slow, none"
    (tmp_path / "control.yaml").write_text(SUITE.format(model=place / "model", methods=methods, regime="batch"))
    given = ["run", "--suite", str(tmp_path / "control.yaml"), "--results", str(tmp_path / "r"), "--timeout", "6", "-q"]
    result = CliRunner().invoke(cli, [*given, "--max-scale", "1"])
    assert result.exit_code == 1
    cells = {path.parts[-5]: json.loads(path.read_text()) for path in (tmp_path / "r").rglob("cell.json")}
    assert cells["slow"]["status"] == "timed-out" and "--timeout" in cells["slow"]["reason"]
    assert cells["none"]["status"] == "done"


def test_an_edit_that_runs_out_of_memory_is_tried_with_fewer_tokens_at_once(run: Run) -> None:
    cells = run("NeedsLess")
    assert {cell.status for cell in cells.values()} == {Status.DONE}

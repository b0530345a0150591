"""What the tests of exports share: finished runs on tiny models, the command, folders compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from results_tree import save_tiny_model
from transformers import AutoModelForCausalLM

import editbench
import editbench.running.exporter
from editbench.cli import cli
from editbench.testing.tiny import tiny_lm

SUITE = """
name: {name}
title: A small suite
dataset: facts
models: [{model}]
methods:
  - none
  - locft-bf
  - {{method: ft-depth-first, label: slow, hparams: {{lr: 1.0e-3}}, cap: {{scale: 2, why: it is slow}}}}
scales: [2, 5]
regime: {regime}
protocol: {{max_new_tokens: 4}}
probes: {{rephrase: 1, neighbour: 1, locality: 1}}
metrics: [reliability, locality]
"""


Invoke = Callable[..., Result]


METHODS = Path(__file__).with_name("exported_methods.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, one with Linear and one with Conv1D blocks, and finished runs of both regimes on the first."""
    folder = tmp_path_factory.mktemp("export")
    model = save_tiny_model(folder / "llama")
    other = tiny_lm("gpt2")
    other.model.save_pretrained(folder / "gpt2")
    other.text.tokenizer.save_pretrained(folder / "gpt2")
    shutil.copyfile(METHODS, folder / "own.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITBENCH_CACHE", str(folder / "cache"))
        for name, regime in (("batch", "batch"), ("stream", "{sequential: 2}")):
            (folder / f"{name}.yaml").write_text(SUITE.format(name=name, regime=regime, model=model))
            editbench.run(folder / f"{name}.yaml", methods=["none", "locft-bf"], results=folder / "results")
    return folder


@pytest.fixture
def invoke(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("EDITBENCH_CACHE", str(place / "cache"))
    monkeypatch.setenv("EDITBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("EDITBENCH_DEVICE", "cpu")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="editbench")

    return call


@pytest.fixture
def export(place: Path, invoke: Invoke) -> Invoke:
    """Call ``editbench export`` for five edits of the batch suite, or what else is given."""

    def call(to: Path, *arguments: object, suite: str = "batch", method: str = "locft-bf", scale: int = 5) -> Result:
        given = ("--suite", place / f"{suite}.yaml", "--method", method, "--scale", scale, "--to", to)
        return invoke("export", *given, *arguments, "-q")

    return call


def state(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, **options).state_dict())


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

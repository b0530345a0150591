"""Kinds of edit that grow chunk by chunk: one memory before each prompt, one codebook in the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from reference_methods import Codebook, Retrieval
from results_tree import save_tiny_model

from editbench.base.seeds import torch_generator
from editbench.cli import cli
from editbench.models.load import load_lm
from editbench.plan.settings import settings_for
from editbench.running.stream import Stream
from editbench.testing.tiny import tiny_lm, tiny_requests

REFERENCE = Path(__file__).with_name("reference_methods.py")
SUITE = """
name: grown
title: Edits that grow
dataset: facts
models: [{model}]
methods:
  - none
  - {{method: '{reference}:Retrieval', label: retrieval}}
  - {{method: '{reference}:Codebook', label: codebook}}
scales: [6, 12]
regime: {{sequential: 3}}
protocol: {{max_new_tokens: 2}}
probes: {{rephrase: 1, neighbour: 1, locality: 1}}
metrics: [reliability, locality, edit-bytes]
"""


def test_two_chunks_of_fifty_requests_put_one_memory_before_each_prompt() -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(100)
    stream = Stream(lm, Retrieval(settings_for(Retrieval, lm.shape, dict(Retrieval.tiny)).values))
    for start in (0, 50):
        stream.write(requests[start : start + 50], torch_generator(0, "chunk", start))
    assert lm.context is not None and len(lm.context.lookups) == 1
    whole = Stream(tiny_lm("llama"), Retrieval(settings_for(Retrieval, lm.shape, dict(Retrieval.tiny)).values))
    whole.write(requests, torch_generator(0, "chunk", 0))
    prompts = [request.prompt for request in requests]
    assert lm.as_read(prompts) == whole.lm.as_read(prompts) != prompts
    assert stream.size()["nbytes"] == whole.size()["nbytes"]
    stream.take_out()
    assert lm.context is None


def test_a_codebook_of_a_thousand_keys_in_chunks_of_ten_takes_the_bytes_of_a_thousand_keys() -> None:
    lm = tiny_lm("llama")
    hparams = {**Codebook.tiny, "updates": 1}
    stream = Stream(lm, Codebook(settings_for(Codebook, lm.shape, hparams).values))
    requests, sizes = tiny_requests(1000), []
    for start in range(0, 1000, 10):
        stream.write(requests[start : start + 10], torch_generator(0, "chunk", start))
        sizes.append(stream.size()["nbytes"])
    a_key = sizes[0] / 10
    assert sizes[-1] == pytest.approx(1000 * a_key, rel=0.05)
    assert len([module for module in lm.model.modules() if type(module).__name__ == "CodebookModule"]) == 1


@pytest.mark.parametrize("label", ["retrieval", "codebook"])
def test_what_has_grown_is_exported_loaded_again_and_score_gives_the_same_records(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    model = save_tiny_model(tmp_path / "model")
    suite = tmp_path / "grown.yaml"
    suite.write_text(SUITE.format(model=model, reference=REFERENCE))

    def invoke(*arguments: object) -> Any:
        given = [*map(str, arguments), "--results", str(tmp_path / "results"), "--device", "cpu", "-q"]
        found = CliRunner().invoke(cli, given, prog_name="editbench")
        assert found.exit_code == 0, found.output
        return found

    invoke("run", "--suite", suite, "--methods", f"none,{label}")
    invoke("export", "--suite", suite, "--method", label, "--scale", 12, "--to", tmp_path / "edit", "--delta")
    invoke("score", "--model", tmp_path / "edit", "--suite", suite, "--scale", 12, "--label", "back")
    ours, theirs, unedited = (
        next((tmp_path / "results").glob(f"runs/grown/*/{name}/*/cells/12")) for name in (label, "back", "none")
    )
    records = [(cell / "records.jsonl").read_bytes() for cell in (ours, theirs, unedited)]
    assert records[0] == records[1] != records[2]
    sizes = [json.loads((cell / "cell.json").read_text())["edit"]["nbytes"] for cell in (ours, theirs)]
    assert sizes[0] == sizes[1] > 0


def test_a_shadow_takes_modules_and_training_and_leaves_no_trace_in_the_model(tmp_path: Path) -> None:
    from editbench.running.unedited import fingerprint

    lm = load_lm(str(save_tiny_model(tmp_path / "model")))
    before, ids = fingerprint(lm), torch.tensor([[5, 6, 7]])
    logits = lm.model(input_ids=ids).logits
    with lm.shadow() as shadow:
        name = lm.layout.weight_name(1, "down").removesuffix(".weight")
        inner = shadow.get_submodule(name)
        assert inner.weight is lm.parameter(f"{name}.weight")
        shadow.set_submodule(name, torch.nn.Sequential(inner, torch.nn.Linear(lm.shape.hidden, lm.shape.hidden)))
        shadow.register_forward_hook(lambda *given: None)
        assert not torch.equal(shadow(input_ids=ids).logits, logits)
    assert fingerprint(lm) == before and torch.equal(lm.model(input_ids=ids).logits, logits)

"""Requests that are longer than a model can read: each is named with its reason, and the others are edited."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from results_tree import save_tiny_model, write_data

import editbench
from editbench.analysis.notes import about_failures
from editbench.cache import Cache
from editbench.models.generate import Question, ask_batch, plan_batches
from editbench.models.lengths import fitting, why_too_long
from editbench.plan.protocol import Protocol
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.testing.tiny import tiny_lm, tiny_requests

EDITING = ("locft-bf", "ft-depth-first", "memit", "rome", "ultraedit")
MEGABYTE = "an endless word " * (1 << 16)


def longer(request: Any, prompt: str) -> Any:
    return replace(request, prompt=prompt + request.prompt, subject_start=None)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_request_fits_up_to_the_last_token_that_is_read(kind: str) -> None:
    lm = tiny_lm(kind)
    tokens = len(lm.text.completion("a " * 60, "b").ids) - 1
    lm.model.config.max_position_embeddings = tokens
    assert why_too_long(lm, "a " * 60, "b") == ""
    lm.model.config.max_position_embeddings = tokens - 1
    assert f"{tokens:,} tokens; this model reads {tokens - 1:,}" in why_too_long(lm, "a " * 60, "b")


def test_a_megabyte_is_known_to_be_too_long_without_tokenising_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, [request, *others] = tiny_lm("gpt2"), tiny_requests(3)
    assert lm.text.longest_token < 100
    begun = time.monotonic()
    found, failures = fitting(lm, [longer(request, MEGABYTE), *others])
    assert time.monotonic() - begun < 2
    assert found == others
    assert "characters; this model reads" in failures[request.id]
    monkeypatch.setattr(type(lm.text), "_encode", lambda *_, **__: pytest.fail("it was tokenised"))
    assert why_too_long(lm, MEGABYTE, "x")


@pytest.mark.parametrize("name", EDITING)
def test_one_request_beyond_the_context_is_a_failure_and_the_others_are_edited(name: str, tmp_path: Path) -> None:
    lm, requests = tiny_lm("gpt2"), tiny_requests(3)  # whose position table has an end
    method_class: Any = load_method(name)
    for long in ("word " * lm.context_length, MEGABYTE):
        method = method_class(settings_for(method_class, lm.shape, method_class.tiny).values)
        method.prepare(lm, Cache(tmp_path))
        given = [requests[0], longer(requests[1], long), requests[2]]
        edit = method.edit(lm, given, torch.Generator().manual_seed(0))
        assert list(method.failures) == [requests[1].id]
        assert "this model reads" in method.failures[requests[1].id]
        assert any(delta.abs().max() > 0 for delta in edit.deltas.values())


@pytest.mark.parametrize("name", EDITING)
def test_requests_that_are_all_too_long_edit_nothing(name: str, tmp_path: Path) -> None:
    lm, requests = tiny_lm("gpt2"), [longer(request, MEGABYTE) for request in tiny_requests(2)]
    method_class: Any = load_method(name)
    method = method_class(settings_for(method_class, lm.shape, method_class.tiny).values)
    method.prepare(lm, Cache(tmp_path))
    assert not method.edit(lm, requests, torch.Generator().manual_seed(0)).deltas
    assert len(method.failures) == 2


def test_a_probe_of_a_megabyte_is_an_error_of_its_own_at_once() -> None:
    lm = tiny_lm("gpt2")
    questions = [Question("The king is", ("a",)), Question(MEGABYTE, ("b",))]
    begun = time.monotonic()
    assert plan_batches(lm, questions) == [[1], [0]]
    short, long = ask_batch(lm, questions, Protocol())
    assert time.monotonic() - begun < 10
    assert (short.error, "this model reads" in long.error) == ("", True)


SUITE = (
    "name: small\ntitle: T\ndataset: {data}\nmodels: [{model}]\nmethods: [none, {method}]\nscales: [3]\nprobes: {{}}\n"
)


def test_a_run_with_a_prompt_beyond_the_context_names_it_under_its_table(tmp_path: Path) -> None:
    data = write_data(tmp_path, 3)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[1]["prompt"] = MEGABYTE + rows[1]["prompt"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = tmp_path / "small.yaml"
    model = save_tiny_model(tmp_path / "model")
    suite.write_text(SUITE.format(data=data, model=model, method="{method: locft-bf, hparams: {layer: 1, passes: 2}}"))
    results = editbench.run(suite, results=tmp_path / "results", device="cpu")
    assert results.trouble == 0
    [cell] = [cell for run in results.runs() if run.manifest["label"] == "locft-bf" for cell in run.cells]
    assert list(cell.data["failures"]) == ["r1"]
    [said] = about_failures(results.runs())
    assert "locft-bf 1 of 3 at 3 (its prompt and target have" in said
    assert said in results.leaderboard().notes


CHOOSY = '''
from editbench.method import Method, WeightEdit

class Refuses(Method):
    """Edit nothing at all."""
    name = "refuses"
    regimes = frozenset({"batch"})
    def edit(self, lm, requests, rng):
        self.failures = {r.id: "it does not like it" for r in requests}
        return WeightEdit({})
'''


def test_a_method_that_edits_no_request_is_not_plainly_done(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CHOOSY)
    suite = tmp_path / "small.yaml"
    model, data = save_tiny_model(tmp_path / "model"), write_data(tmp_path, 3)
    suite.write_text(SUITE.format(data=data, model=model, method=f"{tmp_path / 'own.py'}:Refuses"))
    results = editbench.run(suite, results=tmp_path / "results", device="cpu")
    [said] = [note for note in results.leaderboard().notes if "could not be edited" in note]
    assert "refuses all 3 at 3 (it does not like it)" in said

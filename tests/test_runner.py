"""Whole runs on a tiny model in a folder: every status, both regimes, what is on disk at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from results_tree import save_tiny_model

import editbench
from editbench.base.seeds import torch_generator
from editbench.models.lm import LM
from editbench.models.load import load_lm
from editbench.plan.settings import settings_for
from editbench.results.store import Status
from editbench.running.runner import chunks
from editbench.running.stream import Stream, checkpoint_position
from editbench.testing.tiny import tiny_requests

OWN = '''
import torch
from editbench.errors import Diverged
from editbench.method import Method, WeightEdit

class Base(Method):
    """Do nothing much."""
    regimes = frozenset({"batch", "sequential"})
    def edit(self, lm, requests, rng):
        return WeightEdit({})

class Fails(Base):
    """Fail above two requests."""
    name = "fails"
    def edit(self, lm, requests, rng):
        if len(requests) > 2:
            raise ZeroDivisionError("by nought")
        return WeightEdit({})

class Diverges(Base):
    """Diverge."""
    name = "diverges"
    def edit(self, lm, requests, rng):
        raise Diverged("the loss is NaN")

class Greedy(Base):
    """Ask for too much memory."""
    name = "greedy"
    def edit(self, lm, requests, rng):
        raise MemoryError("too much")

class Picky(Base):
    """Support no model."""
    name = "picky"
    def supports(self, lm):
        return "only models of 72B"

class Ruins(Base):
    """Make every likelihood NaN."""
    name = "ruins"
    def edit(self, lm, requests, rng):
        name = f"{lm.layout.final_norm}.weight"
        return WeightEdit({name: torch.full_like(lm.parameter(name), 1e38)})

class Costly(Base):
    """Know neither its cost nor its settings."""
    name = "costly"
    @classmethod
    def heuristics(cls, shape):
        raise LookupError("no such table")

class Chooses(Base):
    """Leave one request out."""
    name = "chooses"
    def edit(self, lm, requests, rng):
        self.failures[requests[0].id] = "its subject is not in its prompt"
        return WeightEdit({})
'''
SUITE = """
name: tiny
title: A tiny suite for tests
dataset: facts
models: [{model}]
methods: [{methods}]
scales: {scales}
regime: {regime}
protocol: {{max_new_tokens: 4}}
probes: {probes}
metrics: [reliability, locality]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.py").write_text(OWN)

    def carry_out(*methods: str, regime: str = "batch", probes: str = "{}", scales: str = "[1, 3]") -> Any:
        addresses = [f"{tmp_path / 'own.py'}:{name}" if name[0].isupper() else name for name in methods]
        values = {"methods": ", ".join(addresses), "regime": regime, "probes": probes, "scales": scales}
        text = SUITE.format(model=model, **values)
        (tmp_path / "tiny.yaml").write_text(text)
        return editbench.run(tmp_path / "tiny.yaml", results=tmp_path / "results")

    return carry_out


def outcomes(results: Any) -> dict[tuple[str, int], dict[str, Any]]:
    return {(r.manifest["label"], cell.scale): dict(cell.data) for r in results.runs() for cell in r.cells}


def test_every_way_to_end_is_recorded_with_its_reason_and_the_rest_goes_on(run: Any) -> None:
    found = outcomes(run("Fails", "Diverges", "Greedy", "Picky", "none"))
    said = {key: (cell["status"], cell["reason"]) for key, cell in found.items()}
    assert said["fails", 1] == ("done", "")
    assert said["fails", 3] == ("failed", "ZeroDivisionError: by nought")
    assert said["diverges", 3] == ("diverged", "the loss is NaN")
    assert said["greedy", 3] == ("out-of-memory", "too much")
    assert said["picky", 3] == ("skipped", "only models of 72B")
    assert said["none", 3] == ("done", "")


def test_a_stream_that_breaks_ends_its_later_cells_and_says_after_how_many_requests(run: Any) -> None:
    found = outcomes(run("Diverges", regime="{sequential: 2}"))
    assert {cell["status"] for cell in found.values()} == {"diverged"}
    sequential = outcomes(run("Fails", "ft-depth-first", regime="{sequential: 2}"))
    assert sequential["fails", 3]["status"] == "done"  # chunks of at most two
    assert sequential["ft-depth-first", 3]["status"] == "done"


def test_a_likelihood_that_is_not_a_number_is_an_error_of_its_probe_and_the_files_stay_json(run: Any) -> None:
    results = run("Ruins")
    [cell] = [c for c in outcomes(results).values() if c["scale"] == 3]
    assert cell["status"] == Status.DONE and cell["counts"]["errors"] > 0
    for path in results.store.root.rglob("records.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_request_that_a_method_leaves_out_is_counted(run: Any) -> None:
    cells = outcomes(run("Chooses"))
    assert [cell["counts"]["failed_requests"] for cell in cells.values()] == [1, 1]
    assert [list(cell["failures"].values()) for cell in cells.values()] == [["its subject is not in its prompt"]] * 2


def test_every_method_and_scale_sees_the_same_requests_in_the_same_order(run: Any) -> None:
    frame = run("none", "ft-depth-first").records()
    order = {
        key: tuple(part[part.kind == "edit"].sort_values("position").request)
        for key, part in frame.groupby(["method", "scale"])
    }
    assert len(set(order.values())) == 2
    assert order["none", 3][:1] == order["none", 1] == order["ft-depth-first", 1]


def test_the_manifest_says_what_ran_on_what(run: Any) -> None:
    results = run("locft-bf", "none")
    manifest = next(r.manifest for r in results.runs() if r.manifest["label"] == "locft-bf")
    assert manifest["method"]["settings"][0]["sources"]["layer"]["kind"] == "heuristic"
    assert manifest["method"]["hparams"]["batch_size"] == 100
    assert len(manifest["model"]["weights_hash"]) == 64
    assert manifest["protocol"]["max_new_tokens"] == 4
    assert manifest["packages"]["torch"] and manifest["dataset"]["hash"]


def test_a_run_that_goes_on_to_larger_scales_keeps_one_manifest_of_all_of_them(run: Any) -> None:
    first = run("none", scales="[1]").runs()[0].manifest
    second = run("none").runs()[0]
    manifest = json.loads((second.folder / "manifest.json").read_text())
    assert manifest["run_id"] == first["run_id"]
    assert manifest["scales"] == [1, 3] and set(manifest["cells"]) == {"1", "3"}
    assert manifest["started"] == first["started"]
    assert all(cell.data["made_by"]["packages"]["torch"] for cell in second.cells)


def test_a_method_whose_cost_or_settings_fail_does_not_stop_the_others(run: Any) -> None:
    found = outcomes(run("Costly", "none"))
    assert found["costly", 3]["status"] == "failed" and "no such table" in found["costly", 3]["reason"]
    assert found["none", 3]["status"] == "done"


def test_a_budget_limits_how_many_requests_are_probed(run: Any) -> None:
    cells = outcomes(run("none", probes="{budget: 2}"))
    assert cells["none", 3]["counts"]["probed"] == 2


def test_no_checkpoint_is_left_when_a_run_is_finished(run: Any) -> None:
    results = run("ft-depth-first", regime="{sequential: 1}")
    assert not list(results.store.root.rglob("checkpoint*"))


def test_chunks_are_cut_at_every_scale_and_every_multiple() -> None:
    assert chunks([1, 10, 25], 10) == [(0, 1), (1, 10), (10, 20), (20, 25)]
    assert chunks([3], None) == [(0, 3)]


def test_a_stream_put_back_is_bitwise_the_model_that_was_loaded(model: Path) -> None:
    from editbench_methods.ft_depth_first import FTDepthFirst

    lm, requests = load_lm(str(model)), tiny_requests(4)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    stream = Stream(lm, FTDepthFirst(settings_for(FTDepthFirst, lm.shape).values))
    stream.write(requests[:2], torch_generator(0, "a"))
    stream.write(requests[2:], torch_generator(0, "b"))
    assert stream.done == 4 and stream.ledger.changed and stream.size()["delta_norm"] > 0
    stream.take_out()
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())


def test_a_stream_resumed_from_its_checkpoint_is_bitwise_the_unbroken_one(model: Path, tmp_path: Path) -> None:
    from editbench_methods.ft_depth_first import FTDepthFirst

    def new_stream() -> Stream:
        lm = load_lm(str(model))
        return Stream(lm, FTDepthFirst(settings_for(FTDepthFirst, lm.shape).values))

    requests, path = tiny_requests(4), tmp_path / "checkpoint.safetensors"
    unbroken = new_stream()
    unbroken.write(requests[:2], torch_generator(0, "a"))
    unbroken.save(path)
    unbroken.write(requests[2:], torch_generator(0, "b"))
    resumed = new_stream()
    assert checkpoint_position(path) == 2
    resumed.resume(path)
    resumed.write(requests[2:], torch_generator(0, "b"))
    other = resumed.lm.model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in unbroken.lm.model.state_dict().items())
    assert resumed.size() == unbroken.size()


def test_a_torn_checkpoint_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert checkpoint_position(path) is None
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    assert checkpoint_position(path) is None


@pytest.mark.slow
def test_on_the_real_model_breadth_first_learns_what_depth_first_forgets(
    smollm2: LM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("editbench.running.loaded.load_lm", lambda *_, **__: smollm2)
    suite = tmp_path / "real.yaml"
    values = {"model": "smollm2-135m", "methods": "ft-depth-first, locft-bf", "regime": "batch", "scales": "[12]"}
    probes = "{rephrase: 0, neighbour: 0, locality: 0}"
    suite.write_text(SUITE.replace("max_new_tokens: 4", "max_new_tokens: 8").format(probes=probes, **values))
    frame = editbench.run(suite, results=tmp_path / "results").to_frame(["reliability"]).set_index("method")
    assert frame.value["locft-bf"] >= 0.95
    assert frame.value["ft-depth-first"] < frame.value["locft-bf"]


def test_a_damaged_cell_is_made_anew_and_a_damaged_manifest_is_named_with_what_to_do(run: Any) -> None:
    store = run("none").store
    cell, manifest = (next(store.root.rglob(name)) for name in ("cells/3/cell.json", "manifest.json"))
    whole = json.loads(cell.read_text())
    cell.write_text(cell.read_text()[:50])
    assert run("none").trouble == 0
    again = json.loads(cell.read_text())
    assert (again["id"], again["status"], again["counts"]) == (whole["id"], "done", whole["counts"])
    manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(editbench.UserError, match=f"(?s){manifest}.*Copy it again, or delete it"):
        run("none")
    shutil.rmtree(manifest.parent)
    assert run("none").trouble == 0
    assert manifest.is_file()

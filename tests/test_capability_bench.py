"""All tasks of a cell: what is kept of them, what a kill and a failure leave, and what is left alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from capability_folder import made, silent, write_tasks

from editbench.cache import Cache
from editbench.capability import bench as bench_module
from editbench.capability.bench import Bench
from editbench.capability.evaluate import measure
from editbench.capability.spec import CapabilitySpec
from editbench.metrics.capability import capability
from editbench.models.hashes import weights_hash
from editbench.testing.damage import damaged
from editbench.testing.tiny import tiny_lm


@pytest.fixture
def lm() -> Any:
    return tiny_lm("llama")


def test_outcomes_are_kept_per_document_beside_the_unedited_models(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with damaged(lm.model, 1.0):
        entry = bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy"]
    lines = [json.loads(line) for line in (tmp_path / "cell" / "capability.jsonl").read_text().splitlines()]
    scored = [line for line in lines if line["task"].startswith("toy/")]
    assert len(scored) == 15 and len({(line["task"], line["doc_id"]) for line in lines}) == 21
    assert entry["value"] == pytest.approx(sum(line["outcome"] for line in scored) / 15)
    assert entry["unedited"] == pytest.approx(sum(line["unedited"] for line in scored) / 15)
    assert all(len(line["doc_hash"]) == 64 for line in lines)
    assert {line["said"] is None for line in scored} == {True}
    assert all(isinstance(line["said"], str) for line in lines if line["task"] == "toy_write")


def test_the_standard_error_of_the_difference_is_that_of_the_pairs(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with damaged(lm.model, 1.0):
        bench.measure(tmp_path / "cell", silent, lm, changed=True)
    entry = json.loads((tmp_path / "cell" / "capability.json").read_text())["toy/toy_two"]
    lines = [json.loads(line) for line in (tmp_path / "cell" / "capability.jsonl").read_text().splitlines()]
    differences = [r["outcome"] - r["unedited"] for r in lines if r["task"] == "toy/toy_two"]
    mean = sum(differences) / 9
    expected = math.sqrt(sum((d - mean) ** 2 for d in differences) / 8 / 9)
    assert entry["difference_stderr"] == pytest.approx(expected, rel=1e-12)


def test_model_tokeniser_and_random_states_are_left_as_they_were(lm: Any, tmp_path: Path) -> None:
    import random

    before, torch_state, python_state = (
        weights_hash(lm.model, lm.text.tokenizer),
        torch.get_rng_state(),
        random.getstate(),
    )
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert weights_hash(lm.model, lm.text.tokenizer) == before
    assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == python_state


def test_nothing_of_lm_evals_reaches_the_screen(lm: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_in_shares_that_grow_to_one(lm: Any, tmp_path: Path) -> None:
    bench, told = made(write_tasks(tmp_path / "mine"), tmp_path / "cache"), []
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", lambda share, note: told.append((share, note)), lm, changed=True)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 20
    assert any("toy/toy_two (2 of 3)" in note for _, note in told)


def test_a_killed_cell_goes_on_with_the_task_it_was_at(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tasks(tmp_path / "mine")
    whole = made(folder, tmp_path / "cache")
    whole.baseline(lm, silent)
    with damaged(lm.model, 1.0):
        expected = whole.measure(tmp_path / "whole", silent, lm, changed=True)
        measured: list[str] = []

        def killed(model: Any, task: Any, *rest: Any) -> Any:
            measured.append(task.task_name)
            if measured == ["toy_one", "toy_two"]:
                raise KeyboardInterrupt
            return measure(model, task, *rest)

        monkeypatch.setattr(bench_module, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            whole.measure(tmp_path / "cell", silent, lm, changed=True)
        with (tmp_path / "cell" / "capability.jsonl").open("a") as file:
            file.write('{"task": "toy/toy_two", "doc_id": 0}\n{"task": "toy/to')  # what a kill may leave behind
        assert whole.measure(tmp_path / "cell", silent, lm, changed=True) == expected
    assert measured == ["toy_one", "toy_two", "toy_two", "toy_write"]
    for name in ("capability.jsonl", "capability.json"):
        assert (tmp_path / "cell" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_task_without_documents_fails_with_its_reason_and_the_others_go_on(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    (folder / "toy_two.jsonl").unlink()
    bench = made(folder, tmp_path / "cache")
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert found["toy"]["status"] == "failed" and found["toy"]["at"] == "loading"
    assert "1 of its 2 tasks failed; toy_two: FileNotFoundError" in found["toy"]["reason"]
    assert found["toy_write"]["status"] == "done"
    assert not bench.changed(found)
    write_tasks(folder)
    assert made(folder, tmp_path / "cache").changed(found)


def test_a_metric_that_is_not_there_is_a_reason_that_names_those_that_are(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    tasks = [{"task": "toy_one", "metric": "acc_norm"}, {"task": "toy_two", "metric": "bleu"}]
    bench = Bench(CapabilitySpec(tasks=tasks, include=[str(folder)]), None, Cache(tmp_path / "cache"))
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=False)
    assert found["toy_one"]["metric"] == "acc_norm,none"
    assert "no metric 'bleu'; it has acc,none, acc_norm,none" in found["toy_two"]["reason"]
    assert found["toy_two"]["at"] == "asked" and capability({"capability": found}) == found["toy_one"]["value"]

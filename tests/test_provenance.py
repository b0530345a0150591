from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from results_tree import small_plan, small_suite

from editbench.base.machine import checkout_of, machine, packages
from editbench.datasets import load_dataset
from editbench.plan.runs import RunOptions, bind, make_plan
from editbench.plan.settings import settings_for
from editbench.results.manifest import manifest, matches
from editbench.testing.tiny import tiny_lm


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "own.py").write_text("from editbench.method import Method\nclass Own(Method):\n    name = 'own'\n")
    git(folder, "add", "own.py")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_clean_checkout_has_its_commit_and_an_edited_one_is_dirty(checkout: Path) -> None:
    found = checkout_of(checkout / "own.py")
    assert found is not None
    assert (found.commit, found.dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    checkout_of.cache_clear()
    (checkout / "own.py").write_text("# changed\n")
    found = checkout_of(checkout / "own.py")
    assert found is not None
    assert found.dirty


def test_an_untracked_method_file_makes_a_checkout_dirty_and_no_checkout_is_none(checkout: Path) -> None:
    (checkout / "new.py").write_text("")
    found = checkout_of(checkout / "new.py")
    assert found is not None
    assert found.dirty
    assert checkout_of(checkout.parent / "elsewhere.py") is None


def test_a_manifest_is_json_with_everything_that_identifies_the_run(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    run, lm = plan.runs[1], tiny_lm("llama")
    options = RunOptions(device="cpu", command="editbench run --suite small")
    found = json.loads(json.dumps(manifest(run, dataset, options, lm)))
    assert found["run_id"] == run.run_id
    assert found["cells"] == {"1": run.cell_id(1), "4": run.cell_id(4)}
    assert found["command"] == options.command
    assert found["options"]["device"] == "cpu"
    assert found["method"]["hparams_given"] == {"layer": 3}
    assert found["method"]["source_hash"] == run.source_hash
    assert found["model"]["weights_hash"] == lm.weights_hash
    assert found["dataset"]["hash"] == dataset.content_hash
    assert found["protocol_hash"] == run.protocol.hash
    assert {"torch", "transformers", "numpy"} <= set(found["packages"])
    assert found["machine"]["cores"] >= 1


def test_a_run_without_a_model_still_has_a_manifest(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    found = manifest(plan.runs[0], dataset, RunOptions())
    assert found["model"]["weights_hash"] == ""
    assert found["method"]["hparams"] is None


def test_resolved_hyper_parameters_and_their_source_are_kept(tmp_path: Path) -> None:
    from editbench.plan.registry import load_method

    plan, dataset = small_plan(tmp_path)
    run, lm = plan.runs[1], tiny_lm("llama")
    settings = settings_for(load_method(run.method), lm.shape, run.given)
    found = manifest(run, dataset, RunOptions(), lm, dict.fromkeys(run.scales, settings))
    assert found["method"]["hparams"]["layer"] == 3
    [kept] = found["method"]["settings"]
    assert kept["scales"] == list(run.scales) and kept["values"]["layer"] == 3
    assert kept["sources"]["layer"] == {"kind": "suite", "says": "small"}
    assert kept["sources"]["lr"]["kind"] == "default"


def test_the_checkout_of_a_side_door_method_is_its_own(tmp_path: Path, checkout: Path) -> None:
    suite = small_suite(tmp_path).with_options(methods=[f"{checkout}/own.py:Own"])
    dataset = load_dataset(suite.dataset)
    run = bind(make_plan(suite), dataset).runs[0]
    checkout_of.cache_clear()
    found = manifest(run, dataset, RunOptions())
    assert found["method"]["checkout"]["commit"] == git(checkout, "rev-parse", "HEAD")


def test_other_weights_than_before_are_noticed() -> None:
    lm = tiny_lm("llama")
    assert matches(None, lm)
    assert matches({"model": {"weights_hash": lm.weights_hash}}, lm)
    assert not matches({"model": {"weights_hash": "other"}}, lm)


def test_versions_and_machine_are_plain_values_and_need_no_torch() -> None:
    assert json.dumps([packages(), machine()])
    code = (
        "import sys; from editbench.base import machine as p; p.packages(); p.machine(); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

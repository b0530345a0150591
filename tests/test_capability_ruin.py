"""What must not pass for an ordinary value: scores by other rules, and those of a model that computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from capability_folder import write_tasks

from editbench.cache import Cache
from editbench.capability.bench import Bench
from editbench.capability.spec import CapabilitySpec
from editbench.metrics.capability import capability
from editbench.testing.tiny import tiny_lm


@pytest.fixture
def lm() -> Any:
    return tiny_lm("llama")


def made(folder: Path, cache: Path) -> Bench:
    return Bench(CapabilitySpec(tasks=[str(folder)], batch_size=4), None, Cache(cache))


def silent(share: float, note: str) -> None:
    return None


@pytest.mark.parametrize("file", ["scores.py", "helper.py"])
def test_the_unedited_model_is_scored_anew_when_the_tasks_code_changes(lm: Any, tmp_path: Path, file: str) -> None:
    folder = write_tasks(tmp_path / "mine")
    yaml = folder / "toy_one.yaml"
    yaml.write_text(yaml.read_text() + "process_results: !function scores.score\n")
    (folder / "scores.py").write_text(
        "from pathlib import Path\n\ndef score(doc, results):\n"
        "    found = {}\n    exec(Path(__file__).with_name('helper.py').read_text(), found)\n"
        "    return {'acc': found['most'], 'acc_norm': 0.0}\n"
    )
    (folder / "helper.py").write_text("most = 1.0\n")
    first = made(yaml, tmp_path / "cache")
    first.baseline(lm, silent)
    assert first.measure(tmp_path / "one", silent, lm, changed=True)["toy_one"]["unedited"] == 1.0
    text = (folder / file).read_text()
    (folder / file).write_text(text.replace("found['most']", "0.0").replace("most = 1.0", "most = 0.0"))
    again = made(yaml, tmp_path / "cache")
    again.baseline(lm, silent)
    found = again.measure(tmp_path / "two", silent, lm, changed=True)["toy_one"]
    assert (found["value"], found["unedited"]) == (0.0, 0.0)


def test_a_model_of_nan_weights_fails_every_task_instead_of_a_value(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with torch.no_grad():
        lm.parameter(lm.layout.weight_name(1, "down")).fill_(float("nan"))
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert {entry["at"] for entry in found.values()} == {"edited"} and capability({"capability": found}) is None
    assert "FloatingPointError: no log-likelihood is a finite number" in found["toy"]["reason"]
    assert found["toy_write"]["reason"] == "FloatingPointError: no logit is a finite number"

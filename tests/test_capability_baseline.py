"""The unedited model's results: measured once for what decides them, and measured anew when any of that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from capability_folder import made, silent, write_tasks

from editbench.capability import baseline as baseline_module
from editbench.capability import bench as bench_module
from editbench.capability.evaluate import measure
from editbench.testing.tiny import tiny_lm


@pytest.fixture
def lm() -> Any:
    return tiny_lm("llama")


def test_the_unedited_model_is_measured_once_per_content(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def counting(model: Any, task: Any, *rest: Any) -> Any:
        measured.append(task.task_name)
        return measure(model, task, *rest)

    monkeypatch.setattr(baseline_module, "measure", counting)
    folder = write_tasks(tmp_path / "mine")
    everything = ["toy_one", "toy_two", "toy_write"]
    made(folder, tmp_path / "cache").baseline(lm, silent)
    assert measured == everything
    made(folder, tmp_path / "cache").baseline(tiny_lm("llama"), silent)
    assert measured == everything  # the same weights, in another process or not
    write_tasks(folder, version="1.1")
    made(folder, tmp_path / "cache").baseline(lm, silent)
    assert measured == [*everything, "toy_one", "toy_two"]  # the third has kept its version
    made(folder, tmp_path / "cache", num_fewshot=1).baseline(lm, silent)
    made(folder, tmp_path / "cache").baseline(tiny_lm("llama", seed=1), silent)
    assert len(measured) == 5 + 2 * 3


def test_an_unedited_model_is_not_asked_again_and_equals_itself(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    monkeypatch.setattr(bench_module, "measure", lambda *a: pytest.fail("asked again"))
    found = bench.measure(tmp_path / "cell", silent, lm, changed=False)
    assert all(entry["value"] == entry["unedited"] for entry in found.values())


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
    first = made(yaml, tmp_path / "cache", trusted=True)
    first.baseline(lm, silent)
    assert first.measure(tmp_path / "one", silent, lm, changed=True)["toy_one"]["unedited"] == 1.0
    text = (folder / file).read_text()
    (folder / file).write_text(text.replace("found['most']", "0.0").replace("most = 1.0", "most = 0.0"))
    again = made(yaml, tmp_path / "cache", trusted=True)
    again.baseline(lm, silent)
    found = again.measure(tmp_path / "two", silent, lm, changed=True)["toy_one"]
    assert (found["value"], found["unedited"]) == (0.0, 0.0)

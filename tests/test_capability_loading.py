"""Tasks that cannot be had: the reason is true, it is found quickly, and nothing floods the screen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from capability_folder import native_yaml, write_lines, write_tasks

from editbench.cache import Cache
from editbench.capability import hub as hub_module
from editbench.capability.hub import Hub
from editbench.capability.loading import Loaded, load_tasks
from editbench.capability.local_data import LocalData
from editbench.capability.quiet import quiet
from editbench.capability.spec import CapabilitySpec
from editbench.capability.tasks import Asked, resolve


def on_hub(folder: Path, *names: str) -> None:
    """Let tasks name a dataset of the hub."""
    for name in names:
        yaml = folder / f"{name}.yaml"
        text = yaml.read_text().replace("dataset_path: json", "dataset_path: nobody/toy_data")
        yaml.write_text("\n".join(line for line in text.splitlines() if "dataset_kwargs" not in line) + "\n")


def loaded(folder: Path, name: str, hub: Hub | None = None, data: Path | None = None) -> Loaded:
    index = resolve(CapabilitySpec(tasks=[str(folder)]), Cache(folder.parent / "cache")).index
    return load_tasks(Asked(name), index, None if data is None else LocalData(data), hub)


def test_a_hub_out_of_reach_is_asked_once_and_then_its_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    tried: list[bool] = []

    def no_answer() -> str:
        asked.append(1)
        return "ConnectError: no route"

    def load(*arguments: Any, **named: Any) -> Any:
        tried.append(datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("Couldn't reach it (OfflineModeIsEnabled)")

    monkeypatch.setattr(hub_module, "_why_not", no_answer)
    monkeypatch.setattr(datasets, "load_dataset", load)
    before = datasets.config.HF_HUB_OFFLINE
    folder, hub = write_tasks(tmp_path / "mine"), Hub()
    on_hub(folder, "toy_one", "toy_two")
    failed = loaded(folder, "toy", hub).failed | loaded(folder, "toy_one", hub).failed
    assert asked == [1] and tried == [True] * 3 and datasets.config.HF_HUB_OFFLINE is before
    said = "the hub cannot be reached (ConnectError: no route), and its cache does not hold nobody/toy_data"
    assert failed == {"toy_one": said, "toy_two": said}


def test_a_connection_that_breaks_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["", "gone"])
    monkeypatch.setattr(hub_module, "_why_not", lambda: next(answers))
    hub = Hub()
    with pytest.raises(ConnectionError), hub.at_hand():
        raise ConnectionError
    with hub.at_hand():
        assert datasets.config.HF_HUB_OFFLINE
    assert hub.why_not == "gone"


def test_tasks_with_their_documents_beside_them_ask_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_why_not", lambda: pytest.fail("asked"))
    assert len(loaded(write_tasks(tmp_path / "mine"), "toy").tasks) == 2


def test_the_hubs_own_warnings_do_not_reach_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    import huggingface_hub.utils  # noqa: F401 — sets up its logger

    with quiet():
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 5/5].")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("yaml", "file", "reads"),
    [
        ("super_glue/copa/default.yaml", "copa_validation.jsonl", "choice1, choice2, label, premise, question"),
        ("openbookqa/openbookqa.yaml", "openbookqa_test.jsonl", "answerKey, choices, question_stem"),
        ("commonsense_qa/default.yaml", "commonsense_qa_validation.jsonl", "answerKey, choices, question"),
        ("siqa/siqa.yaml", "siqa_validation.jsonl", "answerA, answerB, answerC, context, label, question"),
    ],
)
def test_a_file_of_another_form_is_named_with_its_columns_and_those_the_task_reads(
    tmp_path: Path, yaml: str, file: str, reads: str
) -> None:
    write_lines(tmp_path / "data" / file, [{"query": "why?", "options": ["a", "b"], "gold": 0}])
    wanted = resolve(CapabilitySpec(tasks=[str(native_yaml(yaml))]), Cache(tmp_path / "cache"))
    [reason] = load_tasks(wanted.asked[0], wanted.index, LocalData(tmp_path / "data")).failed.values()
    said = f"{tmp_path}/data/{file} was found, but its columns do not fit: it has query, options, gold; "
    assert reason.startswith(f"{said}the task reads {reads} (") and "nor is it in" not in reason


def test_examples_that_are_not_in_the_folder_are_a_reason_and_without_examples_they_are_not_needed(
    tmp_path: Path,
) -> None:
    row = {"question": "What is it?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    write_lines(tmp_path / "data" / "arc_easy_test.jsonl", [row] * 3)
    index = resolve(CapabilitySpec(tasks=[str(native_yaml("arc/arc_easy.yaml"))]), Cache(tmp_path)).index
    data = LocalData(tmp_path / "data")
    assert "arc_easy" in load_tasks(Asked("arc_easy"), index, data).tasks
    failed = load_tasks(Asked("arc_easy", num_fewshot=3), index, data).failed
    assert "holds no train split, which its 3 examples are from" in failed["arc_easy"]

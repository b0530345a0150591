"""lm-eval's datasets from a folder: which file is taken for which, and in which form."""

from __future__ import annotations

from pathlib import Path

import pytest
from capability_folder import write_lines

from editbench.capability.local_data import LocalData, load, read_rows
from editbench.capability.original_forms import as_on_hub
from editbench.errors import UserError

ROW = {"a": 1}


def touch(folder: Path, *names: str) -> LocalData:
    for name in names:
        write_lines(folder / name, [ROW])
    return LocalData(folder)


def found(data: LocalData, dataset: str, config: str | None, splits: list[str], evaluated: str) -> dict[str, list[str]]:
    files = data.find(dataset, config, splits, evaluated)
    names = {} if files is None else files.splits
    return {split: [path.relative_to(data.folder).as_posix() for path in paths] for split, paths in names.items()}


@pytest.mark.parametrize(
    ("file", "dataset", "config"),
    [
        ("openai/gsm8k/test.jsonl", "openai/gsm8k", "main"),
        ("openai--gsm8k/main/test-00000-of-00001.jsonl", "openai/gsm8k", "main"),
        ("gsm8k/test.jsonl", "openai/gsm8k", "main"),
        ("gsm8k.jsonl", "openai/gsm8k", "main"),
        ("sst2/test.jsonl", "nyu-mll/glue", "sst2"),
        ("glue/sst2_test.jsonl", "nyu-mll/glue", "sst2"),
        ("forms/arc_easy.jsonl", "allenai/ai2_arc", "ARC-Easy"),
        ("blimp/wh_island.jsonl", "nyu-mll/blimp", "wh_island"),
        ("mmlu/test/world_religions_test.jsonl", "cais/mmlu", "world_religions"),
        ("TruthfulQA/TruthfulQA.jsonl", "truthfulqa/truthful_qa", "multiple_choice"),
        ("winogrande.jsonl", "allenai/winogrande", "winogrande_xl"),
    ],
)
def test_a_file_is_found_by_the_datasets_name_or_the_configurations(
    tmp_path: Path, file: str, dataset: str, config: str
) -> None:
    data = touch(tmp_path, file, "other/else.jsonl")
    assert found(data, dataset, config, ["test"], "test") == {"test": [file]}


def test_configurations_and_splits_of_one_dataset_are_told_apart(tmp_path: Path) -> None:
    data = touch(
        tmp_path,
        "mmlu/dev/anatomy_dev.jsonl",
        "mmlu/test/anatomy_test.jsonl",
        "mmlu/dev/astronomy_dev.jsonl",
        "mmlu/test/astronomy_test.jsonl",
    )
    files = found(data, "cais/mmlu", "anatomy", ["test", "dev"], "test")
    assert files == {"test": ["mmlu/test/anatomy_test.jsonl"], "dev": ["mmlu/dev/anatomy_dev.jsonl"]}


def test_dev_is_taken_for_validation_and_a_cut_train_file_for_train(tmp_path: Path) -> None:
    data = touch(tmp_path, "nq_open/NQ-open.dev.jsonl", "nq_open/train_500.jsonl")
    files = found(data, "google-research-datasets/nq_open", None, ["train", "validation"], "validation")
    assert files == {"train": ["nq_open/train_500.jsonl"], "validation": ["nq_open/NQ-open.dev.jsonl"]}


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    data = touch(tmp_path, "mmlu/test/anatomy_test.jsonl", "mmlu/test/astronomy_test.jsonl")
    assert data.find("openai/gsm8k", "main", ["test"], "test") is None
    assert data.find("cais/mmlu", "virology", ["test"], "test") is None
    with pytest.raises(UserError, match="no such folder"):
        LocalData(tmp_path / "nowhere")


def test_a_tsv_keeps_its_quotation_marks_and_reads_labels_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "validation.tsv").write_text('sentence\tlabel\n"a film \t1\nno , " film\t0\n')
    assert read_rows(tmp_path / "validation.tsv") == [
        {"sentence": '"a film ', "label": 1},
        {"sentence": 'no , " film', "label": 0},
    ]


def test_json_parquet_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    import pandas as pd

    rows = [{"question": "a, b", "answer": 1}, {"question": "c", "answer": 0}]
    frame = pd.DataFrame(rows)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_json(tmp_path / "x.json", orient="records")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    for suffix in ("parquet", "csv", "json", "jsonl"):
        assert read_rows(tmp_path / f"x.{suffix}") == rows


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"x\.jsonl cannot be read"):
        read_rows(tmp_path / "x.jsonl")


def test_documents_are_loaded_by_split_in_the_hubs_form(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "piqa.jsonl", [{"query": "Question: How to dry?\n", "choices": ["a towel", "water"], "gold": 0}]
    )
    files = LocalData(tmp_path).find("baber/piqa", None, ["validation"], "validation")
    assert files is not None
    loaded = load(files, "baber/piqa", None)
    assert loaded["validation"][0] == {"goal": "How to dry?", "sol1": "a towel", "sol2": "water", "label": 0}


def test_each_known_form_becomes_the_hubs() -> None:
    mmlu = {"question": "q", "choice0": "a", "choice1": "b", "choice2": "c", "choice3": "d", "answer": "2"}
    assert as_on_hub([mmlu], "cais/mmlu", "anatomy") == [
        {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 2}
    ]
    arc = {"query": "Question: why?", "choices": ["a", "b"], "gold": 1}
    assert as_on_hub([arc], "allenai/ai2_arc", "ARC-Easy") == [
        {"question": "why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"}
    ]
    lambada = {"context": "the end of", "continuation": "time"}
    assert as_on_hub([lambada], "EleutherAI/lambada_openai", "default") == [{"text": "the end of time"}]
    boolq = {"question": "q", "passage": "p", "answer": True}
    assert as_on_hub([boolq], "aps/super_glue", "boolq")[0]["label"] == 1
    winogrande = {
        "context_options": ["Ann beat Bo because Ann", "Ann beat Bo because Bo"],
        "continuation": "was fast.",
        "gold": 0,
    }
    assert as_on_hub([winogrande], "allenai/winogrande", "winogrande_xl") == [
        {"sentence": "Ann beat Bo because _ was fast.", "option1": "Ann", "option2": "Bo", "answer": "1"}
    ]
    truthful = {"Question": "q", "Best Answer": "b", "Correct Answers": "b; c", "Incorrect Answers": "x; y"}
    [row] = as_on_hub([truthful], "truthfulqa/truthful_qa", "multiple_choice")
    assert row["mc1_targets"] == {"choices": ["b", "x", "y"], "labels": [1, 0, 0]}
    assert row["mc2_targets"] == {"choices": ["b", "c", "x", "y"], "labels": [1, 1, 0, 0]}


def test_rows_in_the_hubs_form_are_left_alone() -> None:
    rows = [{"question": "q", "choices": ["a"], "answer": 0}]
    assert as_on_hub(rows, "cais/mmlu", "anatomy") == rows
    own = [{"question": "q", "passage": "p", "label": 1, "answer": "x"}]
    assert as_on_hub(own, "aps/super_glue", "boolq") == own

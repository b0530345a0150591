"""Names, files and messages: what happens before any record is understood."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from editbench.datasets import DatasetSpec, Rows, check_dataset_name, files, load, load_dataset
from editbench.errors import BadData, BadPlugin, UnknownName
from editbench.plan.suite_file import load_suite
from editbench.requests import Request

RECORD = {"prompt": "Ilm flows into", "subject": "Ilm", "target_new": "the Elbe", "ground_truth": "the Saale"}


def save(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return str(path)


def register(monkeypatch: pytest.MonkeyPatch, **readers: Any) -> None:
    monkeypatch.setattr(load, "names", lambda group: sorted(readers))
    monkeypatch.setattr(load, "load_dataset_reader", lambda name: readers[name])


def test_a_string_in_a_suite_is_a_dataset_name() -> None:
    class Suite(BaseModel):
        dataset: DatasetSpec

    assert Suite.model_validate({"dataset": "facts"}).dataset == DatasetSpec(name="facts")
    assert DatasetSpec.parse("facts") == DatasetSpec.parse({"name": "facts"})


def test_an_unknown_key_of_a_spec_is_refused() -> None:
    with pytest.raises(ValidationError, match="formm"):
        DatasetSpec.parse({"name": "facts", "formm": "zsre"})


def test_a_misspelt_name_is_answered_with_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, facts=None, zsre=None)
    with pytest.raises(UnknownName, match="Did you mean facts"):
        check_dataset_name("fatcs")


def test_a_misspelt_form_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean zsre"):
        check_dataset_name(DatasetSpec(name="org/set", form="zrse"))


def test_a_hub_id_passes_the_name_check_without_a_network() -> None:
    check_dataset_name("org/set")


def test_a_missing_file_is_answered_with_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "mine.jsonl", RECORD)
    with pytest.raises(BadData, match=r"holds mine\.jsonl"):
        check_dataset_name(str(tmp_path / "main.jsonl"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(BadData, match=r"Expected a file ending in \.json"):
        check_dataset_name(str(tmp_path / "data.csv"))


def test_a_published_dataset_without_a_path_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, zsre=None)
    with pytest.raises(BadData, match=r"dataset: \{name: zsre, path: path/to/zsre.json\}"):
        check_dataset_name("zsre")


def test_a_plugin_may_return_requests_records_or_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("1", "Ilm flows into", "Ilm", "the Elbe", "the Saale")
    register(monkeypatch, a=lambda spec: [request], b=lambda spec: [RECORD], c=lambda spec: Rows([RECORD], "c"))
    hashes = {load_dataset(name).content_hash for name in "abc"}
    assert len(hashes) == 1


def test_a_plugin_that_returns_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, mine=lambda spec: 3)
    with pytest.raises(BadPlugin, match="'mine' returned int"):
        load_dataset("mine")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '[{"prompt": "x",}]', "a.json, line 1, column"),
        ("a.json", '[\n{"prompt": "x"},\n3]', "a.json, record 2: int instead of an object"),
        ("a.json", '"text"', "a.json holds a str"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt"}', "a.jsonl, line 2, column 10"),
        ("a.jsonl", "[1]", "a.jsonl, line 1: list instead of an object"),
        ("a.jsonl", "", "a.jsonl holds no record"),
        ("a.jsonl", '{"who": "knows"}', "has the fields who, which no known form has"),
        ("a.parquet", "no parquet", "a.parquet cannot be read as parquet"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadData) as error:
        load_dataset(str(tmp_path / name))
    assert message in str(error.value)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"prompt": "\xe9"}]')
    with pytest.raises(BadData, match=r"a\.json is not UTF-8"):
        load_dataset(str(tmp_path / "a.json"))


def test_a_missing_field_is_named_with_file_and_record(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.jsonl", RECORD, {"prompt": "Ilm flows into", "target_new": "the Elbe"})
    with pytest.raises(BadData, match=r"mine\.jsonl, record 2: field 'subject' is missing\. Expected"):
        load_dataset(path)


def test_an_unknown_target_field_is_answered_with_the_choices(tmp_path: Path) -> None:
    record = {"src": "q?", "answers": ["a"], "alt": "b", "subject": "q"}
    with pytest.raises(BadData, match="default or one of: alt, answers, pred"):
        load_dataset(DatasetSpec(name=save(tmp_path / "z.jsonl", record), target_field="altt"))


def test_a_hub_dataset_that_cannot_be_reached_says_to_give_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: object, **keywords: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(BadData, match="give its path instead"):
        load_dataset(DatasetSpec(name="org/set", revision="abc"))


def test_a_hub_dataset_is_read_at_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: dict[str, object] = {}

    def serve(name: str, **keywords: object) -> dict[str, list[dict[str, str]]]:
        asked.update(keywords, name=name)
        return {"test": [], "train": [RECORD]}

    monkeypatch.setattr(datasets, "load_dataset", serve)
    dataset = load_dataset(DatasetSpec(name="org/set", revision="abc"))
    assert asked == {"name": "org/set", "revision": "abc", "split": None}
    assert dataset.source == "org/set@abc"


def test_a_named_set_is_read_from_a_hub_id_through_the_hubs_own_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    (tmp_path / "org" / "set").mkdir(parents=True)
    record = {"src": "Where is Ulm?", "pred": "Bonn", "rephrase": "Ulm is where?", "alt": "Kiel", "answers": ["Ulm"]}
    save(tmp_path / "org" / "set" / "train.jsonl", {**record, "subject": "Ulm", "loc": "Who sang?", "loc_ans": "Nena"})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)  # a folder in the hub's layout stands for org/set
    dataset = load_dataset(DatasetSpec(name="zsre", path="org/set"))
    assert [(r.subject, r.target_new) for r in dataset.requests] == [("Ulm", "Kiel")]
    assert dataset.source == "org/set" and any((tmp_path / "cache").rglob("*.arrow"))


def test_a_suite_takes_a_pinned_hub_dataset_as_its_data() -> None:
    suite = load_suite("zsre-100k").with_options(data="org/set@abc")
    assert (suite.dataset.name, suite.dataset.path, suite.dataset.revision) == ("zsre", "org/set", "abc")
    local = load_suite("zsre-100k").with_options(data="./my@file.json").dataset
    assert (local.path, local.revision) == ("./my@file.json", None)


def test_a_path_for_a_dataset_that_ships_is_refused(tmp_path: Path) -> None:
    for name in ("facts", "counterfact-100k", "search"):
        with pytest.raises(BadData, match="ships with editbench"):
            load_dataset(DatasetSpec(name=name, path=save(tmp_path / "mine.jsonl", RECORD)))


def test_a_hub_dataset_of_many_splits_wants_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda name, **keywords: {"dev": [], "test": []})
    with pytest.raises(BadData, match="split: dev"):
        files.read_hub("org/set", None, None)


def test_the_content_hash_changes_with_a_probe_and_not_with_the_file(tmp_path: Path) -> None:
    one = load_dataset(save(tmp_path / "a.jsonl", RECORD))
    two = load_dataset(save(tmp_path / "b.jsonl", RECORD))
    three = load_dataset(save(tmp_path / "c.jsonl", RECORD | {"rephrase_prompt": "Ilm joins"}))
    assert one.content_hash == two.content_hash != three.content_hash


def test_importing_datasets_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'pyarrow', 'numpy', 'datasets', 'transformers'}"
    code = f"import sys, editbench.datasets; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

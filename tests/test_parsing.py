"""JSON and YAML from users: whatever is in a file, it ends at once in an error that names the file and the line."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from editbench.base.parsing import MOST_LEVELS, Unparsable, parse_json, parse_yaml
from editbench.cache import Cache
from editbench.capability.index import folder_index
from editbench.capability.local_data import read_rows
from editbench.cli import cli
from editbench.datasets import load_dataset
from editbench.errors import BadData, BadSuite, UserError
from editbench.models.families import shape_of_name
from editbench.plan.suite_file import load_suite, parse_suite

LONG = "9" * 5000
DOUBLING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BY_ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(2 * MOST_LEVELS))

YAML = {
    "an anchor that refers to itself": ("name: x\na: &a [*a]", 2, "refers to what it is part of"),
    "a mapping that refers to itself": ("a: &a {b: *a}", 1, "refers to what it is part of"),
    "aliases that double": (DOUBLING, None, "its aliases written out"),
    "nesting by aliases": (BY_ALIASES, None, "levels deep"),
    "nesting by brackets": ("a: " + "[" * 100_000, 1, "levels deep"),
    "nesting by braces": ("a: " + "{b: " * 5000, 1, "levels deep"),
    "nesting by dashes": ("- " * 5000 + "x", 1, "levels deep"),
    "a list as a key": ("name: x\n? [a, b]\n: c", 2, "unhashable key"),
    "a mapping as a key": ("? {a: b}\n: c", 1, "unhashable key"),
    "an integer of 5,000 digits": (f"name: x\nseeds: [{LONG}]", 2, "5000 digits"),
    "an integer above 64 bits": (f"seeds: [{2**63}]", 1, "too large"),
    "half a surrogate pair": ('name: x\ntitle: "\\ud800"', 2, "surrogate"),
    "a NUL character": ('title: "a\\0b"', 1, "NUL"),
    "a raw NUL": ("name: x\ntitle: a\0b", 2, "not allowed"),
    "a character that is none": ('title: "\\U00110000"', None, "no YAML"),
    "a date that is none": ("name: x\ntitle: 2024-13-45", 2, "is no timestamp"),
    "a tag that does not fit": ("name: !!bool perhaps", 1, "is no bool"),
    "a file without end": ("- a\n" * 200_000, None, "longer than"),
}

# What is found when values are made of it; of a task's YAML lm-eval makes them.
CONSTRUCTED = {name for name in YAML if "key" in name or "integer" in name or "date" in name or "tag" in name}


@pytest.mark.parametrize("what", YAML)
def test_yaml_that_harms_is_refused_at_once_with_file_and_line(what: str) -> None:
    text, line, said = YAML[what]
    begun = time.monotonic()
    with pytest.raises(BadSuite) as error:
        parse_suite(text, "mine.yaml")
    assert str(error.value).startswith("mine.yaml" + (f", line {line}:" if line else ""))
    assert said in str(error.value)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("text", ["", "null", "[a, b]", "3", "- name: x"])
def test_a_suite_that_is_no_mapping_says_what_one_is(text: str) -> None:
    with pytest.raises(BadSuite, match="a suite is a mapping"):
        parse_suite(text, "mine.yaml")


def test_aliases_that_end_are_read_as_ever() -> None:
    root, value = parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert root is not None
    assert value == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_numbers_in_yaml_are_read_as_ever() -> None:
    assert parse_yaml("[0x1F, 010, 1_000, -3, 1:30, 1.0e-4]")[1] == [31, 8, 1000, -3, 90, 1.0e-4]


def test_a_suite_that_is_not_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: x\ntitle: caf\xe9\n")
    with pytest.raises(BadSuite, match=r"mine\.yaml is not UTF-8: line 2"):
        load_suite(path)


JSON = {
    "nesting": "[" * 100_000,
    "nesting that json reads": "[" * (MOST_LEVELS + 50) + "]" * (MOST_LEVELS + 50),
    "nesting of objects": '{"a":' * 500 + "1" + "}" * 500,
    "an integer of 5,000 digits": f'{{"a": {LONG}}}',
    "half a surrogate pair": '{"a": "\\ud800"}',
    "half a surrogate pair as a key": '{"\\uDC00": 1}',
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json_that_harms_is_no_json(text: str) -> None:
    with pytest.raises(Unparsable):
        parse_json(text)


def test_json_is_read_as_ever() -> None:
    text = json.dumps({"emoji": "😀", "n": [-1, 2**63 - 1, 1.5, None], "rows": [[{"a": []}]] * 200})
    assert parse_json(text) == json.loads(text)


RECORD = '"prompt": "Ilm flows into", "subject": "Ilm", "target_new": "the Elbe"'
DATA = {
    "probes that are a number": (f'{{{RECORD}, "probes": 5}}', "record 1: field 'probes' is int"),
    "probes of numbers": (f'{{{RECORD}, "probes": [5]}}', "field 'probes' is list"),
    "a prompt that is a list": ('{"prompt": ["x"], "subject": "x", "target_new": "y"}', "field 'prompt' is list"),
    "an id that is an object": (f'{{"id": {{"a": 1}}, {RECORD}}}', "record 1: field 'id' is dict"),
    "a surrogate": ('{"prompt": "\\ud800", "subject": "x", "target_new": "y"}', "line 1: it holds half a surrogate"),
    "a NUL": ('{"prompt": "a\\u0000", "subject": "a", "target_new": "y"}', "field 'prompt' is no text: it holds a NUL"),
    "deep JSON": (f'{{{RECORD}}}\n{{"a": {"[" * 5000}', "line 2: it is nested"),
    "a number of 5,000 digits": (f'{{{RECORD}, "subject_start": {LONG}}}', "line 1: the number 9999"),
    "nothing": ("", "holds no record"),
}


@pytest.mark.parametrize("what", DATA)
def test_data_of_another_form_is_named_with_its_place(tmp_path: Path, what: str) -> None:
    text, said = DATA[what]
    (tmp_path / "mine.jsonl").write_text(text)
    with pytest.raises(BadData) as error:
        load_dataset(str(tmp_path / "mine.jsonl"))
    assert "mine.jsonl" in str(error.value)
    assert said in str(error.value)


def test_records_of_another_form_can_be_dropped(tmp_path: Path) -> None:
    rows = [f'{{"id": "a", {RECORD}}}', f'{{"id": [1], {RECORD}}}', f'{{"id": "b", {RECORD}, "probes": 5}}']
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    found = load_dataset({"name": str(tmp_path / "mine.jsonl"), "on_fault": "drop"})  # type: ignore[arg-type]
    assert [request.id for request in found.requests] == ["a"]
    assert found.faults.dropped == 2


def test_bytes_in_parquet_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    column = {"prompt": [b"\xff\xfe"], "subject": ["x"], "target_new": ["y"]}
    pq.write_table(pa.table(column), path)
    with pytest.raises(BadData, match=r"mine\.parquet, record 1: field 'prompt' is bytes"):
        load_dataset(str(path))
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    pq.write_table(pa.table({**column, "prompt": broken}), path)
    with pytest.raises(BadData, match=r"mine\.parquet holds text that is not UTF-8"):
        load_dataset(str(path))


@pytest.mark.parametrize("text", ["[[1]]", "{", "[" * 5000, f"[{LONG}]", "3", '{"data": 3}', '{"data": [4]}', "\0"])
def test_a_tasks_data_of_another_form_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(UserError, match=r"test\.json"):
        read_rows(tmp_path / "test.json")


def test_a_tasks_lines_of_another_form_are_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"a": 1}\n' + "[" * 5000)
    with pytest.raises(UserError, match="line 2: it is nested"):
        read_rows(tmp_path / "test.jsonl")
    (tmp_path / "test.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xff"}')
    with pytest.raises(UserError, match="line 2: it is not UTF-8"):
        read_rows(tmp_path / "test.jsonl")


@pytest.mark.parametrize("text", ["[1]", "[" * 5000, '{"hidden_size": [1]}', '{"hidden_size": 0}', f"[{LONG}]", "\0"])
def test_a_config_of_another_form_has_no_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert shape_of_name(str(tmp_path)) is None


def test_a_config_that_is_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert shape_of_name(str(tmp_path)) is None


@pytest.mark.parametrize("value", ["layer=[[", "layer=" + "[" * 3000, f"layer={LONG}", "layer=deep", "lair=1"])
def test_check_with_a_wrong_setting_says_so_once(value: str) -> None:
    done = CliRunner().invoke(cli, ["check", "--method", "locft-bf", "--set", value])
    assert done.exit_code == 2, done.output
    assert "BROKEN" not in done.output
    assert "la" in done.output


@pytest.mark.parametrize("what", [what for what in YAML if what not in CONSTRUCTED])
def test_a_task_file_that_harms_is_refused_at_once_by_name(tmp_path: Path, what: str) -> None:
    text, line, _ = YAML[what]
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml is no valid YAML: " + (f"line {line}" if line else "")):
        folder_index(tmp_path, Cache(tmp_path / "cache"))

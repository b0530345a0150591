"""Exported models: the bits of the run, in a form that transformers loads; edits fit one model only."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import SUITE, Invoke, equal, files, state
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import editbench
import editbench.running.exporter
from editbench.edits import EDIT_FILE
from editbench.errors import BadData, BadModel
from editbench.models.load import load_lm
from editbench.results.store import Store
from editbench.running.editing import Editing
from editbench.running.kept import about_edit
from editbench.running.stream import Stream
from editbench.testing.tiny import tiny_lm

pytest_plugins = ("exporting",)


@pytest.mark.parametrize("suite", ["batch", "stream"])
def test_score_gives_an_exported_model_the_records_of_its_run(
    suite: str, place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    result = export(tmp_path / "edited", suite=suite)
    assert result.exit_code == 0, result.output
    given = ("--model", tmp_path / "edited", "--unedited", place / "llama", "--suite", place / f"{suite}.yaml")
    scored = invoke("score", *given, "--scale", 5, "--label", "exported", "-q")
    assert scored.exit_code == 0, scored.output
    [theirs] = (tmp_path / "results").glob(f"runs/{suite}/*/exported/*/cells/5/records.jsonl")
    [ours] = (place / "results").glob(f"runs/{suite}/*/locft-bf/*/cells/5/records.jsonl")
    [unedited] = (place / "results").glob(f"runs/{suite}/*/none/*/cells/5/records.jsonl")
    assert theirs.read_bytes() == ours.read_bytes() != unedited.read_bytes()
    assert "--label edited" in result.stdout


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_transformers_loads_what_was_in_memory(
    kind: str, place: Path, export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    edited = editbench.running.exporter.Exporter._edited

    def remember(self: Any, run: Any, lm: Any, scale: int) -> Editing:
        editing: Editing = edited(self, run, lm, scale)
        kept["logits"] = lm.model(lm.text.tokenizer("The capital is", return_tensors="pt").input_ids).logits
        kept["changed"] = editing.stream.ledger.originals
        return editing

    monkeypatch.setattr(editbench.running.exporter.Exporter, "_edited", remember)
    result = export(tmp_path / "edited", "--model", place / kind)
    assert result.exit_code == 0, result.output
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "edited")
    now = model(tokenizer("The capital is", return_tensors="pt").input_ids).logits
    assert torch.equal(now, kept["logits"]) and model.dtype == torch.float32
    before, after = state(place / kind), state(tmp_path / "edited")
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved == set(kept["changed"]) and moved
    assert GenerationConfig.from_pretrained(tmp_path / "edited").eos_token_id == 2
    assert json.loads((tmp_path / "edited" / "editbench.json").read_text())["scale"] == 5
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "edited").iterdir()} == {0o644}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_delta_makes_of_the_unedited_model_the_exported_one_bit_for_bit(
    kind: str, dtype: str, place: Path, export: Invoke, tmp_path: Path
) -> None:
    arguments = ("--model", place / kind, "--dtype", dtype)
    for to, more in (("edited", ()), ("change", ("--delta",))):
        result = export(tmp_path / to, *arguments, *more)
        assert result.exit_code == 0, result.output
    assert set(files(tmp_path / "change")) == {EDIT_FILE, "README.md"}
    model = AutoModelForCausalLM.from_pretrained(place / kind, dtype=getattr(torch, dtype))
    editbench.apply_edit(model, tmp_path / "change")
    assert equal(dict(model.state_dict()), state(tmp_path / "edited"))
    assert not equal(dict(model.state_dict()), state(place / kind, dtype=getattr(torch, dtype)))
    about = about_edit(tmp_path / "change" / EDIT_FILE)
    assert (about["method"]["label"], about["scale"], about["seed"]) == ("locft-bf", 5, 0)
    assert about["method"]["hparams"]["batch_size"] == 100


def test_the_command_that_measures_an_exported_model_gives_the_records_of_its_run(
    place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    arguments = ("--seed", 3, "--dtype", "bfloat16")
    given = ("--suite", place / "batch.yaml", "--methods", "locft-bf", "--seeds", 3, "--dtype", "bfloat16", "-q")
    assert invoke("run", *given).exit_code == 0
    shown = export(tmp_path / "edited", *arguments).stdout
    command = shlex.split(shown.split("Measure it: editbench ")[1])
    scored = invoke(*command, "-q")
    assert scored.exit_code == 0, scored.output
    [ours] = (tmp_path / "results").glob("runs/batch/*/locft-bf/*/cells/5/records.jsonl")
    [theirs] = (tmp_path / "results").glob("runs/batch/*/edited/*/cells/5/records.jsonl")
    assert theirs.read_bytes() == ours.read_bytes()


def test_the_readme_of_a_delta_holds_the_lines_that_apply_it(place: Path, export: Invoke, tmp_path: Path) -> None:
    export(tmp_path / "change", "--delta")
    text = (tmp_path / "change" / "README.md").read_text()
    code = (
        text.split("```python\n")[1]
        .split("```")[0]
        .replace(f'"{EDIT_FILE}"', repr(str(tmp_path / "change" / EDIT_FILE)))
    )
    found: dict[str, Any] = {}
    exec(code, found)
    assert not equal(dict(found["model"].state_dict()), state(place / "llama"))


def test_a_delta_is_refused_by_any_other_model_which_stays_as_it_was(
    place: Path, export: Invoke, tmp_path: Path
) -> None:
    export(tmp_path / "change", "--delta")
    model = AutoModelForCausalLM.from_pretrained(place / "llama")
    editbench.apply_edit(model, tmp_path / "change" / EDIT_FILE)
    once = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadModel, match="apply the edit once"):
        editbench.apply_edit(model, tmp_path / "change")
    assert equal(dict(model.state_dict()), once)
    with pytest.raises(BadModel, match="other weights"):
        editbench.apply_edit(tiny_lm("llama", seed=1).model, tmp_path / "change")
    with pytest.raises(BadModel, match=r"dtype=torch\.float32"):
        editbench.apply_edit(
            AutoModelForCausalLM.from_pretrained(place / "llama", dtype="bfloat16"), tmp_path / "change"
        )
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadData, match="no edit"):
        editbench.apply_edit(model, tmp_path / "other.safetensors")


def test_edits_that_a_run_kept_are_exported_without_making_them_again(
    place: Path, export: Invoke, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for to, more in (("model", ()), ("delta", ("--delta",))):
        assert export(tmp_path / "anew" / to, *more, suite="stream").exit_code == 0
    ran = invoke("run", "--suite", place / "stream.yaml", "--methods", "none,locft-bf", "--keep-edits", "-q")
    assert ran.exit_code == 0, ran.output
    [cell] = (tmp_path / "results").glob("runs/stream/*/locft-bf/*/cells/5")
    [before] = (place / "results").glob("runs/stream/*/locft-bf/*/cells/5")
    assert (cell / EDIT_FILE).is_file() and (cell / "records.jsonl").read_bytes() == (
        before / "records.jsonl"
    ).read_bytes()
    monkeypatch.setattr(Stream, "write", lambda *given: pytest.fail("made again"))
    for to, more in (("model", ()), ("delta", ("--delta",))):
        result = export(tmp_path / "kept" / to, *more, suite="stream")
        assert result.exit_code == 0, result.output
        assert files(tmp_path / "kept" / to) == files(tmp_path / "anew" / to)


def test_a_kept_edit_of_a_cell_that_was_not_finished_is_not_used(
    place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    invoke("run", "--suite", place / "batch.yaml", "--methods", "locft-bf", "--keep-edits", "-q")
    [cell] = (tmp_path / "results").glob("runs/batch/*/locft-bf/*/cells/5")
    whole = (cell / EDIT_FILE).read_bytes()
    (cell / "cell.json").unlink()
    (cell / EDIT_FILE).write_bytes(b"torn")
    assert export(tmp_path / "change", "--delta").exit_code == 0
    assert (tmp_path / "change" / EDIT_FILE).read_bytes() == whole


def test_without_the_option_a_run_keeps_no_edits(place: Path) -> None:
    assert not list((place / "results").rglob(EDIT_FILE))


def test_an_export_that_was_cut_off_goes_on_and_ends_with_the_same_bytes(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editbench.running.editing.CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr("editbench.running.editing.TIMES_ITS_COST", 0.0)
    assert export(tmp_path / "whole", suite="stream").exit_code == 0
    written: list[tuple[int, int]] = []
    write = Editing._write

    def cut(self: Any, start: int, stop: int, goal: int) -> None:
        written.append((start, stop))
        if len(written) == 3:
            raise KeyboardInterrupt
        write(self, start, stop, goal)

    monkeypatch.setattr(Editing, "_write", cut)
    assert export(tmp_path / "cut", suite="stream").exit_code == 130
    assert not (tmp_path / "cut").exists()
    assert export(tmp_path / "cut", suite="stream").exit_code == 0
    assert written == [(0, 2), (2, 4), (4, 5), (4, 5)]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "cut"}


@pytest.mark.parametrize(
    ("name", "said"), [("Diverges", "diverged: the loss is NaN"), ("Picky", "cannot edit"), ("Missing", "Missing")]
)
def test_an_edit_that_cannot_be_made_is_a_message_and_leaves_nothing(
    name: str, said: str, place: Path, export: Invoke, tmp_path: Path
) -> None:
    result = export(tmp_path / "edited", method=f"{place / 'own.py'}:{name}")
    assert result.exit_code == 2 and said in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_control_is_exported_as_the_unedited_model_and_as_an_empty_delta(
    place: Path, export: Invoke, tmp_path: Path
) -> None:
    assert export(tmp_path / "edited", method="none").exit_code == 0
    assert export(tmp_path / "change", "--delta", method="none").exit_code == 0
    assert equal(state(tmp_path / "edited"), state(place / "llama"))
    model = AutoModelForCausalLM.from_pretrained(place / "llama")
    editbench.apply_edit(model, tmp_path / "change")
    assert equal(dict(model.state_dict()), state(place / "llama"))


def test_a_folder_with_something_in_it_is_never_overwritten_and_an_empty_one_is_filled(
    export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, to in (("link", "empty"), ("dangling", "gone")):
        (tmp_path / name).symlink_to(to)
    os.mkfifo(tmp_path / "fifo")
    assert export(tmp_path / "link", "--delta").exit_code == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "empty" / EDIT_FILE).is_file()
    monkeypatch.setattr("editbench.running.export.carry_out", lambda *given: pytest.fail("loaded"))
    others = {"full": "is not empty: it holds mine.txt", "link": "is not empty", "file": "is a file"}
    for name, said in {**others, "fifo": "is a FIFO", "dangling": "is a symbolic link"}.items():
        result = export(tmp_path / name)
        assert result.exit_code == 2 and said in result.stderr and "--to FOLDER" in result.stderr, name
    assert files(tmp_path / "full") == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("choices", "more", "said"),
    [
        ({"scale": 3}, (), "does not measure at 3"),
        ({"scale": 3}, ("--scales", "1,2"), "Its scales are 1, 2"),
        ({"method": "slow"}, (), "slow goes no further than 2 in batch: it is slow"),
        ({"method": "locft"}, (), "locft-bf"),
        ({"suite": "nowhere"}, (), "There is no suite file"),
        ({}, ("--model", "./nowhere"), "There is no folder or file ./nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    choices: dict[str, Any], more: tuple[str, ...], said: str, export: Invoke, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("editbench.running.export.carry_out", lambda *given: pytest.fail("loaded"))
    result = export(tmp_path / "edited", *more, **choices)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert not list(tmp_path.iterdir())


def test_several_models_or_entries_must_be_told_apart(place: Path, invoke: Invoke, tmp_path: Path) -> None:
    text = SUITE.format(name="two", regime="batch", model=f"{place / 'llama'}, {place / 'gpt2'}")
    (tmp_path / "two.yaml").write_text(text.replace("  - none\n", "  - {method: ft-depth-first, label: quick}\n"))
    given = ("export", "--suite", tmp_path / "two.yaml", "--scale", 2, "--to", tmp_path / "edited", "-q")
    assert "--model NAME" in invoke(*given, "--method", "locft-bf").stderr
    given = (*given, "--model", place / "llama", "--delta")
    assert "Name one by its label: quick, slow" in invoke(*given, "--method", "ft-depth-first").stderr
    chosen = invoke(*given, "--method", "slow")
    assert chosen.exit_code == 0, chosen.output
    assert about_edit(tmp_path / "edited" / EDIT_FILE)["method"]["hparams"]["lr"] == 1e-3


def test_scales_that_the_run_had_beside_the_suites_decide_where_a_stream_is_cut(
    place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    arguments = ("--methods", "locft-bf", "--scales", "1,3", "--keep-edits", "-q")
    assert invoke("run", "--suite", place / "stream.yaml", *arguments).exit_code == 0
    [cell] = (tmp_path / "results").glob("runs/stream/*/locft-bf/*/cells/3")
    kept = (cell / EDIT_FILE).read_bytes()
    result = export(
        tmp_path / "e", "--delta", "--scales", "1,3", "--results", tmp_path / "none", suite="stream", scale=3
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "e" / EDIT_FILE).read_bytes() == kept


def test_the_hash_of_a_model_is_that_of_its_weights_whatever_loads_it(place: Path) -> None:
    from editbench.models.hashes import model_hash, weights_hash

    lm = load_lm(str(place / "llama"))
    assert lm.model_hash == model_hash(AutoModelForCausalLM.from_pretrained(place / "llama"))
    assert lm.weights_hash == weights_hash(lm.model, lm.text.tokenizer) != lm.model_hash
    assert Store(place / "results").scan("batch")[0].manifest["model"]["weights_hash"] == lm.weights_hash

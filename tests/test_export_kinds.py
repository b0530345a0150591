"""Exports of edits that are no plain weights: modules, contexts, low-rank factors, several of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from exporting import Invoke, files
from transformers import AutoModelForCausalLM

import editbench
import editbench.running.exporter
from editbench.edits import EDIT_FILE
from editbench.errors import BadModel
from editbench.models.load import load_lm
from editbench.running.kept import about_edit
from editbench.testing.tiny import tiny_lm

pytest_plugins = ("exporting",)


@pytest.mark.parametrize("name", ["Talks", "Adds", "Mixes"])
def test_edits_that_no_plain_model_has_a_place_for_are_refused_before_anything_is_computed(
    name: str, place: Path, export: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editbench.running.export.carry_out", lambda *given: pytest.fail("computed"))
    result = export(tmp_path / "edited", method=f"{place / 'own.py'}:{name}")
    assert result.exit_code == 2
    assert f"{name.lower()} makes edits of the kind" in result.stderr and "--delta" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suite", ["batch", "stream"])
@pytest.mark.parametrize("name", ["Talks", "Adds", "Adapts", "Mixes"])
def test_an_edit_of_any_kind_is_exported_and_score_gives_it_the_records_of_its_run(
    name: str, suite: str, place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    method = f"{place / 'own.py'}:{name}"
    ran = invoke("run", "--suite", place / f"{suite}.yaml", "--methods", f"none,{method}", "--keep-edits", "-q")
    assert ran.exit_code == 0, ran.output
    for to, more in (("kept", ()), ("anew", ("--results", tmp_path / "nothing"))):
        result = export(tmp_path / to, "--delta", *more, method=method, suite=suite)
        assert result.exit_code == 0, result.output
    same = {file: content for file, content in files(tmp_path / "kept").items() if file != "source"}
    assert same == {file: content for file, content in files(tmp_path / "anew").items() if file != "source"}
    given = ("score", "--model", tmp_path / "anew", "--suite", place / f"{suite}.yaml", "--scale", 5, "--label", "back")
    scored = invoke(*given, "-q")
    assert scored.exit_code == 0, scored.output
    [ours] = (tmp_path / "results").glob(f"runs/{suite}/*/{name.lower()}/*/cells/5")
    [theirs] = (tmp_path / "results").glob(f"runs/{suite}/*/back/*/cells/5")
    [unedited] = (tmp_path / "results").glob(f"runs/{suite}/*/none/*/cells/5")
    records = [(cell / "records.jsonl").read_bytes() for cell in (ours, theirs, unedited)]
    assert records[0] == records[1] != records[2]
    sizes = [json.loads((cell / "cell.json").read_text())["edit"] for cell in (ours, theirs)]
    assert sizes[0] == sizes[1]


def test_the_code_of_an_edit_runs_only_where_it_is_installed_or_trusted(
    place: Path, export: Invoke, invoke: Invoke, tmp_path: Path
) -> None:
    own = tmp_path / "mine" / "own.py"
    own.parent.mkdir()
    own.write_text((place / "own.py").read_text())
    assert export(tmp_path / "change", "--delta", method=f"{own}:Adds").exit_code == 0
    own.write_text(own.read_text().replace("self.inner(x) * self.factor", "self.inner(x)"))
    given = ("score", "--model", tmp_path / "change", "--suite", place / "batch.yaml", "--scale", 5, "-q")
    refused = invoke(*given)
    assert refused.exit_code == 2 and "runs only if you trust it" in refused.stderr
    trusted = invoke(*given, "--trust-remote-code")
    assert trusted.exit_code == 0, trusted.output
    lm = load_lm(str(place / "llama"))
    ledger = editbench.apply_edit(lm, tmp_path / "change", trust_source=True)
    assert ledger is not None and ledger.changed
    ledger.revert()
    with pytest.raises(BadModel, match="load_model"):
        editbench.apply_edit(lm.model, tmp_path / "change")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_low_rank_edit_is_counted_kept_and_exported_as_its_factors_which_peft_loads(
    kind: str, place: Path, export: Invoke, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    method = f"{place / 'own.py'}:Adapts"
    for to, more in (("merged", ()), ("adapter", ("--delta",))):
        result = export(tmp_path / to, *more, "--model", place / kind, method=method, suite="stream")
        assert result.exit_code == 0, result.output
    base = AutoModelForCausalLM.from_pretrained(place / kind)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = base(ids).logits
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
    assert torch.allclose(adapted, merged, atol=1e-5) and not torch.allclose(before, merged, atol=1e-2)
    config = tiny_lm(kind).shape
    about = about_edit(tmp_path / "adapter" / EDIT_FILE)
    assert about["nbytes"] == 3 * 2 * 4 * (config.hidden + config.mlp)  # three chunks of rank two, in float32
    assert (tmp_path / "adapter" / EDIT_FILE).stat().st_size < 2 * about["nbytes"] + 4000

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from editbench.errors import BadModel, UserError
from editbench.models import gguf_file, hashes, load, whole
from editbench.models.hashes import weights_hash
from editbench.models.load import load_lm
from editbench.testing.tiny import TINY_KINDS, tiny_lm

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def save(folder, kind="llama"):
    lm = tiny_lm(kind)
    lm.model.save_pretrained(folder)
    lm.text.tokenizer.save_pretrained(folder)
    return lm


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_padding_token_without_a_row_in_the_model_is_replaced(folder):
    tokenizer = tiny_lm().text.tokenizer
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.save_pretrained(folder)
    assert load_lm(str(folder)).text.pad_id == 2


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_a_folder_in_hub_layout_comes_back_bit_for_bit(tmp_path, kind):
    saved = save(tmp_path / "model", kind)
    lm = load_lm(str(tmp_path / "model"))
    assert {n: t.tolist() for n, t in lm.model.state_dict().items()} == {
        n: t.tolist() for n, t in saved.model.state_dict().items()
    }
    assert (lm.layout, lm.shape) == (saved.layout, saved.shape)
    assert lm.text.prompt("The king is") == saved.text.prompt("The king is")
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert (lm.name, lm.source) == (str(tmp_path / "model"), str(tmp_path / "model"))


def test_dtype_and_eos_switch_are_passed_on(folder):
    lm = load_lm(str(folder), dtype="bfloat16", target_eos=False)
    assert {p.dtype for p in lm.model.parameters()} == {torch.bfloat16}
    assert not lm.text.completion("The king", "Paris").eos


def test_a_device_map_is_handed_to_transformers(folder, monkeypatch):
    seen, real = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *a, **k: seen.append(k.get("device_map")) or real(*a, **k)
    )
    lm = load_lm(str(folder), device_map={"": "cpu"})
    assert seen == [{"": "cpu"}]
    assert lm.weights_hash == load_lm(str(folder)).weights_hash


def test_every_eos_of_the_generation_config_ends_a_generation(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert load_lm(str(folder)).text.eos_ids == {2, 7}


def test_the_hash_changes_with_a_weight_a_dtype_and_the_tokeniser(folder):
    lm = load_lm(str(folder))
    first = lm.weights_hash
    assert load_lm(str(folder)).weights_hash == first
    assert load_lm(str(folder), dtype="bfloat16").weights_hash != first
    lm.model.lm_head.weight.data[0, 0] += 1e-6
    assert weights_hash(lm.model, lm.text.tokenizer) != first
    lm = load_lm(str(folder))
    lm.text.tokenizer.add_tokens(["new"])
    assert weights_hash(lm.model, lm.text.tokenizer) != first


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub cache that holds one model, and no network."""
    cache = tmp_path / "hub"
    repo = cache / "models--some--tiny"
    save(repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def in_process(code, env):
    """Run code in a fresh process, for the hub's client reads its settings when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_hub_model_is_loaded_from_the_cache_and_its_commit_recorded(hub):
    code = "from editbench.models.load import load_lm; import sys; m = load_lm('some/tiny'); sys.stdout.write(m.source)"
    assert in_process(code, hub) == f"some/tiny@{COMMIT}"


def test_a_hub_model_that_cannot_be_reached_says_so_and_names_a_way_out(hub):
    code = (
        "from editbench.models.load import load_lm; from editbench.errors import BadModel; import sys\n"
        "try: load_lm('some/other')\n"
        "except BadModel as error: sys.stdout.write(str(error))"
    )
    said = in_process(code, hub)
    assert "some/other cannot be loaded: the hub" in said
    assert "not in the local cache" in said
    assert "smollm2-135m" in said


def as_blobs(snapshot):
    """Keep a commit's files as the hub's client does: links to blobs that are named by their checksums."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(exist_ok=True)
    for file in snapshot.iterdir():
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        file.symlink_to(blob)


HASHED = """
import sys
from editbench.models import hashes, load
read = []
hashes._digest, digest = lambda tensor: read.append(1) or digest(tensor), hashes._digest
for dtype in sys.stdin:
    read.clear()
    lm = load.load_lm('some/tiny', dtype=dtype.strip())
    first = len(read)
    assert lm.model_hash == hashes.model_hash(lm.model)
    print(first, lm.weights_hash, flush=True)
"""


@pytest.fixture
def hashed(hub):
    """Load the hub's model in another process, of which the hub's client knows its settings; return what it says."""
    command = [sys.executable, "-c", HASHED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **hub}
    ) as child:

        def load(dtype="float32"):
            print(dtype, file=child.stdin, flush=True)
            read, name = child.stdout.readline().split()
            return int(read), name

        yield load


def test_a_hub_models_hash_is_of_its_commit_and_its_files_checksums_and_reads_no_weight(hashed, tmp_path):
    snapshot = tmp_path / "hub" / "models--some--tiny" / "snapshots" / COMMIT
    read, whole = hashed()
    assert read > 0  # files without a checksum in their names are read
    as_blobs(snapshot)
    read, named = hashed()
    assert (read, named) == (0, hashed()[1])
    bfloat16 = hashed("bfloat16")[1]
    other = tiny_lm("llama", seed=1)
    (snapshot / "model.safetensors").unlink()
    other.model.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "x")
    blob = snapshot.parents[1] / "blobs" / hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    (tmp_path / "x").rename(blob)
    (snapshot / "model.safetensors").symlink_to(blob)
    changed = hashed()[1]
    moved = snapshot.rename(snapshot.parent / COMMIT[::-1])
    (snapshot.parents[1] / "refs" / "main").write_text(moved.name)
    assert len({whole, named, bfloat16, changed, hashed()[1]}) == 5


def test_a_large_local_model_is_read_once_until_its_files_change(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    small = load_lm(str(folder)).weights_hash
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(hashes, "REMEMBER_FROM", 0)
    read, digest = [], hashes._digest
    monkeypatch.setattr(hashes, "_digest", lambda tensor: read.append(1) or digest(tensor))
    first = load_lm(str(folder))
    assert (first.weights_hash, first.model_hash) == (small, hashes.model_hash(first.model)) and read
    read.clear()
    again = load_lm(str(folder))
    assert (again.weights_hash, again.model_hash, read) == (small, first.model_hash, [])
    assert load_lm(str(folder), dtype="bfloat16").weights_hash != small and read
    tiny_lm("llama", seed=1).model.save_pretrained(folder)
    assert load_lm(str(folder)).weights_hash != small


def test_the_check_and_the_families_do_not_import_torch():
    code = (
        "import sys, editbench.models.builtin, editbench.models.families\n"
        "editbench.models.builtin.check_model_name('some/model')\n"
        "sys.stdout.write(str({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert in_process(code, {}) == "set()"


def test_an_unknown_architecture_and_a_broken_config_are_refused_without_a_traceback(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nonesuch"}))
    with pytest.raises(BadModel, match="nonesuch"):
        load_lm(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(BadModel, match="cannot be loaded"):
        load_lm(str(folder))


def test_weights_that_are_cut_short_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadModel, match="damaged"):
        load_lm(str(folder))


def rewrite(folder, change):
    """Change the tensors of a folder's weight file."""
    tensors = change(dict(load_file(folder / "model.safetensors")))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_a_folder_that_lacks_a_tensor_is_refused_with_its_name(tmp_path, kind):
    save(tmp_path / "model", kind)
    names = sorted(load_file(tmp_path / "model" / "model.safetensors"))
    for name in (names[0], names[len(names) // 2], names[-1]):
        save(tmp_path / "model", kind)
        rewrite(tmp_path / "model", lambda tensors, name=name: {n: t for n, t in tensors.items() if n != name})
        with pytest.raises(BadModel, match="lack") as error:
            load_lm(str(tmp_path / "model"))
        assert name.replace("embed_out", "lm_head") in str(error.value)  # which GPT-NeoX calls otherwise in its files


@pytest.mark.parametrize(
    ("blocks", "said"), [(2, "hold more blocks, such as model.layers.2."), (4, "lack model.layers.3.")]
)
def test_a_folder_of_more_or_fewer_blocks_than_its_config_says_is_refused(folder, blocks, said):
    config = json.loads((folder / "config.json").read_text())
    assert config["num_hidden_layers"] == 3
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": blocks, "layer_types": None}))
    with pytest.raises(BadModel) as error:
        load_lm(str(folder))
    assert said in str(error.value)


def test_weights_tied_to_others_and_buffers_of_old_checkpoints_are_not_missed(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if n != "lm_head.weight"})
    rewrite(folder, lambda tensors: {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    lm = load_lm(str(folder))
    assert lm.weights_hash == load_lm(str(folder)).weights_hash


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["[1, 2]", "null", "[" * 5000, '{"a": ' + "9" * 5000 + "}", "\0"])
def test_a_config_of_another_form_is_refused_by_name(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(BadModel, match=name):
        load_lm(str(folder))


@pytest.mark.parametrize(
    ("name", "text"),
    [("tokenizer.json", "[1]"), ("tokenizer.json", "[" * 5000), ("config.json", '{"model_type": [1]}')],
)
def test_whatever_transformers_trips_over_is_said_without_a_traceback(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(BadModel, match="cannot be loaded"):
        load_lm(str(folder))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_weights_that_are_no_file_are_not_waited_for(folder, make):
    (folder / "model.safetensors").unlink()
    make(folder / "model.safetensors")
    with pytest.raises(BadModel, match=r"model\.safetensors is"):
        load_lm(str(folder))


def test_weights_that_cannot_be_read_are_not_called_damaged(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(whole, "_count_in_header", refuse)
    with pytest.raises(BadModel, match=r"model\.safetensors cannot be read: Permission denied"):
        load_lm(str(folder))


@pytest.mark.parametrize("header", [b"[]", b"[" * 5000, b'{"a": 3}', b'{"a": {"data_offsets": 3}}'])
def test_a_header_of_another_form_is_damage(folder, header):
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadModel, match="damaged"):
        load_lm(str(folder))


def test_a_tokeniser_of_another_model_is_refused(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"<{i}>": 320 + i for i in range(100)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadModel, match="belongs to another model"):
        load_lm(str(folder))


def test_a_model_too_large_for_the_machine_is_refused_before_loading(folder, monkeypatch):
    monkeypatch.setattr(load.psutil, "virtual_memory", lambda: types.SimpleNamespace(available=1000))
    with pytest.raises(BadModel, match="GiB in float32") as error:
        load_lm(str(folder))
    assert "--dtype bfloat16" in str(error.value)


def test_the_parameter_count_is_that_of_the_weights(folder):
    lm = load_lm(str(folder))
    count = sum(p.numel() for p in lm.model.parameters())
    assert load._parameter_count(load._Source(str(folder), ""), lm.model.config, False) == count
    assert load._parameter_count(load._Source("some/tiny", ""), lm.model.config, False) == count


def test_unknown_dtypes_and_devices_are_refused(folder, monkeypatch):
    with pytest.raises(UserError, match="float32, bfloat16, float16"):
        load_lm(str(folder), dtype="fp8")
    with pytest.raises(UserError, match="cpu, cuda"):
        load_lm(str(folder), device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cpu"):
        load_lm(str(folder), device="cuda")
    assert load_lm(str(folder), device="auto").device.type == "cpu"


def test_a_gguf_file_is_parsed_once_however_often_transformers_asks_for_it(monkeypatch):
    import gguf

    parsed = []
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: parsed.append(path) or object())
    outside = gguf.GGUFReader
    with gguf_file._parsed_once():
        assert gguf.GGUFReader("m.gguf") is gguf.GGUFReader(Path("m.gguf")) is not gguf.GGUFReader("other.gguf")
    assert parsed == ["m.gguf", "other.gguf"] and gguf.GGUFReader is outside


def test_a_damaged_gguf_file_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(BadModel, match=r"model\.gguf"):
        load_lm(str(path))


def test_progress_bars_are_as_they_were_after_loading(folder, capfd):
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from transformers.utils import logging

    before = (logging.is_progress_bar_enabled(), logging.get_verbosity(), are_progress_bars_disabled())
    notes = []
    load_lm(str(folder), progress=notes.append)
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity(), are_progress_bars_disabled()) == before
    assert capfd.readouterr() == ("", "")
    assert any("loading" in note for note in notes)

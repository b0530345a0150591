"""What a model may be called, checked without loading anything."""

import pytest

from editbench.errors import BadModel
from editbench.models.builtin import check_model_name


@pytest.mark.parametrize(
    "name", ["smollm2-135m", "gemma3-270m", "some/model", "Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B"]
)
def test_names_that_may_be_models_pass_the_check(name):
    check_model_name(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2", "Did you mean smollm2-135m?"),
        ("SmolLM-135M", "Did you mean smollm2-135m?"),
        ("gemma-3-270m", "Did you mean gemma3-270m?"),
        ("gpt2", "There is no model named 'gpt2'"),
        ("", "There is no model named ''"),
        ("/no/such/folder", "no folder or file"),
        ("./model", "no folder or file"),
        ("a/b/c", "no folder or file"),
        ("weights.gguf", "no folder or file"),
        ("some/bad name", "There is no model named"),
    ],
)
def test_names_that_cannot_be_models_are_refused(name, said):
    with pytest.raises(BadModel) as error:
        check_model_name(name)
    assert said in str(error.value)


def test_folders_without_a_model_are_refused_with_the_reason(tmp_path):
    with pytest.raises(BadModel, match=r"is no model folder: no config\.json"):
        check_model_name(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadModel, match="PEFT adapter"):
        check_model_name(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadModel, match="no weights"):
        check_model_name(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadModel, match="pickle"):
        check_model_name(str(tmp_path))
    other = tmp_path / "model.onnx"
    other.write_bytes(b"")
    with pytest.raises(BadModel, match=r"must be a \.gguf file"):
        check_model_name(str(other))

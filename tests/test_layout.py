import pytest
import torch
from torch import nn

from editbench.errors import BadModel, UserError
from editbench.models.families import FAMILIES, family_of
from editbench.models.layout import find_layout, shape_of, widths
from editbench.models.lm import ModelShape
from editbench.testing.tiny import TINY_KINDS, tiny_lm


@pytest.fixture(params=TINY_KINDS)
def lm(request):
    return tiny_lm(request.param, layers=12)


def test_every_path_leads_to_a_module_of_the_right_size(lm):
    layout, model = lm.layout, lm.model
    assert layout.n_blocks == 12
    for layer in (0, 11):
        assert widths(model.get_submodule(layout.mlp_out_path(layer))) == (48, 32)
        assert all(widths(model.get_submodule(path))[0] == 32 for path in layout.mlp_in_paths(layer))
        assert any(p.numel() for p in layout.block(model, layer).get_submodule(layout.attention).parameters())
    assert model.get_submodule(layout.final_norm).weight.shape == (32,)
    assert model.get_submodule(layout.embedding) is model.get_input_embeddings()
    assert model.get_submodule(layout.head) is model.get_output_embeddings()
    assert layout.norms


def test_what_the_output_projection_gives_changes_what_the_block_gives(lm):
    block, seen = lm.layout.block(lm.model, 5), {}
    down = block.get_submodule(lm.layout.down)
    hooks = [down.register_forward_hook(lambda m, i, o: o + 1.0), block.register_forward_hook(_keep(seen, "block"))]
    ids = torch.tensor([[5, 6, 7]])
    lm.model(ids)
    hooks[0].remove()
    lm.model(ids)
    hooks[1].remove()
    changed, plain = seen["block"]
    assert not torch.allclose(changed, plain)


def _keep(seen, name):
    def hook(module, args, output):
        seen.setdefault(name, []).append(output[0] if isinstance(output, tuple) else output)

    return hook


def test_weight_names_name_parameters(lm):
    for role in ("down", "up"):
        assert lm.parameter(lm.layout.weight_name(3, role)).dim() == 2
    if lm.layout.gate:
        assert lm.parameter(lm.layout.weight_name(3, "gate")).dim() == 2
    else:
        with pytest.raises(UserError, match="down, up"):
            lm.layout.weight_name(3, "gate")


def test_attentions_projections_read_from_and_write_into_the_residual_stream(lm):
    block, layout = lm.layout.block(lm.model, 3), lm.layout
    assert all(widths(block.get_submodule(path))[0] == 32 for path in (layout.q, layout.k, layout.v))
    assert widths(block.get_submodule(layout.o))[1] == 32
    assert layout.q == layout.k == layout.v or len({layout.q, layout.k, layout.v}) == 3


def test_modules_of_a_block_share_no_weight_and_leave_out_no_matrix(lm):
    attention, mlp = (lm.layout.weights_of(lm.model, 3, module) for module in ("attention", "mlp"))
    matrices = [name for name in lm.layout.block_parameters(lm.model, 3) if lm.parameter(name).dim() == 2]
    assert sorted(attention + mlp) == sorted(matrices)
    assert {lm.layout.weight_name(3, role) for role in "qkvo"} == set(attention)


def test_one_projection_of_a_fused_matrix_is_refused_and_says_what_holds_it():
    lm = tiny_lm("phi3")
    with pytest.raises(UserError, match=r"(?s)q, k and v are one matrix, self_attn.qkv_proj.*attention or block"):
        lm.layout.weights_of(lm.model, 0, "k")
    with pytest.raises(UserError, match=r"(?s)up and gate are one matrix, mlp.gate_up_proj.*mlp or block"):
        lm.layout.weights_of(lm.model, 0, "up")
    assert lm.layout.weights_of(lm.model, 0, "o") == ["model.layers.0.self_attn.o_proj.weight"]


def test_block_parameters_are_those_of_exactly_this_block(lm):
    names = lm.layout.block_parameters(lm.model, 1)
    every = dict(lm.model.named_parameters())
    assert names
    assert set(names) == {name for name in every if name.startswith(lm.layout.block_path(1) + ".")}
    assert not set(names) & set(lm.layout.block_parameters(lm.model, 11))


@pytest.mark.parametrize("layer", [-1, 12, 99])
def test_a_layer_out_of_range_names_the_range(lm, layer):
    for ask in (lm.layout.block_path, lm.layout.mlp_out_path, lambda i: lm.layout.weight_name(i, "down")):
        with pytest.raises(UserError, match="0 to 11"):
            ask(layer)


def test_the_shape_counts_what_is_there(lm):
    shape = shape_of(lm.model, lm.layout)
    assert (shape.n_layers, shape.hidden, shape.mlp, shape.vocab) == (12, 32, 48, 320)
    assert shape.parameters == sum(p.numel() for p in lm.layout.block(lm.model, 0).parameters())
    assert shape.model_type == lm.model.config.model_type


def test_only_gpt2_keeps_its_weights_as_in_by_out():
    assert [kind for kind in TINY_KINDS if tiny_lm(kind).layout.conv1d] == ["gpt2"]
    assert tiny_lm("gpt2").parameter("transformer.h.0.mlp.c_proj.weight").shape == (48, 32)
    assert tiny_lm("llama").parameter("model.layers.0.mlp.down_proj.weight").shape == (32, 48)


def test_opt_has_its_projections_in_the_block_and_phi3_one_fused_input():
    opt, phi3 = tiny_lm("opt").layout, tiny_lm("phi3").layout
    assert (opt.mlp, opt.up, opt.down) == ("", "fc1", "fc2")
    assert phi3.up == phi3.gate == "mlp.gate_up_proj"
    assert phi3.mlp_in_paths(0) == ("model.layers.0.mlp.gate_up_proj",)
    assert tiny_lm("llama").layout.mlp_in_paths(1) == ("model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj")


def test_a_model_without_a_dense_mlp_is_refused_and_says_what_was_looked_for():
    lm = tiny_lm("llama")
    for block in lm.model.model.layers:
        block.mlp = nn.Identity()
    with pytest.raises(BadModel, match="down_proj"):
        find_layout(lm.model)
    lm.model.model.layers = lm.model.model.layers[:2]
    with pytest.raises(BadModel, match="3 blocks"):
        find_layout(lm.model)


def test_published_shapes_have_a_family_and_others_none():
    shapes = {
        "smollm2-135m": ("llama", 30, 576, 49152),
        "gemma3-270m": ("gemma3_text", 18, 640, 262144),
        "llama-3-8b": ("llama", 32, 4096, 128256),
        "llama-2-7b": ("llama", 32, 4096, 32000),
        "mistral-7b": ("mistral", 32, 4096, 32768),
        "qwen2.5-7b": ("qwen2", 28, 3584, 152064),
        "gpt2-xl": ("gpt2", 48, 1600, 50257),
        "gpt-j-6b": ("gptj", 28, 4096, 50400),
    }
    assert set(shapes) == set(FAMILIES)
    for name, (kind, layers, hidden, vocab) in shapes.items():
        assert family_of(ModelShape(kind, layers, hidden, 1, vocab, 1)) == name
        assert family_of(ModelShape(kind, layers + 1, hidden, 1, vocab, 1)) is None
        assert family_of(ModelShape("bloom", layers, hidden, 1, vocab, 1)) is None

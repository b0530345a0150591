"""ROME, MEMIT, EMMET, AlphaEdit and SPHERE on tiny models: what theory says their edits do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from editbench_methods._locate_then_edit import LocateThenEdit
from editbench_methods._prompts import Case, cases
from editbench_methods.memit import Memit
from torch import Tensor

from editbench.base.seeds import torch_generator
from editbench.cache import Cache
from editbench.errors import Diverged, UserError
from editbench.method import WeightEdit
from editbench.models.families import FAMILIES
from editbench.models.lm import LM, ModelShape
from editbench.models.residual import ResidualStream
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.requests import Request
from editbench.testing import check_method
from editbench.testing.laws import LAWS
from editbench.testing.tiny import tiny_lm, tiny_requests

NAMES = ("rome", "memit", "emmet", "alphaedit", "sphere")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    yield Cache(tmp_path_factory.mktemp("cache"))


def prepared(name: str, lm: LM, cache: Cache, **overrides: Any) -> LocateThenEdit:
    method_class = load_method(name)
    method = method_class(settings_for(method_class, lm.shape, {**method_class.tiny, **overrides}).values)
    assert isinstance(method, LocateThenEdit)
    method.prepare(lm, cache)
    return method


def edited(method: LocateThenEdit, lm: LM, requests: Sequence[Request], seed: int = 0) -> dict[str, Tensor]:
    edit = method.edit(lm, requests, torch_generator(seed, "test"))
    assert isinstance(edit, WeightEdit)
    return dict(edit.deltas)


def tokenised(method: LocateThenEdit, lm: LM, requests: Sequence[Request]) -> list[Case]:
    return cases(lm, requests, method.contexts(lm, torch_generator(0, "test")))[0]


def mean_key(method: LocateThenEdit, lm: LM, case: Case, layer: int) -> Tensor:
    keys = ResidualStream(lm, case.heads()).keys(layer)
    return method.mean_keys(keys, len(keys))[:, 0].float()


def nll(lm: LM, case: Case) -> float:
    """Mean NLL of a case's target behind its bare prompt, in nats, as value vectors are trained on it."""
    [done, *_] = case.completions
    with torch.no_grad():
        scores = lm.model(input_ids=torch.tensor([done.ids[:-1]])).logits[0].log_softmax(-1)
    labels = torch.tensor(done.ids[done.prompt_len :])
    return -float(scores[done.prompt_len - 1 :].gather(1, labels[:, None]).mean())


def put_out(lm: LM, layer: int, key: Tensor) -> Tensor:
    return lm.model.get_submodule(lm.layout.mlp_out_path(layer))(key[None])[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gptj", "opt", "gemma2", "gemma3"])
def test_the_key_that_rome_edits_maps_exactly_to_its_value(kind: str, cache: Cache) -> None:
    lm, request = tiny_lm(kind), tiny_requests(1)
    method = prepared("rome", lm, cache)
    [case] = tokenised(method, lm, request)
    z = method.values(lm, [case]).z[0]
    key = mean_key(method, lm, case, method.places[0])
    assert not torch.allclose(put_out(lm, method.places[0], key), z, rtol=1e-3)
    WeightEdit(edited(method, lm, request)).apply(lm)
    torch.testing.assert_close(put_out(lm, method.places[0], key), z, rtol=1e-4, atol=1e-4)


def test_the_original_rome_maps_the_bare_key_along_another_direction(cache: Cache) -> None:
    lm, request = tiny_lm("llama"), tiny_requests(1)
    original, rebuilt = (prepared("rome", lm, cache, variant=v) for v in ("original", "r-rome"))
    [case] = tokenised(original, lm, request)
    z, layer = original.values(lm, [case]).z[0], original.places[0]
    bare = ResidualStream(lm, case.heads()[:1]).keys(layer)[0]
    [delta] = edited(original, lm, request).values()
    [other] = edited(rebuilt, lm, request).values()
    assert torch.linalg.matrix_rank(delta) == 1 and not torch.allclose(delta, other)
    torch.testing.assert_close(delta @ bare, z - put_out(lm, layer, bare), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_memit_and_emmet_of_one_request_in_one_block_reach_romes_limit(kind: str, cache: Cache) -> None:
    lm, request = tiny_lm(kind), tiny_requests(1)
    shared = {"weight_decay": 0.0, "clamp": 100.0, "prefixes": 0}  # the clamp is where their values differ
    rome = prepared("rome", lm, cache, layer=1, **shared)
    [expected] = edited(rome, lm, request).values()
    for name, overrides in (("emmet", {"layer": 1, "ridge": 0.0}), ("memit", {"layers": (1,), "moment_weight": 1e-7})):
        [delta] = edited(prepared(name, lm, cache, **shared, **overrides), lm, request).values()
        torch.testing.assert_close(delta, expected, rtol=2e-3, atol=2e-4 * expected.abs().max().item())


def naive_memit(method: LocateThenEdit, lm: LM, found: Sequence[Case], z: Tensor) -> dict[str, Tensor]:
    """Whole look-ups and dense solves, block after block; the model is put back at the end."""
    h, deltas, applied = method.hparams, {}, []
    assert isinstance(method, Memit)
    for number, layer in enumerate(method.places):
        keys = torch.stack([mean_key(method, lm, case, layer) for case in found]).double().T
        now = torch.stack([ResidualStream(lm, case.heads()[:1]).outputs(method.places[-1])[0] for case in found])
        residuals = ((z - now) / (len(method.places) - number)).double().T
        inverse = torch.linalg.inv(h.moment_weight * method.moments[layer] + keys @ keys.T)
        delta = (residuals @ keys.T @ inverse).float()
        name = lm.layout.weight_name(layer, "down")
        deltas[name] = (delta.T if lm.layout.conv1d else delta).contiguous()
        applied.append(WeightEdit({name: deltas[name]}).apply(lm))
    for one in reversed(applied):
        one.revert()
    return deltas


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_memit_equals_its_plain_version_over_several_blocks(kind: str, cache: Cache) -> None:
    lm, requests = tiny_lm(kind), tiny_requests(5)
    method = prepared("memit", lm, cache, layers=(0, 1, 2))
    found = tokenised(method, lm, requests)
    expected = naive_memit(method, lm, found, method.values(lm, found).z)
    deltas = edited(method, lm, requests)
    assert deltas.keys() == expected.keys() and len(deltas) == 3
    for name, delta in deltas.items():
        torch.testing.assert_close(delta, expected[name], rtol=1e-3, atol=1e-5)


def test_blue_edits_the_first_and_the_last_block_only(cache: Cache) -> None:
    lm = tiny_lm("llama")
    for name in ("memit", "alphaedit"):
        method = prepared(name, lm, cache, layers=(0, 1, 2), layer_choice="first-last")
        assert method.places == (0, 2)
        names = {lm.layout.weight_name(layer, "down") for layer in (0, 2)}
        assert edited(method, lm, tiny_requests(2)).keys() == names


def test_keys_of_general_text_hardly_move_under_alphaedit(cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(6)
    method, memit = (
        prepared("alphaedit", lm, cache, layers=(1,)),
        prepared("memit", lm, cache, layers=(1,), moment_weight=1e-6),
    )
    assert isinstance(memit, Memit)
    [delta], [free] = edited(method, lm, requests).values(), edited(memit, lm, requests).values()

    def moved(change: Tensor) -> float:
        """The mean square of what ΔW adds at a key of general text, for ‖ΔW‖ = 1."""
        return torch.trace(change.double() @ memit.moments[1] @ change.double().T).item() / change.norm().item() ** 2

    assert moved(delta) < method.hparams.threshold < moved(free)
    basis = method.bases[1]  # type: ignore[attr-defined]
    kept = torch.eye(len(basis), dtype=torch.float64) - basis @ basis.T
    assert 0 < basis.shape[1] < len(basis)
    assert (delta.double() @ kept).norm() < 1e-6 * delta.norm()


def test_sphere_takes_half_of_the_change_along_the_principal_directions(cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(3)
    [whole] = edited(prepared("sphere", lm, cache, layers=(1,), share=0.0), lm, requests).values()
    method = prepared("sphere", lm, cache, layers=(1,))
    [halved] = edited(method, lm, requests).values()
    principal = method.principal[1].float()  # type: ignore[attr-defined]
    torch.testing.assert_close(halved @ principal, 0.5 * whole @ principal, rtol=1e-3, atol=1e-5)
    rest = torch.eye(len(principal)) - principal @ principal.T
    torch.testing.assert_close(halved @ rest, whole @ rest, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["memit", "alphaedit"])
def test_past_keys_make_a_later_chunk_move_the_earlier_one_less(name: str, cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(6)
    method = prepared(name, lm, cache, layers=(1,))
    first = edited(method, lm, requests[:3])
    keys = method.past[1]  # type: ignore[attr-defined]
    WeightEdit(first).apply(lm)
    [remembering] = edited(method, lm, requests[3:]).values()
    method.past = {}  # type: ignore[attr-defined]
    [forgetting] = edited(method, lm, requests[3:]).values()
    moved = [torch.trace(delta.double() @ keys @ delta.double().T).item() for delta in (remembering, forgetting)]
    assert moved[0] < moved[1]


def test_past_keys_are_the_sum_over_chunks_and_part_of_the_state(cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(4)
    method = prepared("memit", lm, cache, layers=(1,))
    found = tokenised(method, lm, requests)
    keys = torch.stack([mean_key(method, lm, case, 1) for case in found]).double()
    for chunk in (requests[:1], requests[1:]):
        edited(method, lm, chunk)
    torch.testing.assert_close(method.state_dict()["past/1"], keys.T @ keys, rtol=1e-4, atol=1e-5)


def test_rome_writes_each_request_on_the_model_that_the_last_one_left(cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(3)
    together = edited(prepared("rome", lm, cache), lm, requests)
    method, applied = prepared("rome", lm, cache), []
    for request in requests:
        applied.append(WeightEdit(edited(method, lm, [request])).apply(lm))
    [name] = together
    one_by_one = lm.parameter(name).detach().clone()
    for one in reversed(applied):
        one.revert()
    torch.testing.assert_close(together[name], one_by_one - lm.parameter(name), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_cannot_be_edited_fails_alone(name: str, cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(2)
    bad = Request("bad", "The capital is", "Atlantis", "Paris")
    method = prepared(name, lm, cache)
    with_bad = edited(method, lm, [requests[0], bad, requests[1]])
    assert list(method.failures) == ["bad"] and "Atlantis" in method.failures["bad"]
    without = edited(prepared(name, lm, cache), lm, requests)
    assert all(torch.equal(with_bad[key], delta) for key, delta in without.items())
    assert method.failures and not edited(method, lm, [bad])


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_not_finite_is_that_requests_failure(name: str, cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(3)
    method = prepared(name, lm, cache, prefixes=0)
    found = tokenised(method, lm, requests)
    own = set(found[1].completions[0].ids) - {
        i for k in (0, 2) for i in (*found[k].completions[0].ids, *found[k].essence)
    }
    lm.model.get_input_embeddings().weight.data[sorted(own)] = torch.nan
    deltas = edited(method, lm, requests)
    assert list(method.failures) == [requests[1].id] and "finite" in method.failures[requests[1].id]
    assert deltas and all(torch.isfinite(delta).all() for delta in deltas.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_block_the_model_has_not_is_named_with_its_range(name: str) -> None:
    lm, method_class = tiny_lm("llama"), load_method(name)
    place = {"layer": 7} if name in ("rome", "emmet") else {"layers": (1, 7)}
    method = method_class(settings_for(method_class, lm.shape, place).values)
    reason = method.supports(lm)
    assert reason is not None and "no layer 7" in reason and "0 to 2" in reason


@pytest.mark.parametrize("kind", ["gemma2", "gemma3"])
@pytest.mark.parametrize("name", NAMES)
def test_one_block_with_a_norm_behind_its_mlp_is_edited(name: str, kind: str, cache: Cache) -> None:
    lm, request = tiny_lm(kind), tiny_requests(1)
    place = {"layer": 1} if name in ("rome", "emmet") else {"layers": (1,)}
    method = prepared(name, lm, cache, **place, prefixes=0, clamp=100.0, steps=25, kl_factor=0.0, weight_decay=0.0)
    assert method.supports(lm) is None
    [case] = tokenised(method, lm, request)
    before = nll(lm, case)
    deltas = edited(method, lm, request)
    assert deltas.keys() == {lm.layout.weight_name(1, "down")} and all(bool(delta.any()) for delta in deltas.values())
    WeightEdit(deltas).apply(lm)
    assert nll(lm, case) < before or name in ("alphaedit", "sphere")  # which take away what a random model needs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_with_a_norm_behind_the_mlp_share_no_change_and_others_do(dtype: torch.dtype) -> None:
    for kind, fits in (("gemma2", False), ("gemma3", False), ("gpt_neox", True), ("phi", True), ("opt", True)):
        lm, method_class = tiny_lm(kind, dtype=dtype), load_method("memit")
        reason = method_class(settings_for(method_class, lm.shape).values).supports(lm)
        assert (reason is None) == fits
        assert fits or "one block can be edited: layers: [" in str(reason)


@pytest.mark.parametrize("name", [*NAMES, "ultraedit"])
def test_a_bfloat16_model_is_edited_much_as_the_float32_one(name: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"  # the same for both: each would sample a text of its own
    text.write_text("\n".join(request.prompt for request in tiny_requests(200)))
    own = {} if name == "ultraedit" else {"prefixes": 0, "corpus": str(text)}
    method_class, changes = load_method(name), []
    for dtype in (torch.float32, torch.bfloat16):
        lm = tiny_lm("llama", dtype=dtype)
        settings = settings_for(method_class, lm.shape, {**method_class.tiny, **own})
        method = method_class(settings.values)
        method.prepare(lm, Cache(tmp_path))
        edit = method.edit(lm, tiny_requests(3), torch_generator(0, "test"))
        assert isinstance(edit, WeightEdit) and not method.failures
        changes.append(torch.cat([delta.flatten().float() for _, delta in sorted(edit.deltas.items())]))
        edit.apply(lm).revert()
    assert torch.cosine_similarity(*changes, dim=0) > 0.9


@pytest.mark.parametrize("overrides", [{"restraint": "prune"}, {"restraint": "rect"}, {"key_mean": "bare-half"}])
def test_variants_obey_the_laws_of_a_stream(overrides: dict[str, Any]) -> None:
    laws = [law for law in LAWS if "resumed" in law or "as found" in law or law == "the same seed gives the same edit"]
    assert len(laws) == 3
    assert all(result.passed for result in check_method("memit", overrides, kinds=("llama",), laws=laws))


def test_memit_without_past_keys_forgets_them(cache: Cache) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(4)
    method = prepared("memit", lm, cache, past_keys=False)
    edited(method, lm, requests[:2])
    again = edited(method, lm, requests[2:])
    assert not [name for name in method.state_dict() if name.startswith("past/")]
    fresh = prepared("memit", lm, cache, past_keys=False)
    fresh.prefixes = method.prefixes
    assert all(torch.equal(delta, again[name]) for name, delta in edited(fresh, lm, requests[2:]).items())


def test_blocks_out_of_order_are_refused() -> None:
    lm = tiny_lm("llama")
    for layers in ((1, 0), (1, 1)):
        with pytest.raises(UserError, match="lowest first"):
            settings_for(load_method("memit"), lm.shape, {"layers": layers})


def test_past_keys_that_are_not_finite_make_the_edit_diverge(cache: Cache) -> None:
    lm, method = tiny_lm("llama"), prepared("memit", tiny_lm("llama"), cache, layers=(1,))
    edited(method, lm, tiny_requests(1))
    method.past[1][0, 0] = torch.nan  # type: ignore[attr-defined]
    with pytest.raises(Diverged):
        edited(method, lm, tiny_requests(2))


def test_too_few_tokens_say_how_many_would_do(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    for name in NAMES:
        with pytest.raises(UserError, match=f"corpus_tokens: {10 * lm.shape.mlp}"):
            prepared(name, lm, Cache(tmp_path), corpus_tokens=lm.shape.mlp - 1)


@pytest.mark.parametrize("name", NAMES)
def test_published_settings_are_valid_and_name_their_source(name: str) -> None:
    shapes = {
        "smollm2-135m": ModelShape("llama", 30, 576, 1536, 49152, 3_540_000),
        "llama-3-8b": ModelShape("llama", 32, 4096, 14336, 128256, 218_000_000),
        "qwen2.5-7b": ModelShape("qwen2", 28, 3584, 18944, 152064, 233_000_000),
        "mistral-7b": ModelShape("mistral", 32, 4096, 14336, 32768, 218_000_000),
        "gpt2-xl": ModelShape("gpt2", 48, 1600, 6400, 50257, 31_000_000),
        "gpt-j-6b": ModelShape("gptj", 28, 4096, 16384, 50400, 201_000_000),
    }
    assert shapes.keys() <= set(FAMILIES)
    method_class = load_method(name)
    for family, shape in shapes.items():
        settings = settings_for(method_class, shape)
        assert settings.origins["lr"].kind == ("searched" if family == "smollm2-135m" else "published"), family
        assert settings.values.corpus_tokens >= shape.mlp
        assert max(method_class(settings.values).places) < shape.n_layers  # type: ignore[attr-defined]
        assert method_class.flops(shape, settings.values, 10, 12.0) > 0

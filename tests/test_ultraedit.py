"""UltraEdit against the obvious way of computing it: one request at a time, all of autograd, a dense solve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from editbench_methods import ultraedit
from editbench_methods._running import Running
from editbench_methods._solves import ridge_regression
from editbench_methods.ultraedit import UltraEdit
from pydantic import ValidationError

from editbench.base.seeds import torch_generator
from editbench.errors import Diverged
from editbench.method import WeightEdit
from editbench.models.families import FAMILIES
from editbench.models.lm import LM, ModelShape
from editbench.plan.settings import origin_of, values_of
from editbench.requests import Request
from editbench.running.stream import Stream
from editbench.testing import OtherProcess, check_method
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests

EVERYTHING = {"llama": {"gate": [0, 2], "up": [1, 2], "down": [1, 2]}, "gpt2": {"up": [0, 2], "down": [1, 2]}}


def new(**values: object) -> UltraEdit:
    return UltraEdit(UltraEdit.Hparams(**{"lr": 1e-4, **values}))


def edit(method: UltraEdit, lm: LM, requests: list[Request]) -> WeightEdit:
    found = method.edit(lm, requests, torch_generator(0, "t"))
    assert isinstance(found, WeightEdit)
    return found


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "rows"), dtype=torch.float64)


def obvious_rows(lm: LM, names: list[str], request: Request) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """h and g at one request's answer tokens, by a whole forward and backward pass through the model's own weights."""
    [done] = lm.text.completions([(request.prompt, request.target_new)])
    kept: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: object, args: tuple[torch.Tensor], output: torch.Tensor) -> None:
            output.retain_grad()
            kept[name] = (args[0], output)

        return hook

    lm.model.requires_grad_(True)
    hooks = [lm.model.get_submodule(n.removesuffix(".weight")).register_forward_hook(keep(n)) for n in names]
    logits = lm.model(input_ids=torch.tensor([done.ids])).logits[0]
    answers = slice(done.prompt_len - 1, len(done.ids) - 1)
    F.cross_entropy(logits[answers], torch.tensor(done.ids[done.prompt_len :])).backward()
    for hook in hooks:
        hook.remove()
    lm.model.zero_grad(set_to_none=True)
    lm.model.requires_grad_(False)
    flat = {n: (h.detach().flatten(0, -2), out.grad.flatten(0, -2)) for n, (h, out) in kept.items()}  # type: ignore[union-attr]
    return {n: (h[answers], g[answers]) for n, (h, g) in flat.items()}


def obvious_delta(lm: LM, rows: list[tuple[torch.Tensor, torch.Tensor]], method: UltraEdit) -> torch.Tensor:
    """One dense d × d solve with the statistics of all rows."""
    h, g = (torch.cat(part).double() for part in zip(*rows, strict=True))
    h_hat, g_hat = ((x - x.mean(0)) / (x.std(0) + method.hparams.eps) for x in (h, g))
    wanted = -method.hparams.lr * (h_hat**2).sum(1, keepdim=True) * g_hat
    step = torch.linalg.solve(h.T @ h + method.hparams.ridge * torch.eye(h.shape[1]).double(), h.T @ wanted)
    return step if lm.layout.conv1d else step.T


def test_running_statistics_equal_the_two_pass_ones_however_the_rows_are_chunked() -> None:
    rows = 1e3 + random(1000, 7)
    for sizes in ([1000], [1] * 1000, [1, 2, 700, 297], [999, 1]):
        merged: Running | None = None
        for chunk in rows.split_with_sizes(sizes):
            merged = Running.of(chunk[:, :3], chunk[:, 3:]).merged(merged)
        assert merged is not None and merged.count == 1000
        torch.testing.assert_close(merged.mean, rows.mean(0), rtol=1e-10, atol=0)
        torch.testing.assert_close(merged.std, rows.std(0), rtol=1e-10, atol=0)


def test_normalised_rows_have_mean_nought_and_deviation_one() -> None:
    rows = 5 + 3 * random(50, 4)
    left, right = Running.of(rows).normalised(rows[:, :1], rows[:, 1:], eps=0.0)
    assert left.shape == (50, 1) and right.shape == (50, 3)
    torch.testing.assert_close(right.mean(0), torch.zeros(3).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(right.std(0), torch.ones(3).double(), rtol=1e-12, atol=0)


def test_a_column_that_never_varies_and_a_single_row_normalise_to_nought() -> None:
    rows = torch.full((5, 2), 0.1)
    for some in (rows, rows[:1]):
        assert not Running.of(some).normalised(some, eps=1e-7)[0].any()


@pytest.mark.parametrize("rows", [3, 8, 30])
def test_both_forms_of_the_regression_are_the_dense_solve(rows: int) -> None:
    H, V = random(rows, 8), random(rows, 5)
    dense = torch.linalg.solve(H.T @ H + 0.3 * torch.eye(8).double(), H.T @ V)
    torch.testing.assert_close(ridge_regression(H, V, 0.3), dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", EVERYTHING)
@pytest.mark.parametrize("n", [2, 12])
def test_the_edit_equals_the_obvious_version(kind: str, n: int) -> None:
    lm, requests, method = tiny_lm(kind), tiny_requests(n), new(**EVERYTHING[kind], ridge=0.5)
    names = method.weight_names(lm)
    found = edit(method, lm, requests)
    each = [obvious_rows(lm, names, request) for request in requests]
    assert list(found.deltas) == names
    for name, delta in found.deltas.items():
        plain = obvious_delta(lm, [rows[name] for rows in each], method)
        assert delta.shape == lm.parameter(name).shape and delta.dtype == torch.float32
        assert plain.norm() > 0 and (delta - plain).norm() < 1e-3 * plain.norm()


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_what_is_read_equals_the_obvious_on_every_layout(kind: str) -> None:
    lm, requests, method = tiny_lm(kind), tiny_requests(5), new(up=[0, 2], gate=[0, 2] * (kind == "phi3"), down=[1, 2])
    names = method.weight_names(lm)
    assert method.supports(lm) is None
    found = ultraedit.read_signals(lm, names, requests, lambda share: None)
    for number, request in enumerate(requests):
        plain = obvious_rows(lm, names, request)
        mine = found.owners == number
        for name in names:
            for part, expected in zip((found.inputs, found.gradients), plain[name], strict=True):
                torch.testing.assert_close(part[name][mine], expected, rtol=1e-3, atol=1e-5)


def test_a_requests_signals_do_not_depend_on_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, requests = tiny_lm("llama"), tiny_requests(6)
    names = new(down=[0]).weight_names(lm)
    together = ultraedit.read_signals(lm, names, requests, lambda share: None)
    monkeypatch.setattr("editbench_methods._training.PIECE_TOKENS", 1)
    shares: list[float] = []
    alone = ultraedit.read_signals(lm, names, requests, shares.append)
    assert len(shares) == 6 and shares[-1] == 1
    for number in range(6):
        pairs = [found.gradients[names[0]][found.owners == number] for found in (together, alone)]
        torch.testing.assert_close(*pairs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("roles", [{"gate": [0], "up": [1, 2]}, {"down": [0, 2]}])
def test_every_law_holds_for_input_and_for_output_projections(
    roles: dict[str, list[int]], elsewhere: OtherProcess
) -> None:
    results = check_method(UltraEdit, {"down": [], **roles}, kinds=("llama",), elsewhere=elsewhere)
    assert not [result for result in results if not result.passed]


def test_statistics_run_over_the_whole_stream() -> None:
    lm, requests, method = tiny_lm("llama"), tiny_requests(6), new(down=[1])
    [name] = method.weight_names(lm)
    edit(method, lm, requests[:2])
    second = edit(method, lm, requests[2:])
    rows = [obvious_rows(lm, [name], request)[name] for request in requests]
    seen = Running.of(*(torch.cat(part) for part in zip(*rows, strict=True)))
    assert method.statistics[name].count == seen.count
    torch.testing.assert_close(method.statistics[name].std, seen.std, rtol=1e-3, atol=1e-6)
    alone = edit(new(down=[1]), lm, requests[2:])
    assert not torch.allclose(second.deltas[name], alone.deltas[name], rtol=1e-2)


def test_a_resumed_stream_is_bitwise_the_unbroken_one(tmp_path: Path) -> None:
    requests, streams = tiny_requests(9), []
    for broken in (False, True):
        stream = Stream(tiny_lm("llama"), new(up=[1], down=[2]))
        for number in range(3):
            if broken and number == 2:
                stream.save(tmp_path / "checkpoint")
                stream = Stream(tiny_lm("llama"), new(up=[1], down=[2]))
                stream.resume(tmp_path / "checkpoint")
            stream.write(requests[3 * number : 3 * number + 3], torch_generator(0, "chunk", number))
        streams.append(stream)
    whole, resumed = (stream.lm.model.state_dict() for stream in streams)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    states = [stream.method.state_dict() for stream in streams]
    assert states[0].keys() == states[1].keys() and len(states[0]) == 6
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_request_that_is_not_finite_fails_alone_and_leaves_no_trace() -> None:
    good = tiny_requests(4)
    bad = Request("bad", "The @ of Banana is", "Banana", "Paris")
    lm = tiny_lm("llama")
    lm.model.get_input_embeddings().weight.data[lm.text.tokenizer.convert_tokens_to_ids("@")] = float("nan")
    method, clean = new(up=[1], down=[1, 2]), new(up=[1], down=[1, 2])
    with_it, without = edit(method, lm, [*good[:2], bad, *good[2:]]), edit(clean, lm, good)
    assert list(method.failures) == ["bad"] and "not finite" in method.failures["bad"]
    for name, delta in without.deltas.items():
        assert (with_it.deltas[name] - delta).norm() < 1e-3 * delta.norm()
    assert edit(method, lm, good).deltas and method.failures == {}
    assert edit(method, lm, [bad]) == WeightEdit({}) and list(method.failures) == ["bad"]


def test_a_change_that_is_not_finite_is_a_divergence_and_leaves_the_statistics_as_they_were() -> None:
    method = new(down=[1], lr=1e300)
    with pytest.raises(Diverged, match="1e\\+300"):
        edit(method, tiny_lm("llama"), tiny_requests(3))
    assert method.state_dict() == {}


def test_gate_and_up_in_one_matrix_are_edited_together_or_refused() -> None:
    lm = tiny_lm("phi3")
    assert new(gate=[1], up=[1]).weight_names(lm) == ["model.layers.1.mlp.gate_up_proj.weight"]
    assert new(gate=[1], up=[1]).supports(lm) is None
    for half in ({"gate": [1]}, {"up": [1]}, {"gate": [1], "up": [1, 2]}):
        assert "one matrix" in (new(**half).supports(lm) or "")


def test_columns_of_an_output_do_not_mix_so_that_one_matrix_is_gate_and_up_apart() -> None:
    H, V = random(4, 6), random(4, 10)
    together = ridge_regression(H, V, 1.0)
    apart = torch.cat([ridge_regression(H, half, 1.0) for half in V.split_with_sizes([3, 7], 1)], 1)
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-14)


def test_blocks_and_projections_the_model_has_not_are_named() -> None:
    assert "0 to 2" in (new(down=[7]).supports(tiny_lm("llama")) or "")
    assert "gate" in (new(gate=[1]).supports(tiny_lm("gpt2")) or "")
    with pytest.raises(ValidationError, match="at least one block"):
        UltraEdit.Hparams(lr=1e-6)


def test_heuristics_are_gpt_js_places_at_every_depth() -> None:
    for depth, first, last in ((28, 18, 26), (12, 7, 11), (3, 1, 2), (1, 0, 0)):
        chosen = UltraEdit.heuristics(ModelShape("x", depth, 8, 16, 100, 1000))["down"]
        assert chosen == tuple(range(first, last + 1)) and last < depth


def test_published_settings_validate_and_name_a_family_and_a_source() -> None:
    entries = yaml.safe_load(Path(ultraedit.__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    assert {"llama-3-8b", "qwen2.5-7b", "mistral-7b", "gpt-j-6b"} <= set(entries) <= set(FAMILIES)
    assert all(origin_of(entry).says for entry in entries.values())
    found = {family: UltraEdit.Hparams(**values_of(entry)) for family, entry in entries.items()}
    assert found["llama-3-8b"].gate == tuple(range(11, 16)) and found["llama-3-8b"].up == tuple(range(18, 25))
    assert found["gpt-j-6b"].down == UltraEdit.heuristics(ModelShape("gptj", 28, 4096, 16384, 50400, 1))["down"]


def test_the_cost_grows_with_requests_and_shrinks_with_the_depth_of_the_lowest_block() -> None:
    shape = ModelShape("llama", 30, 576, 1536, 49152, 3_500_000)
    few, many = (UltraEdit.flops(shape, UltraEdit.Hparams(down=[20]), n, 12.0) for n in (100, 1000))
    assert many > 9 * few > 0
    assert UltraEdit.flops(shape, UltraEdit.Hparams(down=[2]), 100, 12.0) > few

"""Second moments of keys against a slow and obvious computation, and the text they are taken from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from editbench_methods import _moments
from editbench_methods._moments import corpus, second_moments
from torch import Tensor

from editbench.cache import Cache
from editbench.errors import BadData, UserError
from editbench.models.lm import LM
from editbench.testing.tiny import TINY_KINDS, tiny_lm

SENTENCE = "The capital of the country is the city of the king.\n"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def text_file(folder: Path, lines: int = 80, name: str = "text.txt") -> str:
    path = folder / name
    path.write_text("".join(f"{number} {SENTENCE}\n" for number in range(lines)), encoding="utf-8")
    return str(path)


def keys_of(lm: LM, layer: int, text: list[int]) -> Tensor:
    """The inputs of a block's output projection: [tokens, d]."""
    seen: list[Tensor] = []
    projection = lm.model.get_submodule(lm.layout.mlp_out_path(layer))
    hook = projection.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    lm.model(input_ids=torch.tensor([text]), use_cache=False)
    hook.remove()
    return seen[0].reshape(len(text), -1)


def slow_moment(lm: LM, layer: int, texts: list[list[int]]) -> Tensor:
    keys = [key.double() for text in texts for key in keys_of(lm, layer, text)]
    return sum((torch.outer(key, key) for key in keys), torch.tensor(0.0)) / len(keys)


def never(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("the model was run")


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_moments_equal_outer_products_of_one_text_at_a_time(kind: str, tmp_path: Path, cache: Cache) -> None:
    lm = tiny_lm(kind)
    texts = [text[: 20 + 9 * number] for number, text in enumerate(corpus(lm, text_file(tmp_path), 600, cache))]
    sums = _moments._Sums(lm, [2, 0])
    list(sums.read(texts))
    for layer in (0, 2):
        expected = slow_moment(lm, layer, texts)
        found = sums.mean(layer)
        assert found.dtype == torch.float64 and found.device.type == "cpu"
        assert torch.linalg.norm(found - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_moments_of_sampled_text_equal_the_slow_ones_and_the_model_is_left_as_it_was(kind: str, cache: Cache) -> None:
    lm = tiny_lm(kind)
    weights = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    state = torch.random.get_rng_state()
    found = second_moments(lm, [1], "self", 400, cache)
    expected = slow_moment(lm, 1, corpus(lm, "self", 400, cache))
    torch.testing.assert_close(found[1], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert all(torch.equal(weight, weights[name]) for name, weight in lm.model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())


def test_moments_are_exactly_symmetric_and_have_no_negative_direction(cache: Cache) -> None:
    moment = second_moments(tiny_lm("llama"), [1], "self", 400, cache)[1]
    assert torch.equal(moment, moment.T)
    assert torch.linalg.eigvalsh(moment).min() > -1e-6 * torch.linalg.eigvalsh(moment).max()


def test_padding_does_not_count(cache: Cache) -> None:
    lm = tiny_lm("llama")
    texts = [[5, 6, 7, 8, 9, 10, 11, 12], [30]]
    together = _moments._Sums(lm, [1])
    assert list(together.read(texts)) == [1.0], "one batch"
    torch.testing.assert_close(together.mean(1), slow_moment(lm, 1, texts), rtol=1e-5, atol=1e-6)


def test_hooks_go_even_if_the_model_fails(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    corpus(lm, "self", 100, cache)
    monkeypatch.setattr(lm.model, "forward", never)
    with pytest.raises(AssertionError):
        second_moments(lm, [1], "self", 100, cache)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())


def test_nothing_above_the_highest_layer_is_run(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    corpus(lm, "self", 100, cache)
    monkeypatch.setattr(lm.layout.block(lm.model, 2), "forward", never)
    assert second_moments(lm, [1, 0], "self", 100, cache).keys() == {1, 0}


def test_the_second_call_computes_nothing_and_another_layer_only_itself(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    first = second_moments(lm, [1], "self", 100, cache)
    computed: list[list[int]] = []
    build = _moments._Sums

    def counted(lm: LM, layers: list[int]) -> Any:
        computed.append(layers)
        return build(lm, layers)

    monkeypatch.setattr(_moments, "_Sums", counted)
    more = second_moments(lm, [2, 1, 0], "self", 100, cache)
    assert computed == [[2, 0]]
    assert torch.equal(more[1], first[1])
    monkeypatch.setattr(lm.model, "forward", never)
    again = second_moments(lm, [1, 0], "self", 100, cache)
    assert list(again) == [1, 0]
    assert all(torch.equal(again[layer], more[layer]) for layer in again)


def test_layers_computed_together_and_alone_are_the_same(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    together = second_moments(lm, [0, 2], "self", 100, Cache(tmp_path / "a"))
    alone = second_moments(lm, [0], "self", 100, Cache(tmp_path / "b"))
    assert torch.equal(together[0], alone[0])


def test_no_layers_need_no_text_and_a_layer_too_many_is_an_error(cache: Cache) -> None:
    lm = tiny_lm("llama")
    assert second_moments(lm, [], "no such file", 100, cache) == {}
    with pytest.raises(UserError, match="no layer 3"):
        second_moments(lm, [3], "self", 100, cache)


def test_the_content_of_a_file_counts_and_its_path_does_not(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    first = second_moments(lm, [1], text_file(tmp_path), 300, cache)
    monkeypatch.setattr(lm.model, "forward", never)
    again = second_moments(lm, [1], text_file(tmp_path, name="other.txt"), 300, cache)
    assert torch.equal(first[1], again[1])
    (tmp_path / "text.txt").write_text("Another text. " * 300, encoding="utf-8")
    with pytest.raises(AssertionError, match="was run"):
        second_moments(lm, [1], str(tmp_path / "text.txt"), 300, cache)


def test_progress_covers_sampling_and_moments(cache: Cache) -> None:
    seen: list[tuple[float, str]] = []
    second_moments(tiny_lm("llama"), [0], "self", 300, cache, lambda share, note: seen.append((share, note)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [note for _, note in dict(zip([n for _, n in seen], seen, strict=True)).values()] == [
        "sampling text",
        "second moments of keys",
    ]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_lines_of_a_text_file_are_packed_behind_the_frame(kind: str, tmp_path: Path, cache: Cache) -> None:
    lm = tiny_lm(kind)
    texts = corpus(lm, text_file(tmp_path), 900, cache)
    head = lm.text.opening
    assert sum(map(len, texts)) == 900
    assert all(len(text) <= 256 for text in texts)
    assert all(text[: len(head)] == head for text in texts)
    lines = [line for text in texts for line in lm.text.decode(text[len(head) :]).split("\n") if line.strip()]
    assert [line.strip() for line in lines[:3]] == [f"{number} {SENTENCE.strip()}" for number in range(3)]


def test_a_line_longer_than_a_text_is_cut_into_several(tmp_path: Path, cache: Cache) -> None:
    lm = tiny_lm("llama")
    (tmp_path / "long.txt").write_text("The city of the king. " * 100, encoding="utf-8")
    texts = corpus(lm, str(tmp_path / "long.txt"), 600, cache)
    assert [len(text) for text in texts] == [256, 256, 88]
    together = lm.text.decode([i for text in texts for i in text])
    assert ("The city of the king. " * 100).startswith(together)


def test_each_record_of_a_jsonl_file_is_a_text_of_its_own(tmp_path: Path, cache: Cache) -> None:
    lm = tiny_lm("llama")
    path = tmp_path / "text.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": text}) for text in ("one town", " ", "the king " * 400)), encoding="utf-8"
    )
    short = lm.text.prompt("one town")
    assert corpus(lm, str(path), len(short) + 256, cache) == [short, lm.text.prompt("the king " * 400)[:256]]


@pytest.mark.parametrize(
    ("line", "message"), [('{"text": "a"', "line 2, column"), ('{"words": "a"}', "line 2"), ("[1]", "line 2")]
)
def test_a_bad_record_is_named_by_its_line(line: str, message: str, tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "one town"}\n' + line, encoding="utf-8")
    with pytest.raises(BadData, match=f"bad.jsonl, {message}"):
        corpus(tiny_lm("llama"), str(path), 100, cache)


def test_a_file_with_too_little_text_is_an_error_that_names_the_numbers(tmp_path: Path, cache: Cache) -> None:
    lm, source = tiny_lm("llama"), text_file(tmp_path, lines=3)
    with pytest.raises(UserError, match="5000 were asked for") as caught:
        second_moments(lm, [1], source, 5000, cache)
    have = int(caught.value.given.split(" holds ")[1].split()[0])
    assert f"corpus_tokens: {have} or less" in caught.value.hint
    assert sum(map(len, corpus(lm, source, have, cache))) == have


def test_a_source_that_is_no_text_is_an_error(tmp_path: Path, cache: Cache) -> None:
    lm = tiny_lm("llama")
    with pytest.raises(UserError, match="There is no text"):
        corpus(lm, str(tmp_path / "none.txt"), 10, cache)
    (tmp_path / "text.pdf").write_bytes(b"")
    with pytest.raises(UserError, match="is no text file"):
        corpus(lm, str(tmp_path / "text.pdf"), 10, cache)
    (tmp_path / "latin.txt").write_bytes(b"Jos\xe9")
    with pytest.raises(BadData, match="not UTF-8"):
        corpus(lm, str(tmp_path / "latin.txt"), 10, cache)


def test_text_of_the_hub_is_streamed_no_further_than_needed_and_kept(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, asked, read = tiny_lm("llama"), [], []

    def stream(name: str, config: str | None, **options: Any) -> Iterator[dict[str, str]]:
        asked.append((name, config, options))
        for number in range(10**9):
            read.append(number)
            yield {"text": f"{number} {SENTENCE}"}

    monkeypatch.setattr(datasets, "load_dataset", stream)
    texts = corpus(lm, "hub:someone/wiki:en", 200, cache)
    assert sum(map(len, texts)) == 200
    assert asked == [("someone/wiki", "en", {"split": "train", "streaming": True})]
    assert len(read) < 100
    assert corpus(lm, "hub:someone/wiki:en", 200, cache) == texts
    corpus(lm, "hub:someone/wiki", 200, cache)
    assert asked[1:] == [("someone/wiki", None, {"split": "train", "streaming": True})]


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), KeyError("text"), ValueError("bad config")])
def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_else_there_is(
    error: Exception, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=f"hub:someone/wiki cannot be read: {type(error).__name__}") as caught:
        second_moments(tiny_lm("llama"), [0], "hub:someone/wiki", 100, cache)
    assert "'self'" in caught.value.hint

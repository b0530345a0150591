"""Second moments of keys, C = E[k kᵀ]: what locate-then-edit methods know of the text they must leave alone.

A key k, [d], is the input of a block's MLP output projection. C is the mean of k kᵀ over the tokens of some general
text (ROME, arXiv:2202.05262; MEMIT, arXiv:2210.07229). The papers read 100,000 Wikipedia articles; under 0.3% of that
gives the same edits (arXiv:2506.04226). The text here is the model's own unless another is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.base.machine import packages
from editbench.base.parsing import Unparsable, parse_json
from editbench.errors import BadData, UserError
from editbench.models.partial import Stopped, input_seen, run_until_stopped
from editbench.models.prefix import by_length, pass_tokens
from editbench.models.sampling import self_text, trimmed

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.models.lm import LM

SELF = "self"
HUB = "hub:"
TEXT_TOKENS = 512
BATCH_TOKENS = 4096
# Share of the free memory of a device that the sums may take there; beyond it they are kept on the CPU.
_DEVICE_SHARE = 0.25
# Share of the whole work that drawing the text takes: sampling a token costs several times reading one.
_TEXT_SHARE = 0.8
_LINES_AT_ONCE = 256


def corpus(
    lm: LM, source: str, tokens: int, cache: Cache, progress: Callable[[float], None] | None = None
) -> list[list[int]]:
    """Return general text as token ids: ``tokens`` in all, in lists of at most 512, framed as prompts are.

    Parameters
    ----------
    source: ``self`` (sampled from the model), the path of a .txt file (lines are packed) or of a .jsonl file (the
        field ``text``), or ``hub:NAME`` or ``hub:NAME:CONFIG`` (the column ``text`` of the split ``train``).
    tokens: how many; the last text is cut to end there.
    cache: sampled text is kept by content, text of the hub by its name.
    progress: called with the share done.

    Raises :class:`UserError` for a source that cannot be read or has fewer tokens.
    """
    if source == SELF:
        return self_text(lm, tokens, cache, progress=progress)
    if source.startswith(HUB):
        return _kept_from_hub(lm, source, tokens, cache)
    return _enough(_texts_of_file(lm, Path(source).expanduser()), source, tokens)


def _enough(texts: Iterable[list[int]], source: str, tokens: int) -> list[list[int]]:
    """Return the first ``tokens`` tokens, reading no further. Raises :class:`UserError` if there are fewer."""
    found: list[list[int]] = []
    have = 0
    for text in texts:
        found.append(text)
        have += len(text)
        if have >= tokens:
            return trimmed(found, tokens)
    raise UserError(
        f"{source} holds {have} tokens of text for this model; {tokens} were asked for.",
        hint=f"Set corpus_tokens: {have} or less, or name a longer text.",
    )


def _text_tokens(lm: LM) -> int:
    """The most tokens of one text."""
    return min(TEXT_TOKENS, lm.context_length)


def _texts_of_file(lm: LM, path: Path) -> Iterator[list[int]]:
    if path.suffix not in (".txt", ".jsonl") or not path.is_file():
        raise UserError(
            f"There is no text {path}." if not path.is_file() else f"{path} is no text file.",
            f"Expected a .txt or .jsonl file, {SELF!r}, or {HUB}NAME.",
        )
    with path.open(encoding="utf-8-sig") as lines:
        try:
            yield from _packed(lm, lines) if path.suffix == ".txt" else _documents(lm, _json_texts(lines, path.name))
        except UnicodeDecodeError as error:
            raise BadData(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}.") from error


def _json_texts(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield the field ``text`` of each line. Raises :class:`BadData` that names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except Unparsable as error:
            raise BadData(f"{name}{error.in_line(number)}: {error.reason}.", "Expected JSON.") from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise BadData(f"{name}, line {number}: there is no text in it.", 'Expected {"text": "…"}.')
        yield record["text"]


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the items that are not blank in lists of ``size``, so that the tokeniser is called seldom."""
    chunk: list[str] = []
    for item in items:
        if item.strip():
            chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _documents(lm: LM, texts: Iterable[str]) -> Iterator[list[int]]:
    """Yield each text's first tokens."""
    for chunk in _chunks(texts, 16):
        yield from (ids[: _text_tokens(lm)] for ids in lm.text.prompts(chunk))


def _packed(lm: LM, lines: Iterable[str]) -> Iterator[list[int]]:
    """Yield texts of as many whole lines as fit into one; a line longer than a text is cut into several."""
    head = lm.text.opening
    room = _text_tokens(lm) - len(head)
    text: list[int] = []
    for chunk in _chunks(lines, _LINES_AT_ONCE):
        for ids in lm.text.tokenizer(chunk, add_special_tokens=False)["input_ids"]:
            if text and len(text) + len(ids) > room:
                yield [*head, *text]
                text = []
            text += ids
            while len(text) > room:
                yield [*head, *text[:room]]
                text = text[room:]
    if text:
        yield [*head, *text]


def _kept_from_hub(lm: LM, source: str, tokens: int, cache: Cache) -> list[list[int]]:
    parts = {"hub": source, "weights": lm.weights_hash, "tokens": tokens, "length": _text_tokens(lm)}
    texts: list[list[int]] | None = cache.load_json("text", parts)
    if texts is None:
        texts = _enough(_documents(lm, _hub_texts(source)), source, tokens)
        cache.save_json("text", parts, texts)
    return texts


def _hub_texts(source: str) -> Iterator[str]:
    """Yield the texts of a hub dataset as they come in. Raises :class:`UserError` if it cannot be reached."""
    import datasets

    name, _, config = source.removeprefix(HUB).partition(":")
    try:
        for record in datasets.load_dataset(name, config or None, split="train", streaming=True):
            yield record["text"]
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"The text {source} cannot be read: {type(error).__name__}: {reason}",
            f"Expected {HUB}NAME or {HUB}NAME:CONFIG, a dataset with a split train and a column text.",
            f"Without the hub: {SELF!r}, or the path of a .txt or .jsonl file.",
        ) from error


def second_moments(
    lm: LM,
    layers: Sequence[int],
    source: str,
    tokens: int,
    cache: Cache,
    progress: Callable[[float, str], None] | None = None,
) -> dict[int, Tensor]:
    """Return, for each layer, C = E[k kᵀ]: [d, d], float64, symmetric, on the CPU.

    Kept in ``cache`` by content, each layer by itself; the layers that are missing are computed in one pass over the
    text. ``source`` and ``tokens`` are those of :func:`corpus`, whose errors are raised. ``progress`` is called with
    the share of all work done and what is being done. Raises :class:`UserError` for a layer out of range.
    """
    report = progress or (lambda share, note: None)
    wanted = {layer: lm.layout.mlp_out_path(layer) for layer in layers}
    if not wanted:
        return {}
    texts = corpus(lm, source, tokens, cache, lambda share: report(_TEXT_SHARE * share, "sampling text"))
    keys = {layer: _parts(lm, layer, texts) for layer in wanted}
    kept = {layer: cache.load_tensors("moments", key) for layer, key in keys.items()}
    missing = [layer for layer in wanted if kept[layer] is None]
    if missing:
        sums = _Sums(lm, missing)
        for done in sums.read(texts):
            report(_TEXT_SHARE + (1 - _TEXT_SHARE) * done, "second moments of keys")
        for layer in missing:
            kept[layer] = {"moment": sums.mean(layer)}
            cache.save_tensors("moments", keys[layer], kept[layer] or {})
    return {layer: found["moment"] for layer, found in kept.items() if found is not None}


def _parts(lm: LM, layer: int, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """All that decides the moment of a layer."""
    return {
        "weights": lm.weights_hash,
        "dtype": str(lm.model.dtype),
        "device": lm.device_name,
        "layer": layer,
        "tokens": sum(map(len, texts)),
        "ids": hashlib.sha256(json.dumps([list(text) for text in texts]).encode()).hexdigest(),
        "packages": {name: packages().get(name) for name in ("torch", "transformers")},
    }


class _Sums:
    """Sums of k kᵀ for some layers, filled batch by batch.

    Products are float32 on the keys' device, sums float64. Right padding changes nothing before it, for attention is
    causal, and its own keys are left out.
    """

    def __init__(self, lm: LM, layers: Sequence[int]) -> None:
        self.lm, self.layers = lm, sorted(layers)
        self.sums: dict[int, Tensor] = {}
        self.fits: bool | None = None
        self.tokens = 0
        self.real = torch.empty(0)  # [batch, tokens], bool: which of the batch's tokens are no padding

    def mean(self, layer: int) -> Tensor:
        """Return C of a layer; its sum is given up."""
        total = self.sums.pop(layer).cpu()
        return ((total + total.T) / (2 * self.tokens)).contiguous()

    def read(self, texts: Sequence[Sequence[int]]) -> Iterator[float]:
        """Add up the keys of all texts; yields the share done after every batch."""
        lengths = [len(text) for text in texts]
        for batch in by_length(lengths, self.lm.at_once(BATCH_TOKENS), pass_tokens(self.lm.device)):
            self._pass([texts[number] for number in batch])
            yield self.tokens / sum(lengths)

    @torch.no_grad()
    def _pass(self, batch: Sequence[Sequence[int]]) -> None:
        ids, mask = self.lm.text.pad_right(batch)
        self.real = mask.bool()
        self.tokens += int(mask.sum())
        with ExitStack() as stack:
            for layer in self.layers:
                projection = self.lm.model.get_submodule(self.lm.layout.mlp_out_path(layer))
                input_seen(stack, projection, partial(self._see, layer))
            run_until_stopped(self.lm, input_ids=ids.to(self.lm.device), use_cache=False)

    def _see(self, layer: int, keys: Tensor) -> None:
        self._add(layer, keys)
        if layer == self.layers[-1]:
            raise Stopped

    def _add(self, layer: int, keys: Tensor) -> None:
        """Add a batch's keys, [batch, tokens, d], or [batch * tokens, d] where a model flattens them (OPT)."""
        d = keys.shape[-1]
        own = keys.reshape(-1, d)[self.real.reshape(-1).to(keys.device)].float()
        if layer not in self.sums:
            self.sums[layer] = torch.zeros(d, d, dtype=torch.float64, device=self._home(keys.device, d))
        self.sums[layer] += (own.T @ own).to(self.sums[layer].device)

    def _home(self, device: torch.device, d: int) -> torch.device:
        """Where sums are kept: on the device, unless those of all layers would take too much of it."""
        if device.type == "cuda" and self.fits is None:
            self.fits = len(self.layers) * d * d * 8 < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
        return device if self.fits else torch.device("cpu")

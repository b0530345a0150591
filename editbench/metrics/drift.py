"""How far the weights moved, and whether the model still speaks."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from editbench.metrics.collapse import Pulse
from editbench.metrics.metric import CellMetric


def weight_drift(cell: Mapping[str, Any]) -> float | None:
    """Return ‖ΔW‖ / ‖W‖ (Frobenius, over the changed weights together); 0 where nothing changed, None if unknown."""
    delta, weight = cell["edit"].get("delta_norm"), cell["edit"].get("weight_norm")
    if delta is None or weight is None:
        return None
    return float(delta) / float(weight) if weight else 0.0


def perplexity(cell: Mapping[str, Any]) -> float | None:
    """Return the perplexity on general text when the cell was measured; infinite where the loss was no number."""
    seen = cell.get("pulse", {}).get("seen")
    return None if not seen else Pulse.of(seen[-1]).perplexity


def perplexity_ratio(cell: Mapping[str, Any]) -> float | None:
    """Return that perplexity divided by the unedited model's."""
    now = perplexity(cell)
    return None if now is None or cell["pulse"]["unedited"] is None else now / float(cell["pulse"]["unedited"])


def collapse_point(cell: Mapping[str, Any]) -> float | None:
    """Return after how many edits the model was first seen collapsed; None if it was not, up to this scale."""
    point = cell.get("pulse", {}).get("collapsed_at")
    return None if point is None else float(point)


def _drifted(cell: Mapping[str, Any], key: str) -> float | None:
    """Return a number of ``drift``; None where it was not measured, infinite where it is no finite number."""
    found = cell.get("drift", {})
    if key not in found:
        return None
    return math.inf if found[key] is None else float(found[key])


def kl(cell: Mapping[str, Any]) -> float | None:
    """Return KL(unedited ‖ edited) per token, in nats."""
    return _drifted(cell, "kl")


def own_perplexity(cell: Mapping[str, Any]) -> float | None:
    """Return the model's perplexity on text of the unedited model."""
    return _drifted(cell, "perplexity_own_text")


def added_latency(cell: Mapping[str, Any]) -> float | None:
    """Return the seconds that the edit adds to each token; None where they cannot be told from none."""
    found = cell.get("drift", {}).get("added_latency_s")
    return None if found is None else float(found)


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text; a mark inside a word parts it."""
    return re.findall(r"\w+|[^\w\s]", text)


def ngram_entropy(tokens: Sequence[str], n: int) -> float:
    """Return the entropy, in bits, of the frequencies of runs of ``n`` tokens; 0 where there is none."""
    counts = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())


def fluency(cell: Mapping[str, Any]) -> float | None:
    """Return the mean over continuations of (2/3 H₂ + 4/3 H₃) / 2, Hₙ being the entropy of n-grams of words."""
    texts = [words(text) for text in cell.get("drift", {}).get("continuations", ())]
    values = [(2 / 3 * ngram_entropy(text, 2) + 4 / 3 * ngram_entropy(text, 3)) / 2 for text in texts]
    return sum(values) / len(values) if values else None


METRICS = (
    CellMetric(
        "kl",
        "KL",
        "lower",
        (0, None),
        "KL(unedited ‖ edited) per token, in nats, on a text that the unedited model wrote.",
        "",
        kl,
    ),
    CellMetric(
        "own-perplexity",
        "Own perplexity",
        "lower",
        (1, None),
        "exp(mean NLL per token) on that text.",
        "",
        own_perplexity,
    ),
    CellMetric(
        "fluency",
        "Fluency",
        "higher",
        (0, None),
        "Weighted entropy (bits) of bi- and tri-grams of words in 100-token continuations of edit prompts.",
        "Meng et al. 2022, arXiv:2202.05262 (GE), with weights 2/3 and 4/3 as in its code",
        fluency,
        reads_talk=True,
    ),
    CellMetric(
        "added-latency",
        "Added latency",
        "lower",
        (None, None),
        "Seconds that the edit adds to each decoded token: 0 where only weights changed, – where they cannot "
        "be told from none.",
        "",
        added_latency,
        "s",
    ),
    CellMetric(
        "perplexity",
        "Perplexity",
        "lower",
        (1, None),
        "exp(mean NLL per token) on a short general text.",
        "",
        perplexity,
    ),
    CellMetric(
        "perplexity-ratio",
        "Perplexity ×",
        "lower",
        (0, None),
        "Perplexity on a short general text, as a multiple of the unedited model's.",
        "",
        perplexity_ratio,
    ),
    CellMetric(
        "collapse-point",
        "Collapse",
        "higher",
        (1, None),
        "Edits after which perplexity was first seen above ten times the unedited model's, or no number.",
        "",
        collapse_point,
    ),
    CellMetric(
        "weight-drift",
        "Weight drift",
        "lower",
        (0, None),
        "‖ΔW‖/‖W‖ (Frobenius) over the weights that were changed.",
        "",
        weight_drift,
    ),
)

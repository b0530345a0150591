"""The unedited model's results: measured once per model, task, version and settings, and kept by content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from editbench.base.machine import packages
from editbench.capability.code import scoring
from editbench.capability.evaluate import DocumentOutcome, EditedLM, Measured, measure, requests_hash
from editbench.capability.quiet import own_random_state

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.capability.tasks import Asked

_PACKAGES = ("lm_eval", "torch", "transformers")


def content_of(model: EditedLM, task: Any, asked: Asked) -> dict[str, Any]:
    """Return everything that decides a task's results on the unedited model, as plain values."""
    lm = model.edited
    with own_random_state():
        name = task.task_name
    return {
        "weights": lm.weights_hash,
        "dtype": str(lm.model.dtype),
        "device": lm.device_name,
        "task": name,
        "version": str(task.VERSION),
        "requests": requests_hash(task, asked, model),
        "scoring": scoring(task),
        "limit": asked.limit,
        "num_fewshot": task.get_config("num_fewshot"),
        "chat_template": asked.chat_template,
        "batch_size": model.batch_size,
        "packages": {name: packages().get(name) for name in _PACKAGES},
    }


def baseline(
    model: EditedLM, task: Any, asked: Asked, cache: Cache, report: Callable[[float], None] | None = None
) -> Measured:
    """Return a task's results on the unedited model, from the cache if it has them. Raises what lm-eval raises."""
    parts = content_of(model, task, asked)
    kept = cache.load_json("capability", parts)
    if kept is not None:
        lists = {key: tuple(kept[key]) for key in ("means", "higher")}
        return Measured(**{**kept, **lists, "samples": tuple(DocumentOutcome(**row) for row in kept["samples"])})
    found = measure(model, task, asked, report)
    cache.save_json("capability", parts, asdict(found))
    return found

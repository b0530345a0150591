"""The offline task set ``core``: where lm-eval finds its YAML files, and how they find their items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

GROUP = "core"
TASKS = tuple(
    f"core_{name}" for name in ("grammar", "facts", "arithmetic", "sentiment", "copying", "reading", "next_word")
)


def core_folder() -> Path:
    """Return the folder to hand to lm-eval: ``TaskManager(include_path=str(core_folder()))``."""
    return Path(__file__).parent / "core"


def items(task: str) -> list[dict[str, Any]]:
    """Return the items of a task: ``kind``, ``context``, ``choices`` and ``answer``, the index of the right choice.

    Parameters
    ----------
    task: one of :data:`TASKS`.
    """
    path = core_folder() / "data" / f"{task.removeprefix('core_')}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load(task: str, **_: Any) -> dict[str, datasets.Dataset]:
    """Return a task's items as lm-eval wants them; the YAML files name this function as ``custom_dataset``.

    lm-eval would look for data files relative to the working folder; this looks beside the YAML, wherever the package
    is installed, and writes no cache. lm-eval hands over the YAML's metadata too, which is not needed.
    """
    from datasets import Dataset

    return {"test": Dataset.from_list(items(task))}

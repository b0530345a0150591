"""About how many operations the capability tasks of a cell take; read by ``editbench run --dry-run`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from editbench.capability.spec import CapabilitySpec, TaskSpec
from editbench.capability.tasks import CORE, SETS


@dataclass(frozen=True, slots=True)
class Size:
    """What a task asks of a model.

    Attributes
    ----------
    documents: how many, over all its tasks.
    sequences: passes per document: one per choice, unless the choices are single tokens.
    tokens: of a document in the prompt, or with one choice.
    generated: tokens written per document.
    shots: examples, where the task has its own number.
    tasks: how many tasks it is made of; a limit is per task.
    """

    documents: int
    sequences: float = 1
    tokens: float = 60
    generated: float = 0
    shots: int = 0
    tasks: int = 1


# Counted on the tasks' documents, or, for what is not listed, a guess: good to a factor of three at best.
_KNOWN = {
    CORE: Size(2199, 1, 15.5, tasks=7),
    "mmlu": Size(14042, 1, 90, tasks=57),
    "nq_open": Size(3610, 1, 20, 20),
    "sst2": Size(872, 1, 35),
    "wmt16-de-en": Size(2999, 1, 45, 60),
    "gsm8k": Size(1319, 1, 150, 200, shots=5),
    "gsm8k_cot": Size(1319, 1, 120, 200, shots=8),
    "ifeval": Size(541, 1, 60, 700),
    "truthfulqa_mc2": Size(817, 8, 160),
    "arc_challenge": Size(1172, 4, 35),
    "arc_easy": Size(2376, 4, 30),
    "hellaswag": Size(10042, 4, 90),
    "winogrande": Size(1267, 2, 25),
    "piqa": Size(1838, 2, 35),
    "boolq": Size(3270, 1, 150),
    "lambada_openai": Size(5153, 1, 85),
    "blimp": Size(67000, 2, 12, tasks=67),
}
_OTHER = Size(1000, 3, 60)


def tokens(spec: CapabilitySpec) -> tuple[float, float]:
    """Return about how many tokens are read and how many are written, in one cell."""
    read = written = 0.0
    for task in spec.tasks:
        for one in SETS.get(task.task, (task,)):
            size = _KNOWN.get(one.task, _OTHER)
            documents = _documents(size, one, spec)
            shots = next((n for n in (spec.num_fewshot, one.num_fewshot) if n is not None), size.shots)
            read += documents * size.sequences * size.tokens * (1 + shots)
            written += documents * size.generated
    return read, written


def _documents(size: Size, task: TaskSpec, spec: CapabilitySpec) -> int:
    limit = spec.limit or task.limit
    return size.documents if limit is None else min(size.documents, limit * size.tasks)

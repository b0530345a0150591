"""What a suite asks about capability: the tasks, at which scales, and how. Needs neither torch nor lm-eval."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

# The file of a cell that has a line per document: what was said and what that came to.
DOCUMENTS = "capability.jsonl"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSpec(_Strict):
    """One entry of the list of tasks, with what differs from the suite's settings for it alone.

    Attributes
    ----------
    task: a named set, a task, group or tag of lm-eval, or a folder or file of task YAML.
    num_fewshot, limit: as in :class:`CapabilitySpec`.
    metric: which of the task's metrics counts, such as ``acc_norm``; "": see ``docs/capability.md``.
    """

    task: str = Field(min_length=1)
    num_fewshot: NonNegativeInt | None = None
    limit: PositiveInt | None = None
    metric: str = ""


def _named(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


class CapabilitySpec(_Strict):
    """Which tasks of lm-eval the edited model is given, and how.

    Attributes
    ----------
    tasks: what is asked, in order; see :class:`TaskSpec`.
    include: folders of task YAML whose names may be used in ``tasks``.
    scales: where it is measured; None: at every scale of the suite.
    num_fewshot: examples in the prompt; None: each task's own number. A task that fixes 0 keeps it, as in lm-eval.
    limit: most documents of a task (of each task of a group, as in lm-eval); None: all.
    batch_size: sequences scored, or prompts continued, at once.
    chat_template: whether prompts are put into the tokeniser's chat template.
    """

    tasks: list[Annotated[TaskSpec, BeforeValidator(_named)]] = Field(min_length=1)
    include: list[str] = Field(default_factory=list)
    scales: list[PositiveInt] | None = Field(default=None, min_length=1)
    num_fewshot: NonNegativeInt | None = None
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 16
    chat_template: bool = False

    @field_validator("tasks")
    @classmethod
    def _once(cls, tasks: list[TaskSpec]) -> list[TaskSpec]:
        names = [task.task for task in tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is given twice")
        return tasks

    def at(self, scale: int) -> bool:
        """Return whether it is measured at this scale."""
        return self.scales is None or scale in self.scales


def from_yaml(value: Any) -> Any:
    """Let ``capability: core`` and ``capability: [core, mmlu]`` stand for the mapping with these tasks."""
    if isinstance(value, str):
        return {"tasks": [value]}
    return {"tasks": value} if isinstance(value, list) else value

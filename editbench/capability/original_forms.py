"""Public data in the form it was first published in, or in a common reduced form, made into what lm-eval's tasks read.

The hub's copies of these datasets have other columns than the authors' files. A form is recognised by the dataset's
name and its columns; rows that have the hub's columns already are left alone.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a dataset is met in.

    Attributes
    ----------
    datasets: last parts of the hub's ids, in lower case.
    config: the dataset's configuration it is for; "" for any.
    columns: what its rows have.
    convert: a row in this form -> the row in the hub's.
    """

    datasets: tuple[str, ...]
    config: str
    columns: frozenset[str]
    convert: Callable[[Row], Row]


def _mmlu(row: Row) -> Row:
    choices = [row[f"choice{i}"] for i in range(4)]
    return {"question": row["question"], "choices": choices, "answer": int(row["answer"])}


def _boolq(row: Row) -> Row:
    return {**row, "label": int(row["answer"])}


def _arc(row: Row) -> Row:
    labels = list(string.ascii_uppercase[: len(row["choices"])])
    question = row["query"].removeprefix("Question: ").strip()
    return {
        "question": question,
        "choices": {"text": row["choices"], "label": labels},
        "answerKey": labels[int(row["gold"])],
    }


def _piqa(row: Row) -> Row:
    goal = row["query"].removeprefix("Question: ").strip()
    return {"goal": goal, "sol1": row["choices"][0], "sol2": row["choices"][1], "label": int(row["gold"])}


def _lambada(row: Row) -> Row:
    return {"text": f"{row['context']} {row['continuation']}"}


def _winogrande(row: Row) -> Row:
    """Put the blank back: both contexts end with what filled it, and only there do they differ."""
    one, two = (context.split(" ") for context in row["context_options"])
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    sentence = " ".join([*one[:same], "_", row["continuation"]])
    options = [" ".join(words[same:]) for words in (one, two)]
    return {"sentence": sentence, "option1": options[0], "option2": options[1], "answer": str(int(row["gold"]) + 1)}


def _answers(text: str) -> list[str]:
    return [answer.strip() for answer in text.split(";") if answer.strip()]


def _truthful(row: Row) -> Row:
    right, wrong = _answers(row["Correct Answers"]), _answers(row["Incorrect Answers"])
    one = [row["Best Answer"].strip(), *wrong]
    return {
        "question": row["Question"],
        "mc1_targets": {"choices": one, "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
    }


FORMS = (
    Form(("mmlu",), "", frozenset({"question", "choice0", "choice3", "answer"}), _mmlu),
    Form(("boolq", "super_glue"), "boolq", frozenset({"question", "passage", "answer"}), _boolq),
    Form(("ai2_arc",), "", frozenset({"query", "choices", "gold"}), _arc),
    Form(("piqa",), "", frozenset({"query", "choices", "gold"}), _piqa),
    Form(("lambada_openai", "lambada"), "", frozenset({"context", "continuation"}), _lambada),
    Form(("winogrande",), "", frozenset({"context_options", "continuation", "gold"}), _winogrande),
    Form(("truthful_qa",), "", frozenset({"Question", "Best Answer", "Correct Answers"}), _truthful),
)


def as_on_hub(rows: Sequence[Row], dataset: str, config: str | None) -> list[Row]:
    """Return rows in the form of the hub's copy of ``dataset`` (such as ``allenai/ai2_arc``), where a form is known."""
    name = dataset.rpartition("/")[2].lower()
    columns = set(rows[0]) if rows else set()
    for form in FORMS:
        fits = name in form.datasets and form.config in ("", config) and form.columns <= columns
        if fits and not (name == "super_glue" and "label" in columns):
            return [form.convert(row) for row in rows]
    return list(rows)

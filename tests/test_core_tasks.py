"""The offline task set ``core``: its items keep what docs/capability.md says, and lm-eval finds them anywhere."""

from __future__ import annotations

import json
import logging
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from builders.capability.__main__ import main as build
from editbench.capability.core_tasks import GROUP, TASKS, core_folder, items
from editbench.datasets import load_dataset
from editbench.models.lm import LM
from editbench.testing import tiny_lm
from editbench.testing.damage import damaged

pytestmark = pytest.mark.usefixtures("lm_eval_lists_no_packages")

SHIPPED_DATASETS = ("facts", "counterfact-100k", "search")
CONTINUED = [task for task in TASKS if task != "core_next_word"]


def texts(task: str) -> list[str]:
    """Return everything a model is shown of a task: each context followed by each of its choices."""
    return [one["context"] + choice for one in items(task) for choice in one["choices"]]


class Subjects:
    """Finds edited subjects in a text.

    A subject counts as found where its words stand in the text as whole words with single spaces between them. A
    subject written in lower case is found in any case and with a plural s; a name only as it is written.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.common = {name for name in self.names if name == name.lower()}
        self.longest = max(len(name.split()) for name in self.names)

    def within(self, text: str) -> set[str]:
        ends = [match.end() for match in re.finditer(r"\w(?!\w)", text)]
        starts = [match.start() for match in re.finditer(r"(?<!\w)\w", text)]
        found = set()
        for start in starts:
            for end in [end for end in ends if end > start][: 2 * self.longest]:
                span = text[start:end]
                plain = span.lower()
                found |= {span} & self.names
                found |= {plain, plain.removesuffix("s"), plain.removesuffix("es")} & self.common
        return found


@pytest.fixture(scope="module")
def subjects() -> Subjects:
    return Subjects(request.subject for name in SHIPPED_DATASETS for request in load_dataset(name).requests)


def test_building_again_gives_the_shipped_bytes(tmp_path: Path) -> None:
    build([str(tmp_path)])
    shipped = {path.name: path.read_bytes() for path in (core_folder() / "data").iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == shipped


@pytest.mark.parametrize("task", TASKS)
def test_no_item_mentions_a_subject_that_a_shipped_dataset_edits(task: str, subjects: Subjects) -> None:
    assert {text: found for text in texts(task) if (found := subjects.within(text))} == {}


def test_an_edited_subject_would_be_noticed(subjects: Subjects) -> None:
    assert subjects.within("The Eiffel Tower stands in France.") == {"France"}
    assert subjects.within("Two Tigers and a fig") == {"tiger", "fig"}
    assert "Ho Chi Minh City" in subjects.within("He lives in Ho Chi Minh City, I think")
    assert subjects.within("an old post, the figure of a tigress") == set()


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_several_hundred_different_items(task: str) -> None:
    found = items(task)
    assert len(found) >= 200
    assert len({(one["context"], frozenset(one["choices"])) for one in found}) == len(found)


@pytest.mark.parametrize("task", TASKS)
def test_items_need_no_beginning_token_and_choices_bring_their_space(task: str) -> None:
    for one in items(task):
        assert one["context"]
        assert one["context"] == one["context"].strip()
        assert all(re.fullmatch(r" \S.*", choice) and choice == choice.rstrip() for choice in one["choices"])


@pytest.mark.parametrize("task", CONTINUED)
def test_choices_differ_and_the_right_one_stands_anywhere(task: str) -> None:
    found = items(task)
    for one in found:
        assert len(set(one["choices"])) == len(one["choices"]) > 1
    of = len(found[0]["choices"])
    places = Counter(one["answer"] for one in found if len(one["choices"]) == of)
    expected = len(found) / of
    assert all(abs(places[place] - expected) < 4 * math.sqrt(expected) for place in range(of))


def test_every_fact_and_story_and_review_is_a_sentence_of_its_own() -> None:
    for task in ("core_facts", "core_next_word", "core_sentiment"):
        contexts = [one["context"] for one in items(task)]
        assert len(set(contexts)) == len(contexts)


def test_as_many_reviews_praise_as_complain() -> None:
    right = Counter(one["choices"][one["answer"]] for one in items("core_sentiment"))
    praise = sum(right[word] for word in (" pleasure", " joy", " wonderful", " success"))
    assert praise * 2 == len(items("core_sentiment"))


def test_arithmetic_is_right() -> None:
    sums = [one for one in items("core_arithmetic") if one["kind"] in {"addition", "subtraction", "multiplication"}]
    assert len(sums) == 200
    for one in sums:
        for line in (one["context"] + one["choices"][one["answer"]]).splitlines():
            left, right = line.split(" = ")
            a, sign, b = left.split()
            assert int(right) == {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]


def test_every_file_of_the_task_set_ships() -> None:
    root = Path(__file__).parents[1]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    package = core_folder().parent
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path for path in core_folder().rglob("*") if path.is_file()} <= shipped


def evaluate(lm: Any, tasks: list[str], limit: int | None = None) -> dict[str, list[float]]:
    """Return each task's outcomes, item by item, as lm-eval finds them."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.disable(logging.WARNING)
    try:
        manager = TaskManager(include_path=str(core_folder()), include_defaults=False)
        harness = HFLM(pretrained=lm.model, tokenizer=lm.text.tokenizer, batch_size=32)
        done = simple_evaluate(
            model=harness, tasks=tasks, task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=True
        )
    finally:
        logging.disable(logging.NOTSET)
    return {task: [float(sample["acc"]) for sample in samples] for task, samples in done["samples"].items()}


@pytest.mark.filterwarnings("ignore")
def test_lm_eval_finds_group_tasks_and_items_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = evaluate(tiny_lm("llama"), [GROUP], limit=3)
    assert {task: len(outcomes) for task, outcomes in found.items()} == dict.fromkeys(TASKS, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_task_file_names_its_own_items() -> None:
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    for task in TASKS:
        config = yaml.load((core_folder() / f"{task}.yaml").read_text(), Loader)
        assert (config["task"], config["dataset_kwargs"]["task"]) == (task, task)
        assert config["custom_dataset"] == "editbench.capability.core_tasks.load"


def test_items_have_the_documented_fields_and_no_others() -> None:
    for task in TASKS:
        for one in items(task):
            assert list(json.loads(json.dumps(one))) == ["kind", "context", "choices", "answer"]


def test_damage_lasts_only_as_long_as_its_block() -> None:
    import torch

    lm = tiny_lm("llama")
    before = {name: weight.detach().clone() for name, weight in lm.model.named_parameters()}
    with damaged(lm.model, 0.5):
        harmed = {name: weight.detach().clone() for name, weight in lm.model.named_parameters()}
    for name, weight in lm.model.named_parameters():
        assert torch.equal(weight, before[name])
        if weight.dim() > 1:
            share = ((harmed[name] - before[name]).std() / before[name].std()).item()
            assert share == pytest.approx(0.5, rel=0.2)
        else:
            assert torch.equal(harmed[name], before[name])


def chance(task: str) -> float:
    """Return the accuracy of guessing; a free word is never guessed."""
    found = items(task)
    return sum(1 / len(one["choices"]) for one in found if len(one["choices"]) > 1) / len(found)


@pytest.mark.slow
def test_every_task_is_far_above_chance_for_the_built_in_model_and_falls_when_it_is_damaged(smollm2: LM) -> None:
    # more of those where the model is less far above chance; benchmarks/core_tasks.py asks everything
    others = [task for task in TASKS if task not in ("core_reading", "core_sentiment")]
    asked = [(["core_reading"], 200), (["core_sentiment"], 60), (others, 40)]
    whole = {name: one for tasks, n in asked for name, one in evaluate(smollm2, tasks, n).items()}
    with damaged(smollm2.model, 0.8):
        harmed = {name: one for tasks, n in asked for name, one in evaluate(smollm2, tasks, n).items()}
    for task in TASKS:
        accuracy, after = (sum(one) / len(one) for one in (whole[task], harmed[task]))
        error = math.sqrt(accuracy * (1 - accuracy) / len(whole[task]))
        # of a difference, the unharmed rate being the larger and the better known
        both = math.sqrt(error**2 + max(after * (1 - after), 0.01) / len(harmed[task]))
        assert accuracy > chance(task) + 4 * error, task
        assert accuracy > after + 3 * both, task

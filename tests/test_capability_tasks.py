"""What a suite may ask about capability, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
from capability_folder import write_tasks
from click.testing import CliRunner

from editbench.cache import Cache
from editbench.capability import tasks
from editbench.capability.index import Known
from editbench.capability.spec import CapabilitySpec
from editbench.capability.task_sizes import tokens
from editbench.capability.tasks import SETS, lacking, resolve
from editbench.cli import cli
from editbench.errors import BadSuite, UnknownName, UserError
from editbench.plan.runs import check_names, make_plan
from editbench.plan.suite_file import load_suite, parse_suite

OWN = {name: Known(name, "TASK", None) for name in ("mmlu", "hellaswag", "gsm8k", "nq_open", "sst2", "wmt16-de-en")}
SUITE = """\
name: s
title: A suite for tests
dataset: facts
models: [smollm2-135m]
methods: [none]
scales: [1, 10]
"""


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stand in for lm-eval's own list, which takes long to read; counts how often it is asked for."""
    asked: list[int] = []

    def index(cache: Cache) -> dict[str, Known]:
        asked.append(1)
        return OWN

    monkeypatch.setattr(tasks, "own_index", index)
    return asked


def names(spec: CapabilitySpec, tmp_path: Path) -> list[str]:
    return [one.name for one in resolve(spec, Cache(tmp_path / "cache")).asked]


@pytest.mark.parametrize("text", ["mmlu", "[mmlu]", "{tasks: [mmlu]}", "{tasks: [{task: mmlu}]}"])
def test_every_way_to_write_the_key_means_the_same(text: str) -> None:
    spec = parse_suite(SUITE + f"capability: {text}\n", "s.yaml").capability
    assert spec == CapabilitySpec(tasks=["mmlu"])


def test_a_suite_without_the_key_measures_no_capability() -> None:
    assert parse_suite(SUITE, "s.yaml").capability is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{tasks: [mmlu], limits: 3}", "limit"),
        ("{tasks: []}", "line 7"),
        ("{tasks: [mmlu, mmlu]}", "given twice"),
        ("{tasks: [{task: mmlu, fewshot: 5}]}", "num_fewshot"),
        ("{tasks: [mmlu], scales: [7]}", "7 is not among the scales"),
        ("{tasks: [mmlu], batch_size: auto}", "batch_size"),
    ],
)
def test_a_mistake_names_its_line_and_what_is_known(text: str, said: str) -> None:
    with pytest.raises(BadSuite) as error:
        parse_suite(SUITE + f"capability: {text}\n", "s.yaml")
    assert said in str(error.value)


def test_other_scales_and_tasks_from_the_command_line_keep_the_other_settings() -> None:
    suite = parse_suite(SUITE + "capability: {tasks: [mmlu], scales: [10], limit: 5}\n", "s.yaml")
    assert suite.with_capability(["gsm8k"]).capability == CapabilitySpec(tasks=["gsm8k"], scales=[10], limit=5)
    assert suite.with_capability([]).capability is None
    assert suite.with_options(scales=[1, 10, 100]).capability == suite.capability
    changed = suite.with_options(scales=[1]).capability
    assert changed is not None and changed.scales is None


def test_capability_is_no_part_of_a_runs_identity() -> None:
    suite = parse_suite(SUITE, "s.yaml")
    ids = {make_plan(s).runs[0].run_id for s in (suite, suite.with_capability(["mmlu"]))}
    assert len(ids) == 1


def test_an_unknown_task_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean hellaswag"):
        names(CapabilitySpec(tasks=["helaswag"]), tmp_path)


def test_an_unknown_task_is_blamed_on_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE + "capability: mmluu\n")
    in_file = CliRunner().invoke(cli, ["run", "--suite", str(tmp_path / "s.yaml"), "--dry-run"])
    assert in_file.exit_code == 2 and "s.yaml, line 7: There is no task named 'mmluu'" in in_file.stderr
    given = CliRunner().invoke(cli, ["run", "--suite", str(tmp_path / "s.yaml"), "--dry-run", "--capability", "mmluuu"])
    assert given.exit_code == 2 and "line" not in given.stderr
    assert "--capability mmluuu: There is no task named 'mmluuu'." in given.stderr and "mmlu" in given.stderr
    called = load_suite(str(tmp_path / "s.yaml")).with_capability(["mmluuu"])
    with pytest.raises(UnknownName):
        check_names(make_plan(called))


def test_a_set_stands_for_its_tasks_with_their_own_settings(tmp_path: Path) -> None:
    assert names(CapabilitySpec(tasks=["paper"]), tmp_path) == ["mmlu", "nq_open", "sst2", "wmt16-de-en", "gsm8k"]
    crisp = {task.task: (task.num_fewshot, task.limit) for task in SETS["crispedit"]}
    assert crisp["arc_challenge"] == (25, 200) and crisp["mmlu"] == (5, 200) and crisp["gsm8k_cot"] == (8, 200)


def test_a_task_in_two_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asked for twice"):
        names(CapabilitySpec(tasks=["paper", "gsm8k"]), tmp_path)


def test_a_folder_stands_for_its_groups_and_the_tasks_in_none(tmp_path: Path, own: list[int]) -> None:
    folder = write_tasks(tmp_path / "mine")
    assert names(CapabilitySpec(tasks=[str(folder)]), tmp_path) == ["toy", "toy_write"]
    assert names(CapabilitySpec(tasks=[str(folder / "toy_two.yaml")]), tmp_path) == ["toy_two"]
    assert names(CapabilitySpec(tasks=["toy_one"], include=[str(folder)]), tmp_path) == ["toy_one"]
    assert not own


def test_a_broken_file_among_tasks_is_refused_with_its_name_and_line(tmp_path: Path, own: list[int]) -> None:
    folder = write_tasks(tmp_path / "mine")
    (folder / "tagged.yaml").write_text("task: tagged\nprocess_docs: !function own.docs\n")  # lm-eval's own tag is fine
    names(CapabilitySpec(tasks=["toy_one"], include=[str(folder)]), tmp_path)
    (folder / "broken.yaml").write_text("task: broken\ndoc_to_text: [unclosed\n")
    with pytest.raises(UserError, match=r"broken\.yaml is no valid YAML: .*line 3"):
        names(CapabilitySpec(tasks=["toy_one"], include=[str(folder)]), tmp_path)


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no task"):
        names(CapabilitySpec(tasks=[str(tmp_path / "empty")]), tmp_path)
    with pytest.raises(UserError, match="no folder or file"):
        names(CapabilitySpec(tasks=["./nowhere"]), tmp_path)


@pytest.mark.parametrize("text", ["include: common\n", "include: [shared, common]\n"])
def test_a_task_that_includes_what_is_not_there_is_refused_by_name(tmp_path: Path, text: str) -> None:
    folder = write_tasks(tmp_path / "mine")
    (folder / "shared").write_text("output_type: multiple_choice\n")
    (folder / "more.yaml").write_text(text + "task: more\n")
    with pytest.raises(UserError, match=r"more\.yaml includes common, which is not there"):
        names(CapabilitySpec(tasks=[str(folder)]), tmp_path)
    (folder / "common").write_text("include: deeper\n")
    with pytest.raises(UserError, match=r"common includes deeper, which is not there"):
        names(CapabilitySpec(tasks=[str(folder)]), tmp_path)
    (folder / "deeper").write_text("dataset_path: json\n")
    assert "more" in names(CapabilitySpec(tasks=[str(folder)]), tmp_path)


@pytest.mark.parametrize("given", ["mine", "mine/more.yml"])
def test_a_task_in_a_yml_is_refused_because_lm_eval_does_not_read_it(tmp_path: Path, given: str) -> None:
    folder = write_tasks(tmp_path / "mine")
    (folder / "toy_write.yaml").rename(folder / "more.yml")
    with pytest.raises(UserError, match=r"more\.yml describes a task, but lm-eval reads files named \.yaml alone"):
        names(CapabilitySpec(tasks=[str(tmp_path / given)]), tmp_path)


def test_the_suites_settings_win_over_a_tasks_own(tmp_path: Path) -> None:
    one = {"task": "mmlu", "num_fewshot": 5, "limit": 7, "metric": "acc"}
    [own_settings] = resolve(CapabilitySpec(tasks=[one]), Cache(tmp_path)).asked
    [overridden] = resolve(CapabilitySpec(tasks=[one], limit=3, num_fewshot=0), Cache(tmp_path)).asked
    assert (own_settings.num_fewshot, own_settings.limit, own_settings.metric) == (5, 7, "acc")
    assert (overridden.num_fewshot, overridden.limit) == (0, 3)


def test_a_cell_lacks_what_was_measured_with_other_settings_or_other_files(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    spec = CapabilitySpec(tasks=[str(folder)])
    asked = resolve(spec, Cache(tmp_path / "cache")).asked
    found = {one.name: {"settings": one.key} for one in asked}
    assert lacking(asked, found) == []
    limited = resolve(spec.model_copy(update={"limit": 2}), Cache(tmp_path / "cache")).asked
    assert lacking(limited, found) == list(limited)
    write_tasks(tmp_path / "mine", version="1.1")
    changed = resolve(spec, Cache(tmp_path / "cache")).asked
    assert lacking(changed, found) == list(changed)


def test_a_limit_and_examples_change_the_expected_cost() -> None:
    read, written = tokens(CapabilitySpec(tasks=["mmlu", "gsm8k"]))
    limited, _ = tokens(CapabilitySpec(tasks=["mmlu", "gsm8k"], limit=10))
    shots, _ = tokens(CapabilitySpec(tasks=["mmlu", "gsm8k"], num_fewshot=20))
    assert limited < read < shots and written > 0


def test_the_capability_suite_asks_for_the_core_tasks_at_every_scale() -> None:
    spec = load_suite("capability").capability
    assert spec is not None and [task.task for task in spec.tasks] == ["core"] and spec.scales is None


def test_core_and_each_of_its_tasks_are_known_without_lm_evals_own_list(tmp_path: Path, own: list[int]) -> None:
    from editbench.capability.core_tasks import TASKS

    assert names(CapabilitySpec(tasks=["core"]), tmp_path) == list(TASKS)
    assert names(CapabilitySpec(tasks=["core_facts"]), tmp_path) == ["core_facts"]
    assert not own

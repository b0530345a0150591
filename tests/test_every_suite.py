"""Over every registered suite, ours and others'."""

from __future__ import annotations

from pathlib import Path

import pytest

from editbench.base.plugins import names
from editbench.datasets import load_dataset
from editbench.datasets.readers import PUBLISHED
from editbench.errors import UserError
from editbench.plan.registry import SUITES
from editbench.plan.runs import bind, check_names, check_scales, make_plan
from editbench.plan.suite_file import load_suite, suite_path


@pytest.mark.parametrize("name", names(SUITES))
def test_a_suite_is_called_what_it_is_registered_as_and_says_what_it_shows(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert len(suite.title.split()) >= 3


@pytest.mark.parametrize("name", names(SUITES))
def test_the_first_lines_of_a_suite_say_what_it_is_and_the_exact_command(name: str) -> None:
    comments = []
    for line in suite_path(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line.lstrip("# "))
    assert comments[0].startswith(name)
    assert f"editbench run --suite {name}" in comments


@pytest.mark.parametrize("name", names(SUITES))
def test_everything_a_suite_names_exists_and_its_scales_fit_its_data(name: str, tmp_path: Path) -> None:
    suite = load_suite(name)
    if suite.dataset.name in PUBLISHED:
        with pytest.raises(UserError, match="--data"):
            check_names(make_plan(suite))
        (tmp_path / "mine.json").write_text("[]")
        suite = suite.with_options(data=str(tmp_path / "mine.json"))
    plan = make_plan(suite)
    check_names(plan)
    if suite.dataset.name not in PUBLISHED:
        dataset = load_dataset(suite.dataset)
        check_scales(plan, dataset)
        plan = bind(plan, dataset)
    assert len(plan.runs) == len(suite.models) * len(suite.methods) * len(suite.seeds)
    assert len({run.run_id for run in plan.runs}) == len(plan.runs)

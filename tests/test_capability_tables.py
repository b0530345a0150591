"""Capability in a table: one test in one column, and failed tasks are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from results_tree import SUITE, done, write_all

from editbench.analysis.leaderboard import Leaderboard
from editbench.analysis.stored import stored_leaderboard
from editbench.base.files import append_lines
from editbench.cache import Cache
from editbench.capability.tasks import resolve
from editbench.plan.runs import Plan, Run
from editbench.results.records import Record
from editbench.results.store import CellOutcome
from editbench.running.outcome import Results

METRICS = ["reliability", "capability", "capability-ratio"]


def entry(value: float, **changes: Any) -> dict[str, Any]:
    base = {"status": "done", "reason": "", "settings": "s", "version": "1", "documents": "d", "n": 10, "metric": "acc"}
    base |= {"value": value, "stderr": 0.1, "unedited": 0.5, "unedited_stderr": 0.1, "difference_stderr": 0.1}
    return {**base, "scale": 1.0, **changes}


def failed(reason: str, at: str = "loading") -> dict[str, Any]:
    return {**entry(0.0), "value": None, "scale": None, "status": "failed", "reason": reason, "at": at}


def board(
    folder: Path, found: Mapping[str, Mapping[str, Any]], metrics: Sequence[str] | None = METRICS
) -> tuple[Leaderboard, str]:
    """Return the leaderboard of runs with these entries by label, and its notes as one text."""
    plan, store = write_all(folder, with_entries(found))
    made = Results(plan, store).leaderboard(metrics)
    return made, " ".join(made.notes)


def with_entries(found: Mapping[str, Mapping[str, Any]]) -> Any:
    def outcomes(run: Run, scale: int) -> tuple[Sequence[Record], CellOutcome]:
        records, outcome = done(run, scale)
        return records, replace(outcome, capability=found[run.label])

    return outcomes


def values(made: Leaderboard, metric: str = "capability") -> dict[str, float | None]:
    return {row.method: row.values[metric].value if metric in row.values else None for row in made.rows}


def test_the_same_test_everywhere_is_shown_without_a_word(tmp_path: Path) -> None:
    made, said = board(tmp_path, {"none": {"a": entry(0.5)}, "local": {"a": entry(0.4)}})
    assert values(made) == {"none": 0.5, "local": 0.4}
    assert "Capability is over" not in said and "Capability has no value" not in said


def test_other_tasks_have_no_value_beside_those_that_are_shown(tmp_path: Path) -> None:
    made, said = board(tmp_path, {"none": {"c": entry(0.4)}, "local": {"a": entry(0.8), "b": entry(0.8)}})
    assert values(made) == {"none": None, "local": pytest.approx(0.8)}
    assert values(made, "capability-ratio")["none"] is None
    assert "Capability is over a, b" in said and "none at 1, 4 (not a, b)" in said


@pytest.mark.parametrize("key", ["settings", "version", "documents"])
def test_the_same_task_with_another_setting_version_or_documents_is_another_test(tmp_path: Path, key: str) -> None:
    other = {"a": entry(0.4, **{key: "other"})}
    made, said = board(tmp_path, {"none": other, "local": {"a": entry(0.8), "b": entry(0.8)}})
    assert values(made)["none"] is None and f"none at 1, 4 (not b, other {key} of a)" in said


def test_of_a_cell_that_holds_more_the_shared_tasks_are_shown(tmp_path: Path) -> None:
    more = {"a": entry(0.5), "b": entry(0.3), "c": entry(1.0)}
    made, said = board(tmp_path, {"none": more, "local": {"a": entry(0.8), "b": entry(0.6)}})
    assert values(made) == {"none": pytest.approx(0.4), "local": pytest.approx(0.7)}
    assert "Measured too, and not in it: none at 1, 4 (c)" in said


def test_documents_of_older_results_are_told_apart_by_their_files(tmp_path: Path) -> None:
    old = {key: value for key, value in entry(0.4).items() if key != "documents"}
    plan, store = write_all(tmp_path, with_entries({"none": {"a": old}, "local": {"a": entry(0.8)}}))
    for run in plan.runs:
        for scale in run.scales:
            line = f'{{"task": "a", "doc_id": 0, "doc_hash": "{run.label}", "outcome": 1}}\n'
            append_lines(store.cell_folder(run, scale) / "capability.jsonl", [line])
    made = Results(plan, store).leaderboard(METRICS)
    assert list(values(made).values()).count(None) == 1
    assert "other documents of a" in " ".join(made.notes)


def test_a_run_shows_the_tasks_that_it_was_asked_for_and_says_what_else_there_is(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path, with_entries({"none": {}, "local": {}}))
    asked = plan.suite.with_capability(["core_grammar"])
    assert asked.capability is not None
    key = resolve(asked.capability, Cache(tmp_path / "cache")).asked[0].key
    both = {"core_grammar": entry(0.9, settings=key), "core_facts": entry(0.1, settings=key)}
    plan, store = write_all(tmp_path, with_entries({"none": both, "local": both}))
    made = Results(Plan(asked, plan.runs), store).leaderboard(METRICS)
    assert values(made) == {"none": 0.9, "local": 0.9}
    assert any("asked for now; measured earlier, and not in it: core_facts" in note for note in made.notes)


def test_capability_is_shown_where_it_was_measured_and_no_metric_of_the_suite_shows_it(tmp_path: Path) -> None:
    plan, store = write_all(tmp_path, with_entries({name: {"a": entry(0.5)} for name in ("none", "local")}))
    (tmp_path / "small.yaml").write_text(SUITE.format(data=tmp_path / "things.jsonl"))
    stored = stored_leaderboard(str(tmp_path / "small.yaml"), store.root)
    assert stored.about.metrics == (*plan.suite.metrics, "capability") and values(stored)["none"] == 0.5
    assert stored_leaderboard(str(tmp_path / "small.yaml"), store.root, ["kl"]).about.metrics == ("kl",)
    asked = Plan(plan.suite.with_capability(["core_grammar"]), plan.runs)
    assert Results(asked, store).leaderboard().about.metrics == (*plan.suite.metrics, "capability")
    assert "capability" not in Results(plan, store).leaderboard().about.metrics


def test_failed_tasks_are_named_with_their_reasons_and_where(tmp_path: Path) -> None:
    one = {"a": entry(0.5), "b": failed("no network " * 30), "c": entry(0.5)}
    two = {"a": entry(0.4), "b": failed("no network " * 30), "c": failed("context too short", "unedited")}
    made, said = board(tmp_path, {"none": one, "local": two})
    assert "Capability: 2 of 3 tasks failed: b: no network no" in said and "…" in said
    assert "c (local): context too short" in said
    assert len(next(note for note in made.notes if "failed" in note)) < 250

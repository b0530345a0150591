"""Capability compared document by document: the table by hand, and the test against McNemar's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from editbench.analysis.aggregate import CellFrame, evaluate
from editbench.analysis.contest import at_scale, is_tested
from editbench.analysis.documents import document_table
from editbench.analysis.paired import paired_test
from editbench.errors import StoreError
from editbench.metrics import METRICS
from editbench.results.store import CellResult

Outcomes = dict[str, list[float | None]]
CAPABILITY = METRICS["capability"]


def cell(folder: Path, outcomes: Outcomes, scale: float = 1.0, settings: str = "s") -> CellResult:
    """Write a cell with these outcomes, by task, and return it."""
    folder.mkdir()
    lines, entries = [], {}
    for task, found in outcomes.items():
        lines += [{"task": task, "doc_id": k, "doc_hash": f"h{k}", "outcome": one} for k, one in enumerate(found)]
        known = [one for one in found if one is not None]
        spread = float(np.std(known, ddof=1) / np.sqrt(len(known)))
        entries[task] = {"status": "done", "reason": "", "settings": settings, "n": len(found), "scale": scale}
        entries[task] |= {"value": float(np.mean(known)), "stderr": spread, "unedited": 0.5}
    (folder / "capability.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data: dict[str, Any] = {"status": "done", "scale": 10, "capability": entries, "counts": {"records": 0}}
    return CellResult(10, data, folder / "records.jsonl")


def test_a_table_has_a_column_per_task_and_its_mean_is_capability(tmp_path: Path) -> None:
    one = cell(tmp_path / "a", {"sums": [100, 0, 100, 0], "facts": [100, 100]}, scale=100.0)
    table = document_table(one)
    assert table is not None and list(table.columns) == ["facts", "sums"]
    assert list(table["sums"].dropna()) == [1.0, 0.0, 1.0, 0.0] and list(table["facts"].dropna()) == [1.0, 1.0]
    assert list(table.index[:1]) == ["sums/s/0/h0"]
    sample = at_scale(CAPABILITY, {"a": {0: CellFrame(one)}}, 10)["a"]
    value = evaluate(CAPABILITY, [CellFrame(one)])
    assert value is not None and sample.value == pytest.approx(value.value) == pytest.approx(0.75)
    assert value.n == 6  # documents


def test_one_task_is_tested_by_mcnemar_and_several_count_alike(tmp_path: Path) -> None:
    assert is_tested(CAPABILITY) and not is_tested(METRICS["capability-ratio"])
    rng = np.random.default_rng(3)
    a, b = (rng.random(200) < 0.7).astype(float), (rng.random(200) < 0.5).astype(float)
    sides = {"a": {0: CellFrame(cell(tmp_path / "a", {"t": list(a)}))}}
    sides["b"] = {0: CellFrame(cell(tmp_path / "b", {"t": list(b)}))}
    found = at_scale(CAPABILITY, sides, 10)
    test = paired_test(found["a"], found["b"])
    only = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    assert test.p == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)
    assert (test.name, test.a_only, test.b_only, test.requests) == ("exact McNemar", *only, 200)
    assert test.effect == pytest.approx(b.mean() - a.mean())

    two: dict[str, Outcomes] = {"c": {"t": [1, 1, 0, 0], "u": [1, 0]}, "d": {"t": [1, 0, 0, 0], "u": [0, 0]}}
    sides = {name: {0: CellFrame(cell(tmp_path / name, outcomes))} for name, outcomes in two.items()}
    found = at_scale(CAPABILITY, sides, 10)
    # a quarter of t and half of u lost, each task half of the whole
    assert paired_test(found["c"], found["d"]).effect == pytest.approx(-(0.25 + 0.5) / 2)


def test_what_was_not_asked_alike_is_not_paired(tmp_path: Path) -> None:
    plain = CellFrame(cell(tmp_path / "plain", {"t": [1, 0, 1]}))
    few_shot = CellFrame(cell(tmp_path / "few", {"t": [1, 0, 1]}, settings="five shots"))
    samples = at_scale(CAPABILITY, {"a": {0: plain}, "b": {0: few_shot}}, 10)
    assert not (samples["a"].known & samples["b"].known).any()
    other = CellFrame(cell(tmp_path / "other", {"u": [1, 0, 1]}))
    assert at_scale(CAPABILITY, {"a": {0: plain}, "b": {0: other}}, 10) == {}


def test_without_an_outcome_for_every_document_there_is_no_table(tmp_path: Path) -> None:
    assert document_table(cell(tmp_path / "a", {"t": [1, None, 1]})) is None
    gone = cell(tmp_path / "b", {"t": [1, 0]})
    (tmp_path / "b" / "capability.jsonl").unlink()
    assert document_table(gone) is None
    torn = cell(tmp_path / "c", {"t": [1, 0]})
    (tmp_path / "c" / "capability.jsonl").write_text('{"task": "t", "doc\n')
    with pytest.raises(StoreError, match="is damaged"):
        document_table(torn)

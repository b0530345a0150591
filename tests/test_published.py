"""Publishing: only clean, pinned, finished runs; the same table from fewer files; the README follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from results_tree import SUITE, done, write_all, write_run

import editbench.publish.published
from editbench.analysis.aggregate import load_records
from editbench.analysis.documents import document_table
from editbench.analysis.records import record_table
from editbench.base.files import pretty_json, read_json
from editbench.cli import cli
from editbench.datasets import load_dataset
from editbench.plan.runs import Plan
from editbench.publish.published import publish
from editbench.results.store import SHARED_DOCUMENTS, SHARED_RECORDS, CellOutcome, Status, Store

ROOT = Path(__file__).parents[1]
CLEAN = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False}


def alter(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file in place."""
    value = read_json(path) or {}
    change(value)
    path.write_bytes(pretty_json(value))


def make_clean(manifest: dict[str, Any]) -> None:
    manifest["checkout"] = manifest["method"]["checkout"] = CLEAN


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Store]:
    """Finished runs of committed sources in ``results``, and the suite's file; nothing is published yet."""
    monkeypatch.chdir(tmp_path)
    plan, store = write_all(tmp_path)
    (tmp_path / "small.yaml").write_text(SUITE.format(data=tmp_path / "things.jsonl"))
    for path in store.root.rglob("manifest.json"):
        alter(path, make_clean)
    return plan, store


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="editbench")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def board(*arguments: str) -> Any:
    shown = invoke("leaderboard", "small.yaml", "--json", *arguments)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    for row in found["rows"]:
        for run in row["runs"]:
            run.pop("folder")
    return found


def test_what_is_published_gives_the_same_leaderboard_with_the_same_provenance(tree: Any) -> None:
    result = invoke("results", "publish", "small.yaml")
    assert result.exit_code == 0, result.output
    assert board("--results", "results/published") == board("--results", "results")
    assert not list(Path("results/published").rglob("records.jsonl"))
    assert board("results/published")["rows"][0]["runs"][0]["checkout"] == CLEAN


def test_every_record_is_in_the_parquet_as_it_was(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    published = Store(Path("published")).scan("small")
    pairs = [
        (a, b)
        for one, other in zip(store.scan(), published, strict=True)
        for a, b in zip(one.cells, other.cells, strict=True)
    ]
    assert len(pairs) == 4
    for before, after in pairs:
        assert after.data == before.data
        now = load_records(after.records, after.scale, where=after.where)
        pd.testing.assert_frame_equal(now, load_records(before.records, before.scale))
        assert len(now) == 3 * before.scale
    everything = pd.read_parquet(Path("published/runs/small") / SHARED_RECORDS)
    assert list(everything)[:5] == ["model", "method", "seed", "scale", "request"]
    assert len(everything) == 2 * 3 * (1 + 4) and set(everything.method) == {"none", "local"}


def test_compare_reads_what_is_published(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    found = [invoke("compare", "none", "local", "--json", "--results", place) for place in ("published", "results")]
    assert found[0].exit_code == 0, found[0].output
    assert json.loads(found[0].stdout) == json.loads(found[1].stdout)


def add_capability(store: Store) -> None:
    """Give every cell two documents of a task, the second wrong after an edit by ``local``."""
    for path in store.root.rglob("cell.json"):
        outcomes = [1.0, 0.0 if "local" in path.parts else 1.0]
        entry = {"status": "done", "reason": "", "settings": "s", "n": 2, "scale": 1.0, "unedited": 1.0}
        entry |= {"value": sum(outcomes) / 2, "stderr": 0.0}
        alter(path, lambda value, entry=entry: value.update(capability={"t": entry}))  # type: ignore[misc]
        rows = [{"task": "t", "doc_id": k, "doc_hash": f"h{k}", "outcome": one} for k, one in enumerate(outcomes)]
        (path.parent / "capability.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_became_of_each_document_is_published_too(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    assert not list(Path("published").rglob(SHARED_DOCUMENTS))  # there are none
    shutil.rmtree("published")
    add_capability(store)
    publish("small.yaml", store.root, Path("published"))
    everything = pd.read_parquet(Path("published/runs/small") / SHARED_DOCUMENTS)
    assert list(everything) == ["model", "method", "seed", "scale", "task", "doc_id", "doc_hash", "outcome"]
    assert everything.groupby("method").outcome.agg(list).to_dict() == {"local": [1, 0, 1, 0], "none": [1, 1, 1, 1]}
    for one, other in zip(store.scan(), Store(Path("published")).scan("small"), strict=True):
        for a, b in zip(one.cells, other.cells, strict=True):
            before, after = document_table(a), document_table(b)
            assert before is not None and after is not None
            pd.testing.assert_frame_equal(after, before)
    before = files(Path("published"))
    publish("small.yaml", Path("published"), Path("again"))  # from what is published
    assert files(Path("again")) == before


def test_publishing_the_same_runs_again_changes_no_byte_and_writes_nothing(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    before, when = files(Path("published")), (Path("published/runs/small") / SHARED_RECORDS).stat().st_mtime_ns
    again = publish("small.yaml", store.root, Path("published"))
    assert not again.changed and len(again.unchanged) == 2
    assert files(Path("published")) == before
    assert (Path("published/runs/small") / SHARED_RECORDS).stat().st_mtime_ns == when
    publish("small.yaml", store.root, Path("elsewhere"))
    assert files(Path("elsewhere")) == before


def test_a_newer_run_takes_the_place_of_an_older_one_and_never_the_other_way_round(tree: Any, tmp_path: Path) -> None:
    _, store = tree
    shutil.copytree("results", "older")
    publish("small.yaml", store.root, Path("published"))
    for path in Path("results").rglob("local/*/manifest.json"):
        alter(path, lambda m: m.update(run_id="f" * 32, started="2999-01-01"))
        path.parent.rename(path.parent.with_name("seed-0-ffffffff"))
    found = publish("small.yaml", store.root, Path("published"))
    assert found.replaced == ["local on smollm2-135m, seed 0"] and len(found.unchanged) == 1
    labels = {run.manifest["label"]: run for run in Store(Path("published")).scan()}
    assert labels["local"].manifest["run_id"] == "f" * 32 and len(labels) == 2
    assert len(record_table(labels["local"].cells[1].records, labels["local"].cells[1].where)) == 12
    back = publish("small.yaml", Path("older"), Path("published"))
    assert back.kept == ["local on smollm2-135m, seed 0"] and not back.changed


def test_scales_added_to_a_published_run_join_those_that_are_there(tree: Any) -> None:
    _, store = tree
    shutil.copytree("results", "small-scale")
    for path in Path("small-scale").rglob("manifest.json"):
        alter(path, lambda m: m.update(scales=[1], cells={"1": m["cells"]["1"]}))
        shutil.rmtree(path.parent / "cells" / "4")
    publish("small.yaml", Path("small-scale"), Path("published"))
    found = publish("small.yaml", store.root, Path("published"))
    assert len(found.completed) == 2
    back = publish("small.yaml", Path("small-scale"), Path("published"))
    assert len(back.unchanged) == 2
    assert [cell.scale for run in Store(Path("published")).scan() for cell in run.cells] == [1, 4, 1, 4]
    assert board("--results", "published") == board("--results", "results")


def set_to(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(values)


def of_hub(revision: str | None) -> Callable[[dict[str, Any]], None]:
    return lambda m: m["model"].update(name="org/name", source="org/name@abc1234", revision=revision)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_to(checkout={**CLEAN, "dirty": True}), ["editbench had changes that are not committed", "Commit what"]),
        (set_to(checkout=None), ["the commit of editbench is not known", "git checkout"]),
        (lambda m: m["method"].update(checkout=None), ["the commit of the method is not known", "pip install -e ."]),
        (lambda m: m["method"].update(checkout={**CLEAN, "dirty": True}), ["the method had changes"]),
        (of_hub(None), ["org/name is not pinned to a commit", "--revision abc1234"]),
        (of_hub("main"), ["pinned to 'main', which may move", "--revision abc1234"]),
        (
            set_to(scales=[1, 4, 9]),
            ["9 is not finished", "Finish it: editbench run --suite small.yaml --methods local"],
        ),
    ],
)
def test_a_run_that_is_not_clean_pinned_and_finished_is_refused_and_nothing_is_written(
    change: Callable[[dict[str, Any]], None], said: list[str], tree: Any
) -> None:
    [path] = Path("results").rglob("local/*/manifest.json")
    alter(path, change)
    result = invoke("results", "publish", "small.yaml")
    assert result.exit_code == 2
    assert all(text in result.stderr for text in ["local on", *said, "1 of 2 runs"]), result.stderr
    assert not Path("results/published").exists()
    listed = invoke("results", "list")
    assert said[0] in listed.stdout and listed.stdout.count("can be published") == 1
    assert invoke("results", "publish", "small.yaml", "--methods", "none").exit_code == 0


def test_a_hub_model_with_its_commit_is_taken(tree: Any) -> None:
    for path in Path("results").rglob("manifest.json"):
        alter(path, of_hub("abc1234"))
    assert invoke("results", "publish", "small.yaml").exit_code == 0


@pytest.mark.parametrize("status", [Status.FAILED, Status.OUT_OF_MEMORY])
def test_a_failed_cell_is_refused_and_a_skipped_or_diverged_one_is_published(status: Status, tree: Any) -> None:
    plan, store = tree
    store.finish_cell(plan.runs[1], 4, CellOutcome(status, "boom"))
    result = invoke("results", "publish", "small.yaml")
    assert result.exit_code == 2 and f"4: {status}: boom" in result.stderr
    store.finish_cell(plan.runs[1], 4, CellOutcome(Status.DIVERGED, "the loss is NaN"))
    assert invoke("results", "publish", "small.yaml").exit_code == 0
    assert board("--results", "results/published") == board("--results", "results")


def test_a_cell_that_a_dirty_source_made_is_found_though_the_manifest_is_clean(tree: Any) -> None:
    [path] = Path("results").rglob("local/*/cells/4/cell.json")
    alter(path, lambda cell: cell.update(made_by={"checkout": {**CLEAN, "dirty": True}}))
    assert "local on smollm2-135m, seed 0: editbench had changes" in invoke("results", "publish", "small.yaml").stderr


def test_records_that_are_fewer_than_their_cell_says_are_not_published(tree: Any) -> None:
    for path in Path("results").rglob("local/*/cells/4/cell.json"):
        alter(path, lambda cell: cell["counts"].update(records=99))
    result = invoke("results", "publish", "small.yaml")
    assert result.exit_code == 2 and "12 of 99 records" in result.stderr
    assert not list(Path("results/published").glob("**/*"))


def test_published_records_that_are_gone_or_damaged_are_named_once_and_not_published_again(tree: Any) -> None:
    _, store = tree
    for path in store.root.rglob("cell.json"):
        alter(path, lambda cell: cell["counts"].update(records=3 * cell["scale"]))
    publish("small.yaml", store.root, Path("published"))
    shared = Path("published/runs/small") / SHARED_RECORDS
    whole = shared.read_bytes()
    for damage, said in (
        (shared.unlink, "is not there, nor is"),
        (lambda: shared.write_bytes(whole[:99]), "Cannot read"),
    ):
        damage()
        rows = board("--results", "published")["rows"]
        assert {row["status"] for row in rows} == {"failed"}
        for row in rows:
            assert said in row["reason"] and str(shared) in row["reason"]
            assert "half-written" not in row["reason"] and ".." not in row["reason"]
        listed = invoke("results", "list", "--results", "published")
        assert "can be published" not in listed.stdout
        again = invoke("results", "publish", "small.yaml", "--results", "published", "--to", "again")
        assert again.exit_code == 2 and not Path("again").exists()
    assert all(line.count(str(shared)) == 2 for line in listed.stdout.splitlines())  # ours and the reader's


def test_without_the_documents_no_ranks_by_them_are_claimed_and_damaged_ones_are_not_published(tree: Any) -> None:
    _, store = tree
    add_capability(store)
    publish("small.yaml", store.root, Path("published"))
    shared = Path("published/runs/small") / SHARED_DOCUMENTS
    asked = ("--results", "published", "--metrics", "reliability,capability")
    claim, missing = "on the same requests (documents for Capability)", "Methods are not compared by Capability"
    said = " ".join(board(*asked)["notes"])
    assert claim in said and missing not in said
    shared.write_bytes(shared.read_bytes()[:50])
    assert "can be published" not in invoke("results", "list", "--results", "published").stdout
    shared.unlink()
    said = " ".join(board(*asked)["notes"])
    assert claim not in said and missing in said


def test_runs_that_cannot_stand_beside_what_is_published_are_refused(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"), ["none"])
    before = files(Path("published"))
    for path in Path("results").rglob("manifest.json"):
        alter(path, set_to(protocol_hash="other"))
    result = invoke("results", "publish", "small.yaml", "--to", "published", "--methods", "local")
    assert result.exit_code == 2 and "differ in protocol" in result.stderr
    assert files(Path("published")) == before


@pytest.mark.parametrize("name", ["manifest.json", "cell.json"])
def test_nothing_is_published_beside_what_cannot_be_read_and_would_be_lost(tree: Any, name: str) -> None:
    assert invoke("results", "publish", "small.yaml").exit_code == 0
    path = next(Path("results/published").rglob(name))
    path.write_text(path.read_text()[:40])
    before = files(Path("results/published"))
    result = invoke("results", "publish", "small.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Nothing was published" in result.stderr
    assert str(path) in result.stderr
    assert files(Path("results/published")) == before


def test_publishing_that_is_cut_off_leaves_what_was_there(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"), ["none"])
    before = files(Path("published"))

    def cut(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(editbench.publish.published, "write_records", cut)
        publish("small.yaml", store.root, Path("published"))
    assert files(Path("published")) == before
    Path("published/runs/small").rename("published/.old-small")  # as a kill between the two renames leaves it
    publish("small.yaml", store.root, Path("published"), ["none"])
    assert files(Path("published")) == before


def test_the_records_of_many_cells_are_not_read_as_those_of_one(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    with pytest.raises(ValueError, match="many cells"):
        load_records(Path("published/runs/small") / SHARED_RECORDS, 1)


def test_the_page_of_published_results_has_a_line_per_suite(tree: Any) -> None:
    _, store = tree
    publish("small.yaml", store.root, Path("published"))
    lines = Path("published/README.md").read_text().splitlines()
    assert lines[-1] == "| small | smollm2-135m | local, none | 0 | 1, 4 | 30 | 0123456789 |"


def test_two_seeds_and_more_scales_keep_their_rows_apart(tree: Any) -> None:
    plan, store = tree
    dataset = load_dataset(plan.dataset)
    for run in plan.runs:
        write_run(store, replace(run, seed=1), dataset, done)
    for path in store.root.rglob("manifest.json"):
        alter(path, make_clean)
    publish("small.yaml", store.root, Path("published"))
    assert board("--results", "published") == board("--results", "results")

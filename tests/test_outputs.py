"""Nothing is destroyed: what a command did not write, or somebody changed since, is neither replaced nor removed."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_published import alter, invoke, set_to, tree

import editbench.base.outputs
from editbench.base.files import replace_file
from editbench.base.outputs import LOCK, MARK, OwnFolder
from editbench.errors import StoreError
from editbench.report.page.seal import is_sealed, sealed
from editbench.report.readme import BEGIN, END
from editbench.results.store import SHARED_RECORDS, Store

__all__ = ["tree"]  # a fixture
PUBLISHED = Path("results/published")
SMALL = PUBLISHED / "runs" / "small"


def snapshot(folder: Path = Path()) -> dict[str, str | bytes]:
    """Return all that lies in a folder by name: the bytes of files, where links lead, the kind of everything else."""
    found: dict[str, str | bytes] = {}
    for path in folder.rglob("*"):
        mode, name = path.lstat().st_mode, str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"to {path.readlink()}"
        elif path.name != LOCK:
            found[name] = path.read_bytes() if stat.S_ISREG(mode) else str(stat.S_IFMT(mode))
    return found


def refused(*arguments: str) -> str:
    """Type a command that must be refused and change nothing; return what it says."""
    before = snapshot()
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert isinstance(result.exception, SystemExit)
    assert snapshot() == before
    return result.stderr


def accepted(*arguments: str) -> Result:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result


def lay(*paths: Path) -> dict[str, str | bytes]:
    """Lay files of a user's there, and return what they hold by name."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"mine, {number}".encode())
    return {str(path): path.read_bytes() for path in paths}


def is_kept(laid: dict[str, str | bytes]) -> bool:
    now = snapshot()
    return all(now.get(name) == held for name, held in laid.items())


def stand(path: Path, kind: str) -> None:
    """Put something at a path that is no file that may be replaced."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "dangling":
        path.symlink_to("gone")
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.write_text("mine")


KINDS = ("fifo", "folder", "device", "dangling", "loop", "file")


# -- results publish


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("to", [".", "results", "results/runs", "results/runs/small", "results/runs/new", "notes", "f"])
def test_publishing_into_a_project_or_raw_results_or_any_folder_of_others_is_refused(to: str) -> None:
    Path("README.md").write_text("# My project\n")
    lay(Path("results/runs/small/deltas/edit.safetensors"), Path("notes/a.txt"), Path("f"))
    said = refused("results", "publish", "small.yaml", "--to", to)
    assert "--to DIR" in said and to in said
    if to in (".", "notes"):
        assert {".": "README.md", "notes": "a.txt"}[to] in said


@pytest.mark.usefixtures("tree")
def test_publishing_published_results_into_themselves_is_refused() -> None:
    accepted("results", "publish", "small.yaml")
    Path("link").symlink_to(PUBLISHED)
    for to in (str(PUBLISHED), "link"):
        assert "is where the results of" in refused(
            "results", "publish", "small.yaml", "--results", str(PUBLISHED), "--to", to
        )


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("name", [SHARED_RECORDS, "manifest.json", "cell.json", "../../README.md"])
def test_what_was_published_and_then_edited_or_damaged_is_not_written_over(name: str) -> None:
    accepted("results", "publish", "small.yaml", "--methods", "none")
    path = next(SMALL.rglob(name)) if ".." not in name else PUBLISHED / "README.md"
    path.write_bytes(path.read_bytes()[:-20] + b" " * 20)
    said = refused("results", "publish", "small.yaml")
    assert f"{path} is in the way: it was changed since editbench wrote it" in said and "git checkout" in said


@pytest.mark.usefixtures("tree")
def test_a_damaged_file_of_another_published_suite_is_named_without_a_traceback() -> None:
    accepted("results", "publish", "small.yaml")
    shutil.copytree(SMALL, PUBLISHED / "runs" / "other")
    for path in (PUBLISHED / "runs" / "other").rglob("manifest.json"):
        alter(path, set_to(suite="other"))
    shared = PUBLISHED / "runs" / "other" / SHARED_RECORDS
    shared.write_bytes(shared.read_bytes()[:50])
    assert f"Nothing was published: cannot read {shared}" in refused("results", "publish", "small.yaml")


def put_newer_local() -> None:
    """Let the results hold a newer run of ``local``."""
    for path in Path("results/runs").rglob("local/*/manifest.json"):
        alter(path, set_to(run_id="f" * 32, started="2999-01-01"))
        path.parent.rename(path.parent.with_name("seed-0-ffffffff"))


@pytest.mark.usefixtures("tree")
def test_what_users_lay_into_published_results_is_there_after_every_publish() -> None:
    accepted("results", "publish", "small.yaml", "--methods", "local")
    [run] = SMALL.glob("*/local/*")
    laid = lay(PUBLISHED / "note", SMALL / "note", SMALL / "smollm2-135m" / "note", run / "note", run / "cells" / "n")
    (run / "empty").mkdir()
    (SMALL / "link").symlink_to("/nowhere")
    os.mkfifo(SMALL / "fifo")
    before = {name for name in snapshot() if Path(name).name in ("empty", "link", "fifo")}
    accepted("results", "publish", "small.yaml")
    assert is_kept(laid)
    put_newer_local()
    assert "replaced" in accepted("results", "publish", "small.yaml").stdout
    assert is_kept(laid) and before <= set(snapshot())
    assert not (run / "manifest.json").exists()
    assert {run.manifest["run_id"] for run in Store(PUBLISHED).scan()} >= {"f" * 32}
    assert not list(PUBLISHED.glob(".old*")) and not list(PUBLISHED.glob(".new*"))


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo", "above"])
def test_what_lies_where_something_would_be_published_is_named_and_stays(kind: str) -> None:
    accepted("results", "publish", "small.yaml", "--methods", "none")
    [manifest] = Path("results/runs/small").rglob("local/*/manifest.json")
    path = SMALL / manifest.relative_to("results/runs/small")
    if kind == "above":
        path = path.parents[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("file", "above"):
        path.write_bytes(manifest.read_bytes())
    elif kind == "link":
        path.symlink_to(manifest.resolve())
    else:
        path = path.parent / "cells" / "1" / "cell.json"
        path.parent.mkdir(parents=True)
        stand(path, kind)
    named = str(path.parents[2]) if kind in ("folder", "fifo") else f"{path} is in the way"
    assert named in refused("results", "publish", "small.yaml")


@pytest.mark.usefixtures("tree")
def test_a_suite_that_somebody_else_copied_there_is_neither_replaced_nor_listed() -> None:
    accepted("results", "publish", "small.yaml")
    shutil.copytree("results/runs/small", PUBLISHED / "runs" / "other")
    for path in (PUBLISHED / "runs" / "other").rglob("manifest.json"):
        alter(path, set_to(suite="other"))
    before = snapshot(PUBLISHED / "runs" / "other")
    put_newer_local()
    accepted("results", "publish", "small.yaml")
    assert snapshot(PUBLISHED / "runs" / "other") == before
    assert "other" not in (PUBLISHED / "README.md").read_text()
    (PUBLISHED / "runs" / "other" / "x").touch()
    shutil.rmtree(SMALL)
    (PUBLISHED / "runs" / "other").rename(SMALL)
    assert "not a folder that this command made" in refused("results", "publish", "small.yaml")


@pytest.mark.usefixtures("tree")
def test_published_files_that_were_removed_are_published_anew() -> None:
    accepted("results", "publish", "small.yaml")
    before = snapshot(PUBLISHED)
    (SMALL / SHARED_RECORDS).unlink()
    (PUBLISHED / "README.md").unlink()
    shutil.rmtree(next(SMALL.glob("*/local")))
    accepted("results", "publish", "small.yaml")
    assert snapshot(PUBLISHED) == before


@pytest.mark.usefixtures("tree")
def test_what_was_published_before_there_were_lists_is_recognised_and_then_listed() -> None:
    Path("README.md").write_text(f"{BEGIN}\n{END}\n")
    accepted("results", "publish", "small.yaml")
    accepted("results", "readme")
    listed = snapshot(PUBLISHED)
    laid = lay(SMALL / "note", PUBLISHED / "figures" / "own-scale.svg")
    for path in PUBLISHED.rglob(MARK):
        path.unlink()
    accepted("results", "publish", "small.yaml")
    now = snapshot(PUBLISHED)
    assert {name: now[name] for name in listed} == listed and is_kept(laid)
    put_newer_local()
    accepted("results", "publish", "small.yaml")
    accepted("results", "readme")
    assert is_kept(laid)
    for path in PUBLISHED.rglob(MARK):
        path.unlink()
    (PUBLISHED / "README.md").write_text("# Mine\n")
    assert "not a folder that this command made" in refused("results", "publish", "small.yaml")


@pytest.mark.usefixtures("tree")
def test_a_list_that_is_damaged_is_named_and_nothing_is_written() -> None:
    accepted("results", "publish", "small.yaml")
    for text in ("{", "{}", '{"files": [1]}', '{"files": {"a": 5}}', "[]"):
        (SMALL / MARK).write_text(text)
        put_newer_local()
        assert f"{SMALL / MARK} is damaged" in refused("results", "publish", "small.yaml"), text


@pytest.mark.usefixtures("tree")
def test_of_two_that_publish_into_one_folder_the_second_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted("results", "publish", "small.yaml", "--methods", "none")
    monkeypatch.setattr(editbench.base.outputs, "WAIT_SECONDS", 0.1)
    with OwnFolder(PUBLISHED, "--to DIR").held():
        assert "Another editbench is writing into results/published" in refused("results", "publish", "small.yaml")
    accepted("results", "publish", "small.yaml")


# -- report, plot, results readme, locate


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_takes_the_place_of_nothing_but_a_page_that_it_wrote(kind: str) -> None:
    out = Path("page.html")
    stand(out, kind)
    said = refused("report", "small.yaml", "--out", str(out))
    assert str(out) in said and "Error" in said
    if kind != "folder":
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.usefixtures("tree")
def test_a_page_is_replaced_by_a_newer_one_through_a_link_too_until_somebody_edits_it() -> None:
    page, link = Path("page.html"), Path("link.html")
    link.symlink_to(page)
    page.touch()  # an empty file holds nothing
    accepted("report", "small.yaml", "--out", str(link))
    assert link.is_symlink() and is_sealed(page.read_bytes())
    whole = page.read_bytes()
    page.write_bytes(sealed(b"<html>an older page"))
    page.chmod(0o600)
    accepted("report", "small.yaml", "--out", str(page))
    assert page.read_bytes() == whole and stat.S_IMODE(page.stat().st_mode) == 0o600
    page.write_bytes(whole.replace(b"<body", b"<!-- mine --><body", 1))
    assert "was changed since" in refused("report", "small.yaml", "--out", str(link))


@pytest.mark.usefixtures("tree")
def test_figures_go_into_a_folder_of_their_own_only() -> None:
    lay(Path("paper/main.tex"))
    assert "main.tex" in refused("plot", "small.yaml", "--kind", "scale", "--out", "paper")
    draw = ("plot", "small.yaml", "--kind", "scale", "--format", "png", "--data", "--out", "figures")
    accepted(*draw)
    laid = lay(Path("figures/notes.txt"))
    accepted(*draw)
    assert is_kept(laid)
    for name in ("small-scale.png", "small-scale.csv"):
        whole = Path("figures", name).read_bytes()
        Path("figures", name).write_bytes(b"edited")
        assert f"figures/{name} is in the way: it was changed" in refused(*draw)
        Path("figures", name).write_bytes(whole)
    Path("figures/small-scale.pdf").write_bytes(b"mine")
    said = refused("plot", "small.yaml", "--kind", "scale", "--format", "png,pdf", "--out", "figures")
    assert "figures/small-scale.pdf is in the way: it is not what editbench wrote" in said


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_a_figure_takes_the_place_of_nothing_but_a_figure(kind: str) -> None:
    accepted("plot", "small.yaml", "--kind", "scale", "--format", "png", "--out", "figures")
    Path("figures/small-scale.png").unlink()
    stand(Path("figures/small-scale.png"), kind)
    assert "figures/small-scale.png is in the way" in refused(
        "plot", "small.yaml", "--kind", "scale", "--format", "png", "--out", "figures"
    )


@pytest.mark.usefixtures("tree")
def test_a_readme_keeps_its_link_its_mode_and_every_byte_outside_the_markers() -> None:
    accepted("results", "publish", "small.yaml")
    Path("docs").mkdir()
    real, link = Path("docs/real.md"), Path("README.md")
    head, tail = "\ufeff# Mine\r\nsecond\rline\n".encode(), "\r\nthe ünd".encode()
    real.write_bytes(head + f"{BEGIN}\n{END}".encode() + tail)
    real.chmod(0o640)
    link.symlink_to(real)
    accepted("results", "readme")
    text = real.read_bytes()
    assert link.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert text.startswith(head + BEGIN.encode()) and text.endswith(END.encode() + tail) and b"| local |" in text
    accepted("results", "readme", "--check")
    fifo = Path("fifo.md")
    os.mkfifo(fifo)
    assert "it is a FIFO" in refused("results", "readme", "--readme", str(fifo))
    real.write_bytes(b"\xff" + text)
    assert "is not UTF-8" in refused("results", "readme")


@pytest.mark.usefixtures("tree")
def test_a_readme_draws_nothing_into_a_folder_of_raw_results() -> None:
    Path("README.md").write_text(f"{BEGIN}\n{END}\n")
    assert "not a folder that this command made" in refused("results", "readme", "--from", "results")


def test_a_trace_s_figure_takes_the_place_of_nothing(tmp_path: Path) -> None:
    from editbench.report.tracing import check_figure_path

    for kind in KINDS:
        path = tmp_path / f"{kind}.svg"
        stand(path, kind)
        before = snapshot(tmp_path)
        with pytest.raises(StoreError, match=path.name):
            check_figure_path(path)
        assert snapshot(tmp_path) == before
    check_figure_path(tmp_path / "new.svg")


# -- files


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_no_file_is_ever_written_in_the_place_of_what_is_none(kind: str, tmp_path: Path) -> None:
    stand(tmp_path / "x", kind)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="Cannot write"):
        replace_file(tmp_path / "x", b"data")
    assert snapshot(tmp_path) == before


def test_what_a_link_leads_to_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", b"new")
    assert snapshot(tmp_path) == {"real": b"new", "link": "to real"}
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600


# -- local models


def at(name: str, source: str, weights: str = "abc") -> Any:
    return lambda m: m["model"].update(name=name, source=source, weights_hash=weights, revision=None)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("name", ["/models/tiny", "models/tiny", "./models/tiny", "~/tiny", "/models/tiny.gguf"])
def test_a_local_model_is_published_whatever_its_path_if_its_weights_are_known(name: str) -> None:
    source = name if name.startswith("/") else "/home/me/models/tiny"
    for path in Path("results").rglob("manifest.json"):
        alter(path, at(name, source, ""))
    assert f"the hash of the weights of {name} is not known" in refused("results", "publish", "small.yaml")
    for path in Path("results").rglob("manifest.json"):
        alter(path, at(name, source))
    accepted("results", "publish", "small.yaml")

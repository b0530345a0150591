"""What decides an edit's bits is in a run's id, and nothing else; what is executed is what was hashed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from results_tree import save_tiny_model, small_plan, small_suite

from editbench.base import plugins
from editbench.errors import BadPlugin
from editbench.plan import held
from editbench.plan.address import METHODS
from editbench.plan.closure import closure_of
from editbench.plan.held import planned_closure, read_closure
from editbench.plan.registry import load_method
from editbench.plan.runs import RunOptions, make_plan
from editbench.plan.settings import published
from editbench.results.manifest import made_by, manifest

ROOT = Path(__file__).parents[1]
OWN = """
from editbench.method import Method, WeightEdit
{imports}
class Own(Method):
    'Mine.'
    name = "own"
    def edit(self, lm, requests, rng):
        {lazy}
        return WeightEdit({{}})
    def said(self):
        import helper
        return helper.WORD
"""
OURS = ("none", "locft-bf", "memit", "sphere", "ultraedit")


def write_own(folder: Path, imports: str = "", lazy: str = "") -> str:
    """Write a method into ``folder/own.py`` and return its address."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "own.py").write_text(OWN.format(imports=imports, lazy=lazy))
    return f"{folder / 'own.py'}:Own"


def later(path: Path, text: str) -> None:
    """Write a file so that it is newer than this process by any clock."""
    path.write_text(text)
    os.utime(path, (time.time() + 5,) * 2)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave no module of a test, no folder on the path and nothing that was read to the next one."""
    path = list(sys.path)
    monkeypatch.setattr(held, "_READ", {})
    monkeypatch.setattr(held._FINDER, "sources", {})
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


# -- what belongs to a method


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source of editbench and of our methods, to be edited."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "editbench", folder / "editbench", ignore=shutil.ignore_patterns("data", "core"))
    shutil.copytree(ROOT / "methods", folder / "editbench_methods")
    return folder


@pytest.fixture(scope="module")
def unchanged(house: Path) -> dict[str, str]:
    return hashes_with(house)


def hashes_with(house: Path, file: str = "methods/none.py", added: str = "") -> dict[str, str]:
    """Return the hashes of our methods where ``added`` stands at the end of a file, in a process of its own."""
    path = house / file.replace("methods/", "editbench_methods/")
    text = path.read_text()
    path.write_text(text + added)
    code = f"from editbench.plan.closure import closure_of\nfor n in {OURS}: print(n, closure_of(n).hash)"
    here = {**os.environ, "PYTHONPATH": str(house)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here, cwd=house)
    path.write_text(text)
    return dict(line.split() for line in done.stdout.splitlines())


def test_a_comment_in_a_shared_file_of_our_methods_changes_no_id(house: Path, unchanged: dict[str, str]) -> None:
    assert hashes_with(house, "methods/_prompts.py", "# a comment\n") == unchanged


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("editbench/models/prefix.py", {"locft-bf", "memit", "sphere", "ultraedit"}),
        ("editbench/models/tails.py", {"memit", "sphere"}),
        ("editbench/models/tokens.py", set(OURS)),
        ("editbench/method.py", set(OURS)),
        ("editbench/base/seeds.py", {"memit", "sphere"}),
        ("editbench/models/load.py", set()),
        ("editbench/models/generate.py", set()),
        ("editbench/errors.py", set()),
        ("methods/alphaedit.py", {"sphere"}),
        ("methods/_prompts.py", {"memit", "sphere"}),
    ],
)
def test_a_change_of_the_code_is_in_the_ids_of_the_methods_that_use_it(
    house: Path, unchanged: dict[str, str], file: str, moved: set[str]
) -> None:
    after = hashes_with(house, file, "changed = True\n")
    assert {name for name in OURS if after[name] != unchanged[name]} == moved


@pytest.mark.parametrize(
    ("imports", "lazy"),
    [
        ("import helper", ""),
        ("from helper import WORD", ""),
        ("", "import helper"),
        ("", "from inner.helper import WORD"),
        ("import between", ""),
        ("try:\n    import helper\nexcept ImportError:\n    helper = None", ""),
    ],
)
def test_what_lies_beside_a_file_is_in_its_id_if_it_is_imported_anywhere(
    tmp_path: Path, imports: str, lazy: str
) -> None:
    address = write_own(tmp_path / "mine", imports, lazy)
    (tmp_path / "mine" / "between.py").write_text("def late():\n    import helper\n")
    (tmp_path / "mine" / "inner").mkdir()
    path = tmp_path / "mine" / ("inner" if "inner" in lazy else "") / "helper.py"
    path.write_text("WORD = 1\n")
    (tmp_path / "mine" / "stranger.py").write_text("")
    before = closure_of(address).hash
    path.write_text("WORD = 1  # one\n")
    (tmp_path / "mine" / "stranger.py").write_text("x = 1\n")
    assert closure_of(address).hash == before
    path.write_text("WORD = 2\n")
    assert closure_of(address).hash != before


def test_a_side_door_method_imports_what_lies_beside_it(tmp_path: Path) -> None:
    address = write_own(tmp_path / "mine", "import helper_beside")
    (tmp_path / "mine" / "helper_beside.py").write_text("WORD = 1\n")
    assert load_method(address).name == "own"


def test_a_side_door_method_in_a_package_imports_relatively(tmp_path: Path) -> None:
    address = write_own(tmp_path / "a_package" / "inner", "from .._shared import WORD")
    for folder in (tmp_path / "a_package", tmp_path / "a_package" / "inner"):
        (folder / "__init__.py").touch()
    (tmp_path / "a_package" / "_shared.py").write_text("WORD = 1\n")
    assert load_method(address).name == "own"
    before = closure_of(address).hash
    (tmp_path / "a_package" / "_shared.py").write_text("WORD = 2\n")
    assert closure_of(address).hash != before


def test_an_id_does_not_depend_on_where_the_file_lies(tmp_path: Path) -> None:
    there, elsewhere = (closure_of(write_own(tmp_path / name)).hash for name in ("there", "elsewhere"))
    assert there == elsewhere


Register = Callable[[str, str], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Register]:
    """Pretend that a package in ``tmp_path`` is installed."""
    real = plugins.entry_points
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, target: str) -> None:
        point = EntryPoint(name, target, METHODS)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [*real(group=group), *[point] * (group == METHODS)])
        plugins._found.cache_clear()

    yield add
    plugins._found.cache_clear()


def test_an_installed_method_is_followed_through_its_own_package_and_what_has_no_version(
    tmp_path: Path, register: Register
) -> None:
    write_own(tmp_path / "theirs", "from . import _shared\nimport numpy, yaml")
    texts = {"theirs/__init__.py": "", "theirs/_shared.py": "import on_the_path", "on_the_path.py": ""}
    texts |= {"theirs/unused.py": "", "theirs/own.yaml": "llama: {layer: 1, source: A study}\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    register("theirs", "theirs.own:Own")
    before, moved = closure_of("theirs"), set()
    assert before.libraries == {"numpy", "yaml", "torch", "pydantic"}
    for name, text in [*texts.items(), ("theirs/own.py", (tmp_path / "theirs/own.py").read_text())]:
        changed = text.replace("layer: 1", "layer: 2") if name.endswith(".yaml") else text + "\nchanged = True\n"
        (tmp_path / name).write_text(changed)
        if closure_of("theirs").hash != before.hash:
            moved.add(name)
        (tmp_path / name).write_text(text)
    assert moved == {*texts, "theirs/own.py"} - {"theirs/unused.py"}


def test_only_the_values_of_published_settings_are_in_an_id(tmp_path: Path) -> None:
    address = write_own(tmp_path / "mine")
    settings = tmp_path / "mine" / "own.yaml"
    settings.write_text("llama:\n  source: A study\n  layer: 1\n  lr: 2\n")
    before = closure_of(address).hash
    settings.write_text("# a comment\nllama: {lr: 2, layer: 1, source: Another}\n")
    assert closure_of(address).hash == before
    settings.write_text("llama: {lr: 2, layer: 2}\n")
    assert closure_of(address).hash != before


def test_settings_lie_beside_the_class_wherever_its_name_is_registered(tmp_path: Path, register: Register) -> None:
    write_own(tmp_path / "theirs")
    (tmp_path / "theirs" / "__init__.py").write_text("from .own import Own as Renamed\n")
    (tmp_path / "theirs" / "own.yaml").write_text("llama: {layer: 1}\n")
    register("theirs", "theirs:Renamed")
    assert closure_of("theirs").published == {"llama": [{"layer": 1}]} == published(load_method("theirs"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("helper.py", "def (", "helper.py"),
        ("helper.py", "x = '\0'", "helper.py"),
        ("helper.py", "x = " + "-" * 5000 + "1", "helper.py"),
        ("own.yaml", "a: [", "own.yaml"),
        ("own.yaml", "- a", "own.yaml is no list of published settings"),
        ("own.yaml", "? [a]\n: {}", "own.yaml"),
    ],
)
def test_source_and_settings_that_cannot_be_read_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    address = write_own(tmp_path / "mine", "import helper")
    (tmp_path / "mine" / name).write_text(text)
    with pytest.raises(BadPlugin, match=said):
        closure_of(address)


# -- what is executed is what was hashed


def said_by(address: str, planned: str | None = None) -> object:
    return load_method(address, planned)().said()  # type: ignore[attr-defined]


def test_what_was_planned_is_executed_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    address, helper = write_own(tmp_path / "mine"), tmp_path / "mine" / "helper.py"
    settings = tmp_path / "mine" / "own.yaml"
    helper.write_text("WORD = 'planned'\n")
    settings.write_text("llama: {layer: 1}\n")
    planned = read_closure(address).hash
    helper.write_text("WORD = 'edited'\n")  # before anything was imported
    settings.write_text("llama: {layer: 2}\n")
    (tmp_path / "mine" / "own.py").write_text("def (")
    assert said_by(address, planned) == "planned"
    assert published(load_method(address, planned)) == {"llama": [{"layer": 1}]}
    helper.unlink()
    assert said_by(address, planned) == "planned"


def test_source_that_was_edited_since_another_process_planned_is_refused(tmp_path: Path) -> None:
    address, helper = write_own(tmp_path / "mine"), tmp_path / "mine" / "helper.py"
    helper.write_text("WORD = 1\n")
    planned = closure_of(address).hash  # not read in this process, as far as it knows
    helper.write_text("WORD = 2\n")
    for ask in (load_method, planned_closure):
        with pytest.raises(BadPlugin, match="was changed after this run was planned"):
            ask(address, planned)
    helper.write_text("WORD = 1  # again\n")
    assert said_by(address, planned) == 1


def test_a_process_that_lives_on_executes_an_edited_source_under_its_new_hash(tmp_path: Path) -> None:
    address, helper = write_own(tmp_path / "mine"), tmp_path / "mine" / "helper.py"
    hashes = []
    for word in (1, 2, 1):
        helper.write_text(f"WORD = {word}\n")
        hashes.append(read_closure(address).hash)
        assert said_by(address, hashes[-1]) == word
    assert hashes[0] == hashes[2] != hashes[1]
    assert [said_by(address, planned) for planned in hashes] == [1, 2, 1]


def test_a_module_that_was_imported_before_it_was_edited_is_run_anew(tmp_path: Path) -> None:
    address, helper = write_own(tmp_path / "mine"), tmp_path / "mine" / "helper.py"
    helper.write_text("WORD = 1\n")
    sys.path.append(str(tmp_path / "mine"))
    assert __import__("helper").WORD == 1
    later(helper, "WORD = 2\n")
    assert said_by(address) == 2


def test_two_files_called_alike_beside_two_methods_are_not_taken_for_each_other(tmp_path: Path) -> None:
    addresses = [write_own(tmp_path / name) for name in ("a", "b")]
    for folder in ("a", "b"):
        (tmp_path / folder / "helper.py").write_text(f"WORD = {folder!r}\n")
    assert [said_by(address) for address in addresses * 2] == ["a", "b", "a", "b"]


def test_a_source_that_did_not_change_is_not_run_twice(tmp_path: Path) -> None:
    address = write_own(tmp_path / "mine")
    assert load_method(address) is load_method(address)
    assert load_method("memit") is load_method("memit")


def test_an_engine_that_was_edited_after_it_was_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_method("none")
    monkeypatch.setattr(held, "_KNOWN", {})
    load_method("none")  # its files are older than this process
    monkeypatch.setattr(held, "_KNOWN", {})
    monkeypatch.setattr(held, "_started", lambda: 0.0)
    with pytest.raises(BadPlugin, match="was changed after this process had loaded it") as caught:
        load_method("none")
    assert "Start Python again" in str(caught.value)


def test_a_run_executes_what_was_planned_though_its_files_are_edited_before_and_while_it_goes_on(
    tmp_path: Path,
) -> None:
    from editbench.base.progress import Progress
    from editbench.running.launch import carry_out, prepare

    folder = tmp_path / "mine"
    edits = f"import helper; open({str(tmp_path / 'said')!r}, 'a').write(helper.WORD)"
    edits += f"; open({str(folder / 'helper.py')!r}, 'w').write('WORD = 3')"
    address = write_own(folder, lazy=edits)
    (folder / "helper.py").write_text("WORD = 'planned '\n")
    model, options = save_tiny_model(tmp_path / "model"), RunOptions(device="cpu")
    suite = small_suite(tmp_path).with_options(methods=[address], models=[str(model)])
    prepared = prepare(suite, options)
    [run] = prepared.plan.runs
    (folder / "helper.py").write_text("WORD = 'edited '\n")
    (folder / "own.py").write_text("def (")
    results = carry_out(prepared, tmp_path / "results", options, Progress())
    assert (tmp_path / "said").read_text() == "planned planned "
    assert (results.store.manifest(run) or {})["method"]["source_hash"] == run.source_hash
    assert {str(results.store.cell_status(run, scale)) for scale in run.scales} == {"done"}


# -- packages


def test_the_packages_that_a_method_imports_are_in_the_manifest_and_with_every_cell(tmp_path: Path) -> None:
    address = write_own(tmp_path / "mine", lazy="import yaml, psutil.nothing, helper, json")
    run = make_plan(small_suite(tmp_path).with_options(methods=[address])).runs[0]
    _, dataset = small_plan(tmp_path)
    for found in (manifest(run, dataset, RunOptions()), made_by(run, RunOptions(), None)):
        assert {"PyYAML", "psutil", "torch"} <= set(found["packages"])
    other = make_plan(small_suite(tmp_path)).runs[0]
    assert "PyYAML" not in manifest(other, dataset, RunOptions())["packages"]

"""A plugin that cannot be used is shown as broken, whatever is wrong with it, and ends no command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from editbench.base import plugins
from editbench.cli import cli
from editbench.datasets import load_dataset
from editbench.datasets.registry import DATASETS
from editbench.errors import BadPlugin
from editbench.plan import registry

Register = Callable[..., None]
BAD = """
class Odd(BaseException): ...
class Mute(Exception):
    def __str__(self): raise self
{}
"""


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Pretend that a package with these modules (name to source) is installed and registers these names."""
    real = plugins.entry_points
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))

    def add(group: str, name: str, target: str, **modules: str) -> None:
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
        more = EntryPoint(name, target, group)
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [*real(group=group), *([more] if more.group == group else [])]
        )
        plugins._found.cache_clear()

    yield add
    plugins._found.cache_clear()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="editbench")


def listed(kind: str, name: str) -> dict[str, object]:
    result = invoke("list", kind, "--json")
    assert result.exit_code == 0, result.output
    items = json.loads(result.stdout)[kind]
    assert len(items) > 3  # the others are there
    return next(item for item in items if item["name"] == name)


@pytest.mark.parametrize(
    "source", ["import sys; sys.exit(0)", "raise Odd('x')", "raise Mute", "raise RuntimeError('x' * 100_000)", "def ("]
)
def test_a_module_that_ends_the_process_is_shown_as_broken(register: Register, source: str) -> None:
    name = f"culprit_{abs(hash(source))}"
    # its source spells no class out, so that only importing it tells what it is
    register(registry.METHODS, "culprit", f"{name}:M", **{name: BAD.format(source)})
    item = listed("methods", "culprit")
    assert item["broken"]
    assert len(str(item["says"])) < 1000
    shown = invoke("show", "method", "culprit")
    assert shown.exit_code == 2
    assert "cannot be loaded" in shown.stderr
    assert "Traceback" not in shown.stderr
    with pytest.raises(BadPlugin):
        registry.load_method("culprit")


@pytest.mark.parametrize("target", ["", "no module!", ":", "a:b:c", "..x:M", "os:path"])
@pytest.mark.parametrize("group", [registry.METHODS, registry.SUITES, DATASETS])
def test_a_malformed_entry_point_is_shown_as_broken(register: Register, group: str, target: str) -> None:
    register(group, "malformed", target)
    kind = group.partition(".")[2]
    if not (group == DATASETS and target == "os:path"):  # its module is there and it is not called to be listed
        assert listed(kind, "malformed")["broken"]
    shown = invoke("show", kind.rstrip("s"), "malformed")
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.stderr
    assert "nobody expected" not in shown.stderr


@pytest.mark.parametrize("source", ["import sys; sys.exit(0)", "raise KeyError('x')", "return 1", "return [1]"])
def test_a_reader_that_raises_is_named_in_a_message(register: Register, source: str) -> None:
    register(DATASETS, "culprit", "reading:read", reading=f"def read(spec):\n    'Reads.'\n    {source}\n")
    sys.modules.pop("reading", None)
    assert listed("datasets", "culprit")["says"] == "Reads."
    shown = invoke("show", "dataset", "culprit")
    assert shown.exit_code == 2, shown.output
    assert "culprit" in shown.stderr
    assert "nobody expected" not in shown.stderr
    if "exit" in source:
        with pytest.raises(BadPlugin, match=r"calls sys\.exit"):
            load_dataset("culprit")


def test_a_file_whose_import_calls_sys_exit_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys\nsys.exit(0)\nclass M: ...\n")
    with pytest.raises(BadPlugin, match=r"own\.py fails to import: it calls sys\.exit: 0"):
        registry.load_method(f"{tmp_path / 'own.py'}:M")


def test_ctrl_c_passes_through_a_plugin() -> None:
    with pytest.raises(KeyboardInterrupt), plugins.blamed("x"):
        raise KeyboardInterrupt

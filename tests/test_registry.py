from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from editbench.base import plugins
from editbench.datasets.registry import DATASETS
from editbench.errors import BadPlugin, UnknownName
from editbench.method import Method
from editbench.plan import catalogue, registry
from editbench.plan.address import METHODS
from editbench.plan.settings import published
from editbench.plan.sources import method_source

ROOT = Path(__file__).parents[1]

OWN = '''
from editbench.method import Method, WeightEdit
class Own(Method):
    """Do what I want.

    More.
    """
    name = "own"
    cite = "arXiv:1"
    def edit(self, lm, requests, rng): return WeightEdit({})
class Nameless(Method):
    def edit(self, lm, requests, rng): return WeightEdit({})
made = type("Made", (Own,), {"__doc__": "Made by a call."})
'''


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Pretend that more packages are installed."""
    real = plugins.entry_points

    def add(*points: tuple[str, str, str]) -> None:
        more = [EntryPoint(name, target, group) for name, target, group in points]

        def found(group: str) -> list[EntryPoint]:
            return [*real(group=group), *(point for point in more if point.group == group)]

        monkeypatch.setattr(plugins, "entry_points", found)
        plugins._found.cache_clear()

    yield add
    plugins._found.cache_clear()


def declared(group: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets: dict[str, str] = project["entry-points"].get(group, {})
    return targets


@pytest.mark.parametrize("group", [METHODS, registry.SUITES, DATASETS])
def test_what_is_declared_is_installed(group: str) -> None:
    installed = {entry.name: entry.target for entry in plugins.entries(group) if entry.package == "editbench"}
    assert installed == declared(group)


def test_every_method_file_and_every_suite_file_is_declared() -> None:
    methods = {target.partition(":")[0].rpartition(".")[2] for target in declared(METHODS).values()}
    suites = {target.partition(":")[2] for target in declared(registry.SUITES).values()}
    assert methods == {path.stem for path in (ROOT / "methods").glob("[!_]*.py")}
    assert suites == {path.name for path in (ROOT / "suites").glob("*.yaml")}


def test_a_registered_method_is_loaded_by_name() -> None:
    method = registry.load_method("locft-bf")
    assert issubclass(method, Method)
    assert method.name == "locft-bf"


def test_an_unknown_name_says_what_is_close() -> None:
    with pytest.raises(UnknownName, match="Did you mean locft-bf"):
        registry.load_method("locft")
    with pytest.raises(UnknownName, match="Did you mean quickstart"):
        registry.suite_file("quikstart")


def test_two_plugins_of_one_name_are_an_error_that_names_both(register: object) -> None:
    register(("none", "other.package:Nothing", METHODS))  # type: ignore[operator]
    for ask in (registry.load_method, method_source):
        with pytest.raises(BadPlugin) as caught:
            ask("none")
        assert "other.package:Nothing" in str(caught.value)
        assert "editbench_methods.none:Unedited" in str(caught.value)
    items = [item for item in catalogue.methods() if item.name == "none"]
    assert [item.broken for item in items] == [True, True]


def test_a_plugin_that_cannot_be_loaded_is_shown_as_broken_and_fails_only_when_asked_for(
    register: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\nclass M: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    register(  # type: ignore[operator]
        ("gone", "no.such.module:M", METHODS), ("needy", "needs_more:M", METHODS)
    )
    items = {item.name: item for item in catalogue.methods()}
    assert items["gone"].broken
    assert items["needy"].broken
    assert "not_installed_anywhere" in items["needy"].says
    assert not items["locft-bf"].broken
    assert registry.load_method("none").name == "none"
    with pytest.raises(BadPlugin, match="not_installed_anywhere"):
        registry.load_method("needy")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_the_side_door_loads_a_class_from_a_file(own: Path) -> None:
    method = registry.load_method(f"{own}:Own")
    assert method.name == "own"
    assert method_source(f"{own}:Own").title == "Do what I want."
    assert method_source(f"{own}:Own").cite == "arXiv:1"


def test_a_class_that_the_source_does_not_spell_out_is_described_by_loading_it(own: Path) -> None:
    source = method_source(f"{own}:made")
    assert (source.name, source.title) == ("own", "Made by a call.")


def test_published_settings_that_change_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    address = f"{tmp_path / 'own.py'}:Own"
    assert published(registry.load_method(address)) == {}
    for layer in (1, 2):
        (tmp_path / "own.yaml").write_text(f"llama: {{layer: {layer}}}\n")
        assert published(registry.load_method(address)) == {"llama": [{"layer": layer}]}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("gone.py:Own", "there is no file"),
        ("own.py:Other", "has no class Other"),
        ("own.py:WeightEdit", "Expected a subclass"),
        ("own.py:Nameless", "has no name"),
        ("bad.py:Own", "fails to import: RuntimeError: no"),
    ],
)
def test_a_side_door_that_leads_nowhere_says_why(own: Path, address: str, said: str) -> None:
    (own.parent / "bad.py").write_text("raise RuntimeError('no')\n")
    with pytest.raises(BadPlugin, match=said):
        registry.load_method(f"{own.parent}/{address}")

from __future__ import annotations

from pathlib import Path

import pytest
from results_tree import SUITE

from editbench.errors import BadSuite, UnknownName, UserError
from editbench.plan.suite import MethodSpec, Sequential
from editbench.plan.suite_file import load_suite, parse_suite

TEXT = SUITE.format(data="facts")


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_suite_is_read_into_typed_values() -> None:
    suite = parse_suite(TEXT, "small.yaml")
    assert suite.name == "small"
    assert suite.dataset.name == "facts"
    assert [model.name for model in suite.models] == ["smollm2-135m"]
    assert suite.methods == [
        MethodSpec(method="none"),
        MethodSpec(method="locft-bf", label="local", hparams={"layer": 3}),
    ]
    assert suite.regime == "batch"


def test_a_sequential_regime_has_its_chunk() -> None:
    assert parse_suite(TEXT + "regime: {sequential: 5}\n", "s.yaml").regime == Sequential(sequential=5)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (changed("scales:", "scalse:"), 9, "Did you mean scales"),
        (changed("label:", "lable:"), 8, "Did you mean label?"),
        (TEXT + "protocol: {max_new_token: 3}\n", 12, "Did you mean max_new_tokens?"),
        (changed("dataset: facts", "dataset: {name: facts, slit: test}"), 4, "Did you mean split"),
        (changed("[1, 4]", "[4, 1]"), 9, "scales must ascend"),
        (changed("[1, 4]", "[0, 4]"), 9, "scales.0"),
        (changed("[1, 4]", "[]"), 9, "scales"),
        (changed("seeds: [0]", "seeds: [0, 0]"), 10, "each may be given once"),
        (changed("label: local", "label: none"), 2, "two are called 'none'"),
        (changed("[smollm2-135m]", "[a/b, {name: a/b, revision: c}]"), 5, "two are called 'a/b'"),
        (changed("layer: 3", "lr: 1e-4"), 8, "Write 1.0e-4"),
        (changed("layer: 3", "lr: 5E3"), 8, "Write 5.0e+3"),
        (changed("seeds: [0]", "scales: [1]"), 10, "'scales' is given twice"),
        (changed("[1, 4]", "[1, 4"), 10, "this is no YAML"),
        (TEXT + "regime: sequential\n", 12, "regime"),
        (TEXT + "protocol: {target_field: alt}\n", 12, "write it under 'dataset'"),
        (changed("title: A small suite\n", ""), 2, "'title' is missing"),
    ],
)
def test_every_mistake_names_file_line_and_key(text: str, line: int, said: str) -> None:
    with pytest.raises(BadSuite) as caught:
        parse_suite(text, "small.yaml")
    assert f"small.yaml, line {line}" in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadSuite, match="a suite is a mapping"):
        parse_suite(text, "x.yaml")


def test_python_objects_in_yaml_are_refused() -> None:
    with pytest.raises(BadSuite):
        parse_suite("name: !!python/object/apply:os.system [true]\n", "x.yaml")


def test_an_unknown_name_and_a_file_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean quickstart"):
        load_suite("quickstrat")
    with pytest.raises(BadSuite, match="There is no suite file"):
        load_suite(tmp_path / "none.yaml")


def test_options_pick_methods_by_label_and_add_others() -> None:
    suite = parse_suite(TEXT, "small.yaml")
    picked = suite.with_options(methods=["local", "ft-depth-first"], add_methods=["none"])
    assert [method.method for method in picked.methods] == ["locft-bf", "ft-depth-first", "none"]
    assert picked.methods[0].hparams == {"layer": 3}


def test_a_method_that_is_no_label_stands_for_all_its_entries() -> None:
    more = "- none\n  - {method: locft-bf, label: none-such}\n  - {method: none, label: locft-bf}\n"
    suite = parse_suite(changed("- none\n", more), "small.yaml")

    def labels(*names: str) -> list[str]:
        return [method.shown for method in suite.with_options(methods=names).methods]

    assert labels("locft-bf") == ["locft-bf"]  # a label comes before the method of that name
    assert labels("none") == ["none"]
    two = parse_suite(changed("- none\n", "- {method: locft-bf, label: deep}\n"), "small.yaml")
    assert [method.label for method in two.with_options(methods=["locft-bf"]).methods] == ["deep", "local"]


def test_options_replace_models_seeds_and_scales() -> None:
    suite = parse_suite(TEXT, "small.yaml")
    changed = suite.with_options(models=["org/m"], revision="abc", seeds=[1, 2], scales=[2, 3, 9], max_scale=3)
    assert [(model.name, model.revision) for model in changed.models] == [("org/m", "abc")]
    assert (changed.seeds, changed.scales, changed.measured) == ([1, 2], [2, 3, 9], [2, 3])


@pytest.mark.parametrize(
    "options",
    [
        {"max_scale": 0},
        {"scales": [3, 2]},
        {"seeds": [-1]},
        {"methods": ["none", "none"]},
        {"models": ["a", "a"]},
        {"scales": []},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        parse_suite(TEXT, "small.yaml").with_options(**options)  # type: ignore[arg-type]


def test_a_largest_scale_below_all_scales_is_refused() -> None:
    suite = parse_suite(changed("[1, 4]", "[2, 4]"), "small.yaml")
    with pytest.raises(UserError, match="No scale"):
        suite.with_options(max_scale=1)


def test_a_later_mistake_still_names_the_line() -> None:
    suite = parse_suite(TEXT, "small.yaml")
    with pytest.raises(BadSuite, match=r"small.yaml, line 8: broken"), suite.at("methods/local"):
        raise UserError("broken")
    with pytest.raises(UserError, match=r"^broken$"), suite.at("methods/elsewhere"):
        raise UserError("broken")

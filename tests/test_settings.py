"""Whose settings a run has: no value that was found on one model reaches another, and each says where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from editbench.base.plugins import names
from editbench.cli import cli
from editbench.errors import BadSuite, UnknownName, UserError
from editbench.method import Hparams, Method
from editbench.models.families import FAMILIES
from editbench.models.lm import ModelShape
from editbench.plan.closure import closure_of
from editbench.plan.overrides import overrides, strangers
from editbench.plan.registry import SUITES, load_method
from editbench.plan.runs import RunOptions, check_names, make_plan
from editbench.plan.settings import DEFAULT, Origin, Override, Settings, identity_of, in_words, settings_for
from editbench.plan.settings_file import read_settings
from editbench.plan.suite import MethodSpec, ModelSpec, Suite
from editbench.plan.suite_file import load_suite, parse_suite, suite_path
from editbench.spaces import Choice, Depth, LogRange, checked_spaces, of_one_model, spaces_of

SHAPES = {
    "llama-3-8b": ("meta-llama/Meta-Llama-3-8B-Instruct", ModelShape("llama", 32, 4096, 14336, 128256, 218_000_000)),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B-Instruct", ModelShape("qwen2", 28, 3584, 18944, 152064, 233_000_000)),
    "mistral-7b": ("mistralai/Mistral-7B-v0.1", ModelShape("mistral", 32, 4096, 14336, 32000, 218_000_000)),
    "gpt-j-6b": ("EleutherAI/gpt-j-6b", ModelShape("gptj", 28, 4096, 16384, 50400, 201_000_000)),
    "gpt2-xl": ("openai-community/gpt2-xl", ModelShape("gpt2", 48, 1600, 6400, 50257, 31_000_000)),
    "smollm2-135m": ("smollm2-135m", ModelShape("llama", 30, 576, 1536, 49152, 3_540_096)),
    "gemma3-270m": ("google/gemma-3-270m-it", ModelShape("gemma3_text", 18, 640, 2048, 262144, 6_000_000)),
}


def written(suite: str) -> dict[str, dict[str, Any]]:
    """Return what the file of a suite says about each method, read by hand."""
    given = yaml.safe_load(suite_path(suite).read_text(encoding="utf-8"))["methods"]
    methods = [one if isinstance(one, dict) else {"method": one} for one in given]
    return {one.get("label") or one["method"]: one for one in methods}


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("name", names(SUITES))
def test_no_value_of_one_model_reaches_another_and_every_source_is_true(name: str, family: str) -> None:
    model, shape = SHAPES[family]
    suite = load_suite(name).with_options(models=[model])
    for spec in suite.methods:
        method = load_method(spec.method)
        found = settings_for(method, shape, overrides(suite, model, spec), model=model, scale=100)
        given = written(name)[spec.shown].get("hparams", {})
        own = {"smollm2-135m": given.get("smollm2-135m", {})}.get(family, {})
        general = {key: value for key, value in given.items() if key not in ("smollm2-135m", *FAMILIES)}
        beside = closure_of(spec.method).published.get(family, [{}])[0]
        assert found.origins.keys() == method.Hparams.model_fields.keys()
        for key, origin in found.origins.items():
            value = getattr(found.values, key)
            if key in own:
                expected, kind = own[key], "suite"
            elif key in general:
                expected, kind = general[key], "suite"
            elif key in beside:
                expected, kind = beside[key], "searched" if "searched" in beside else "published"
            elif not beside and key in method.heuristics(shape):
                expected, kind = method.heuristics(shape)[key], "heuristic"
            else:
                expected, kind = method.Hparams.model_fields[key].get_default(), "default"
            assert (origin.kind, value) == (kind, tuple(expected) if isinstance(expected, list) else expected), key
            if origin.kind in ("published", "searched"):
                assert origin.says == beside[{"published": "source", "searched": "searched"}[origin.kind]]


@pytest.mark.parametrize("name", names(SUITES))
def test_what_a_shipped_suite_gives_every_model_belongs_to_none(name: str) -> None:
    for spec in load_suite(name).methods:
        general = {key for key, value in spec.hparams.items() if not isinstance(value, dict)}
        assert not general & of_one_model(load_method(spec.method).Hparams), spec.shown


def test_published_llama_is_edited_with_the_published_rate_and_told_that_the_suite_has_none() -> None:
    model, shape = SHAPES["llama-3-8b"]
    suite = load_suite("counterfact-100k").with_options(models=[model], methods=["locft-bf"])
    [run] = make_plan(suite).runs
    found = settings_for(load_method("locft-bf"), shape, run.given, model=model)
    assert (found.values.lr, found.values.max_batches) == (5e-4, None)
    assert str(found.origins["lr"]) == "published (arXiv:2509.22072, Llama-3-8B-Instruct)"
    [said] = strangers(suite)
    assert model in said and "locft-bf for smollm2-135m" in said and "editbench tune" in said
    assert strangers(load_suite("counterfact-100k")) == []


SMALL = """
name: small
title: A small suite
dataset: facts
models: [smollm2-135m]
methods:
  - {method: locft-bf, hparams: %s}
scales: [1, 10]
"""


def small(hparams: str) -> Suite:
    return parse_suite(SMALL % hparams, "small.yaml")


def resolved(suite: Suite, model: str = "smollm2-135m", family: str = "smollm2-135m", scale: int = 10) -> Settings:
    given = overrides(suite, model, suite.methods[0])
    return settings_for(load_method(suite.methods[0].method), SHAPES[family][1], given, model=model, scale=scale)


def test_a_rate_that_a_suite_gives_its_own_models_stays_with_them_and_a_variant_does_not() -> None:
    suite = small("{lr: 3.0e-3, layer: 4, skip_learnt: false, batch_size: 7}")
    assert resolved(suite).values.lr == 3e-3
    other = suite.with_options(models=["org/other"])
    found = resolved(other, "org/other", "gpt2-xl")
    assert (found.values.lr, found.values.layer) == (5e-4, 33) and found.origins["layer"].kind == "heuristic"
    assert (found.values.skip_learnt, found.values.batch_size) == (False, 7)
    assert "org/other" in strangers(other)[0]
    assert strangers(small("{skip_learnt: false, batch_size: 7}").with_options(models=["org/other"])) == []


def test_settings_by_the_name_of_a_model_go_over_those_for_any_and_the_command_line_over_all() -> None:
    suite = small("{lr: 3.0e-3, smollm2-135m: {lr: 4.0e-3}, llama-3-8b: {lr: 9.0}}")
    assert resolved(suite).values.lr == 4e-3
    assert str(resolved(suite).origins["lr"]) == "from the suite small, for smollm2-135m"
    commanded = suite.with_settings(sets=["locft-bf.lr=5e-4", "locft-bf.module=up"])
    found = resolved(commanded)
    assert (found.values.lr, found.values.module) == (5e-4, "up")
    assert found.origins["lr"] == Origin("command line")
    assert commanded.with_options(seeds=[1]).given == commanded.given  # chosen in whatever order


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr=1", "sets nothing"),
        ("locft-bf.lr", "sets nothing"),
        ("locft-bf.lr=", "sets nothing"),
        ("locft.lr=1", "Did you mean locft-bf"),
        ("locft-bf.lr=[1", "cannot be read"),
    ],
)
def test_a_value_that_cannot_be_set_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        small("{}").with_settings(sets=[text])


def test_a_misspelt_key_or_model_is_named_with_its_line() -> None:
    for hparams, said in (
        ("{learning_rate: 1}", "line 7.*learning_rate"),
        ("{smollm2-135m: {learning_rate: 1}}", "line 7.*learning_rate"),
        ("{smollm: {lr: 1}}", "line 7.*smollm"),
        ("{smollm2-135m: {lr: -1}}", "line 7.*lr = -1"),
    ):
        with pytest.raises(BadSuite, match=said):
            check_names(make_plan(small(hparams)))
    with pytest.raises(UnknownName, match="learning_rate"):
        check_names(make_plan(small("{}").with_settings(sets=["locft-bf.learning_rate=1"])))


def test_who_gave_a_value_is_in_no_id_and_the_value_is() -> None:
    ids = [
        make_plan(suite).runs[0].run_id
        for suite in (
            small("{lr: 3.0e-3}"),
            small("{smollm2-135m: {lr: 3.0e-3}}"),
            small("{smollm2-135m: {lr: 3.0e-3}, llama-3-8b: {lr: 1.0}}"),
            small("{}").with_settings(sets=["locft-bf.lr=3e-3"]),
            small("{lr: 1.0}").with_settings(sets=["locft-bf.lr=3e-3"]),
        )
    ]
    assert len(set(ids)) == 1 and ids[0] != make_plan(small("{lr: 4.0e-3}")).runs[0].run_id
    ranged = [
        Override({"lr": 1}, Origin("searched"), scales=(1, None)),
        Override({"lr": 2}, Origin("searched"), scales=(11, None)),
    ]
    assert identity_of(ranged, ["x"]) != identity_of(ranged[::-1], ["x"])


# -- files of settings


FILE = {
    "model": {"name": "smollm2-135m", "family": "smollm2-135m", "weights_hash": "0" * 64},
    "search": {"objective": "harmonic"},
    "settings": {
        "locft-bf": [
            {"scales": [1, 5], "searched": "mine.yaml, 4 trials, 2026-11-28", "lr": 2.0e-2, "layer": 3},
            {"scales": [6, None], "searched": "mine.yaml, 4 trials, 2026-11-28", "lr": 1.0e-3, "layer": 5},
        ]
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(FILE))
    return path


def test_a_file_of_settings_holds_by_range_of_scale_and_says_its_budget(file: Path) -> None:
    suite = small("{}").with_settings([file])
    found = {scale: resolved(suite, scale=scale) for scale in (1, 10)}
    assert [(one.values.lr, one.values.layer) for one in found.values()] == [(2e-2, 3), (1e-3, 5)]
    assert str(found[1].origins["lr"]) == "searched (mine.yaml, 4 trials, 2026-11-28)"
    [run] = make_plan(suite).runs
    assert run.settled_at(1) == 1 and replace(run, regime="sequential", chunk=1).settled_at(1) == 10


def test_a_suite_names_files_of_settings_beside_itself_and_what_it_says_itself_goes_over_them(file: Path) -> None:
    beside = file.parent / "small.yaml"
    beside.write_text(SMALL % "{lr: 7.0e-3}" + "settings: mine.yaml\n")
    found = resolved(load_suite(beside))
    assert (found.values.lr, found.values.layer) == (7e-3, 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"name": "gpt2-xl", "family": "gpt2-xl"}}, "holds settings for gpt2-xl, and this runs smollm2-135m"),
        ({"settings": {"locft-bf": [{"learning_rate": 1}]}}, "learning_rate"),
        ({"settings": {"locft-bf": [{"lr": "fast"}]}}, "lr = 'fast'"),
        ({"settings": {"memit": [{"lr": 1}]}}, "holds settings for memit, and this runs locft-bf"),
        ({"sittings": 1}, "sittings"),
        ({"settings": {"locft-bf": {"lr": 1}}}, "settings.locft-bf"),
    ],
)
def test_a_file_of_settings_for_another_model_or_with_a_wrong_key_is_refused(
    file: Path, change: dict[str, Any], said: str
) -> None:
    file.write_text(yaml.safe_dump({**FILE, **change}))
    suite = file.parent / "small.yaml"
    suite.write_text(SMALL % "{}")
    done: Result = CliRunner().invoke(
        cli, ["run", "--suite", str(suite), "--settings", str(file), "--dry-run"], prog_name="editbench"
    )
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3


def test_files_that_are_no_settings_are_named(tmp_path: Path) -> None:
    for text, said in (("a: [", "no YAML"), ("3", "holds no settings"), ("settings: {}", "model")):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(UserError, match=f"(?s)x.yaml.*{said}"):
            read_settings(tmp_path / "x.yaml")
    with pytest.raises(UserError, match=r"gone.yaml cannot be read"):
        make_plan(small("{}").with_settings([tmp_path / "gone.yaml"]))


def test_dry_run_tells_the_kinds_of_source_apart(file: Path) -> None:
    suite = file.parent / "small.yaml"
    suite.write_text(SMALL % "{smollm2-135m: {passes: 3}}")
    arguments = ["run", "--suite", str(suite), "--settings", str(file), "--set", "locft-bf.rest=2", "--dry-run"]
    said = CliRunner().invoke(cli, arguments, prog_name="editbench").stdout
    assert "lr 0.02, layer 3 – searched (mine.yaml" in said.replace("layer 3, lr 0.02", "lr 0.02, layer 3")
    for part in (
        "searched (by hand",
        "passes 3 – from the suite small, for smollm2-135m",
        "rest 2 – from the command line",
    ):
        assert part in said
    rows = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], prog_name="editbench").stdout)["settings"]
    assert [row["scales"] for row in rows] == [[1], [10]]
    assert rows[0]["sources"]["rest"] == {"kind": "command line", "says": ""}


# -- caps, words, spaces


def test_a_cap_whose_reason_is_a_devices_holds_there_alone() -> None:
    suite = load_suite("counterfact-100k").with_options(methods=["memit", "locft-bf"])
    goals = {
        device: {run.label: run.goal for run in make_plan(suite, RunOptions(device=device)).runs}
        for device in ("cpu", "cuda")
    }
    assert goals["cpu"] == {"memit": 1000, "locft-bf": 100_000}
    assert goals["cuda"] == {"memit": 100_000, "locft-bf": 100_000}
    assert MethodSpec(method="x", cap={"scale": 5, "why": "because"}).goal(10, "cuda") == 5


def test_settings_in_words() -> None:
    values = {"lr": 0.5, "layer": 3, "passes": 25}
    origins = {"lr": Origin("command line"), "layer": Origin("published", "a paper"), "passes": DEFAULT}
    assert in_words(values, origins) == "published (a paper), lr 0.5 from the command line"
    whole = "layer 3 – published (a paper); passes 25 – the method's default; lr 0.5 – from the command line"
    assert in_words(values, origins, whole=True) == whole
    assert (in_words({}, {}), in_words({"a": 1}, {"a": DEFAULT})) == ("", "the method's defaults")


class Odd(Method):
    """Has spaces."""

    name = "odd"

    class Hparams(Hparams):
        rate: Annotated[float, LogRange(1.0, 0.1)] = 1.0
        layer: Annotated[int, Depth(0.5)] = 1
        order: Annotated[str, Choice(("a", "b"))] = "a"
        rest: int = 0


def test_spaces_stand_where_the_hyper_parameter_does_and_those_that_make_no_sense_are_named() -> None:
    assert list(spaces_of(Odd.Hparams)) == ["rate", "layer", "order"]
    assert of_one_model(Odd.Hparams) == {"rate", "layer"}
    with pytest.raises(UserError, match=r"odd: the space of rate has its lower end 1 above its upper end 0\.1"):
        checked_spaces("odd", Odd.Hparams)


def test_names_of_models_that_settings_may_have() -> None:
    suite = small("{}")
    assert ModelSpec(name="smollm2-135m").name in suite.own_models
    assert suite.with_options(models=["org/x"]).own_models == {"smollm2-135m"}

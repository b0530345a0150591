"""Code that comes with data runs only where it is asked for, and what would run is named."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from dataclasses import fields
from pathlib import Path

import jinja2
import pytest
import yaml
from capability_folder import made, native_yaml, silent, write_tasks
from click.testing import CliRunner
from lm_eval import utils
from results_tree import save_tiny_model

from editbench.cache import Cache
from editbench.capability.lm_eval_parts import sandbox_templates
from editbench.capability.loading import Loaded, load_tasks
from editbench.capability.spec import CapabilitySpec
from editbench.capability.tasks import Asked, resolve
from editbench.capability.trust import UntrustedCode, calls, refuse_code, watched
from editbench.cli import cli
from editbench.errors import BadModel
from editbench.models.load import load_lm
from editbench.plan.runs import RunOptions, make_plan
from editbench.plan.suite_file import parse_suite
from editbench.testing.tiny import tiny_lm

SUITE = """\
name: tiny
title: A tiny suite for tests
dataset: facts
models: [smollm2-135m]
methods: [none]
scales: [1]
metrics: [capability]
"""
RAN = "from pathlib import Path\n\nPath(__file__).with_name('ran').touch()\n\n"
CODE = RAN + "def docs(rows):\n    return rows\n\ndef acc(*a, **b):\n    return 1.0\n\nclass Task:\n    pass\n"
SHELL = "{{ cycler.__init__.__globals__.os.popen('touch RAN').read() }}"
# ways of a task's YAML to name code -> what is said of it
WAYS = {
    "process_docs: !function own.docs\n": "docs of {folder}/own.py",
    "class: !function own.Task\n": "Task of {folder}/own.py",
    "filter_list: [{name: x, filter: [{filter_fn: !function own.docs}]}]\n": "docs of {folder}/own.py",
    "process_docs: !function os.system\n": "system of the installed module os",
    "include: more.yml\n": "docs of {folder}/own.py",
    "%TAG !e! !func\n---\ntask: toy_one\nprocess_docs: !e!tion own.docs\n": "docs of {folder}/own.py",
}


def with_code(folder: Path, way: str) -> Path:
    write_tasks(folder)
    (folder / "own.py").write_text(CODE)
    (folder / "more.yml").write_text("process_docs: !function own.docs\n")
    path = folder / "toy_one.yaml"
    path.write_text(way if way.startswith("%") else path.read_text() + way)
    return folder


def loaded(folder: Path, name: str = "toy_one", *, trusted: bool = False) -> Loaded:
    index = resolve(CapabilitySpec(tasks=[str(folder)]), Cache(folder.parent / "cache")).index
    return load_tasks(Asked(name), index, None, trusted=trusted)


@pytest.mark.parametrize(("way", "said"), WAYS.items())
@pytest.mark.parametrize("asked", ["toy_one", "toy"])
def test_a_task_with_code_is_refused_by_the_name_of_file_and_function_before_anything_runs(
    tmp_path: Path, way: str, said: str, asked: str
) -> None:
    folder = with_code(tmp_path / "mine", way)
    spec = CapabilitySpec(tasks=[asked], include=[str(folder)])
    wanted = resolve(spec, Cache(tmp_path / "cache"))
    with pytest.raises(UntrustedCode) as error:
        refuse_code(wanted, trusted=False)
    assert said.format(folder=folder) in error.value.given and "toy_one.yaml" in error.value.given
    assert error.value.hint == "If you trust it: --trust-task-code"
    refuse_code(wanted, trusted=True)
    assert not (folder / "ran").exists()


def test_only_tasks_that_are_asked_for_are_held_against_their_code(tmp_path: Path) -> None:
    folder = with_code(tmp_path / "mine", "process_docs: !function own.docs\n")
    spec = CapabilitySpec(tasks=["toy_two"], include=[str(folder)])
    refuse_code(resolve(spec, Cache(tmp_path / "cache")), trusted=False)
    assert list(calls(folder / "toy_one.yaml")) and not list(calls(folder / "toy_two.yaml"))


def test_the_command_refuses_a_task_folder_with_code_and_takes_it_with_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))
    folder = with_code(tmp_path / "mine", "process_docs: !function own.docs\n")
    (tmp_path / "s.yaml").write_text(SUITE + f"capability: {folder}\n")
    suite = ["run", "--dry-run", "--suite", str(tmp_path / "s.yaml")]
    asked = ["run", "--dry-run", "--suite", "quickstart", "--capability", str(folder)]
    scored = ["score", "--model", "smollm2-135m", "--dataset", "facts", "--capability", str(folder)]
    for command in (suite, asked, scored):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 2 and f"docs of {folder}/own.py" in done.stderr and "--trust-task-code" in done.stderr
    assert CliRunner().invoke(cli, [*suite, "--trust-task-code"]).exit_code == 0
    assert not (folder / "ran").exists()


def test_a_task_whose_code_was_not_there_when_it_was_looked_at_is_not_loaded_either(tmp_path: Path) -> None:
    folder = with_code(tmp_path / "mine", "process_docs: !function own.docs\n")
    failed = loaded(folder).failed["toy_one"]
    assert failed.startswith(f"docs of {folder}/own.py would run") and "if you trust it: --trust-task-code" in failed
    assert not (folder / "ran").exists()
    assert "toy_one" in loaded(folder, trusted=True).tasks
    assert (folder / "ran").exists()


def test_code_that_was_installed_needs_no_word(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    own = native_yaml("wikitext/wikitext.yaml")
    assert "!function" in own.read_text()
    (folder / "mine.yaml").write_text(f"include: {own}\ntask: mine\n")
    wanted = resolve(CapabilitySpec(tasks=["core", "mine"], include=[str(folder)]), Cache(tmp_path / "cache"))
    refuse_code(wanted, trusted=False)
    assert len(load_tasks(Asked("core_facts"), wanted.index, None).tasks) == 1


# -- templates


@pytest.fixture
def as_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have lm-eval's templates as they are before anything of ours was loaded."""
    own = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    own.filters["regex_replace"] = utils.regex_replace
    monkeypatch.setattr(utils, "env", own)


@pytest.mark.usefixtures("as_imported")
def test_a_template_cannot_run_a_shell_command_whoever_trusts_it(tmp_path: Path) -> None:
    folder, ran = write_tasks(tmp_path / "mine"), tmp_path / "ran"
    path = folder / "toy_one.yaml"
    path.write_text(path.read_text().replace("{{question}}", SHELL.replace("RAN", str(ran))))
    for trusted in (False, True):
        assert "a template does what Jinja's sandbox forbids" in loaded(folder, trusted=trusted).failed["toy_one"]
    assert not ran.exists()


@pytest.mark.usefixtures("as_imported")
def test_a_template_that_waits_for_a_later_document_cannot_either(tmp_path: Path) -> None:
    folder, ran = write_tasks(tmp_path / "mine"), tmp_path / "ran"
    path = folder / "toy_one.yaml"
    later = "{{question}}{% if answer == 2 %}" + SHELL.replace("RAN", str(ran)) + "{% endif %}"
    path.write_text(path.read_text().replace("{{question}}", later))
    lm, bench = tiny_lm("llama"), made(path, tmp_path / "cache")
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy_one"]
    assert found["status"] == "failed" and "a template does what Jinja's sandbox forbids" in found["reason"]
    assert not ran.exists()


@pytest.mark.usefixtures("as_imported")
def test_the_templates_of_lm_evals_own_tasks_render_in_the_sandbox_as_before() -> None:
    own = utils.env
    sandbox_templates()
    assert utils.env is not own
    doc = {"question": " Why? [a] ", "choices": ["x", "y"], "ctx": "a b", "sentence": "A _ b", "answer": 1, "text": "t"}
    same = 0
    for name in (
        "hellaswag/hellaswag.yaml",
        "piqa/piqa.yaml",
        "mmlu/default/_default_template_yaml",
        "gsm8k/gsm8k.yaml",
    ):
        text = native_yaml(name).read_text()
        for line in yaml.compose(text).value:  # type: ignore[union-attr]
            template = line[1].value
            if isinstance(template, str) and "{{" in template:
                try:
                    expected = own.from_string(template).render(**doc)
                except jinja2.UndefinedError:
                    continue
                same += utils.apply_template(template, doc) == expected
    assert same >= 2


# -- programs that no YAML names as functions


def test_a_metric_that_is_a_program_is_refused_and_named(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    path, ran = folder / "toy_one.yaml", tmp_path / "ran"
    program = tmp_path / "evil.py"
    program.write_text(f"open({str(ran)!r}, 'w')\n")
    path.write_text(path.read_text().replace("metric: acc_norm,", f"metric: {program},"))
    assert f"its metric {program} is none of lm-eval's but a program" in loaded(folder).failed["toy_one"]
    assert not ran.exists()


def test_a_program_of_the_evaluate_library_is_not_imported_whoever_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evaluate_modules" / "metrics").mkdir(parents=True)
    (tmp_path / "evaluate_modules" / "metrics" / "evil.py").write_text(RAN)
    monkeypatch.syspath_prepend(tmp_path)
    name = "evaluate_modules.metrics.evil"
    with pytest.raises(UntrustedCode, match="evaluate library"), watched(trusted=False):
        __import__(name)
    assert not (tmp_path / "evaluate_modules" / "metrics" / "ran").exists()
    with watched(trusted=True):
        __import__(name)
    assert (tmp_path / "evaluate_modules" / "metrics" / "ran").exists()
    for known in [known for known in sys.modules if known.startswith("evaluate_modules")]:
        monkeypatch.delitem(sys.modules, known)


def test_pickled_documents_are_refused(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    path = folder / "toy_one.yaml"
    path.write_text(path.read_text().replace("dataset_path: json", "dataset_path: pandas"))
    assert "its documents are pickled" in loaded(folder).failed["toy_one"]


# -- models


def test_a_models_own_code_is_refused_by_the_name_of_file_and_class_and_runs_with_the_flag(tmp_path: Path) -> None:
    folder, ran = save_tiny_model(tmp_path / "net"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    more = {"model_type": "mynet", "auto_map": {"AutoConfig": "conf.C", "AutoModelForCausalLM": "net.M"}}
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    base = type(tiny_lm("llama").model)
    (folder / "conf.py").write_text(
        f"from {base.config_class.__module__} import {base.config_class.__name__} as Base\n\n"
        f"open({str(ran)!r}, 'w')\n\nclass C(Base):\n    model_type = 'mynet'\n"
    )
    (folder / "net.py").write_text(
        f"from .conf import C\nfrom {base.__module__} import {base.__name__} as Base\n\n"
        "class M(Base):\n    config_class = C\n"
    )
    with pytest.raises(BadModel) as error:
        load_lm(str(folder))
    assert "its own code, C of conf.py, M of net.py" in error.value.given and "--trust-remote-code" in error.value.hint
    assert not ran.exists()
    with pytest.raises(UntrustedCode, match=r"C of .*conf"), watched(trusted=False):
        load_lm(str(folder), trust_remote_code=True)  # a task's function that asks for it all the same
    assert not ran.exists()
    load_lm(str(folder), trust_remote_code=True)
    assert ran.exists()


def test_nothing_trusts_code_unless_it_is_asked_to() -> None:
    assert all(not field.default for field in fields(RunOptions) if field.name.startswith("trust_"))
    assert inspect.signature(load_lm).parameters["trust_remote_code"].default is False
    for path in (Path(__file__).parents[1] / "editbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "trusted", "trust_task_code"):
                assert not (isinstance(node.value, ast.Constant) and node.value.value), (path, node.lineno)


def test_trust_is_no_part_of_a_runs_identity() -> None:
    suite = parse_suite(SUITE, "s.yaml")
    ids = {make_plan(suite, options).runs[0].run_id for options in (RunOptions(), RunOptions(trust_task_code=True))}
    assert len(ids) == 1

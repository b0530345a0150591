"""What is relied on of lm-eval, held against the installed version: an upgrade that breaks something shows here first.

When a test here fails after an upgrade, ``editbench/capability/lm_eval_parts.py`` is the place to mend.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import SandboxedEnvironment
from lm_eval import utils
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import _yaml_loader
from packaging.requirements import Requirement
from packaging.version import Version
from transformers import dynamic_module_utils

from editbench.capability import lm_eval_parts as parts

ROOT = Path(__file__).parents[1]
CODE = "from pathlib import Path\n\nPath(__file__).with_name('ran').touch()\n\ndef docs(rows):\n    return rows\n"


def takes(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_only_one_file_imports_lm_eval() -> None:
    found = set()
    for path in (ROOT / "editbench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "lm_eval" for name in names):
                found.add(path.name)
    assert found == {"lm_eval_parts.py"}


def test_the_installed_version_is_within_the_bounds_and_the_next_is_not() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bound] = [one.specifier for one in map(Requirement, listed) if one.name == "lm-eval"]
    major, minor, patch = Version(version("lm_eval")).release[:3]
    assert f"{major}.{minor}.{patch}" in bound
    assert f"{major}.{minor}.{patch + 1}" not in bound  # its private parts are only known for what was tested
    assert f"{major}.{minor + 1}" not in bound


# -- tasks: index, factory, loader


def test_an_index_is_a_dict_of_entries_that_may_be_added_to(tmp_path: Path) -> None:
    empty = parts.TaskManager(include_defaults=False)
    assert empty.task_index == {} and empty.task_index is empty._index
    (tmp_path / "one.yaml").write_text("task: one\ntag: [mine]\nprocess_docs: !function own.docs\n")
    (tmp_path / "all.yaml").write_text("group: all\ntask: [one, {task: two, num_fewshot: 1}]\n")
    (tmp_path / "own.py").write_text(CODE)
    index = parts.TaskManager(include_path=str(tmp_path), include_defaults=False).task_index
    assert {name: entry.kind.name for name, entry in index.items()} == {"one": "TASK", "mine": "TAG", "all": "GROUP"}
    assert index["one"].yaml_path == tmp_path / "one.yaml" and index["mine"].yaml_path is None
    assert index["mine"].tags == {"one"} and index["all"].cfg["task"][1]["task"] == "two"
    assert not (tmp_path / "ran").exists()  # to know the names runs nothing
    made = parts.Entry("x", parts.Kind["PY_TASK"], None, None, {"a"})
    assert (made.name, made.yaml_path, made.cfg, made.tags) == ("x", None, None, {"a"})


def test_a_manager_asks_its_factory_for_each_task_and_gives_tasks_and_groups_by_name(tmp_path: Path) -> None:
    class Stand(parts.Task):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.name = name

        task_name = property(lambda self: self.name)
        has_training_docs = has_validation_docs = has_test_docs = doc_to_text = doc_to_target = lambda self: None
        construct_requests = process_results = aggregation = higher_is_better = lambda self: None

    class Factory(parts.TaskFactory):  # type: ignore[misc]
        def _build_task(self, entry: Any, overrides: Any) -> Any:
            asked.append((entry.name, self._load_full_config(entry, overrides)["num_fewshot"]))
            return Stand(entry.name)

    asked: list[Any] = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\nnum_fewshot: 3\n")
    (tmp_path / "all.yaml").write_text("group: all\ntask: [one, {task: two, num_fewshot: 1}]\nmetadata: {version: 2}\n")
    manager = parts.TaskManager(include_path=str(tmp_path), include_defaults=False)
    manager._factory = Factory()
    built = manager.load(["all"])
    assert asked == [("one", 3), ("two", 1)]
    assert list(built["tasks"]) == ["one", "two"]
    assert list(built["groups"]) == ["all"] and str(built["groups"]["all"].version) == "2"
    assert takes(built["groups"]["all"].aggregate)[0]
    assert takes(parts.TaskFactory._build_task) == ["entry", "overrides"]
    assert takes(parts.TaskFactory._load_full_config) == ["entry", "overrides"]


def test_every_function_that_yaml_names_is_imported_through_one_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "base.yaml").write_text("process_docs: !function own.docs\n")
    (tmp_path / "one.yaml").write_text("include: base.yaml\ntask: one\nclass: !function own.Task\n")
    seen: list[tuple[str, Path]] = []
    monkeypatch.setattr(_yaml_loader, "_import_func_in_yml", lambda qual, base_dir: seen.append((qual, base_dir)))
    _yaml_loader.load_yaml(tmp_path / "one.yaml", resolve_func=True)
    folder = tmp_path.resolve()
    assert seen == [("own.Task", folder), ("own.docs", folder)]


def test_a_configurable_task_has_what_is_asked_of_it() -> None:
    members = ("task_name", "VERSION", "get_config", "set_config", "aggregation", "higher_is_better", "instances")
    assert all(hasattr(ConfigurableTask, name) for name in members)
    assert takes(ConfigurableTask.set_fewshot_seed) == ["seed"]
    assert "limit" in takes(ConfigurableTask.doc_iterator)
    used = {"limit", "apply_chat_template", "fewshot_as_multiturn", "chat_template", "tokenizer_name"}
    assert used <= set(takes(ConfigurableTask.build_all_requests))


def test_a_metric_that_lm_eval_has_not_got_is_a_program_of_the_evaluate_library() -> None:
    from lm_eval.api import registry

    assert parts.knows_metric("acc") and parts.knows_metric("exact_match") and not parts.knows_metric("rouge")
    assert "hf_evaluate.load(name)" in inspect.getsource(registry.get_metric)
    # read and not imported: it takes seconds
    config = Path(str(find_spec("evaluate").origin)).with_name("config.py").read_text()  # type: ignore[union-attr]
    assert 'MODULE_NAME_FOR_DYNAMIC_MODULES = "evaluate_modules"' in config


# -- what is changed while it works


def test_templates_are_rendered_by_one_environment_that_the_sandbox_can_stand_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = jinja2.Environment(loader=jinja2.BaseLoader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # type: ignore[arg-type]
    own.filters["regex_replace"] = utils.regex_replace
    monkeypatch.setattr(utils, "env", own)
    parts.sandbox_templates()
    assert isinstance(utils.env, SandboxedEnvironment)
    apart = ("loader", "undefined", "keep_trailing_newline")
    settings = [name for name in takes(jinja2.Environment.__init__) if hasattr(own, name) and name not in apart]
    assert {name: getattr(utils.env, name) for name in settings if "ext" not in name and "cache" not in name} == {
        name: getattr(own, name) for name in settings if "ext" not in name and "cache" not in name
    }
    assert (
        utils.apply_template("{{q | regex_replace('a', 'b')}} {{c[0].strip()}}\n", {"q": "aa", "c": [" x"]}) == "bb x\n"
    )
    with pytest.raises(jinja2.UndefinedError):
        utils.apply_template("{{nothing}}", {})
    with pytest.raises(jinja2.exceptions.SecurityError):
        utils.apply_template("{{q.__class__.__mro__}}", {"q": ""})
    before = utils.env
    parts.sandbox_templates()
    assert utils.env is before


def test_lm_evals_own_environment_has_no_settings_beside_those_that_are_kept() -> None:
    source = inspect.getsource(utils)
    made = "env = Environment(\n    loader=BaseLoader, undefined=StrictUndefined, keep_trailing_newline=True\n)"
    assert made in source and source.count("Environment(") == 1


def test_a_models_own_code_is_imported_through_one_door() -> None:
    assert takes(dynamic_module_utils.get_class_in_module)[:2] == ["class_name", "module_path"]
    source = inspect.getsource(dynamic_module_utils)
    assert "return get_class_in_module(" in source and source.count(".exec_module(") == 1


def test_what_is_watched_is_put_back() -> None:
    doors = _yaml_loader._import_func_in_yml, dynamic_module_utils.get_class_in_module
    with pytest.raises(KeyError), parts.watched_code(lambda named, folder: None):
        assert doors[0] is not _yaml_loader._import_func_in_yml
        raise KeyError
    assert doors == (_yaml_loader._import_func_in_yml, dynamic_module_utils.get_class_in_module)


# -- the model and the evaluation


def test_the_wrapper_of_a_model_is_called_and_calls_as_it_is_overridden() -> None:
    wrapper = parts.HFLM
    assert inspect.signature(wrapper.__init__).parameters["trust_remote_code"].default is False
    assert {"pretrained", "tokenizer", "batch_size"} <= set(takes(wrapper.__init__))
    for name in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        assert takes(getattr(wrapper, name))[:2] == ["requests", "disable_tqdm"]
    assert takes(wrapper._loglikelihood_tokens) == ["requests", "disable_tqdm", "override_bs"]
    assert takes(wrapper._model_call) == ["inps", "attn_mask", "labels"]
    assert takes(wrapper.tok_batch_encode)[:3] == ["strings", "padding_side", "left_truncate_len"]
    assert takes(wrapper.apply_chat_template)[:2] == ["chat_history", "add_generation_prompt"]
    assert takes(wrapper.set_cache_hook) == ["cache_hook"]
    assert all(
        hasattr(wrapper, name) for name in ("max_length", "device", "batch_size", "tok_encode", "tokenizer_name")
    )


def test_an_evaluation_takes_what_it_is_given_and_a_mean_is_known_by_its_function() -> None:
    given = {"lm", "task_dict", "limit", "bootstrap_iters", "log_samples", "apply_chat_template"}
    assert given | {"fewshot_as_multiturn"} <= set(takes(parts.evaluate))
    assert inspect.signature(parts.evaluate).parameters["confirm_run_unsafe_code"].default is False
    from lm_eval.api.registry import get_aggregation

    assert get_aggregation("mean") is parts.mean
    assert isinstance(parts.DEFAULT_RANDOM_SEED, int) and isinstance(parts.DEFAULT_OTHER_SEED, int)


def test_bars_are_made_by_a_name_in_lm_evals_modules_and_come_back() -> None:
    from lm_eval.models import huggingface

    before = huggingface.tqdm
    with parts.without_bars():
        assert huggingface.tqdm is not before and huggingface.tqdm(range(2)).disable
    assert huggingface.tqdm is before

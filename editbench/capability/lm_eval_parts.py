"""All that is used of lm-eval: its public names, its private parts, and what is changed while it works.

Nothing else in editbench imports lm-eval. Its loader and factory of tasks are private to it and move between releases
of patches; pyproject.toml bounds the version for that, and ``tests/test_lm_eval_parts.py`` holds every name, signature
and habit that is relied on against the installed version, so that an upgrade that breaks one shows there first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from jinja2.sandbox import SandboxedEnvironment
from lm_eval import utils
from lm_eval.api.registry import metric_registry
from lm_eval.api.task import Task
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager, _yaml_loader
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import Entry, Kind

__all__ = [
    "DEFAULT_OTHER_SEED",
    "DEFAULT_RANDOM_SEED",
    "Entry",
    "Kind",
    "Task",
    "TaskFactory",
    "TaskManager",
    "knows_metric",
    "sandbox_templates",
    "watched_code",
    "without_bars",
]


def __getattr__(name: str) -> Any:
    """Return what brings torch: ``HFLM``, ``evaluate``, ``mean``; names of tasks are read without it."""
    if name == "HFLM":
        from lm_eval.models.huggingface import HFLM

        return HFLM
    if name == "evaluate":
        from lm_eval.evaluator import evaluate

        return evaluate
    if name == "mean":
        from lm_eval.api.metrics import mean

        return mean
    raise AttributeError(name)


def sandbox_templates() -> None:
    """Have lm-eval render its tasks' templates in Jinja's sandbox from here on.

    It is not put back: a task that was loaded renders whenever it is asked, by whomever.
    """
    own = utils.env
    if isinstance(own, SandboxedEnvironment):
        return
    safe = SandboxedEnvironment(
        loader=own.loader, undefined=own.undefined, keep_trailing_newline=own.keep_trailing_newline
    )
    for of in ("filters", "tests", "globals"):
        getattr(safe, of).update(getattr(own, of))
    utils.env = safe


@contextmanager
def watched_code(may_run: Callable[[str, Path | None], None]) -> Iterator[None]:
    """Ask before code that comes with data is executed.

    Parameters
    ----------
    may_run: called with what would run (such as ``utils.process_docs``) and the folder of the YAML that names it, None
        for a program of the evaluate library or of a model's repository; raises to refuse.
    """
    from transformers import dynamic_module_utils

    import_function, import_class = _yaml_loader._import_func_in_yml, dynamic_module_utils.get_class_in_module

    def of_yaml(qual: str, base_dir: Path) -> Any:
        may_run(qual, base_dir)
        return import_function(qual, base_dir)

    def of_model(class_name: str, module_path: Any, **named: Any) -> Any:
        may_run(f"{class_name} of {module_path}", None)
        return import_class(class_name, module_path, **named)

    programs = _Programs(may_run)
    sys.meta_path.insert(0, programs)
    _yaml_loader._import_func_in_yml, dynamic_module_utils.get_class_in_module = of_yaml, of_model
    try:
        yield
    finally:
        _yaml_loader._import_func_in_yml, dynamic_module_utils.get_class_in_module = import_function, import_class
        sys.meta_path.remove(programs)


class _Programs(MetaPathFinder):
    """Asks before the evaluate library imports a program it was given or fetched; that library is slow to import."""

    def __init__(self, may_run: Callable[[str, Path | None], None]) -> None:
        self.may_run = may_run

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.startswith("evaluate_modules."):
            self.may_run(f"a program of the evaluate library, {name}", None)


def knows_metric(name: str) -> bool:
    """Return whether lm-eval computes a metric of this name itself; for others it loads a program."""
    import lm_eval.api.metrics  # noqa: F401 - it is what fills the registry

    return name in metric_registry


@contextmanager
def without_bars() -> Iterator[None]:
    """Switch off the bars that lm-eval's modules make; it has no option for some of them."""
    modules: list[Any] = [m for name, m in list(sys.modules.items()) if name.startswith("lm_eval") and m is not None]
    with_bars = [(module, module.tqdm) for module in modules if callable(vars(module).get("tqdm"))]
    for module, bar in with_bars:
        module.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        for module, bar in with_bars:
            module.tqdm = bar

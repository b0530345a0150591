"""What happens once in a process, done before anything is timed: imports, and what libraries set up at first use."""

from __future__ import annotations

import ast
import importlib
import inspect
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from editbench.method import Method
    from editbench.models.lm import LM


def warm(lm: LM, method_class: type[Method]) -> None:
    """Import what the method's modules import in their functions, and let torch set itself up on the model's device.

    The first optimiser of a process alone takes a second or two, which is no part of an edit.
    """
    for base in method_class.__mro__:
        if base.__module__ not in ("builtins", "abc", "editbench.method"):
            _import_lazy(base.__module__)
    _set_up(str(lm.device))


@cache
def _import_lazy(module: str) -> None:
    """Import what a module imports anywhere in it, and the same for those of its own package that it imports."""
    try:
        source = inspect.getsource(importlib.import_module(module))
    except (OSError, TypeError, ImportError):
        return
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{package}.{node.module}" if node.level == 1 and package else node.module or ""]
        else:
            continue
        for name in filter(None, names):
            with suppress(Exception):  # one that is missing is missed by the method, if it ever comes to it
                importlib.import_module(name)
                if package and name.startswith(f"{package}."):
                    _import_lazy(name)


@cache
def _set_up(device: str) -> None:
    """Take one step of an optimiser on a product of matrices."""
    state = torch.get_rng_state()
    weight = torch.ones(8, 8, device=device, requires_grad=True)
    adam = torch.optim.Adam([weight], lr=0.0)
    with torch.enable_grad():
        (weight @ weight).sum().backward()  # type: ignore[no-untyped-call]
    adam.step()
    torch.set_rng_state(state)

"""Terms of a built-in model: whether they were accepted here, remembered beside the model. Torch-free."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from editbench.base.files import CACHE, replace_file
from editbench.base.parsing import parse_json
from editbench.cache import cache_folder
from editbench.errors import BadModel, StoreError
from editbench.models.builtin_models import BUILTIN, DEFAULT, BuiltinModel, Terms

_YES = ("1", "true", "yes")


def waiting_for(names: Iterable[str]) -> list[BuiltinModel]:
    """Return the built-in models of these names whose terms nobody has accepted here yet, each once."""
    found = (BUILTIN[name] for name in dict.fromkeys(names) if name in BUILTIN)
    return [model for model in found if model.terms is not None and not _accepted(model, model.terms)]


def check_terms(names: Iterable[str]) -> None:
    """Raise :class:`BadModel` for a built-in model among these names whose terms nobody has accepted here yet.

    A variable of the environment that accepts them is remembered from then on.
    """
    for model in waiting_for(names):
        assert model.terms is not None
        raise BadModel(
            f"{model.name} ({model.title}) comes under the {model.terms.name}, which nobody has accepted here yet.",
            f"Read them: {model.terms.url}",
            f"If you accept them: export {model.terms.variable}=1. A model without terms: --models {DEFAULT}",
        )


def accept(model: BuiltinModel, how: str) -> None:
    """Remember that a model's terms were accepted, and how; of no effect for a model without terms.

    Where the cache cannot be written, it holds for this process and those it starts.
    """
    if model.terms is None:
        return
    about = {"name": model.terms.name, "url": model.terms.url, "dated": model.terms.dated}
    about |= {"accepted": datetime.now(UTC).isoformat(timespec="seconds"), "how": how}
    try:
        replace_file(_path(model), json.dumps(about, indent=2).encode() + b"\n", instead=CACHE)
    except StoreError:
        os.environ[model.terms.variable] = _YES[0]


def _accepted(model: BuiltinModel, terms: Terms) -> bool:
    if _remembered(model, terms):
        return True
    said = os.environ.get(terms.variable, "").strip().lower() in _YES
    if said:
        accept(model, f"{terms.variable} in the environment")
    return said


def _remembered(model: BuiltinModel, terms: Terms) -> bool:
    """Return whether exactly these terms were accepted; a file that cannot be read says nothing."""
    try:
        about = parse_json(_path(model).read_bytes())
        return (about["name"], about["dated"]) == (terms.name, terms.dated)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _path(model: BuiltinModel) -> Path:
    return cache_folder() / "models" / f"{model.folder_name}.terms.json"

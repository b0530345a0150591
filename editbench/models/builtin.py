"""What a model may be called, checked without loading anything."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from editbench.errors import BadModel
from editbench.models.builtin_models import BUILTIN

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_ACCEPTED = f"Expected {', '.join(BUILTIN)}, a hub id (organisation/name), a model folder or a .gguf file."


def check_model_name(name: str) -> None:
    """Refuse, without loading anything, a name that cannot be a model.

    Raises :class:`BadModel` for an unknown alias, a path that is not there, and a folder that holds no model.
    """
    if name in BUILTIN:
        return
    path = Path(name).expanduser()
    if name and path.is_dir():
        _check_folder(name, path)
    elif name and path.is_file():
        if path.suffix.lower() != ".gguf":
            raise BadModel(f"{name} is no model: a file must be a .gguf file.", _ACCEPTED)
    elif _is_pathlike(name):
        raise BadModel(f"There is no folder or file {name}.", _ACCEPTED)
    elif not _HUB_ID.fullmatch(name):
        close = difflib.get_close_matches(name.lower(), BUILTIN, n=1, cutoff=0.4)
        raise BadModel(f"There is no model named {name!r}.", f"Did you mean {close[0]}?" if close else "", _ACCEPTED)


def _is_pathlike(name: str) -> bool:
    return name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or name.endswith((".gguf", "/"))


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        adapter = has(folder, "adapter_config.json")
        hint = "It holds a PEFT adapter: merge it into its base model first." if adapter else _ACCEPTED
        raise BadModel(f"{name} is no model folder: no config.json.", hint)
    if has(folder, "*.safetensors"):
        return
    if has(folder, "*.bin") or has(folder, "*.pt"):
        raise BadModel(
            f"{name} has its weights as pickle files only, which can run code when they are opened.",
            "Expected *.safetensors.",
            "Convert them: load the model with transformers where you trust it, and save_pretrained().",
        )
    raise BadModel(f"{name} has a config.json but no weights.", "Expected *.safetensors.")


def has(folder: Path, pattern: str) -> bool:
    """Whether a file of this pattern lies directly in ``folder``."""
    return any(folder.glob(pattern))

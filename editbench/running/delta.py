"""What edits change in a model's weights, as one safetensors file that can be put into the same model again.

For each changed weight the file holds ΔW in float32 under the weight's full name. W + ΔW is rounded, and in a few
places is not bitwise what the edited model had; these are beside it, as ``<name>:places`` and ``<name>:values``. What
the delta belongs to is JSON in the file's metadata, under ``editbench``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editbench.base.files import replace_file
from editbench.errors import BadData, BadModel
from editbench.models.hashes import model_hash

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.plan.runs import RunSpec
    from editbench.plan.settings import Settings

DELTA = "delta.safetensors"
_PLACES, _VALUES = ":places", ":values"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def described(run: RunSpec, scale: int, lm: LM, settings: Settings) -> dict[str, Any]:
    """Return what an edit belongs to, as plain values: base model, method, settings, requests."""
    return {
        "version": 1,
        "cell": run.cell_id(scale),
        "suite": run.suite,
        "model": {
            "name": run.model,
            "revision": run.revision,
            "source": lm.source,
            "dtype": run.dtype,
            "model_hash": lm.model_hash,
            "weights_hash": lm.weights_hash,
        },
        "method": {
            "label": run.label,
            "name": run.method,
            "source_hash": run.source_hash,
            "hparams": settings.values.model_dump(mode="json"),
            "hparams_source": settings.source,
        },
        "dataset": {**run.dataset.model_dump(mode="json"), "hash": run.dataset_hash},
        "scale": scale,
        "seed": run.seed,
        "regime": run.regime,
        "chunk": run.chunk,
    }


def write_delta(path: Path, lm: LM, originals: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the difference between a model's weights now and their ``originals``. Raises :class:`StoreError`."""
    tensors: dict[str, Tensor] = {}
    for name, before in originals.items():
        tensors |= _difference(name, before.cpu(), lm.parameter(name).detach().cpu())
    replace_file(path, save(tensors, metadata={"editbench": json.dumps(about, sort_keys=True)}))


def _difference(name: str, before: Tensor, now: Tensor) -> dict[str, Tensor]:
    delta = now.float() - before.float()
    made = (before + delta).to(now.dtype)
    bits = _BITS[now.element_size()]
    places = (made.contiguous().view(bits) != now.contiguous().view(bits)).flatten().nonzero().flatten()
    found = {name: delta.contiguous()}
    if len(places):
        found |= {name + _PLACES: places, name + _VALUES: now.flatten()[places].clone()}
    return found


def read_about(path: Path) -> dict[str, Any]:
    """Return what a delta's metadata say. Raises :class:`BadData` for a file that is no delta."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["editbench"])
            return about
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadData(
            f"{path} is no delta: {error}.", "Expected a file written by: editbench export --delta"
        ) from error


def apply_delta(model: Any, path: str | Path) -> None:
    """Change a transformers model in place into the edited one, bit for bit.

    Parameters
    ----------
    model: the unedited model, as ``AutoModelForCausalLM.from_pretrained`` gives it, in the delta's dtype.
    path: ``delta.safetensors``, or the folder it lies in.

    Raises :class:`BadModel` for any other model, one that is edited already included, and :class:`BadData` for a file
    that is no delta. The model is then unchanged.
    """
    file = Path(path) / DELTA if Path(path).is_dir() else Path(path)
    about = read_about(file)
    _refuse_other_base(model, about["model"])
    with safe_open(file, framework="pt") as opened, torch.no_grad():
        names = set(opened.keys())
        for name in sorted(names):
            if not name.endswith((_PLACES, _VALUES)):
                parameter = model.get_parameter(name)
                made = (parameter.data + opened.get_tensor(name).to(parameter.device)).to(parameter.dtype)
                if name + _PLACES in names:
                    places, values = (opened.get_tensor(name + end).to(made.device) for end in (_PLACES, _VALUES))
                    made.view(-1)[places] = values
                parameter.data.copy_(made)


def _refuse_other_base(model: Any, base: Mapping[str, Any]) -> None:
    dtype = str(model.dtype).removeprefix("torch.")
    named = base["name"] + (f" at {base['revision']}" if base["revision"] else "")
    if dtype != base["dtype"]:
        raise BadModel(
            f"This delta was made for {named} in {base['dtype']}; the model is in {dtype}.",
            hint=f"Load it with dtype=torch.{base['dtype']}.",
        )
    found = model_hash(model)
    if found != base["model_hash"]:
        raise BadModel(
            f"This delta was made for other weights than the model's: hash {found[:12]}.",
            f"Expected {named}, unedited: hash {base['model_hash'][:12]}.",
            "Load that model anew, and apply the delta once.",
        )

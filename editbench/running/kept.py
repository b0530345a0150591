"""Edits as files: what a run keeps of a cell's edits, and what an export writes, to be put into the same model again.

``edit.safetensors`` holds, for each changed weight, ΔW in float32 under the weight's full name. W + ΔW is rounded, and
in a few places is not bitwise what the edited model had; these are beside it, as ``<name>:places`` and
``<name>:values``. Low-rank changes are there as their factors, modules and contexts as the tensors and values that they
are made from, in order, as ``edit:<number>:<name>``. What the edit belongs to is JSON in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.base.data import read_about, read_data, write_data
from editbench.edits import EDIT_FILE, KINDS
from editbench.errors import BadData, BadModel, StoreError, UserError
from editbench.ledger import Ledger
from editbench.models.hashes import model_hash
from editbench.plan.held import read_closure
from editbench.plan.registry import load_method

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.plan.runs import Run
    from editbench.plan.settings import Settings
    from editbench.running.editing import Editing

# Folder beside an exported edit that holds the source of a method given by its file.
SOURCE = "source"
_PLACES, _VALUES = ":places", ":values"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def described(run: Run, scale: int, lm: LM, settings: Settings) -> dict[str, Any]:
    """Return what an edit belongs to, as plain values: base model, method, settings, requests."""
    return {
        "version": 2,
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
            "hparams_sources": {name: str(origin) for name, origin in settings.origins.items()},
        },
        "dataset": {**run.dataset.model_dump(mode="json"), "hash": run.dataset_hash},
        "scale": scale,
        "seed": run.seed,
        "regime": run.regime,
        "chunk": run.chunk,
    }


def keep_edit(folder: Path, editing: Editing, scale: int) -> None:
    """Write the edits in the model into a folder. Raises :class:`StoreError`."""
    job = editing.job
    about = described(job.run, scale, job.lm, job.settings[scale])
    write_edit(folder / EDIT_FILE, editing.stream.ledger, about)


def write_edit(path: Path, ledger: Ledger, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write all that is in a model now; return what was written of what it belongs to.

    Raises :class:`StoreError`.
    """
    factors = ledger.only_low_rank
    told = {**about, **contents(ledger)}
    edits = [edit for edit in ledger.edits if factors or edit.kind != "low-rank"]
    data: dict[str, Any] = {}
    for number, edit in enumerate(edits):
        data |= {f"edit:{number}:{name}": value for name, value in edit.data().items()}
    if not factors:
        for name, before in ledger.originals.items():
            data |= _difference(name, before.cpu(), ledger.weight(name).cpu())
    write_data(path, data, told)
    return told


def contents(ledger: Ledger) -> dict[str, Any]:
    """Return what a file of the edits in a model holds: kinds of edits, bytes of each weight's change, bytes in all."""
    factors = ledger.only_low_rank
    kinds = [edit.kind for edit in ledger.edits if factors or edit.kind != "low-rank"]
    weights = {} if factors else {name: ledger.delta_bytes.get(name, 0) for name in ledger.originals}
    return {"edits": kinds, "weights": weights, "nbytes": ledger.nbytes}


def _difference(name: str, before: Tensor, now: Tensor) -> dict[str, Tensor]:
    delta = now.float() - before.float()
    made = (before + delta).to(now.dtype)
    bits = _BITS[now.element_size()]
    places = (made.contiguous().view(bits) != now.contiguous().view(bits)).flatten().nonzero().flatten()
    found = {name: delta.contiguous()}
    if len(places):
        found |= {name + _PLACES: places, name + _VALUES: now.flatten()[places].clone()}
    return found


def edit_file(path: str | Path) -> Path:
    """Return the file of a kept or exported edit: itself, or the one in a folder."""
    return Path(path) / EDIT_FILE if Path(path).is_dir() else Path(path)


def about_edit(path: Path) -> dict[str, Any]:
    """Return what an edit's file says of itself. Raises :class:`BadData` for a file that is no edit."""
    try:
        about = read_about(path)
        about["edits"], about["weights"], about["model"]
    except (StoreError, KeyError, ValueError, TypeError) as error:
        expected = "Expected a file written by: editbench export --delta"
        raise BadData(f"{path} is no edit: {_said(error)}", expected) from error
    return about


def _said(error: Exception) -> str:
    return error.given if isinstance(error, UserError) else f"{error}."


def apply_edit(model: Any, path: str | Path, *, trust_source: bool = False) -> Ledger | None:
    """Put an edit that was kept or exported into the model it was made for, bit for bit.

    Parameters
    ----------
    model: the unedited model in the edit's dtype: as ``AutoModelForCausalLM.from_pretrained`` gives it, or as
        :func:`editbench.load_model` does, which edits with modules or contexts need.
    path: ``edit.safetensors``, or the folder it lies in.
    trust_source: whether the method's source that lies beside the edit may be run, where the edit needs code and the
        method is not installed here.

    Returns
    -------
    For a model from :func:`editbench.load_model` the ledger that takes the edit out again; else None.

    Raises :class:`BadModel` for any other model, one that is edited already included, :class:`BadData` for a file that
    is no edit, :class:`UserError` where its code is not to be had. The model is then unchanged.
    """
    file = edit_file(path)
    about = about_edit(file)
    lm = model if hasattr(model, "layout") and hasattr(model, "model") else None
    inner = model if lm is None else lm.model
    _refuse_other_base(inner, about["model"])
    needs_code = [kind for kind in about["edits"] if kind != "low-rank"]
    if lm is None and needs_code:
        raise BadModel(
            f"This edit is one of {needs_code[0]}: a plain transformers model has no place for it.",
            hint=f"Load the model with editbench.load_model({about['model']['name']!r}).",
        )
    home = _home(file.parent, about, trust=trust_source) if needs_code else ""
    ledger = Ledger(_bare(inner) if lm is None else lm)
    put_back(ledger, file, home)
    return ledger if lm is not None else None


def put_back(ledger: Ledger, file: Path, home: str) -> None:
    """Put into an unedited model what :func:`write_edit` wrote of the same one. ``home``: the module of the method."""
    data, about = read_data(file)
    ledger.keep_those_there(about["weights"])
    for number, kind in enumerate(about["edits"]):
        own = f"edit:{number}:"
        part = {name.removeprefix(own): value for name, value in data.items() if name.startswith(own)}
        edit = KINDS[kind].made_from(part, home)
        edit.put_into(ledger)
        ledger.edits.append(edit)
    for name in about["weights"]:
        _put_weight(ledger, name, data)
    ledger.note_weights(about["weights"])


@torch.no_grad()
def _put_weight(ledger: Ledger, name: str, data: Mapping[str, Any]) -> None:
    parameter = ledger.keep_original(name)
    made = (parameter.data + data[name].to(parameter.device)).to(parameter.dtype)
    if name + _PLACES in data:
        places, values = (data[name + end].to(made.device) for end in (_PLACES, _VALUES))
        made.view(-1)[places] = values
    parameter.data.copy_(made)


def _bare(model: Any) -> Any:
    """Return as much of an LM around a transformers model as changes of weights need."""
    from editbench.models.layout import find_layout, shape_of
    from editbench.models.lm import LM

    layout = find_layout(model)
    return LM(model, None, layout, shape_of(model, layout))  # type: ignore[arg-type]


def _home(folder: Path, about: Mapping[str, Any], *, trust: bool) -> str:
    """Return the module of the method that made an edit: installed here with the same source, or beside the edit."""
    name, wanted = about["method"]["name"], about["method"]["source_hash"]
    try:
        if read_closure(name).hash == wanted:
            return load_method(name, wanted).__module__
    except UserError:
        pass
    beside = sorted((folder / SOURCE).rglob("*.py"))
    if not beside:
        raise UserError(
            f"The code of this edit is not here: {name}, with the source hash {wanted[:12]}.",
            "Install the package of the method, in the version that made the edit.",
        )
    if not trust:
        raise UserError(
            f"This edit is made again by code that came with it: {folder / SOURCE}.",
            "Look at it; it runs only if you trust it.",
            "--trust-remote-code, or editbench.apply_edit(…, trust_source=True)",
        )
    asked = Path(name.rpartition(":")[0]).name
    file = next((path for path in beside if path.name == asked), beside[0])
    return load_method(f"{file}:{name.rpartition(':')[2]}").__module__


def _refuse_other_base(model: Any, base: Mapping[str, Any]) -> None:
    dtype = str(model.dtype).removeprefix("torch.")
    named = base["name"] + (f" at {base['revision']}" if base["revision"] else "")
    if dtype != base["dtype"]:
        raise BadModel(
            f"This edit was made for {named} in {base['dtype']}; the model is in {dtype}.",
            hint=f"Load it with dtype=torch.{base['dtype']}.",
        )
    found = model_hash(model)
    if found != base["model_hash"]:
        raise BadModel(
            f"This edit was made for other weights than the model's: hash {found[:12]}.",
            f"Expected {named}, unedited: hash {base['model_hash'][:12]}.",
            "Load that model anew, and apply the edit once.",
        )

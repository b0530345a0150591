"""Makes an edit as the runner makes it, without measuring, and writes the edited model or the edit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import explained, pretty_json, replace_file
from editbench.base.progress import Progress, clock, run_label
from editbench.cache import Cache
from editbench.edits import EDIT_FILE
from editbench.errors import EditbenchError, UserError
from editbench.models.builtin_models import BUILTIN
from editbench.models.fetched import kept_terms
from editbench.models.quiet import quiet
from editbench.plan.address import is_file_address
from editbench.plan.held import read_closure
from editbench.results.store import Store
from editbench.running.adapter import write_adapter
from editbench.running.editing import Editing, Files, chunks, out_of_memory
from editbench.running.job import Job
from editbench.running.kept import SOURCE, about_edit, apply_edit, contents, described, write_edit
from editbench.running.loaded import Loaded
from editbench.running.runner import verdict

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.ledger import Ledger
    from editbench.models.lm import LM
    from editbench.plan.runs import Run, RunOptions

ABOUT = "editbench.json"


class Exporter:
    """Carries one run to one scale and writes what is then in the model.

    Parameters
    ----------
    dataset: where requests come from.
    root: the results folder in which a kept edit may lie.
    options: device, dtype and the like.
    progress: what is told how far it is.
    work: folder for the state of an edit under way.
    """

    def __init__(self, dataset: Dataset, root: Path, options: RunOptions, progress: Progress, work: Path) -> None:
        self.dataset, self.store, self.options, self.progress, self.work = dataset, Store(root), options, progress, work
        self.loaded = Loaded(options, progress.stage)

    def export(self, run: Run, scale: int, folder: Path, *, delta: bool) -> dict[str, Any]:
        """Write the edited model, or only the edit, into a new folder, and return what the edit belongs to.

        Raises :class:`UserError` where the edit cannot be made.
        """
        self.progress.begin_run(run_label(*run.key))
        kept = self._kept(run, scale)
        if kept is not None and delta and not (about := about_edit(kept))["edits"]:
            with explained(folder):
                folder.mkdir()
                shutil.copyfile(kept, folder / EDIT_FILE)
            write_readme(folder, about)
            write_notice(folder, run.model)
            self.progress.cell_done(scale, "exported", "as the run kept it")
            return about
        lm = self.loaded.get(run.model, run.revision, run.protocol.eos)
        if kept is not None:
            ledger = apply_edit(lm, kept, trust_source=self.options.trust_remote_code)
            about, spent = about_edit(kept), "as the run kept it"
        else:
            _ = lm.model_hash  # before the edit, for that is what it is held against
            editing = self._edited(run, lm, scale)
            ledger, spent = editing.stream.ledger, f"edit {clock(editing.stream.edit_s)}"
            about = described(run, scale, lm, editing.job.settings[scale])
        assert ledger is not None
        self.progress.stage("writing")
        about = {**about, **contents(ledger)}
        about = write_delta(folder, ledger, about) if delta else write_model(folder, lm, about)
        write_notice(folder, run.model)
        self.progress.cell_done(scale, "exported", spent)
        return about

    def _kept(self, run: Run, scale: int) -> Path | None:
        """Return the file in which the run of this very cell kept its edit, if there is one."""
        path = self.store.cell_folder(run, scale) / EDIT_FILE
        if not path.is_file() or self.store.cell(run, scale) is None:
            return None
        return path if about_edit(path).get("cell") == run.cell_id(scale) else None

    def _edited(self, run: Run, lm: LM, scale: int) -> Editing:
        """Return the stream with all requests in the model, which goes on where an earlier attempt has come to.

        Raises :class:`UserError`.
        """
        job = Job.resolved(run, lm, self.dataset, Cache())
        if job.unsupported is not None:
            raise UserError(f"{run.label} cannot edit {run.model}: {job.unsupported}.")
        cuts = chunks(run.stream, run.chunk) if run.regime == "sequential" else [(0, scale)]
        try:
            editing = Editing(job, scale, Files.within(self.work, f"-{lm.weights_hash[:12]}"), self.progress)
            for _ in editing.stops(cuts, [scale]):
                pass
        except UserError:
            raise
        except Exception as error:
            if not isinstance(error, EditbenchError) and not out_of_memory(error):
                raise
            status, reason = verdict(error)
            raise UserError(
                f"{run.label} did not finish editing {run.model}: {status}: {reason}.",
                "Only an edit that was made can be exported.",
                "Give a smaller --scale.",
            ) from error
        return editing


def write_delta(folder: Path, ledger: Ledger, about: dict[str, Any]) -> dict[str, Any]:
    """Write only the edit: the file that ``apply_edit`` reads, and what to do with it.

    Beside it an adapter for peft where all changes are low-rank, and the method's source if that was given by its file.
    """
    told = write_edit(folder / EDIT_FILE, ledger, about)
    if ledger.only_low_rank:
        write_adapter(folder, ledger, about["model"]["name"])
    if is_file_address(about["method"]["name"]):
        _write_source(folder / SOURCE, about["method"]["name"])
    write_readme(folder, told)
    return told


def write_notice(folder: Path, model: str) -> None:
    """Write what has to stand beside whatever is made from a built-in model under terms, and those if they are here.

    Of no effect for other models.
    """
    terms = BUILTIN[model].terms if model in BUILTIN else None
    if terms is None:
        return
    text = f"{terms.notice}.\n\nThis is no original: it was made with editbench by editing {BUILTIN[model].title}.\n"
    with explained(folder):
        (folder / "NOTICE").write_text(text, encoding="utf-8")
        for file in kept_terms(BUILTIN[model]):
            shutil.copyfile(file, folder / file.name)


def _write_source(folder: Path, method: str) -> None:
    """Write the method's file, and the siblings that it imports, as they were read when the run was planned."""
    closure = read_closure(method)
    root = closure.address.root or closure.address.path.parent
    for source in closure.sources.values():
        if source.path.is_relative_to(root):
            replace_file(folder / source.path.relative_to(root), source.content)


def write_model(folder: Path, lm: LM, about: dict[str, Any]) -> dict[str, Any]:
    """Write a model, its tokeniser and generation settings in hub layout, in the dtype it is held in."""
    with explained(folder), quiet():
        folder.mkdir()
        lm.model.save_pretrained(folder)
        lm.text.tokenizer.save_pretrained(folder)
        (folder / ABOUT).write_bytes(pretty_json(about))
        for file in folder.iterdir():
            file.chmod(0o644)  # transformers makes the weights readable to their owner alone
    return about


_README = """\
# {label}: {edits} of {model}

`edit.safetensors` holds {what}.
It belongs to these very weights, loaded in {dtype}, and to no others:

```python
{loading}
editbench.apply_edit(model, "edit.safetensors")
```

`apply_edit` refuses any other model, and gives the edited one bit for bit.
{more}
What it was made from, as in the file's metadata:

```json
{about}
```
"""
_WEIGHTS = "the difference between the edited model and {model}, in float32, for each weight that changed"
_OTHERS = "what the edit puts into {model}: {kinds}, as the tensors and values they are made from"
_ADAPTER = """
The same change is an adapter for peft: `PeftModel.from_pretrained(model, FOLDER)`.
"""
_CODE = """
The code that makes it again is the method's: `{method}`{beside}.
"""
_TRANSFORMERS = """\
import editbench, torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained({name!r}, {revision}dtype=torch.{dtype})"""
_OURS = """\
import editbench

model = editbench.load_model({name!r}, dtype={dtype!r})"""


def write_readme(folder: Path, about: dict[str, Any]) -> None:
    """Write what an edit is and how it is applied beside it."""
    base, kinds = about["model"], about["edits"]
    coded = [kind for kind in kinds if kind != "low-rank"]
    ours = bool(coded) or base["name"] in BUILTIN or base["name"].endswith(".gguf")
    commit = base["source"].partition(f"{base['name']}@")[2] or base["revision"]
    revision = f"revision={commit!r}, " if commit else ""
    beside = ", in `source/`, which runs only with `trust_source=True`" if (folder / SOURCE).is_dir() else ""
    text = _README.format(
        label=about["method"]["label"],
        edits="1 edit" if about["scale"] == 1 else f"{about['scale']:,} edits",
        model=base["name"],
        what=(_OTHERS if kinds else _WEIGHTS).format(model=base["name"], kinds=", ".join(dict.fromkeys(kinds))),
        dtype=base["dtype"],
        loading=(_OURS if ours else _TRANSFORMERS).format(name=base["name"], revision=revision, dtype=base["dtype"]),
        more=_CODE.format(method=about["method"]["name"], beside=beside) if coded else _ADAPTER if kinds else "",
        about=pretty_json(about).decode().strip(),
    )
    with explained(folder):
        (folder / "README.md").write_text(text, encoding="utf-8")

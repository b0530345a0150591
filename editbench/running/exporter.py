"""Makes an edit as the runner makes it, without measuring, and writes the edited model or the difference."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from editbench.base.files import explained, pretty_json
from editbench.base.progress import Progress, clock, run_label
from editbench.cache import Cache
from editbench.datasets import ordered
from editbench.errors import EditbenchError, UserError
from editbench.models.builtin import ALIASES, quiet
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.results.store import Store
from editbench.running.delta import DELTA, apply_delta, described, read_about, write_delta
from editbench.running.job import Job
from editbench.running.runner import CHECKPOINT_SECONDS, Runner, chunks, verdict
from editbench.running.stream import Stream, checkpoint_position

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.runs import RunOptions, RunSpec

ABOUT = "editbench.json"


class Exporter(Runner):
    """Carries one run to one scale and writes what is then in the model.

    Parameters
    ----------
    dataset: where requests come from.
    root: the results folder in which a kept edit may lie.
    options: device, dtype and the like.
    progress: what is told how far it is.
    work: folder for the state of an edit under way.
    """

    edit_share = 1.0  # there is nothing else to do

    def __init__(self, dataset: Dataset, root: Path, options: RunOptions, progress: Progress, work: Path) -> None:
        super().__init__(dataset, Store(root), options, progress, Cache())
        self.work = work

    def export(self, run: RunSpec, scale: int, folder: Path, *, delta: bool) -> dict[str, Any]:
        """Write the edited model, or only its delta, into a new folder, and return what the edit belongs to.

        Raises :class:`UserError` where the edit cannot be made, or is none of weights.
        """
        self.progress.begin_run(run_label(*run.key))
        kept = self._kept(run, scale)
        if kept is not None and delta:
            about = read_about(kept)
            with explained(folder):
                folder.mkdir()
                shutil.copyfile(kept, folder / DELTA)
            write_readme(folder, about)
            self.progress.cell_done(scale, "exported", "as the run kept it")
            return about
        lm = self._model(run)
        if kept is not None:
            about = read_about(kept)
            apply_delta(lm.model, kept)
            write_model(folder, lm, about)
            self.progress.cell_done(scale, "exported", "as the run kept it")
            return about
        job = self._resolved(run, lm, scale)
        _ = lm.model_hash  # before the edit, for that is what it is held against
        stream = self._edited(job, scale)
        about = described(run, scale, lm, job.settings)
        self.progress.stage("writing")
        if delta:
            write_delta(folder / DELTA, lm, stream.originals, about)
            write_readme(folder, about)
        else:
            write_model(folder, lm, about)
        self.progress.cell_done(scale, "exported", f"edit {clock(stream.edit_s)}")
        return about

    def _kept(self, run: RunSpec, scale: int) -> Path | None:
        """Return the file in which the run of this very cell kept its edit, if there is one."""
        path = self.store.cell_folder(run, scale) / DELTA
        if not path.is_file() or self.store.cell(run, scale) is None:
            return None
        return path if read_about(path).get("cell") == run.cell_id(scale) else None

    def _resolved(self, run: RunSpec, lm: LM, scale: int) -> Job:
        """Resolve the method for the model. Raises :class:`UserError` if it cannot be used here."""
        method = load_method(run.method, run.source_hash)
        settings = settings_for(method, lm.shape, run.hparams)
        reason = method(settings.values).supports(lm)
        if reason is not None:
            raise UserError(f"{run.label} cannot edit {run.model}: {reason}.")
        return Job(run, lm, method, settings, ordered(self.dataset, scale, run.seed), self.cache)

    def _edited(self, job: Job, scale: int) -> Stream:
        """Return the stream with all requests in the model. Raises :class:`UserError`."""
        try:
            self.progress.stage("preparing")
            stream = Stream(job.lm, job.new_method(self._report_preparing))
            self._write_all(job, stream, scale)
        except UserError:
            raise
        except (EditbenchError, MemoryError, torch.OutOfMemoryError) as error:
            status, reason = verdict(error)
            raise UserError(
                f"{job.run.label} did not finish editing {job.run.model}: {status}: {reason}.",
                "Only an edit that was made can be exported.",
                "Give a smaller --scale.",
            ) from error
        return stream

    def _write_all(self, job: Job, stream: Stream, scale: int) -> None:
        """Write the same chunks as the runner, and go on where an attempt that was cut off has come to."""
        run = job.run
        cuts = chunks(run.stream, run.chunk) if run.regime == "sequential" else [(0, scale)]
        weights = job.lm.weights_hash[:12]
        checkpoint, savepoint = (self.work / f"{name}-{weights}.safetensors" for name in ("checkpoint", "edit"))
        if checkpoint_position(checkpoint) is not None:
            stream.resume(checkpoint)
        saved_at = time.monotonic()
        for start, stop in cuts:
            if stop > scale or start < stream.done:
                continue
            self._write(job, stream, (start, stop), scale, savepoint)
            _refuse_other_kinds(job, stream)
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                stream.save(checkpoint)
                saved_at = time.monotonic()


def _refuse_other_kinds(job: Job, stream: Stream) -> None:
    if not stream.adds_nothing_to_run:
        raise UserError(
            f"The edits of {job.run.label} cannot be exported as weights.",
            "They add modules to the model or a text to each prompt; a plain transformers model has no place for them.",
            "They can be measured all the same: editbench run",
        )


def write_model(folder: Path, lm: LM, about: dict[str, Any]) -> None:
    """Write a model, its tokeniser and generation settings in hub layout, in the dtype it is held in."""
    with explained(folder), quiet():
        folder.mkdir()
        lm.model.save_pretrained(folder)
        lm.text.tokenizer.save_pretrained(folder)
        (folder / ABOUT).write_bytes(pretty_json(about))
        for file in folder.iterdir():
            file.chmod(0o644)  # transformers makes the weights readable to their owner alone


_README = """\
# {label}: {edits} of {model}

`delta.safetensors` holds the difference between the edited model and {model}, in float32, for each weight that changed.
It belongs to these very weights, loaded in {dtype}, and to no others:

```python
{loading}
editbench.apply_delta(model, "delta.safetensors")
```

`apply_delta` refuses any other model, and gives the edited one bit for bit.

What it was made from, as in the file's metadata:

```json
{about}
```
"""
_TRANSFORMERS = """\
import editbench, torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained({name!r}, {revision}dtype=torch.{dtype})"""
_OURS = """\
import editbench
from editbench.models.load import load_lm

model = load_lm({name!r}, dtype={dtype!r}).model"""


def write_readme(folder: Path, about: dict[str, Any]) -> None:
    """Write what a delta is and how it is applied beside it."""
    base = about["model"]
    ours = base["name"] in ALIASES or base["name"].endswith(".gguf")
    commit = base["source"].partition(f"{base['name']}@")[2] or base["revision"]
    revision = f"revision={commit!r}, " if commit else ""
    loading = (_OURS if ours else _TRANSFORMERS).format(name=base["name"], revision=revision, dtype=base["dtype"])
    text = _README.format(
        label=about["method"]["label"],
        edits="1 edit" if about["scale"] == 1 else f"{about['scale']:,} edits",
        model=base["name"],
        dtype=base["dtype"],
        loading=loading,
        about=pretty_json(about).decode().strip(),
    )
    with explained(folder):
        (folder / "README.md").write_text(text, encoding="utf-8")

"""Measures a model that was edited elsewhere, as the runner measures its own: same questions, records and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editbench.base.progress import ALREADY_THERE, Progress, run_label
from editbench.cache import Cache
from editbench.datasets import ordered
from editbench.errors import BadModel, StoreError, UserError
from editbench.measure.collapse import general_text
from editbench.method import Edit, Method, WeightEdit
from editbench.plan.settings import Settings
from editbench.running.job import Job
from editbench.running.runner import Runner, verdict
from editbench.running.stream import Stream

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.runs import Plan, RunOptions, RunSpec
    from editbench.requests import Request
    from editbench.results.store import Store


class Elsewhere(Method):
    """Stands in the place of whatever edited a model elsewhere: all its requests are in the model already."""

    name = "scored"

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Write nothing more."""
        return WeightEdit()


@dataclass
class Arrived(Stream):
    """A model at the end of a stream that nobody here has seen.

    Attributes
    ----------
    squares: weight name -> sums of squares of ΔW and of the unedited W, of the weights that differ; None if the
        unedited model is not known.
    same_parts: whether its weights have the unedited model's names and shapes.
    """

    squares: Mapping[str, tuple[float, float]] | None = None
    same_parts: bool = False

    @property
    def changed(self) -> bool:
        """Whether it differs from the unedited model, as far as anybody knows."""
        return not self.same_parts or self.squares is None or bool(self.squares)

    @property
    def adds_nothing_to_run(self) -> bool:
        """Whether it computes what the unedited model does, with other weights at most."""
        return self.same_parts

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent here; what the edit took is not known."""
        return {"look_s": self.look_s}

    def _squares(self) -> dict[str, tuple[float, float]]:
        return dict(self.squares or {})

    def facts(self) -> dict[str, float]:
        """Return the norms over the weights that differ, if the unedited ones are known; never the bytes of an edit."""
        if self.squares is None:
            return {}
        return {name: value for name, value in super().facts().items() if name != "nbytes"}


@dataclass(frozen=True)
class _Unedited:
    """What is kept of the unedited model: what it said, and how the scored one differs from it."""

    job: Job
    squares: Mapping[str, tuple[float, float]] | None = None
    same_parts: bool = field(default=False)


class Scorer(Runner):
    """Carries out a run whose model was edited elsewhere."""

    def carry_out(self, run: RunSpec) -> None:
        """Measure the model, unless that is done. Raises :class:`BadModel` or :class:`StoreError`."""
        assert run.scored is not None
        [scale] = run.scales
        lm = self._model(replace(run, model=run.scored.name, revision=run.scored.revision))
        self._refuse_another(run, scale, lm)
        if not self._missing(run):
            status = self.store.cell_status(run, scale)
            self.progress.cell_done(scale, str(status), ALREADY_THERE)
            return
        unedited = self._questioned(run, scale, lm)
        self._loaded = ((run.scored.name, run.scored.revision, run.protocol.eos), lm)
        with self.store.lock(run):
            self._refuse_another(run, scale, lm)
            if not self._missing(run):
                return
            self._note(run, scale, lm)
            job = replace(unedited.job, lm=lm)
            stream = Arrived(lm, Elsewhere(), job.reference, done=scale)
            stream.squares, stream.same_parts = unedited.squares, unedited.same_parts
            stream.look()
            self._measure(job, stream, scale)

    def _questioned(self, run: RunSpec, scale: int, scored: LM) -> _Unedited:
        """Ask the unedited model what it is asked, and note how the scored one differs from it."""
        assert run.scored is not None
        requests = ordered(self.dataset, scale, run.seed)
        settings = Settings(Elsewhere.Hparams(), "")
        if not run.scored.compared:
            with self.store.lock(run):
                self._write_manifest(run, scored, None)
                self._note_capability(run, self.capability.without_baseline(run, [scale]))
            return _Unedited(Job(run, scored, Elsewhere, settings, requests, self.cache, unedited={scale: []}))
        place = scored.device
        self._move(scored, torch.device("cpu"))
        lm = self._model(run)
        refuse_other_tokens(scored, lm)
        with self.store.lock(run):
            self._refuse_other_weights(run, lm)
            self._write_manifest(run, lm, None)
        job = Job(run, lm, Elsewhere, settings, requests, self.cache)
        self._ask_unedited(job, [scale])
        found = _Unedited(replace(job, lm=scored), *differences(scored, lm))
        self._loaded = self._unedited = None
        self._move(scored, place)
        return found

    def _move(self, lm: LM, place: torch.device) -> None:
        """Bring a model to a device, so that two need not fit there; what accelerate has spread stays where it is."""
        if self.options.device_map is None:
            lm.model.to(place)

    def _refuse_another(self, run: RunSpec, scale: int, lm: LM) -> None:
        """Raise :class:`StoreError` if this label's results at this scale are another model's."""
        known = (self.store.manifest(run) or {}).get("scored", {}).get(str(scale))
        if known is not None and known["weights_hash"] != lm.weights_hash:
            raise StoreError(
                f"{run.label} at {scale:,} is already the result of other weights, from {known['source']}.",
                f"Given: {lm.source}",
                f"Give another --label, or remove {self.store.run_folder(run)}.",
            )

    def _note(self, run: RunSpec, scale: int, lm: LM) -> None:
        """Write into the manifest which model was scored at this scale."""
        found = self.store.manifest(run) or {}
        about = {
            "name": lm.name,
            "source": lm.source,
            "weights_hash": lm.weights_hash,
            "shape": lm.shape.as_dict(),
            "compared": run.scored is not None and run.scored.compared,
        }
        self.store.write_manifest(run, {**found, "scored": {**found.get("scored", {}), str(scale): about}})

    def _write_manifest(self, run: RunSpec, lm: LM | None, settings: Settings | None) -> None:
        scored = (self.store.manifest(run) or {}).get("scored", {})
        super()._write_manifest(run, lm, settings)
        self.store.write_manifest(run, {**(self.store.manifest(run) or {}), "scored": scored})


def score(
    plan: Plan, dataset: Dataset, store: Store, options: RunOptions, progress: Progress, cache: Cache | None = None
) -> None:
    """Carry out a plan whose one run scores a model.

    Raises :class:`UserError` if a model cannot be loaded or compared, or if results cannot be written; what else goes
    wrong is recorded with its status.
    """
    [run] = plan.runs
    scorer = Scorer(dataset, store, options, progress, cache or Cache())
    progress.begin_run(run_label(*run.key))
    try:
        scorer.carry_out(run)
    except UserError:
        raise
    except Exception as error:
        with store.lock(run):
            scorer.give_up(run, *verdict(error))
    finally:
        progress.end_run()


def refuse_other_tokens(scored: LM, unedited: LM) -> None:
    """Raise :class:`BadModel` unless two models read the same text as the same tokens."""
    one, other = scored.text, unedited.text
    same = one.tokenizer.get_vocab() == other.tokenizer.get_vocab() and scored.shape.vocab == unedited.shape.vocab
    if not same or one.prompts([general_text()]) != other.prompts([general_text()]):
        raise BadModel(
            f"{scored.name} and {unedited.name} have different tokenisers or vocabularies.",
            "What they say can be compared only token by token.",
            "Give the model it was made from with --unedited MODEL, or leave that out.",
        )


def differences(scored: LM, unedited: LM) -> tuple[dict[str, tuple[float, float]], bool]:
    """Return the sums of squares of ΔW and W of the weights that differ, and whether all names and shapes are equal."""
    before, now = dict(unedited.model.named_parameters()), dict(scored.model.named_parameters())
    shared = [name for name, tensor in before.items() if name in now and now[name].shape == tensor.shape]
    pairs = ((name, _squares(before[name].detach(), now[name].detach())) for name in shared)
    found = {name: squares for name, squares in pairs if squares[0] != 0}
    return found, len(shared) == len(before) == len(now)


def _squares(before: Tensor, now: Tensor) -> tuple[float, float]:
    was = before.cpu().float()
    return float((now.cpu().float() - was).square().sum()), float(was.square().sum())

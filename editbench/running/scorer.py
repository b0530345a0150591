"""Measures a model that was edited elsewhere, or loaded with an exported edit: same questions, records and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editbench.base.progress import ALREADY_THERE, Progress, run_label
from editbench.cache import Cache
from editbench.datasets import ordered
from editbench.edits import EDIT_FILE
from editbench.errors import BadModel, StoreError, UserError
from editbench.measure.collapse import general_text, perplexity
from editbench.measure.facts import EditFacts
from editbench.measure.measuring import Measuring
from editbench.metrics.collapse import Pulse
from editbench.running.kept import about_edit, apply_edit
from editbench.running.runner import Runner, failure
from editbench.running.score import is_edit
from editbench.running.stream import relative_norm

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.ledger import Ledger
    from editbench.models.lm import LM
    from editbench.plan.runs import Plan, Run, RunOptions
    from editbench.results.manifest import ByScale
    from editbench.results.store import Store

Squares = Mapping[str, tuple[float, float]]


class Scorer(Runner):
    """Carries out a run whose model was edited elsewhere."""

    def carry_out(self, run: Run) -> None:
        """Measure the model, unless that is done. Raises :class:`BadModel` or :class:`StoreError`."""
        assert run.scored is not None
        if is_edit(run.scored.name):
            self._measure_edit(run, Path(run.scored.name).expanduser())
            return
        [scale] = run.scales
        lm = self.loaded.get(run.scored.name, run.scored.revision, run.protocol.eos)
        if self._there(run, scale, lm.weights_hash, lm.source):
            return
        measuring = Measuring(run, ordered(self.dataset, scale, run.seed), self.kit)
        if run.scored.compared:
            squares, same_parts = self._ask_unedited(measuring, lm)
        else:
            squares, same_parts = None, False
            with self.store.lock(run):
                self.write_manifest(run, lm, None)
                measuring.without_unedited([scale])
        known = squares is not None
        facts = EditFacts(
            requests=scale,
            changed=not (same_parts and known) or bool(squares),
            computes_otherwise=not same_parts,
            size=_norms(squares) if squares is not None else {},
            modules={name: relative_norm(*pair) for name, pair in (squares or {}).items()},
        )
        self._measured(measuring, lm, facts, {"source": lm.source, "weights_hash": lm.weights_hash})

    def _measure_edit(self, run: Run, folder: Path) -> None:
        """Put an exported edit into its unedited model, and measure that."""
        [scale] = run.scales
        lm = self.loaded.get(run.model, run.revision, run.protocol.eos)
        about = about_edit(folder / EDIT_FILE)
        source, known = str(folder), {"source": str(folder), "weights_hash": about["cell"]}
        if self._there(run, scale, about["cell"], source):
            return
        measuring = Measuring(run, ordered(self.dataset, scale, run.seed), self.kit)
        with self.store.lock(run):
            self._refuse_other_weights(run, lm)
            self.write_manifest(run, lm, None)
        measuring.ask_unedited(lm, [scale])
        ledger = apply_edit(lm, folder, trust_source=self.options.trust_remote_code)
        assert ledger is not None
        try:
            self._measured(measuring, lm, _facts(ledger, scale), known)
        finally:
            ledger.revert()

    def _there(self, run: Run, scale: int, weights_hash: str, source: str) -> bool:
        """Whether this very model has been measured; raises :class:`StoreError` if another one has."""
        self._refuse_another(run, scale, weights_hash, source)
        if self._missing(run):
            return False
        self.progress.cell_done(scale, str(self.store.cell_status(run, scale)), ALREADY_THERE)
        return True

    def _measured(self, measuring: Measuring, lm: LM, facts: EditFacts, known: Mapping[str, str]) -> None:
        """Measure a model and write the cell."""
        run = measuring.run
        [scale] = run.scales
        with self.store.lock(run):
            self._refuse_another(run, scale, known["weights_hash"], known["source"])
            if not self._missing(run):
                return
            self._note(run, scale, lm, known)
            try:
                outcome = measuring.measure(lm, _looked_at(lm, facts, measuring), scale)
            except StoreError:
                raise
            except Exception as error:
                outcome = failure(error, edit=facts.size)
            measuring.finish(scale, outcome, lm)

    def _ask_unedited(self, measuring: Measuring, scored: LM) -> tuple[Squares, bool]:
        """Ask the unedited model what it is asked, and return how the scored one differs from it."""
        run = measuring.run
        place = scored.device
        self._move(scored, torch.device("cpu"))
        lm = self.loaded.get(run.model, run.revision, run.protocol.eos)
        refuse_other_tokens(scored, lm)
        with self.store.lock(run):
            self._refuse_other_weights(run, lm)
            self.write_manifest(run, lm, None)
        measuring.ask_unedited(lm, list(run.scales))
        found = differences(scored, lm)
        self.loaded.drop()
        self._move(scored, place)
        return found

    def _move(self, lm: LM, place: torch.device) -> None:
        """Bring a model to a device, so that two need not fit there; what accelerate has spread stays where it is."""
        if self.options.device_map is None:
            lm.model.to(place)

    def _refuse_another(self, run: Run, scale: int, weights_hash: str, source: str) -> None:
        """Raise :class:`StoreError` if this label's results at this scale are another model's."""
        known = (self.store.manifest(run) or {}).get("scored", {}).get(str(scale))
        if known is not None and known["weights_hash"] != weights_hash:
            raise StoreError(
                f"{run.label} at {scale:,} is already the result of other weights, from {known['source']}.",
                f"Given: {source}",
                f"Give another --label, or remove {self.store.run_folder(run)}.",
            )

    def _note(self, run: Run, scale: int, lm: LM, known: Mapping[str, str]) -> None:
        """Write into the manifest which model was scored at this scale."""
        assert run.scored is not None
        found = self.store.manifest(run) or {}
        about = {"name": run.scored.name, **known, "shape": lm.shape.as_dict(), "compared": run.scored.compared}
        self.store.write_manifest(run, {**found, "scored": {**found.get("scored", {}), str(scale): about}})

    def write_manifest(self, run: Run, lm: LM | None, settings: ByScale | None) -> None:
        """Write what is measured, and keep which models were."""
        scored = (self.store.manifest(run) or {}).get("scored", {})
        super().write_manifest(run, lm, settings)
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
            scorer.give_up(run, failure(error))
    finally:
        progress.end_run()


def _looked_at(lm: LM, facts: EditFacts, measuring: Measuring) -> EditFacts:
    """Return the facts with how the model is doing now."""
    if facts.texts_only:
        return facts
    squares = facts.size.get("delta_norm"), facts.size.get("weight_norm")
    drift = float("nan") if squares[0] is None or squares[1] is None else _share(squares[0], squares[1])
    pulse = Pulse(facts.requests, perplexity(lm), drift)
    reference = measuring.unedited.reference
    if reference is not None:
        found = reference.compare(lm) if facts.changed else reference.unedited
        pulse = replace(pulse, kl=found.kl, own_perplexity=found.perplexity)
    return replace(facts, pulses=(pulse,))


def _share(delta: float, weight: float) -> float:
    return delta / weight if weight else 0.0


def _facts(ledger: Ledger, scale: int) -> EditFacts:
    """Return what is known of an exported edit that has been put into its model."""
    pairs = {name: _squares(was, ledger.weight(name)) for name, was in ledger.originals.items()}
    return EditFacts(
        requests=scale,
        changed=ledger.changed,
        computes_otherwise=not ledger.weights_only,
        texts_only=ledger.texts_only,
        size={**(_norms(pairs) if pairs or not ledger.changed else {}), "nbytes": ledger.nbytes},
        modules={name: relative_norm(*pair) for name, pair in pairs.items()},
        aside=ledger.aside,
    )


def _norms(squares: Squares) -> dict[str, float]:
    deltas, weights = zip(*squares.values(), strict=True) if squares else ((), ())
    return {"delta_norm": sum(deltas) ** 0.5, "weight_norm": sum(weights) ** 0.5}


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

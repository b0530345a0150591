"""Try settings of methods on requests that no suite edits, and print one line of a Markdown table for each.

    python benchmarks/try_settings.py GRID.yaml [--dataset counterfact --path counterfact.json] [--requests 50]

The grids beside this file are examples: a list of ``{method: memit, mode: single, hparams: {...}}``; a list in
place of a hyper-parameter's value (two lists for ``layers``) stands for each of its elements. ``mode`` is ``single``
(each request alone in a clean model; value vectors of the locate-then-edit methods are found for all of them at once,
which changes nothing), ``batch`` (all in one edit) or ``sequential`` with ``chunk``. docs/settings.md holds what came
out.

ES, PS, NS: share of edit prompts and rephrases on which the new target is likelier than the true one, and of
neighbours on which it is not; exact: greedy generation equals the target; starts: it begins with it; ppl: perplexity on
a general text as a multiple of the unedited model's (not for ``single``). ``--probed`` asks a sample of the requests.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from editbench.base.seeds import torch_generator
from editbench.cache import Cache
from editbench.datasets import DatasetSpec, load_dataset, ordered
from editbench.measure.collapse import perplexity
from editbench.measure.examination import Examination
from editbench.method import Method, WeightEdit
from editbench.metrics.generation import exact_match, starts_with
from editbench.metrics.success import new_is_likelier, true_is_likelier
from editbench.models.generate import Outcome
from editbench.models.load import load_lm
from editbench.plan.protocol import Protocol
from editbench.plan.registry import load_method
from editbench.plan.settings import settings_for
from editbench.plan.suite import Probes
from editbench.requests import EDIT, NEIGHBOUR, REPHRASE, Request
from editbench.running.stream import Stream

SEED = 7
# Hyper-parameters that leave the value vectors as they are, so that trials that differ only in them share those.
_NOT_OF_VALUES = ("key_mean", "corpus", "restraint", "rect_share")
COLUMNS = ("exact", "starts", "gen.", "ES", "PS", "NS")


def trials(grid: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Spell out every list among the hyper-parameters."""
    for entry in grid:
        choices = {}
        for key, value in entry.get("hparams", {}).items():
            many = isinstance(value, list) and (
                key not in ("layers", "gate", "up", "down") or isinstance(value[0], list)
            )
            choices[key] = value if many else [value]
        for values in itertools.product(*choices.values()):
            yield {"mode": "batch", **entry, "hparams": dict(zip(choices, values, strict=True))}


@dataclass(frozen=True)
class Tried:
    """What came of a trial: records, seconds of editing, ‖ΔW‖ (the mean, if single), failed requests, perplexity."""

    records: pd.DataFrame
    seconds: float
    norm: float
    failed: int
    ratio: str = "–"


class Bench:
    """A model, its requests, and the way to try one method's settings on them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.protocol = Protocol(eos=not arguments.no_eos, max_new_tokens=16)
        self.lm = load_lm(arguments.model, dtype=arguments.dtype, target_eos=self.protocol.eos)
        spec = DatasetSpec(name=arguments.dataset, path=arguments.path, on_fault="drop")
        everything = load_dataset(spec)
        wanted = [r for r in ordered(everything, len(everything.requests), SEED) if _has_all(r)]
        self.requests = wanted[arguments.skip : arguments.skip + arguments.requests]
        kinds = {"rephrase": 1, "neighbour": 1, "prefixed": 0, "locality": 0, "portability": 0}
        self.probes = Probes(**kinds, budget=arguments.probed)
        self.perplexity = perplexity(self.lm)
        self.cache = Cache()
        self._values: dict[str, Any] = {}

    def ask(self, requests: list[Request]) -> pd.DataFrame:
        """Question the model about requests it has been given, and return the records."""
        exam = Examination(requests, len(requests), self.probes, self.protocol, SEED)
        unasked = [Outcome("", "", (), (), ())] * len(exam.compared.questions)  # nobody compares with it here
        return pd.DataFrame([asdict(record) for batch in exam.records(self.lm, unasked) for record in batch])

    def try_one(self, trial: dict[str, Any]) -> Tried:
        """Return what a trial's settings come to."""
        method_class = load_method(trial["method"])
        method = method_class(settings_for(method_class, self.lm.shape, trial["hparams"]).values)
        method.prepare(self.lm, self.cache)
        if trial["mode"] == "single":
            return self._single(method)
        chunk = trial.get("chunk") or len(self.requests)
        stream = Stream(self.lm, method)
        for start in range(0, len(self.requests), chunk):
            stream.write(self.requests[start : start + chunk], torch_generator(SEED, "try", start))
        stream.look()
        ratio = stream.pulses[-1].perplexity / self.perplexity
        tried = Tried(
            self.ask(self.requests), stream.edit_s, stream.size()["delta_norm"], len(stream.failures), f"{ratio:.2f}"
        )
        stream.take_out()
        return tried

    def _single(self, method: Method) -> Tried:
        frames, norms = [], []
        self.reused_s = 0.0  # what value vectors of an earlier trial would have taken here
        start, asking = time.perf_counter(), 0.0
        for request, edit in zip(self.requests, self._edits(method), strict=True):
            applied = edit.apply(self.lm)
            norms.append(sum(float(delta.norm()) ** 2 for delta in edit.deltas.values()) ** 0.5)
            before = time.perf_counter()
            frames.append(self.ask([request]))
            asking += time.perf_counter() - before
            applied.revert()
        seconds = time.perf_counter() - start - asking + self.reused_s
        return Tried(pd.concat(frames), seconds, sum(norms) / len(norms), len(method.failures))

    def _edits(self, method: Any) -> Iterator[WeightEdit]:
        """Yield the edit of each request alone; value vectors are found together and kept between trials."""
        if not hasattr(method, "values"):
            for request in self.requests:
                method.load_state_dict({})  # each request alone: nothing of the one before
                yield method.edit(self.lm, [request], torch_generator(SEED, "try", request.id))
            return
        from editbench_methods._locate_then_edit import ValueHparams
        from editbench_methods._prompts import cases

        found, method.failures = cases(
            self.lm, self.requests, method.contexts(self.lm, torch_generator(SEED, "try", 0))
        )
        h = {
            key: getattr(method.hparams, key) for key in ValueHparams.model_fields if not key.startswith(_NOT_OF_VALUES)
        }
        key = repr((method.places[-1], method.at_projection, sorted(h.items())))
        if key not in self._values:
            start = time.perf_counter()
            self._values[key] = method.values(self.lm, found), time.perf_counter() - start
        else:
            self.reused_s = self._values[key][1]
        values, by_id = self._values[key][0], {case.request.id: number for number, case in enumerate(found)}
        for request in self.requests:
            number = by_id.get(request.id)
            if number is None or number not in values.usable:
                yield WeightEdit({})
                continue
            deltas = method.insert(self.lm, [found[number]], values.z[number : number + 1])
            method.load_state_dict({})
            yield WeightEdit(method.restrained(self.lm, deltas))


def _has_all(request: Request) -> bool:
    kinds = {probe.kind for probe in request.probes}
    return bool(request.target_true) and {REPHRASE, NEIGHBOUR} <= kinds


def figures(frame: pd.DataFrame) -> dict[str, float]:
    """Return the means that the table shows."""
    edit, rephrase, neighbour = (frame[frame["kind"] == kind] for kind in (EDIT, REPHRASE, NEIGHBOUR))
    columns = exact_match(edit), starts_with(edit), exact_match(rephrase)
    pairs = new_is_likelier(edit), new_is_likelier(rephrase), true_is_likelier(neighbour)
    return dict(zip(COLUMNS, (float(column.mean()) for column in (*columns, *pairs)), strict=True))


def main() -> None:
    """Try every entry of the grid and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--dataset", default="facts")
    parser.add_argument("--path")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--probed", type=int, help="of the requests that are edited, ask this many")
    parser.add_argument("--no-eos", action="store_true", help="targets do not end with the end-of-text token")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    print(f"| method | mode | settings | s per request | {' | '.join(COLUMNS)} | ‖ΔW‖ | ppl |")
    print("|---|---|---|---|" + "---|" * (len(COLUMNS) + 2), flush=True)
    for trial in trials(yaml.safe_load(arguments.grid.read_text(encoding="utf-8"))):
        try:
            tried = bench.try_one(trial)
        except Exception as error:
            print(f"{trial}: {error}", file=sys.stderr, flush=True)
            continue
        settings = ", ".join(f"{key} {value}" for key, value in trial["hparams"].items()) or "defaults"
        settings += f"; {tried.failed} failed" if tried.failed else ""
        shown = " | ".join(f"{value:.2f}" for value in figures(tried.records).values())
        end = f"{tried.norm:.1f} | {tried.ratio}"
        each = tried.seconds / len(bench.requests)
        print(f"| {trial['method']} | {trial['mode']} | {settings} | {each:.3f} | {shown} | {end} |", flush=True)


if __name__ == "__main__":
    main()

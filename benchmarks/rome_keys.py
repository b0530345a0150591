"""How far ROME's two keys differ, and what the original ROME does to a model where they differ most.

    python benchmarks/rome_keys.py [--dataset counterfact --path counterfact.json] [--requests 2000] [--worst 8]

ROME divides by uᵀk with u = C⁻¹k̄. R-ROME takes the averaged key k̄ for k; the original code takes the bare prompt's key,
so that its change is larger by about uᵀk̄ / uᵀk. The first table holds quantiles of uᵀk / uᵀk̄ over requests, for both
ways to average; the second, for the requests where it is smallest, perplexity on the package's general text after that
one edit, as a multiple of the unedited model's, and ‖ΔW‖ / ‖W‖ of the edited weight.
"""

from __future__ import annotations

import argparse

import torch
from editbench_methods._prompts import Case, cases
from editbench_methods.rome import Rome

from editbench.base.seeds import torch_generator
from editbench.cache import Cache
from editbench.datasets import DatasetSpec, load_dataset, ordered
from editbench.measure.collapse import perplexity
from editbench.models.lm import LM
from editbench.models.load import load_lm
from editbench.models.residual import ResidualStream
from editbench.plan.settings import settings_for

SEED = 7
MEANS = ("uniform", "bare-half")
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 1.0)


def rome(lm: LM, **hparams: str) -> Rome:
    """Return ROME ready for use."""
    method = Rome(settings_for(Rome, lm.shape, hparams).values)
    method.prepare(lm, Cache())
    return method


def agreement(lm: LM, method: Rome, case: Case) -> float:
    """Return uᵀk / uᵀk̄ of a case under the method's way to average."""
    keys = ResidualStream(lm, case.heads()).keys(method.hparams.layer)
    mean = method.mean_keys(keys, len(keys))[:, 0]
    direction = method.factor.solve(mean[:, None])[:, 0]
    return float((direction @ keys[0].double()) / (direction @ mean))


def harm(lm: LM, case: Case, unedited: float, **hparams: str) -> str:
    """Return the perplexity after one edit, over ``unedited``, and the size of the change."""
    method = rome(lm, **hparams)
    edit = method.edit(lm, [case.request], torch_generator(SEED, "keys"))
    [(name, delta)] = edit.deltas.items()
    size = float(delta.norm() / lm.parameter(name).float().norm())
    applied = edit.apply(lm)
    ratio = perplexity(lm) / unedited
    applied.revert()
    return f"{ratio:.3g} ({size:.2f})"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dataset", default="facts")
    parser.add_argument("--path")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--worst", type=int, default=8)
    arguments = parser.parse_args()
    lm = load_lm(arguments.model)
    dataset = load_dataset(DatasetSpec(name=arguments.dataset, path=arguments.path, on_fault="drop"))
    requests = ordered(dataset, min(arguments.requests, len(dataset.requests)), SEED)
    methods = {mean: rome(lm, key_mean=mean) for mean in MEANS}
    found, _ = cases(lm, requests, methods[MEANS[0]].contexts(lm, torch_generator(SEED, "keys")))
    shares = {mean: torch.tensor([agreement(lm, method, case) for case in found]) for mean, method in methods.items()}
    print(f"| mean of keys | {' | '.join(f'{q:.0%}' for q in QUANTILES)} |\n|---|{'---|' * len(QUANTILES)}")
    for mean, share in shares.items():
        print(f"| {mean} | {' | '.join(f'{v:.3f}' for v in share.quantile(torch.tensor(QUANTILES)).tolist())} |")
    unedited = perplexity(lm)
    columns = [{"variant": variant, "key_mean": mean} for variant in ("original", "r-rome") for mean in MEANS]
    print(f"\n| request | {' | '.join(MEANS)} | {' | '.join(', '.join(c.values()) for c in columns)} |")
    print(f"|---|{'---|' * (len(MEANS) + len(columns))}", flush=True)
    for number in shares[MEANS[0]].abs().argsort()[: arguments.worst].tolist():
        harms = [harm(lm, found[number], unedited, **column) for column in columns]
        cells = [f"{shares[mean][number]:.3f}" for mean in MEANS] + harms
        print(f"| {found[number].request.prompt} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

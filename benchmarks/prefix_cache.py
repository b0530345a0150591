"""Training with the prefix cache against the plain loop: seconds per epoch, loss curves, peak memory.

    python benchmarks/prefix_cache.py [--layer 22] [--requests 300] [--batch 100] [--epochs 3]

Tunes one MLP output projection of SmolLM2-135M on the first requests of the shipped dataset. The plain loop is what
one writes first: the whole model forwards on a padded mini-batch, loss at the target tokens, backwards to the one
weight that trains. Both see the same batches in the same order and train the same float32 weight with Adam. Each
variant runs in a process of its own, so that peak memory is its own; they take turns, so that a machine whose speed
drifts slows them alike. The one-off cost of filling the cache is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import time

from _turns import carry_out, parser_of

VARIANTS = ("plain float32", "cached float32", "cached bfloat16")
SEED = 0


def plain_epochs(lm, data, name, lr, batch_size, epochs):
    """Return seconds and mean loss of each epoch of the plain loop."""
    import torch
    import torch.nn.functional as F

    weight = lm.parameter(name).requires_grad_(True)
    adam, rng = torch.optim.Adam([weight], lr=lr), torch.Generator().manual_seed(SEED)
    seconds, curve = [], []
    for _ in range(epochs):
        order, total, start = torch.randperm(len(data), generator=rng).tolist(), 0.0, time.perf_counter()
        for first in range(0, len(order), batch_size):
            batch = [data[i] for i in order[first : first + batch_size]]
            ids, mask = lm.text.pad_right([[*sample.ids, sample.labels[-1]] for sample in batch])
            labels = torch.full_like(ids, -100)
            for row, sample in enumerate(batch):
                labels[row, [p + 1 for p in sample.positions]] = torch.tensor(sample.labels)
            logits = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            each = F.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=-100)
            losses = each.sum(1) / (labels[:, 1:] != -100).sum(1)
            adam.zero_grad()
            losses.mean().backward()
            adam.step()
            total += losses.sum().item()
        seconds.append(time.perf_counter() - start)
        curve.append(total / len(data))
    return seconds, curve


def run_variant(variant: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Run one variant in this process and return its figures."""
    import torch
    from editbench_methods import _training as engine
    from editbench_methods.locft_bf import LocFTBF

    from editbench.base.meter import peak_memory, reset_peak_memory
    from editbench.datasets import load_dataset, ordered
    from editbench.models.load import load_lm

    lm = load_lm("smollm2-135m", dtype=variant.split()[1])
    requests = ordered(load_dataset("facts"), arguments.requests, SEED)
    settings = {"layer": arguments.layer, "lr": 5e-3, "batch_size": arguments.batch, "passes": 1}
    method = LocFTBF(LocFTBF.Hparams(**settings))
    data = engine.examples(lm, requests, "target-tokens")
    [name] = method.weight_names(lm)
    for p in lm.model.parameters():
        p.sum()  # read every weight once, so that no variant pays for loading it from disk
    reset_peak_memory(lm.device)
    base = peak_memory(lm.device)["rss_bytes"]
    start = time.perf_counter()
    if variant.startswith("plain"):
        seconds, curve = plain_epochs(lm, data, name, 5e-3, arguments.batch, arguments.epochs)
        fill = 0.0
    else:
        trainer = engine.Trainer(lm, [name], data, method.hparams)
        fill = time.perf_counter() - start
        rng, seconds, curve = torch.Generator().manual_seed(SEED), [], []
        for _ in range(arguments.epochs):
            start = time.perf_counter()
            curve += engine.breadth_first(method, trainer, rng)
            seconds.append(time.perf_counter() - start)
    peak = peak_memory(lm.device)["rss_bytes"]
    return {"seconds": seconds, "curve": curve, "fill": fill, "above_weights": peak - base, "peak": peak}


def main() -> None:
    """Run every variant and print figures and ratios."""
    parser = parser_of(__doc__, layer=22, requests=300, batch=100, epochs=3)
    carry_out(parser, __file__, VARIANTS, run_variant, report)


def report(found: dict[str, list[dict[str, object]]]) -> None:
    """Print a line per variant: median seconds per epoch, ratio to the plain loop, curve, memory."""
    plain = found[VARIANTS[0]]
    base = statistics.median(s for result in plain for s in result["seconds"])
    print("variant           s/epoch  ratio  fill s  curve off by  peak MB  above weights MB")
    for variant, results in found.items():
        seconds = statistics.median(s for result in results for s in result["seconds"])
        off = max(abs(a - b) / b for a, b in zip(results[0]["curve"], plain[0]["curve"], strict=True))
        fill = statistics.median(result["fill"] for result in results)
        peak, above = (max(result[key] for result in results) / 1e6 for key in ("peak", "above_weights"))
        print(f"{variant:16} {seconds:8.2f} {base / seconds:5.2f}× {fill:7.2f} {off:13.2%} {peak:8.0f} {above:17.0f}")
    print("curve:", " ".join(f"{loss:.4f}" for loss in plain[0]["curve"]))


if __name__ == "__main__":
    main()

"""Value vectors of many requests at once against one request at a time, in the plain way and in ours.

    python benchmarks/value_vectors.py [--requests 100] [--plain 4] [--alone 8] [--layer 11]

SmolLM2-135M, requests of the shipped dataset, five sampled prefixes and the bare prompt, 25 steps, no early stopping,
so that all variants do the same work. The plain way is the loop of public code: whole passes over a request's padded
prompts with logits at every token, autograd from the edited block up. ``alone`` is our own code with one request at a
time, ``batched`` the same with all of them, ``bfloat16`` that in 16 bits. Seconds are per request; each variant runs in
its own process, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

from _turns import carry_out, parser_of

VARIANTS = ("plain", "alone", "batched", "bfloat16")
SEED = 0


def plain_value(lm, case, layer, h):
    """Optimise one request's δ as public code does, over its padded prompts at once, and return z."""
    import torch

    sequences = [*(c.ids for c in case.completions), case.essence]
    starts = torch.tensor([*case.starts, case.essence_start])
    ids, mask = lm.text.pad_right(sequences)
    labels = torch.full_like(ids, -100)
    for row, completion in enumerate(case.completions):
        labels[row, completion.prompt_len : len(completion.ids)] = torch.tensor(completion.ids[completion.prompt_len :])
    delta = torch.zeros(lm.shape.hidden, requires_grad=True)
    adam, rows, seen, old = torch.optim.Adam([delta], lr=h.lr), torch.arange(len(ids)), [], []

    def add(module, args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        seen.append(hidden[0, starts[0]].detach().clone())
        hidden = hidden.clone()
        hidden[rows, starts] += delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = lm.layout.block(lm.model, layer).register_forward_hook(add)
    for _ in range(h.steps - 1):
        scores = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.log_softmax(-1)
        wanted = labels[:, 1:]
        picked = scores[:, :-1].gather(2, wanted.clamp(min=0)[..., None])[..., 0] * (wanted >= 0)
        nll = -(picked[:-1].sum(1) / (wanted[:-1] >= 0).sum(1)).mean()
        new = scores[-1, len(case.essence) - 1]
        old.append(new.detach())
        moved = (new.exp() * (new - old[0])).sum()
        loss = nll + h.kl_factor * moved + h.weight_decay * delta.norm() / seen[0].norm() ** 2
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta *= min(1.0, float(h.clamp * seen[0].norm() / delta.norm()))
    hook.remove()
    return (seen[0] + delta).detach()


def run_variant(variant: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Run one variant in this process and return its figures."""
    import torch
    from editbench_methods._locate_then_edit import ValueHparams
    from editbench_methods._prompts import cases, sample_prefixes
    from editbench_methods._values import optimise

    from editbench.base.meter import peak_memory, reset_peak_memory
    from editbench.datasets import load_dataset, ordered
    from editbench.models.load import load_lm

    lm = load_lm("smollm2-135m")
    h = ValueHparams(lr=0.5, steps=25, clamp=4.0, weight_decay=1e-3, stop_loss=0.0, corpus_tokens=1)
    prefixes = sample_prefixes(lm, 5, 10, torch.Generator().manual_seed(SEED))
    if variant == "bfloat16":
        lm = load_lm("smollm2-135m", dtype="bfloat16")
    count = {"plain": arguments.plain, "alone": arguments.alone}.get(variant, arguments.requests)
    found, _ = cases(lm, ordered(load_dataset("facts"), count, SEED), prefixes)
    reset_peak_memory(lm.device)
    base = peak_memory(lm.device)["rss_bytes"]
    start = time.perf_counter()
    if variant == "plain":
        z = torch.stack([plain_value(lm, case, arguments.layer, h) for case in found])
    elif variant == "alone":
        z = torch.cat([optimise(lm, [case], arguments.layer, h).z for case in found])
    else:
        z = optimise(lm, found, arguments.layer, h).z
    seconds = (time.perf_counter() - start) / len(found)
    first = z[: min(arguments.plain, arguments.alone)].tolist()
    return {"seconds": seconds, "z": first, "above": peak_memory(lm.device)["rss_bytes"] - base}


def main() -> None:
    """Run every variant in turns and print seconds per request, ratios, agreement and memory."""
    parser = parser_of(__doc__, requests=100, plain=4, alone=8, layer=11)
    carry_out(parser, __file__, VARIANTS, run_variant, report)


def report(found: dict[str, list[dict[str, object]]]) -> None:
    """Print a line per variant."""
    base = statistics.median(result["seconds"] for result in found["plain"])
    plain = found["plain"][0]["z"]
    print("variant   s/request   ratio   z off by   MB above the weights")
    for variant, results in found.items():
        seconds = statistics.median(result["seconds"] for result in results)
        pairs = zip(results[0]["z"], plain, strict=True)
        off = max(
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5 / sum(b * b for b in y) ** 0.5 for x, y in pairs
        )
        above = max(result["above"] for result in results) / 1e6
        print(f"{variant:8} {seconds:10.3f} {base / seconds:7.2f}× {off:9.1e} {above:12.0f}")


if __name__ == "__main__":
    main()

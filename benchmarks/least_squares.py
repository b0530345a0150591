"""MEMIT's solve with a kept Cholesky factor against a fresh dense one.

    python benchmarks/least_squares.py [--d 8192] [--batch 100] [--hidden 1024]

Both return ΔW = R Kᵀ(λC + KKᵀ)⁻¹ in float64. The fresh solve is that of public code: form λC + KKᵀ, LU-factor it, solve
for K. Ours has λC factored beforehand (timed apart: it is paid once per model) and solves a batch x batch system. They
take turns; seconds are medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from editbench_methods._solves import Factor, least_change

from editbench.base.meter import peak_memory, reset_peak_memory


def main() -> None:
    """Time both and print their ratio, their difference and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"d": 8192, "batch": 100, "hidden": 1024, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    d, rng = arguments.d, torch.Generator().manual_seed(0)
    text = torch.randn(2 * d, d, generator=rng)
    moment = (text.T @ text / len(text)).double() * d
    del text
    keys = torch.randn(d, arguments.batch, generator=rng, dtype=torch.float64)
    residuals = torch.randn(arguments.hidden, arguments.batch, generator=rng, dtype=torch.float64)
    seconds: dict[str, list[float]] = {"fresh": [], "kept": []}
    memory = dict.fromkeys(seconds, 0)
    start = time.perf_counter()
    factor = Factor(moment)
    once = time.perf_counter() - start
    results = {}
    for _ in range(arguments.rounds):
        for name, taken in seconds.items():
            reset_peak_memory(keys.device)
            base = peak_memory(keys.device)["rss_bytes"]
            start = time.perf_counter()
            if name == "fresh":
                results[name] = residuals @ torch.linalg.solve(moment + keys @ keys.T, keys).T
            else:
                results[name] = least_change(factor, keys, residuals)
            taken.append(time.perf_counter() - start)
            memory[name] = max(memory[name], peak_memory(keys.device)["rss_bytes"] - base)
    off = (results["kept"] - results["fresh"]).norm() / results["fresh"].norm()
    fresh, kept = (statistics.median(seconds[name]) for name in ("fresh", "kept"))
    print(f"d {d}, batch {arguments.batch}: fresh {fresh:.3f} s, kept {kept:.4f} s: {fresh / kept:.1f}×")
    print(f"factor, once: {once:.2f} s; difference {off:.1e}")
    print(f"peak above what was there: fresh {memory['fresh'] / 1e6:.0f} MB, kept {memory['kept'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

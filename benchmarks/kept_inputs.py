"""A study of many places with what enters every block kept on disk, against each place computing it: seconds, bits.

    python benchmarks/kept_inputs.py [--model smollm2-135m] [--places 30] [--requests 300] [--passes 1]

Trains the same requests of the shipped dataset at one block after another, from the first to the last, as a study of
places does. Without, each place runs all blocks below its own once over all requests; with, the first place runs the
whole model once and the others read. Both make the same edits, to the last bit, which is checked. ``--model tiny`` is
a random model of as many blocks, in which nothing but the number of passes is worth measuring. Each variant runs in a
process of its own; they take turns, so that a machine whose speed drifts slows them alike. What is kept goes into a
temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from _turns import carry_out, parser_of

VARIANTS = ("without", "kept")
SEED = 0


def load(name: str, places: int):
    """Return the model and as many of its blocks, evenly spread, as places are asked for."""
    from editbench.models.load import load_lm
    from editbench.testing.tiny import tiny_lm

    lm = tiny_lm(layers=places, hidden=64) if name == "tiny" else load_lm(name)
    n = lm.layout.n_blocks
    return lm, sorted({number * n // places for number in range(places)})


def study(lm, blocks, requests, passes, module):
    """Return the seconds that preparing and all of each place took, and a hash of all edits."""
    import torch
    from editbench_methods.locft_bf import LocFTBF

    digest, seconds, preparing = hashlib.sha256(), [], 0.0
    for block in blocks:
        method = LocFTBF(LocFTBF.Hparams(layer=block, module=module, lr=1e-3, batch_size=100, passes=passes))
        told = []
        method.progress = lambda _, note, told=told: told.append((time.perf_counter(), note))
        start = time.perf_counter()
        edit = method.edit(lm, requests, torch.Generator().manual_seed(SEED))
        seconds.append(time.perf_counter() - start)
        preparing += max(at for at, note in told if note.startswith("computing what")) - start
        for name, delta in sorted(edit.deltas.items()):
            digest.update(name.encode() + delta.numpy().tobytes())
    return seconds, preparing, digest.hexdigest()


def run_variant(variant: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Run one variant in this process and return its figures."""
    from editbench.cache import Cache
    from editbench.datasets import load_dataset, ordered
    from editbench.models.kept_inputs import kept_inputs

    lm, blocks = load(arguments.model, arguments.places)
    requests = ordered(load_dataset("facts"), arguments.requests, SEED)
    for parameter in lm.model.parameters():
        parameter.sum()  # read every weight once, so that no variant pays for loading it from disk
    study(lm, blocks[:1], requests[:20], 1, arguments.module)  # nor for what is loaded with the first edit
    with tempfile.TemporaryDirectory() as folder:
        with kept_inputs(lm, Cache(Path(folder))) if variant == "kept" else nullcontext() as kept:
            seconds, preparing, edits = study(lm, blocks, requests, arguments.passes, arguments.module)
        size = kept.nbytes if kept else 0
    return {"seconds": seconds, "preparing": preparing, "edits": edits, "bytes": size}


def main() -> None:
    """Run every variant and print figures and ratios."""
    parser = parser_of(__doc__, places=30, requests=300, passes=1)
    parser.add_argument("--model", default="smollm2-135m", help="a model's name, or tiny")
    parser.add_argument("--module", default="down", help="what is trained of each block")
    carry_out(parser, __file__, VARIANTS, run_variant, report)


def report(found: dict[str, list[dict[str, object]]]) -> None:
    """Print a line per variant: seconds of the whole study, of what stays constant in it, ratios, bytes kept."""
    middle = {
        variant: (
            statistics.median(sum(result["seconds"]) for result in results),
            statistics.median(result["preparing"] for result in results),
        )
        for variant, results in found.items()
    }
    print("variant   study s  ratio  preparing s  ratio  training s  kept MB")
    for variant, (seconds, preparing) in middle.items():
        whole, ready = (base / own for base, own in zip(middle[VARIANTS[0]], (seconds, preparing), strict=True))
        size = found[variant][0]["bytes"] / 1e6
        print(
            f"{variant:8} {seconds:8.2f} {whole:5.2f}× {preparing:12.2f} {ready:5.2f}× "
            f"{seconds - preparing:11.2f} {size:8.1f}"
        )
    same = len({result["edits"] for results in found.values() for result in results}) == 1
    print("edits: equal to the last bit" if same else "EDITS DIFFER")


if __name__ == "__main__":
    main()

"""The leaderboard of a large results tree, timed from the command line's point of view.

    python benchmarks/leaderboard.py [--records 1000000] [--methods 5] [--seeds 2] [--keep DIR] [-- --over-scales]

Writes a synthetic tree (methods x seeds, two scales, four records per request, realistic text lengths), then runs
``editbench leaderboard`` in a process of its own and prints its wall-clock seconds and peak memory. What follows ``--``
goes to that command. With --keep the tree stays and is used again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from editbench.base.files import append_lines
from editbench.datasets import load_dataset
from editbench.plan.runs import Run, RunOptions, bind, make_plan
from editbench.plan.suite_file import parse_suite
from editbench.results.manifest import manifest
from editbench.results.store import CellOutcome, Status, Store

KINDS = ("edit", "rephrase", "neighbour", "locality")
WORDS = np.array(["amber", "basalt", "cobalt", "damask", "ebony", "fuchsia", "garnet", "heather", "indigo", "jasper"])


def main() -> None:
    """Build or reuse the tree, run the command, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"records": 1_000_000, "methods": 5, "seeds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("more", nargs="*", help="options of editbench leaderboard")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        if not (root / "runs").is_dir():
            began = time.perf_counter()
            written = build(root, given.records, given.methods, given.seeds)
            print(f"wrote {written:,} records in {time.perf_counter() - began:.1f} s")
        show(root, given.more)


def show(root: Path, more: list[str]) -> None:
    """Run the command on the tree and print seconds and peak memory."""
    command = [sys.executable, "-c", "from editbench.cli import main; main()", "leaderboard", str(root / "large.yaml")]
    began = time.perf_counter()
    done = subprocess.run([*command, str(root), *more], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout.rstrip())
    print(f"{seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor, peak {used.ru_maxrss / 1e6:.2f} GB")


def build(root: Path, records: int, methods: int, seeds: int) -> int:
    """Write the tree; return how many records it has."""
    small = 1000
    large = max(records // (methods * seeds * len(KINDS)) - small, small + 1)
    root.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  - {{method: none, label: method-{k}}}\n" for k in range(methods))
    (root / "large.yaml").write_text(
        f"name: large\ntitle: A synthetic tree\ndataset: {write_data(root, large)}\nmodels: [smollm2-135m]\n"
        f"methods:\n{listed}scales: [{small}, {large}]\nseeds: {list(range(seeds))}\n"
        "metrics: [reliability, generalisation, locality, es, retention]\n"
    )
    suite = parse_suite((root / "large.yaml").read_text(), "large.yaml")
    dataset = load_dataset(suite.dataset)
    plan, store, written = bind(make_plan(suite), dataset), Store(root), 0
    for run in plan.runs:
        store.write_manifest(run, manifest(run, dataset, RunOptions()))
        for scale in run.scales:
            append_lines(store.records_path(run, scale), lines(run, scale, large))
            store.finish_cell(run, scale, CellOutcome(Status.DONE, counts={"records": scale * len(KINDS)}))
            written += scale * len(KINDS)
    return written


def write_data(root: Path, n: int) -> Path:
    """Write ``n`` requests, for the hash in the manifests."""
    rows = ({"id": f"r{i}", "prompt": f"Thing {i} is", "subject": f"Thing {i}", "target_new": "blue"} for i in range(n))
    path = root / "things.jsonl"
    path.write_text("".join(json.dumps(row | {"target_true": "red", "probes": []}) + "\n" for row in rows))
    return path


def lines(run: Run, scale: int, large: int) -> Iterator[str]:
    """Return the records of a cell; method k learns a share of 0.95 - 0.1 k, seeds differ a little."""
    number = int(run.label.rpartition("-")[2])
    rng = np.random.default_rng([number, run.seed, scale])
    order = np.random.default_rng(run.seed).permutation(large)[:scale]
    right = rng.random((scale, len(KINDS))) < 0.95 - 0.1 * number + rng.normal(0, 0.01)
    answers = rng.choice(WORDS, (scale, 3))
    nll = rng.random((scale, 2))
    for position, request in enumerate(order):
        answer = " ".join(answers[position])
        for k, kind in enumerate(KINDS):
            said = f"{answer} {request % 997}" if right[position, k] else "something else entirely"
            row = {
                "request": f"r{request}",
                "position": position,
                "kind": kind,
                "index": 0,
                "prompt": f"The colour that thing {request} has, as everybody knows who has been there, is",
                "target_new": answer,
                "target_true": "red",
                "answer": f"{answer} {request % 997}",
                "generated": said,
                "stop": "eos",
                "unedited": f"{answer} {request % 997}" if kind in ("neighbour", "locality") else None,
                "nll_new": float(nll[position, 0]),
                "nll_true": float(nll[position, 1]),
                "hits": 3,
                "tokens": 4,
                "error": "",
            }
            yield json.dumps(row) + "\n"


if __name__ == "__main__":
    main()

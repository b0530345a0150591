"""What a run pays beside the model's arithmetic: the share of its time in which Python's interpreter is at work.

    pip install py-spy && python benchmarks/overhead.py [--requests 10000] [--dtype bfloat16] [--max-batches 1000]

Carries out one cell of ``counterfact-100k`` as ``editbench run`` does, while py-spy looks 50 times a second whether any
thread holds the interpreter's lock. torch gives that lock back inside its operations, so that a look that finds it held
found something else: this project's code, transformers' and torch's Python, the tokeniser's, the records' JSON. Time on
files and in torch's own dispatcher is not seen. Results go into a new folder; the cache is the usual one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RATE = 50  # looks per second
# The runner's steps, by the function that takes them and by the first words that it reports.
STEPS = {
    "_ask_unedited": ("asking the unedited model", ("asking",)),
    "_write": ("editing", ("editing", "preparing")),
    "_measure": ("probing", ("probing", "talking")),
}
OTHER = "the rest: imports, data, loading the model, hashing, ending"


def carry_out(arguments: argparse.Namespace) -> None:
    """Run the cell and write down the seconds of each step."""
    from editbench.base.progress import Progress
    from editbench.plan.runs import RunOptions
    from editbench.plan.suite_file import load_suite
    from editbench.results.store import Store
    from editbench.running.launch import prepare
    from editbench.running.runner import execute

    suite = load_suite("counterfact-100k").with_options(methods=[arguments.method], scales=[arguments.requests])
    [method] = suite.methods
    bounded = method.model_copy(update={"hparams": {**method.hparams, "max_batches": arguments.max_batches}})
    options = RunOptions(dtype=arguments.dtype)
    prepared = prepare(suite.model_copy(update={"methods": [bounded]}), options)
    seconds: Counter[str] = Counter()
    last = [time.time(), OTHER]

    class Watched(Progress):
        """Adds up what each step took."""

        def show(self) -> None:
            """Take note of the time, and of the step that goes on now."""
            now, words = time.time(), self.text.split()
            seconds[last[1]] += now - last[0]
            found = (step for step, begins in STEPS.values() if words and words[0] in begins)
            last[:] = now, next(found, OTHER)

    watched = Watched()
    execute(prepared.plan, prepared.dataset, Store(Path(arguments.child, "results")), options, watched)
    watched.show()
    del seconds[OTHER]  # the parent knows how long the whole took
    Path(arguments.child, "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def main() -> None:
    """Run the cell under py-spy and print the share of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--method", default="locft-bf")
    parser.add_argument("--max-batches", type=int, default=1000)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        carry_out(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        looks = Path(folder, "looks.txt")
        spy = ["py-spy", "record", "--gil", "--rate", str(RATE), "--format", "raw", "--output", str(looks), "--"]
        again = [sys.executable, *sys.argv, "--child", folder]
        began = time.time()
        subprocess.run([*spy, *again], check=True)
        whole = time.time() - began
        seconds = json.loads(Path(folder, "seconds.json").read_text(encoding="utf-8"))
        seconds = {OTHER: whole - sum(seconds.values()), **seconds}
        held = Counter()
        for line in looks.read_text(encoding="utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            step = next((name for function, (name, _) in STEPS.items() if f";Runner.{function} (" in stack), OTHER)
            held[step] += int(count) / RATE
    print("| step | seconds | interpreter at work | share |\n|---|---|---|---|")
    for step, spent in seconds.items():
        print(f"| {step} | {spent:.1f} | {held[step]:.1f} | {held[step] / spent:.1%} |")
    print(f"| **all** | {whole:.1f} | {held.total():.1f} | {held.total() / whole:.1%} |")


if __name__ == "__main__":
    main()

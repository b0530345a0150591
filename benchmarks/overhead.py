"""What a run pays beside the model's arithmetic: the share of wall time outside torch's operations, phase by phase.

    python benchmarks/overhead.py [--requests 10000] [--method locft-bf] [--max-batches 200] [--dtype float32]

Carries out one cell of ``counterfact-100k`` as ``editbench run`` does, from the loaded dataset to the finished records,
with an empty cache; one of five intervals between reports of progress is under torch's profiler. Time inside an
operation (forwards, backwards, the optimiser's step, copies and index look-ups among them) counts as arithmetic;
everything else, the interpreter between two operations included, counts as overhead. The profiler's reading of its
events is left out; its cost per operation is not, so that the share is an upper bound. One thread, so that an
operation's time is its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path

EVERY = 5  # of so many intervals between reports of progress, one is profiled: its events take memory and time to read


def kind(name: str) -> str:
    """Return the group of operations that a profiler event belongs to."""
    groups = {
        "matrix products": ("mm", "bmm", "addmm", "linear", "matmul", "baddbmm"),
        "attention": ("scaled_dot_product", "_softmax", "softmax"),
        "log-softmax and loss": ("log_softmax", "nll_loss", "cross_entropy"),
        "copies and look-ups": ("copy_", "index", "gather", "cat", "clone", "scatter", "embedding", "fill_", "zero_"),
        "optimiser": ("_foreach", "addcdiv", "addcmul", "lerp", "_fused_adam"),
    }
    plain = name.removeprefix("aten::")
    exact = next((group for group, names in groups.items() if plain in names), None)
    return exact or next((group for group, names in groups.items() if any(n in plain for n in names[1:])), "other")


class Windows:
    """Profiles one interval between reports of progress out of every few; adds up what it saw, by phase.

    Attributes
    ----------
    wall: seconds of each phase, the profiler's own reading of its events left out.
    profiled: seconds of each phase that were profiled.
    operations: phase -> group of operations -> seconds in them, of the profiled ones.
    """

    def __init__(self) -> None:
        self.wall: Counter[str] = Counter()
        self.profiled: Counter[str] = Counter()
        self.operations: dict[str, Counter[str]] = defaultdict(Counter)
        self._phase, self._count = "loading", 0
        self._open()

    def _open(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        wanted = self._count % EVERY == 0
        self._profile = profile(activities=[ProfilerActivity.CPU]) if wanted else nullcontext()
        self._profile.__enter__()
        self._since = time.perf_counter()

    def close(self) -> None:
        """End the interval and count it."""
        seconds = time.perf_counter() - self._since
        self._profile.__exit__(None, None, None)
        self.wall[self._phase] += seconds
        if not isinstance(self._profile, nullcontext):
            self.profiled[self._phase] += seconds
            for event in self._profile.events():
                if not event.name.startswith(("Optimizer.", "ProfilerStep")):
                    self.operations[self._phase][kind(event.name)] += event.self_cpu_time_total / 1e6

    def turn(self, phase: str) -> None:
        """Take note of a report of progress; a new phase is always looked at."""
        self.close()
        self._count = 0 if phase != self._phase else self._count + 1
        self._phase = phase
        self._open()

    def groups(self, phase: str) -> Counter[str]:
        """Return the seconds in each group of operations over the whole phase, from the share that was profiled."""
        scale = self.wall[phase] / self.profiled[phase]
        return Counter({name: scale * seconds for name, seconds in self.operations[phase].items()})


def profiled(arguments: argparse.Namespace) -> Windows:
    """Run the cell and return what the windows saw."""
    import torch

    from editbench.cache import Cache
    from editbench.plan import RunOptions
    from editbench.progress import Progress
    from editbench.results import prepare
    from editbench.runner import execute
    from editbench.store import Store
    from editbench.suite import load_suite

    torch.set_num_threads(1)
    suite = load_suite("counterfact-100k").with_options(methods=[arguments.method], scales=[arguments.requests])
    [method] = suite.methods
    bounded = method.model_copy(update={"hparams": {**method.hparams, "max_batches": arguments.max_batches}})
    prepared = prepare(suite.model_copy(update={"methods": [bounded]}), RunOptions(dtype=arguments.dtype))

    class Watched(Progress):
        """Turns to the next window now and then."""

        def show(self) -> None:
            """Name the phase by the first word of what is going on."""
            windows.turn(self.text.split(",")[0].split(":")[0].split()[0] if self.text else "loading")

    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("EDITBENCH_CACHE", folder)
        windows = Windows()
        execute(
            prepared.plan,
            prepared.dataset,
            Store(Path(folder, "results")),
            RunOptions(dtype=arguments.dtype),
            Watched(),
            Cache(Path(folder, "cache")),
        )
        windows.close()
    return windows


def main() -> None:
    """Print the share of each phase and the largest groups of operations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--method", default="locft-bf")
    parser.add_argument("--max-batches", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    windows = profiled(parser.parse_args())
    groups = {phase: windows.groups(phase) for phase in windows.wall}
    outside = {phase: wall - sum(groups[phase].values()) for phase, wall in windows.wall.items()}
    print("| phase | seconds | outside operations | share |")
    print("|---|---|---|---|")
    whole = sum(windows.wall.values())
    for phase, wall in windows.wall.items():
        print(f"| {phase} | {wall:.1f} | {outside[phase]:.1f} | {outside[phase] / wall:.1%} |")
    print(f"| **all** | {whole:.1f} | {sum(outside.values()):.1f} | {sum(outside.values()) / whole:.1%} |")
    print("\n| operations | seconds | share of all |")
    print("|---|---|---|")
    for name, seconds in sum(groups.values(), Counter()).most_common():
        print(f"| {name} | {seconds:.1f} | {seconds / whole:.1%} |")


if __name__ == "__main__":
    main()

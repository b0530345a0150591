"""The core tasks on the built-in model: accuracy, standard error, time, and how they fall as the model is damaged.

    python benchmarks/core_tasks.py [--noise 0 0.05 0.1 0.2 0.4 0.8] [--seeds 3] [--limit 100] [--dtype bfloat16]

First the unharmed model on every item of every task. Then Gaussian noise is added to every weight matrix, its standard
deviation a growing share of the matrix's own; each share is drawn ``--seeds`` times, and ``--limit`` takes the first
items of each task only (they lie in a random order). The table's errors are standard errors over items; with several
draws of the noise, accuracies are their mean.
"""

from __future__ import annotations

import argparse
import logging
import time
from statistics import mean


def chance(task):
    """Return the accuracy of guessing: 0 for the task whose words are free."""
    from editbench.capability.core_tasks import items

    shares = [1 / len(one["choices"]) if len(one["choices"]) > 1 else 0.0 for one in items(task)]
    return sum(shares) / len(shares)


class Counter:
    """Counts the tokens that go through a model, padding included."""

    def __init__(self, model):
        self.tokens = 0
        model.register_forward_pre_hook(self.add, with_kwargs=True)

    def add(self, _, positional, named):
        """Count one call."""
        self.tokens += (positional[0] if positional else named["input_ids"]).numel()


def evaluate(harness, manager, tasks, limit=None):
    """Return ``{task: (accuracy, items)}``."""
    from lm_eval import simple_evaluate

    done = simple_evaluate(
        model=harness, tasks=list(tasks), task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=True
    )
    return {task: (done["results"][task]["acc,none"], len(samples)) for task, samples in done["samples"].items()}


def error(accuracy, count):
    """Return the standard error of a share."""
    return (accuracy * (1 - accuracy) / count) ** 0.5


def unharmed(harness, manager, counter, tasks):
    """Print accuracy, error, time and tokens of each task and return the accuracies."""
    print("| task | items | chance | accuracy | standard error | above chance by | s | processor s | tokens |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    total = [0, 0.0, 0.0, 0]
    for task in tasks:
        counter.tokens, wall, processor = 0, time.perf_counter(), time.process_time()
        accuracy, count = evaluate(harness, manager, [task])[task]
        spent = [count, time.perf_counter() - wall, time.process_time() - processor, counter.tokens]
        total = [a + b for a, b in zip(total, spent, strict=True)]
        se, guess = error(accuracy, count), chance(task)
        shown = f"{accuracy:.3f} | {se:.3f} | {(accuracy - guess) / se:.0f} errors"
        print(
            f"| {task} | {count} | {guess:.2f} | {shown} | {spent[1]:.0f} | {spent[2]:.0f} | {spent[3]} |", flush=True
        )
    print(f"| all | {total[0]} | | | | | {total[1]:.0f} | {total[2]:.0f} | {total[3]} |\n", flush=True)


def harmed(harness, manager, model, tasks, options):
    """Print the accuracies under each size of noise."""
    from editbench.testing.damage import damaged

    print("| noise | " + " | ".join(task.removeprefix("core_") for task in tasks) + " |")
    print("|---" * (len(tasks) + 1) + "|", flush=True)
    for size in options.noise:
        found = []
        for seed in range(options.seeds if size else 1):
            with damaged(model, size, seed):
                found.append(evaluate(harness, manager, tasks, options.limit))
        count = {task: found[0][task][1] for task in tasks}
        share = {task: mean(one[task][0] for one in found) for task in tasks}
        cells = [f"{share[task]:.2f} ± {error(share[task], count[task]):.2f}" for task in tasks]
        print(f"| {size:g} | " + " | ".join(cells) + " |", flush=True)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--only-harmed", action="store_true", help="leave the first table out")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # lm-eval explains itself at length
    import torch
    from lm_eval.tasks import TaskManager

    from editbench.capability.core_tasks import TASKS, core_folder
    from editbench.capability.evaluate import EditedLM
    from editbench.models.load import load_lm

    torch.set_num_threads(options.threads)
    lm = load_lm(options.model, dtype=options.dtype)
    harness = EditedLM(lm, options.batch_size)
    manager = TaskManager(include_path=str(core_folder()), include_defaults=False)
    if not options.only_harmed:
        unharmed(harness, manager, Counter(lm.model), TASKS)
    if options.noise:
        harmed(harness, manager, lm.model, TASKS, options)


if __name__ == "__main__":
    main()

"""A small folder of lm-eval tasks: two scored ones in a group, one that generates, and their documents beside them.

And what tests of capability do with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from editbench.cache import Cache
from editbench.capability.bench import Bench
from editbench.capability.spec import CapabilitySpec

_SCORED = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {name}.jsonl, train: shots.jsonl}}}}
test_split: test
training_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: {version}}}
"""
_GENERATED = """\
task: toy_write
dataset_path: json
dataset_kwargs: {data_files: {test: toy_one.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: MOST}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
_GROUP = """\
group: toy
task: [toy_one, toy_two]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 3.0}
"""
_WORDS = ("king", "city", "book", "song", "land", "town", "violin", "language", "writer", "people")


def rows(n: int, start: int = 0) -> list[dict[str, object]]:
    """Return ``n`` questions with three choices each."""
    found = []
    for i in range(start, start + n):
        choices = [f"the {_WORDS[(i + k) % 10]} of {_WORDS[(3 * i + k) % 10]}" for k in range(3)]
        found.append({"question": f"The {_WORDS[i % 10]} is in", "choices": choices, "answer": i % 3})
    return found


def write_lines(path: Path, lines: list[dict[str, object]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_tasks(folder: Path, version: str = "1.0", max_gen_toks: int = 4) -> Path:
    """Write the folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, n, start in (("toy_one", 6, 0), ("toy_two", 9, 20)):
        (folder / f"{name}.yaml").write_text(_SCORED.format(name=name, version=version))
        write_lines(folder / f"{name}.jsonl", rows(n, start))
    write_lines(folder / "shots.jsonl", rows(4, 50))
    (folder / "toy_write.yaml").write_text(_GENERATED.replace("MOST", str(max_gen_toks)))
    (folder / "toy.yaml").write_text(_GROUP)
    return folder


def native_yaml(path: str) -> Path:
    """Return the file of one of lm-eval's own tasks."""
    import lm_eval

    return Path(str(lm_eval.__file__)).parent / "tasks" / path


def made(folder: Path, cache: Path, *, trusted: bool = False, **settings: Any) -> Bench:
    """Return a bench of all tasks in a folder, or of one file."""
    return Bench(CapabilitySpec(tasks=[str(folder)], batch_size=4, **settings), None, Cache(cache), trusted=trusted)


def silent(share: float, note: str) -> None:
    """Hear of progress, and say nothing."""

"""What all tests share: cores, what the collector of garbage looks at, facts, and the built-in model.

Test processes side by side (``pytest -n 2``) each compute on their share of the cores, and so do those they start.
Threads of several processes on the same cores wait for each other while they spin, and everything takes many times as
long.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.testing import OtherProcess

workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if workers > 1:
    # before torch is imported, which reads it once
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="module", autouse=True)
def what_was_imported_is_no_garbage() -> None:
    """Every run looks for garbage before each stream: a fifth of a second, if among all that was ever imported."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def facts_are_read_once() -> Iterator[None]:
    """Most suites of these tests are over the shipped facts: 3,655 requests, which nobody can change."""
    import editbench.datasets as room

    read, kept = room.load_dataset, {}

    def load_dataset(spec: Any, *more: Any, **others: Any) -> Any:
        if room.DatasetSpec.parse(spec) != room.DatasetSpec(name="facts"):
            return read(spec, *more, **others)
        if not kept:
            kept["facts"] = read(spec)
        return kept["facts"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "load_dataset", load_dataset)
        yield


@pytest.fixture(scope="session", autouse=True)
def the_index_of_lm_eval_is_read_once() -> Iterator[None]:
    """Whose YAML of some 14,000 tasks takes 20 s; tests have caches of their own, and it is the same in each."""
    from editbench.capability import index

    read, kept = index._read, {}

    def read_once(root: Path) -> Any:
        if root != index.own_folder():
            return read(root)
        if root not in kept:
            kept[root] = read(root)
        return kept[root]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_read", read_once)
        yield


@pytest.fixture(scope="session")
def lm_eval_lists_no_packages() -> Iterator[None]:
    """What it notes of the machine after ``simple_evaluate`` takes four seconds, and is compared with nothing."""
    import lm_eval.evaluator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)
        yield


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[OtherProcess]:
    """One more process for the laws about other processes; started by the first test that asks for it."""
    from editbench.testing import OtherProcess

    with OtherProcess() as other:
        yield other


@pytest.fixture(scope="session")
def loaded_smollm2() -> tuple[LM, dict[str, str]]:
    from editbench.models.load import load_lm
    from editbench.running.unedited import fingerprint

    lm = load_lm("smollm2-135m")
    return lm, fingerprint(lm)


@pytest.fixture
def smollm2(loaded_smollm2: tuple[LM, dict[str, str]]) -> Iterator[LM]:
    """The built-in model, loaded once per process: whoever uses it leaves it as it was."""
    from editbench.running.unedited import differences, fingerprint

    lm, before = loaded_smollm2
    yield lm
    assert differences(before, fingerprint(lm)) == []

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch

from editbench.base.seeds import numpy_generator, seed, torch_generator


def test_a_seed_is_the_same_everywhere_and_forever() -> None:
    assert seed(0, "order", "abc") == 1993220594977967592
    code = "from editbench.base.seeds import seed; print(seed(0, 'order', 'abc'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == seed(0, "order", "abc")


def test_every_part_matters_and_so_does_where_one_ends() -> None:
    seeds = [seed(0), seed(1), seed(0, "a"), seed(0, "b"), seed(0, "a", "b"), seed(0, "ab"), seed(0, 1), seed(0, "1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= value < 2**63 for value in seeds)


def test_generators_repeat_and_leave_the_global_ones_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    draws = [torch.rand(3, generator=torch_generator(0, "x")).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
    assert numpy_generator(0, "x").random() == numpy_generator(0, "x").random()
    assert numpy_generator(0, "x").random() != numpy_generator(0, "y").random()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]

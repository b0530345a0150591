"""A kept edit gives back the very bits, also where a sum would not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import editbench
from editbench.edits import EDIT_FILE
from editbench.ledger import Ledger
from editbench.running.exporter import write_readme
from editbench.running.kept import write_edit
from editbench.testing.tiny import tiny_lm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_delta_is_exact_where_adding_rounds_and_where_numbers_are_not_finite(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    lm = tiny_lm("llama", dtype=dtype)
    name = lm.layout.weight_name(1, "down")
    ledger = Ledger(lm)
    weight = ledger.keep_original(name).data
    draw = torch.Generator().manual_seed(0)
    weight.copy_(weight * 10.0 ** torch.randint(-6, 4, weight.shape, generator=draw))
    weight[0, 0], weight[0, 1], weight[0, 2] = float("nan"), float("inf"), -0.0
    base = {"name": "tiny", "revision": None, "dtype": str(dtype)[6:], "model_hash": lm.model_hash}
    write_edit(tmp_path / EDIT_FILE, ledger, {"model": base})
    with safe_open(tmp_path / EDIT_FILE, framework="pt") as file:
        assert set(file.keys()) == {name, f"{name}:places", f"{name}:values"}
        assert 3 <= len(file.get_tensor(f"{name}:places")) < weight.numel()
        assert file.get_tensor(name).dtype == torch.float32
    fresh = tiny_lm("llama", dtype=dtype)
    editbench.apply_edit(fresh.model, tmp_path)
    bits = {2: torch.int16, 4: torch.int32}[weight.element_size()]
    assert torch.equal(fresh.parameter(name).view(bits), weight.view(bits))


def test_the_readme_of_a_delta_counts_its_edits(tmp_path: Path) -> None:
    base = {"name": "smollm2-135m", "source": "smollm2-135m", "revision": None, "dtype": "float32"}
    for scale, said in ((1, "local: 1 edit of"), (1000, "local: 1,000 edits of")):
        write_readme(tmp_path, {"model": base, "method": {"label": "local"}, "scale": scale, "edits": []})
        assert (tmp_path / "README.md").read_text().startswith(f"# {said} smollm2-135m\n")

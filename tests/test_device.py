"""The kind of device is in a run's id, its model in the keys of what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_tree import small_plan, small_suite

from editbench.errors import BadModel
from editbench.plan.runs import RunOptions, check_device, make_plan


@pytest.mark.parametrize(
    ("asked", "gpus", "visible", "built", "kind"),
    [
        ("cpu", ("H100",), None, True, "cpu"),
        ("cuda:1", (), None, True, "cuda"),
        ("auto", (), None, True, "cpu"),
        ("auto", ("H100",), None, True, "cuda"),
        ("auto", ("H100",), "", True, "cpu"),
        ("auto", ("H100",), None, False, "cpu"),
    ],
)
def test_the_kind_of_device_is_known_when_a_run_is_planned(
    monkeypatch: pytest.MonkeyPatch, asked: str, gpus: tuple[str, ...], visible: str | None, built: bool, kind: str
) -> None:
    from editbench.base import machine

    monkeypatch.setattr(machine, "gpu_names", lambda: gpus)
    monkeypatch.setattr(machine, "_torch_knows_cuda", lambda: built)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.device_kind(asked) == kind


def test_whether_torch_was_built_for_cuda_is_known_without_importing_it() -> None:
    import torch

    from editbench.base.machine import _torch_knows_cuda

    assert _torch_knows_cuda() is (torch.version.cuda is not None)


def test_a_model_on_another_kind_of_device_than_planned_is_refused(tmp_path: Path) -> None:
    from editbench.testing.tiny import tiny_lm

    lm, suite = tiny_lm("llama"), small_suite(tmp_path)
    check_device(make_plan(suite, RunOptions(device="cpu")).runs[0], lm)
    with pytest.raises(BadModel, match="planned for cuda") as caught:
        check_device(make_plan(suite, RunOptions(device="cuda:0")).runs[0], lm)
    assert "--device cpu" in str(caught.value)


def test_what_is_kept_of_the_unedited_model_names_the_devices_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editbench.base.machine import cpu_name
    from editbench.cache import Cache
    from editbench.measure.examination import Examination
    from editbench.models import lm as lm_module
    from editbench.models.sampling import self_text
    from editbench.testing.tiny import tiny_lm

    lm, run = tiny_lm("llama"), small_plan(tmp_path)[0].runs[0]
    assert (lm.device_kinds, lm.device_name) == ({"cpu"}, f"cpu {cpu_name()}")
    exam, cache = Examination([], 0, run.probes, run.protocol, 0), Cache(tmp_path / "cache")
    for _ in range(2):  # the second time nothing is new
        exam.unedited(lm, cache)
        self_text(lm, 8, cache)
        assert len(list(cache.folder.rglob("*.json"))) == 2
    monkeypatch.setattr(lm_module, "processor_name", lambda device: "another")
    exam.unedited(lm, cache)
    self_text(lm, 8, cache)
    assert len(list(cache.folder.rglob("*.json"))) == 4

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROUNDS = 250


def calibration() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "calibration.py"
    spec = importlib.util.spec_from_file_location("calibration", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["calibration"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SIMULATED = calibration()


def margin(share: float) -> float:
    """Three standard errors of a share seen in so many rounds."""
    return 3 * math.sqrt(share * (1 - share) / ROUNDS)


@pytest.mark.slow
def test_no_test_errs_more_often_than_one_time_in_twenty() -> None:
    found = {case.name: SIMULATED.rate(case, ROUNDS) for case in SIMULATED.cases() if case.kind == "error"}
    assert {name: rate for name, rate in found.items() if rate > 0.05 + margin(0.05)} == {}
    assert max(found.values()) > 0.03  # none of them is so careful that it could not err


@pytest.mark.slow
def test_every_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    found = {case.name: SIMULATED.rate(case, ROUNDS) for case in SIMULATED.cases() if case.kind == "coverage"}
    assert {name: rate for name, rate in found.items() if rate < 0.95 - margin(0.05)} == {}


@pytest.mark.slow
def test_what_is_there_is_found() -> None:
    cases = {case.name: case for case in SIMULATED.cases() if case.kind == "power"}
    for name in ("0.6 against 0.40, 1 seed × 100 requests", "0.6 against 0.50, 1 seed × 1,000 requests"):
        assert SIMULATED.rate(cases[name], ROUNDS) > 0.85

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# benchmarks/calibration.py makes 2,000 rounds of each
FIRST, ROUNDS = 60, 250


def calibration() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "calibration.py"
    spec = importlib.util.spec_from_file_location("calibration", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["calibration"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SIMULATED = calibration()


def missed(case: Any) -> float:
    """How often a test errs, or an interval misses the truth, which should be one time in twenty.

    Most cases are decided in the first rounds. One that errs in more of them than a right one does in five cases of
    six is looked at for long; one that errs three times too often gets past the first rounds one time in 24.
    """
    happened, wrong = SIMULATED.happenings(case), case.kind == "error"
    found = [one == wrong for one in islice(happened, FIRST)]
    if sum(found) > 4:
        found += [one == wrong for one in islice(happened, ROUNDS - FIRST)]
    return sum(found) / len(found)


def of_kind(kind: str) -> dict[str, Any]:
    return {case.name: case for case in SIMULATED.cases() if case.kind == kind}


# three standard errors of a share of one in twenty
TOO_OFTEN = 0.05 + 3 * math.sqrt(0.05 * 0.95 / ROUNDS)


@pytest.mark.slow
def test_no_test_errs_more_often_than_one_time_in_twenty() -> None:
    found = {name: missed(case) for name, case in of_kind("error").items()}
    assert {name: share for name, share in found.items() if share > TOO_OFTEN} == {}
    assert max(found.values()) > 0.03  # none of them is so careful that it could not err


@pytest.mark.slow
def test_every_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    found = {name: missed(case) for name, case in of_kind("coverage").items()}
    assert {name: share for name, share in found.items() if share > TOO_OFTEN} == {}


@pytest.mark.slow
def test_what_is_there_is_found() -> None:
    cases = of_kind("power")
    for name in ("0.6 against 0.40, 1 seed × 100 requests", "0.6 against 0.50, 1 seed × 1,000 requests"):
        assert SIMULATED.rate(cases[name], 100) > 0.85

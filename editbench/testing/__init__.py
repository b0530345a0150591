"""For authors of methods: tiny models built in memory, and the laws every method must obey."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editbench.testing.check import LawResult, check_method
    from editbench.testing.elsewhere import OtherProcess
    from editbench.testing.tiny import tiny_lm, tiny_requests
    from editbench.testing.trial import TrialModel

_HOMES = {
    "LawResult": "check",
    "OtherProcess": "elsewhere",
    "TrialModel": "trial",
    "check_method": "check",
    "tiny_lm": "tiny",
    "tiny_requests": "tiny",
}

__all__ = ["LawResult", "OtherProcess", "TrialModel", "check_method", "tiny_lm", "tiny_requests"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

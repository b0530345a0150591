"""The contract between editbench and a method: :class:`Method`, :class:`Hparams`, and what ``edit`` returns.

A method's author writes one file with one class. The runner computes the edit, applies it, measures the model and
reverts it; the method never leaves a trace in the model by itself. ``editbench check --method NAME`` tests the laws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from editbench.context import Context
from editbench.edits import ContextEdit, Edit, Edits, Kind, LowRankEdit, ModuleEdit, WeightEdit
from editbench.requests import Request
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    import torch

    from editbench.cache import Cache
    from editbench.models.lm import LM, ModelShape

__all__ = [
    "Context",
    "ContextEdit",
    "Edit",
    "Edits",
    "Hparams",
    "Kind",
    "LowRankEdit",
    "Method",
    "ModuleEdit",
    "Regime",
    "WeightEdit",
]

Regime = Literal["batch", "sequential"]


class Hparams(BaseModel):
    """Base of a method's hyper-parameters: frozen, typed, unknown keys refused.

    Science only: what changes the result. Device, dtype, paths and verbosity are run options and live elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Method(ABC):
    """A way of writing requests into a model. Subclass it, fill in the class attributes, implement ``edit``.

    Class attributes
    ----------------
    name: the name it is registered under.
    cite: where it was published, such as ``arXiv:2202.05262``; "" if nowhere.
    kind: what ``edit`` returns: ``weights``, ``low-rank``, ``modules``, ``context``, or ``mixed`` for several of them.
    regimes: ``batch`` if it takes all requests at once, ``sequential`` if in chunks on top of each other; or both.
    independent: whether requests do not influence each other, so that editing them one at a time gives the same edit.
    cumulative: whether a stream of chunks ends in the same edit as all its requests at once.
    gated: whether prompts that have nothing to do with a request are answered with the unedited model's bits.
    learns: whether it is meant to make the target likelier; only a control says False.
    tiny: hyper-parameters for the tiny random models of the laws, where the method's own make no sense there.

    The first line of the class docstring is what ``editbench list`` shows.
    """

    name: ClassVar[str]
    cite: ClassVar[str] = ""
    kind: ClassVar[Kind] = "weights"
    regimes: ClassVar[frozenset[Regime]] = frozenset({"batch"})
    independent: ClassVar[bool] = False
    cumulative: ClassVar[bool] = False
    gated: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {}

    class Hparams(Hparams):
        """No hyper-parameters, unless the method declares some."""

    def __init__(self, hparams: BaseModel | None = None) -> None:
        self.hparams: Any = self.Hparams() if hparams is None else hparams
        self.progress: Callable[[float, str], None] = _ignore_progress
        self.savepoint = Savepoint()
        self.failures: dict[str, str] = {}
        self.numbers: list[tuple[str, str | None, float]] = []

    @classmethod
    def heuristics(cls, shape: ModelShape) -> dict[str, Any]:
        """Return depth-relative hyper-parameters for a model that has no published entry."""
        return {}

    @classmethod
    def flops(cls, shape: ModelShape, hparams: Any, n_requests: int, tokens: float) -> float:
        """Return about how many floating-point operations an edit takes; 0 if unknown. Used for time left only.

        ``tokens``: mean number of tokens of a prompt with its target.
        """
        return 0.0

    def supports(self, lm: LM) -> str | None:
        """Return None if this model can be edited with these hyper-parameters, else the reason it is skipped."""
        return None

    def prepare(self, lm: LM, cache: Cache) -> None:
        """Do what is needed once per model (covariances, projections); timed apart, kept in ``cache`` by content."""
        return

    @abstractmethod
    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Compute the change that writes ``requests`` into ``lm``, and leave ``lm`` bitwise as it was found.

        Requests come without their probes: what is asked about them afterwards is not known here.
        In the sequential regime this is called once per chunk, with the earlier chunks' edits applied to ``lm``.
        Every random draw comes from ``rng`` (a CPU generator). Call ``self.progress(share_done, note)`` now and then.
        A request that cannot be edited (its subject is not in its prompt) goes into ``self.failures``, id -> reason,
        and the others are edited all the same.
        An edit of many minutes should ``self.savepoint.save`` its state whenever ``self.savepoint.due``, begin with
        ``self.savepoint.load()``, and end with the same bits whether it was cut off in between or not.
        Raises :class:`editbench.errors.Diverged` when the optimisation leaves the finite numbers.
        """

    def number(self, name: str, value: float, request: Request | None = None) -> None:
        """Record a number of the method's own: a loss, the keys in a codebook, the share of prompts it answered.

        Of a chunk, or of one ``request`` of it. It lands in the cell (``results/README.md``) and can be plotted.
        """
        self.numbers.append((name, None if request is None else request.id, float(value)))

    def state_dict(self) -> dict[str, Any]:
        """Return what a sequential method carries from chunk to chunk (past keys, running statistics, a memory).

        Tensors, and values that JSON holds, by name.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned, in this or another process."""
        return


def _ignore_progress(share_done: float, note: str) -> None:
    return

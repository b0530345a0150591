"""The contract between editbench and a method: :class:`Method`, :class:`Hparams`, and what ``edit`` returns.

A method's author writes one file with one class. The runner computes the edit, applies it, measures the model and
reverts it; the method never leaves a trace in the model by itself. ``editbench check --method NAME`` tests the laws.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from editbench.requests import Request
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    import torch

    from editbench.cache import Cache
    from editbench.models.lm import LM, ModelShape

Regime = Literal["batch", "sequential"]


class Hparams(BaseModel):
    """Base of a method's hyper-parameters: frozen, typed, unknown keys refused.

    Science only: what changes the result. Device, dtype, paths and verbosity are run options and live elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Applied(ABC):
    """An edit that is in a model now. Edits applied on top of each other are reverted last first."""

    @abstractmethod
    def revert(self) -> None:
        """Restore, bitwise, what was there before."""


class Edit(ABC):
    """A change to a model, as data: it can be applied, reverted, saved and measured."""

    @abstractmethod
    def apply(self, lm: LM) -> Applied:
        """Put the change into ``lm`` and return the handle that takes it out again."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes needed to store the change."""


@dataclass(frozen=True)
class WeightEdit(Edit):
    """New values for some weights, kept as differences: W becomes W + ΔW.

    Attributes
    ----------
    deltas: full parameter name -> ΔW, with the parameter's own shape; dtype float32 or better, or the parameter's own.
    """

    deltas: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def apply(self, lm: LM) -> Applied:
        """Add every ΔW, in the wider of the two dtypes, rounded once to the parameter's own.

        Raises ``KeyError`` or ``AttributeError`` for a parameter the model has not, ``ValueError`` for a wrong shape.
        """
        found = {name: lm.parameter(name) for name in self.deltas}
        for name, parameter in found.items():
            if parameter.shape != self.deltas[name].shape:
                raise ValueError(f"{name} is {tuple(parameter.shape)}, its delta {tuple(self.deltas[name].shape)}")
        originals = {name: parameter.detach().clone() for name, parameter in found.items()}
        for name, parameter in found.items():
            parameter.data.copy_(originals[name] + self.deltas[name].to(parameter.device))
        return _AppliedWeights({name: (parameter, originals[name]) for name, parameter in found.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all ΔW."""
        return sum(delta.numel() * delta.element_size() for delta in self.deltas.values())


@dataclass
class _AppliedWeights(Applied):
    kept: dict[str, tuple[torch.nn.Parameter, torch.Tensor]]

    def revert(self) -> None:
        for parameter, original in self.kept.values():
            parameter.data.copy_(original)
        self.kept = {}


@dataclass(frozen=True)
class ModuleEdit(Edit):
    """Modules put in the place of others: codebooks, side memories, adapters.

    Attributes
    ----------
    modules: full module name -> a module that has all it needs, the replaced one included if it calls it. The
        module's own tensors are the size of the edit; ``wraps`` names the attribute that holds the replaced module.
    wraps: attribute of each module that holds the module it replaces ("" if it keeps none).
    """

    modules: Mapping[str, torch.nn.Module]
    wraps: str = ""

    def apply(self, lm: LM) -> Applied:
        """Replace each named module. Raises ``AttributeError`` for a name the model has not."""
        kept = {name: lm.model.get_submodule(name) for name in self.modules}
        for name, module in self.modules.items():
            lm.model.set_submodule(name, module)
        return _AppliedModules(lm, kept)

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters and buffers that the modules bring along."""
        total = 0
        for module in self.modules.values():
            own = copy.copy(module.state_dict())
            inner = f"{self.wraps}." if self.wraps else None
            total += sum(
                tensor.numel() * tensor.element_size()
                for name, tensor in own.items()
                if inner is None or not name.startswith(inner)
            )
        return total


@dataclass
class _AppliedModules(Applied):
    lm: LM
    kept: dict[str, torch.nn.Module]

    def revert(self) -> None:
        for name, module in self.kept.items():
            self.lm.model.set_submodule(name, module)
        self.kept = {}


@dataclass(frozen=True)
class ContextEdit(Edit):
    """No weight changes: a text is put in front of each prompt (in-context editing, retrieval).

    Attributes
    ----------
    lookup: bare prompt -> the text to put before it, with its own trailing space or newline; "" for none.
    size: bytes of the memory that ``lookup`` reads from.
    """

    lookup: Callable[[str], str]
    size: int = 0

    def apply(self, lm: LM) -> Applied:
        """Set the model's context; a context already there comes after this one's text."""
        before = lm.context
        lookup = self.lookup
        lm.context = lookup if before is None else (lambda prompt: lookup(prompt) + before(prompt))
        return _AppliedContext(lm, before)

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return self.size


@dataclass
class _AppliedContext(Applied):
    lm: LM
    before: Callable[[str], str] | None

    def revert(self) -> None:
        self.lm.context = self.before


class Method(ABC):
    """A way of writing requests into a model. Subclass it, fill in the class attributes, implement ``edit``.

    Class attributes
    ----------------
    name: the name it is registered under.
    cite: where it was published, such as ``arXiv:2202.05262``; "" if nowhere.
    regimes: ``batch`` if it takes all requests at once, ``sequential`` if in chunks on top of each other; or both.
    independent: whether requests do not influence each other, so that editing them one at a time gives the same edit.
    learns: whether it is meant to make the target likelier; only a control says False.
    tiny: hyper-parameters for the tiny random models of the laws, where the method's own make no sense there.

    The first line of the class docstring is what ``editbench list`` shows.
    """

    name: ClassVar[str]
    cite: ClassVar[str] = ""
    regimes: ClassVar[frozenset[Regime]] = frozenset({"batch"})
    independent: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {}

    class Hparams(Hparams):
        """No hyper-parameters, unless the method declares some."""

    def __init__(self, hparams: BaseModel | None = None) -> None:
        self.hparams: Any = self.Hparams() if hparams is None else hparams
        self.progress: Callable[[float, str], None] = _ignore_progress
        self.savepoint = Savepoint()
        self.failures: dict[str, str] = {}

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

        In the sequential regime this is called once per chunk, with the earlier chunks' edits applied to ``lm``.
        Every random draw comes from ``rng`` (a CPU generator). Call ``self.progress(share_done, note)`` now and then.
        A request that cannot be edited (its subject is not in its prompt) goes into ``self.failures``, id -> reason,
        and the others are edited all the same.
        An edit of many minutes should ``self.savepoint.save`` its state whenever ``self.savepoint.due``, begin with
        ``self.savepoint.load()``, and end with the same bits whether it was cut off in between or not.
        Raises :class:`editbench.errors.Diverged` when the optimisation leaves the finite numbers.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what a sequential method carries from chunk to chunk (past keys, running statistics)."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state_dict` returned, in this or another process."""
        return


def _ignore_progress(share_done: float, note: str) -> None:
    return

"""What a method's ``edit`` returns: a change to a model, as data.

Every kind of edit is tensors with plain values beside them. That is what is counted as its size, checkpointed, kept and
exported. What an edit needs beside data is code, and code is named: a function or class at the top level of a module,
so that another process can find it again.
"""

from __future__ import annotations

import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from editbench.errors import EditbenchError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from editbench.context import Context
    from editbench.ledger import Ledger
    from editbench.models.lm import LM

Kind = Literal["weights", "low-rank", "modules", "context", "mixed"]
# The file of an edit that was kept or exported.
EDIT_FILE = "edit.safetensors"
# How modules are called that were loaded from ``./file.py:Class``.
SIDE_DOOR = "_editbench_side_door_"
# Tensors and values that JSON holds, by name.
Data = Mapping[str, Any]


class NotAnEdit(EditbenchError):
    """What was returned or read is no edit that can be applied, kept and made again."""


class Edit(ABC):
    """A change to a model, as data: it can be applied, reverted, saved, made again and measured.

    Attributes
    ----------
    kind: what sort of change it is; a method declares the same.
    supersedes: whether it takes the place of everything that its method applied before, as one growing memory does. If
        not, it comes on top.
    """

    kind: ClassVar[Kind]
    supersedes: bool

    def apply(self, lm: LM) -> Ledger:
        """Put the change into ``lm`` and return the ledger that takes it out again."""
        from editbench.ledger import Ledger

        ledger = Ledger(lm)
        ledger.apply(self)
        return ledger

    @abstractmethod
    def put_into(self, ledger: Ledger) -> None:
        """Change ``ledger.lm``, and leave with the ledger what restores it."""

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Return tensors and plain values from which :meth:`made_from` makes the same edit."""

    @classmethod
    @abstractmethod
    def made_from(cls, data: Data, home: str) -> Edit:
        """Return the edit that :meth:`data` describes. ``home``: the module of the method that made it."""

    @property
    def nbytes(self) -> int:
        """Bytes needed to store the change: of its tensors, and of its plain values as JSON."""
        return size_of(self.data())


@dataclass(frozen=True)
class WeightEdit(Edit):
    """New values for some weights, kept as differences: W becomes W + ΔW.

    Attributes
    ----------
    deltas: full parameter name -> ΔW, with the parameter's own shape; dtype float32 or better, or the parameter's own.
    supersedes: whether the deltas are against the unedited weights, and replace all earlier ones.
    """

    kind: ClassVar[Kind] = "weights"
    deltas: Mapping[str, torch.Tensor] = field(default_factory=dict)
    supersedes: bool = False

    def put_into(self, ledger: Ledger) -> None:
        """Add every ΔW, in the wider of the two dtypes, rounded once to the parameter's own.

        Raises ``KeyError`` or ``AttributeError`` for a parameter the model has not, ``ValueError`` for a wrong shape.
        """
        ledger.add_to_weights(self.deltas)

    def data(self) -> dict[str, Any]:
        """Return the deltas by the names of their parameters."""
        return dict(self.deltas)

    @classmethod
    def made_from(cls, data: Data, home: str) -> WeightEdit:
        """Return the edit with these deltas."""
        return cls(dict(data))


@dataclass(frozen=True)
class LowRankEdit(Edit):
    """A low-rank change to some weights, kept as its factors: W becomes W + B A.

    Attributes
    ----------
    factors: full parameter name -> (B [out, rank], A [rank, in]), the scale multiplied in; of a projection that keeps
        its weight as [in, out] (``Conv1D``) the same, for the transposed weight.
    supersedes: whether the factors are of the whole change against the unedited weights.
    """

    kind: ClassVar[Kind] = "low-rank"
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    supersedes: bool = False

    def put_into(self, ledger: Ledger) -> None:
        """Add every B A, computed in float32, rounded once to the parameter's own dtype.

        Raises ``KeyError`` or ``AttributeError`` for a parameter the model has not, ``ValueError`` for a wrong shape.
        """
        conv1d = ledger.lm.layout.conv1d
        products = {name: b.float() @ a.float() for name, (b, a) in self.factors.items()}
        ledger.add_to_weights({name: product.T if conv1d else product for name, product in products.items()})

    def data(self) -> dict[str, Any]:
        """Return the factors as ``<parameter>:B`` and ``<parameter>:A``."""
        named = (
            (f"{name}:{part}", factor)
            for name, pair in self.factors.items()
            for part, factor in zip("BA", pair, strict=True)
        )
        return dict(named)

    @classmethod
    def made_from(cls, data: Data, home: str) -> LowRankEdit:
        """Return the edit with these factors."""
        names = [key.removesuffix(":B") for key in data if key.endswith(":B")]
        return cls({name: (data[f"{name}:B"], data[f"{name}:A"]) for name in names})


Build = Callable[["LM", "nn.Module", Data], "nn.Module"]


@dataclass(frozen=True)
class ModuleEdit(Edit):
    """Modules put in the place of others: codebooks, side memories, adapters that stay what they are.

    Attributes
    ----------
    build: ``build(lm, standing, data)`` returns the module to stand in the place of ``standing``; a function or class
        at the top level of a module. The new module may call the old one, and ask ``lm.call`` what a pass is for. All
        else that it is made from is in ``data``: what ``standing`` holds may be another chunk's when it is made again.
    places: full module name -> the tensors and plain values that ``build`` makes it from. Their size is the edit's.
    supersedes: whether these modules stand alone, or on top of those that the method put there before.
    """

    kind: ClassVar[Kind] = "modules"
    build: Build
    places: Mapping[str, Data]
    supersedes: bool = True

    def put_into(self, ledger: Ledger) -> None:
        """Build and place each module. Raises ``AttributeError`` for a name the model lacks, or what ``build`` does."""
        lm = ledger.lm
        for name, data in self.places.items():
            standing = lm.model.get_submodule(name)
            module = self.build(lm, standing, _moved(data, _device_of(standing, lm)))
            if not _is_module(module):
                raise NotAnEdit(f"build returned {type(module).__name__} for {name}, not a module")
            module.requires_grad_(False).eval()
            lm.model.set_submodule(name, module)
            put = partial(lm.model.set_submodule, name)
            ledger.on_revert(partial(put, standing), partial(put, module))

    def data(self) -> dict[str, Any]:
        """Return what every module is made from, as ``<module>:<name>``, and the name of ``build``."""
        flat = {f"{place}:{name}": value for place, data in self.places.items() for name, value in data.items()}
        return {**flat, "build": code_name(self.build), "places": list(self.places)}

    @property
    def nbytes(self) -> int:
        """Bytes of what the modules are made from."""
        return sum(size_of(data) for data in self.places.values())

    @classmethod
    def made_from(cls, data: Data, home: str) -> ModuleEdit:
        """Return the edit with modules made from the same data by the same code."""
        places = {
            place: {key.removeprefix(f"{place}:"): value for key, value in data.items() if key.startswith(f"{place}:")}
            for place in data["places"]
        }
        return cls(code_named(data["build"], home), places)


LookupMany = Callable[["LM", Data, Sequence[str]], "Sequence[Context | str]"]


@dataclass(frozen=True)
class ContextEdit(Edit):
    """No weight changes: text is put around each prompt (in-context editing, retrieval).

    Attributes
    ----------
    lookup: ``lookup(lm, memory, prompts)`` returns, for many bare prompts at once, what stands around each: a
        :class:`~editbench.context.Context`, or the text before it; a function at the top level of a module. It
        is asked once for each prompt of a cell, and its time counts. It may question ``lm``, in as many rounds as it
        needs: the model has no context while it does.
    memory: the tensors and plain values that ``lookup`` reads from. Their size is the edit's.
    shared_prefix: text in front of everything, the same for all prompts, such as demonstrations: read once per batch.
    supersedes: whether the memory is the whole one, or its text is put around that of earlier ones.
    """

    kind: ClassVar[Kind] = "context"
    lookup: LookupMany
    memory: Data = field(default_factory=dict)
    shared_prefix: str = ""
    supersedes: bool = True

    def put_into(self, ledger: Ledger) -> None:
        """Set the model's context, around what is there already."""
        from editbench.context import Contexts

        lm, before = ledger.lm, ledger.lm.context
        memory = _moved(self.memory, lm.device)

        def look_up(prompts: Sequence[str]) -> Sequence[Context | str]:
            return self.lookup(lm, memory, prompts)

        earlier, prefix = (before.lookups, before.shared_prefix) if before is not None else ((), "")
        contexts = lm.context = Contexts(lm, (*earlier, look_up), self.shared_prefix + prefix)

        def take_out() -> None:
            lm.context = before

        def put_back() -> None:
            lm.context = contexts

        ledger.on_revert(take_out, put_back)

    def data(self) -> dict[str, Any]:
        """Return the memory as ``memory:<name>``, the shared prefix, and the name of ``lookup``."""
        flat = {f"memory:{name}": value for name, value in self.memory.items()}
        return {**flat, "lookup": code_name(self.lookup), "shared_prefix": self.shared_prefix}

    @property
    def nbytes(self) -> int:
        """Bytes of the memory and of the shared prefix."""
        return size_of(self.memory) + len(self.shared_prefix.encode())

    @classmethod
    def made_from(cls, data: Data, home: str) -> ContextEdit:
        """Return the edit with the same memory, read by the same code."""
        memory = {key.removeprefix("memory:"): value for key, value in data.items() if key.startswith("memory:")}
        return cls(code_named(data["lookup"], home), memory, data["shared_prefix"])


@dataclass(frozen=True)
class Edits(Edit):
    """Several edits as one, of one kind or of several; applied in order, reverted in reverse.

    Attributes
    ----------
    parts: the edits. Only ``supersedes`` of the whole counts.
    supersedes: whether they take the place of all that the method applied before.
    """

    kind: ClassVar[Kind] = "mixed"
    parts: tuple[Edit, ...]
    supersedes: bool = False

    def put_into(self, ledger: Ledger) -> None:
        """Apply every part."""
        for part in self.parts:
            part.put_into(ledger)

    def data(self) -> dict[str, Any]:
        """Return every part's data as ``<number>:<name>``, and their kinds."""
        flat = {f"{i}:{name}": value for i, part in enumerate(self.parts) for name, value in part.data().items()}
        return {**flat, "kinds": [part.kind for part in self.parts]}

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts)

    @classmethod
    def made_from(cls, data: Data, home: str) -> Edits:
        """Return the edits that the parts' data describe."""
        parts = []
        for i, kind in enumerate(data["kinds"]):
            own = {key.removeprefix(f"{i}:"): value for key, value in data.items() if key.startswith(f"{i}:")}
            parts.append(KINDS[kind].made_from(own, home))
        return cls(tuple(parts))


KINDS: dict[str, type[Edit]] = {kind.kind: kind for kind in (WeightEdit, LowRankEdit, ModuleEdit, ContextEdit, Edits)}


def size_of(data: Data) -> int:
    """Return the bytes of tensors, and of plain values as JSON."""
    total = 0
    for value in data.values():
        if hasattr(value, "element_size"):
            total += value.numel() * value.element_size()
        else:
            total += len(json.dumps(value, ensure_ascii=False).encode())
    return total


def code_name(function: Callable[..., Any]) -> str:
    """Return ``module:name`` of a function or class at the top level of a module.

    Raises :class:`NotAnEdit` for a lambda, a method or a function within another: no other process could find it.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module is None or getattr(sys.modules.get(module), name, None) is not function:
        raise NotAnEdit(
            f"{name or function!r} is no function or class at the top level of a module, so that the edit could not be "
            "made again in another process"
        )
    return f"{module}:{name}"


def code_named(name: str, home: str) -> Any:
    """Return the function or class of this name; one of the method's own module is looked for in ``home``.

    Raises :class:`NotAnEdit` if it is not there.
    """
    module, _, attribute = name.partition(":")
    if module.startswith(SIDE_DOOR):  # named after the place of its file, which may be another one here
        module = home
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NotAnEdit(f"the code of an edit is gone: {name}: {error}") from error


def _moved(data: Data, device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if hasattr(value, "element_size") else value for name, value in data.items()}


def _device_of(module: nn.Module, lm: LM) -> torch.device:
    first = next(module.parameters(), None)
    return lm.device if first is None else first.device


def _is_module(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)

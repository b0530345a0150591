"""All that has been put into a model, and how to take it out: one undo stack, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.edits import KINDS, ContextEdit, Data, Edit, Edits, LowRankEdit, WeightEdit, size_of
from editbench.errors import EditbenchError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from editbench.models.lm import LM


class RevertFailed(EditbenchError):
    """An edit could not be taken out: the model is not the unedited one and must be loaded afresh."""


@dataclass(frozen=True, slots=True)
class _Undo:
    undo: Callable[[], Any]
    redo: Callable[[], Any] | None = None


class Ledger:
    """All that has been put into a model, and how to take it out: the one place that knows.

    Parameters
    ----------
    lm: the model; unedited, as far as this ledger is concerned.

    Attributes
    ----------
    originals: full name -> what the changed weights were before the first change, in order of the first change.
    edits: what is in the model and must be known to put it there again: of plain weights the sum says all, and so they
        are not among them.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.originals: dict[str, Tensor] = {}
        self.edits: list[Edit] = []
        self._weights: dict[str, nn.Parameter] = {}
        self._delta_bytes: dict[str, int] = {}
        self._undo: list[_Undo] = []

    def apply(self, edit: Edit) -> None:
        """Put an edit into the model, in the place of all earlier ones if it supersedes them. Raises what that does."""
        if edit.supersedes:
            self.revert()
        edit.put_into(self)
        self._note(edit)

    def _note(self, edit: Edit) -> None:
        if isinstance(edit, Edits):
            for part in edit.parts:
                self._note(part)
        elif isinstance(edit, WeightEdit):
            self._delta_bytes |= {name: size_of({name: delta}) for name, delta in edit.deltas.items()}
        else:
            self.edits.append(edit)

    def add_to_weights(self, deltas: Mapping[str, Tensor]) -> None:
        """Add ΔW to parameters by name; the first change of each is noted, so that it can be taken back."""
        found = {name: self.lm.parameter(name) for name in deltas}
        for name, parameter in found.items():
            if parameter.shape != deltas[name].shape:
                raise ValueError(f"{name} is {tuple(parameter.shape)}, its delta {tuple(deltas[name].shape)}")
        for name, parameter in found.items():
            self.keep_original(name)
            parameter.data.copy_(parameter.detach() + deltas[name].to(parameter.device))

    def keep_original(self, name: str) -> nn.Parameter:
        """Return a parameter that is about to change, and see to it that it is restored."""
        if name not in self.originals:
            parameter = self.lm.parameter(name)
            original = parameter.detach().clone()
            self.originals[name], self._weights[name] = original, parameter
            self.on_revert(lambda: parameter.data.copy_(original))
        return self._weights[name]

    def keep_those_there(self, names: Iterable[str]) -> None:
        """Keep the originals of weights that have these names before modules come: behind one they have another."""
        for name in names:
            with suppress(AttributeError):  # a weight of a module that is yet to come
                self.keep_original(name)

    def on_revert(self, undo: Callable[[], Any], redo: Callable[[], Any] | None = None) -> None:
        """Have ``undo`` called when everything is taken out, before what was left here earlier.

        ``redo`` puts the same thing back, where that costs nothing, so that it can be set aside for a moment.
        """
        self._undo.append(_Undo(undo, redo))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Within the context, modules and contexts are out of the model; changed weights stay."""
        moved = [one for one in self._undo if one.redo is not None]
        for one in reversed(moved):
            one.undo()
        try:
            yield
        finally:
            for one in moved:
                assert one.redo is not None
                one.redo()

    def revert(self) -> None:
        """Restore, bitwise, what was there before: the last change first.

        Everything is tried, whatever fails. Raises :class:`RevertFailed` then; the model is not the unedited one.
        """
        failed: list[BaseException] = []
        for one in reversed(self._undo):
            try:
                one.undo()
            except Exception as error:
                failed.append(error)
        self.originals, self.edits, self._weights, self._delta_bytes, self._undo = {}, [], {}, {}, []
        if failed:
            first = failed[0]
            raise RevertFailed(f"the edit could not be taken out: {type(first).__name__}: {first}") from first

    @property
    def changed(self) -> bool:
        """Whether anything has been put into the model."""
        return bool(self._undo)

    @property
    def weights_only(self) -> bool:
        """Whether the model computes what the unedited one does, with other weights at most."""
        return all(isinstance(edit, LowRankEdit) for edit in self.edits)

    @property
    def texts_only(self) -> bool:
        """Whether nothing has changed but what stands around prompts."""
        return bool(self.edits) and not self.originals and all(isinstance(edit, ContextEdit) for edit in self.edits)

    @property
    def only_low_rank(self) -> bool:
        """Whether all that is in the model is low-rank changes."""
        return bool(self.edits) and self.weights_only and not self._delta_bytes

    @property
    def nbytes(self) -> int:
        """Bytes of what is in the model, each thing once."""
        return sum(self._delta_bytes.values()) + sum(edit.nbytes for edit in self.edits)

    @property
    def delta_bytes(self) -> dict[str, int]:
        """Bytes of the change of each weight that was given as a difference, by full name."""
        return dict(self._delta_bytes)

    def note_weights(self, delta_bytes: Mapping[str, int]) -> None:
        """Take note of changes that were put into the weights' values at once, with what each would take by itself."""
        self._delta_bytes |= delta_bytes

    def weight(self, name: str) -> Tensor:
        """Return what a changed weight is now."""
        return self._weights[name].detach()

    def state(self) -> dict[str, Any]:
        """Return what is in the model as data, for :meth:`restore`: edits in order, and the changed weights' values."""
        found: dict[str, Any] = {f"weight:{name}": self.weight(name) for name in self.originals}
        for number, edit in enumerate(self.edits):
            found |= {f"edit:{number}:{name}": value for name, value in edit.data().items()}
        return {**found, "kinds": [edit.kind for edit in self.edits], "delta_bytes": self.delta_bytes}

    def restore(self, state: Data, home: str) -> None:
        """Put into the unedited model what :meth:`state` describes. ``home``: the module of the method."""
        weights = {key.removeprefix("weight:"): value for key, value in state.items() if key.startswith("weight:")}
        self.keep_those_there(weights)
        for number, kind in enumerate(state["kinds"]):
            own = f"edit:{number}:"
            data = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
            edit = KINDS[kind].made_from(data, home)
            if not isinstance(edit, LowRankEdit):  # its products are in the weights' values
                edit.put_into(self)
            self.edits.append(edit)
        for name, value in weights.items():
            self.keep_original(name).data.copy_(value)
        self.note_weights(state["delta_bytes"])

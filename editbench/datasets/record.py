"""One raw record of a dataset file, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from editbench.base.parsing import why_no_text
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, REPHRASE, Probe, Request


class RecordError(Exception):
    """A record that cannot be read; turned into ``BadData`` with the file's name by the loader."""


def _clean(text: str, name: str) -> str:
    if why := why_no_text(text):
        raise RecordError(f"field {name!r} is no text: {why}. Expected text")
    return text.strip()


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw records and where they come from.

    Attributes
    ----------
    rows: one mapping per record.
    source: what to call them in messages: a file name or a hub id with its revision.
    form: the field form they have, or ``auto``.
    """

    rows: Sequence[Mapping[str, Any]]
    source: str
    form: str = "auto"


@dataclass(frozen=True, slots=True)
class Record:
    """A raw record that knows its number, so that messages can name it.

    Attributes
    ----------
    fields: the record as it was read.
    number: its place in the file, from 1.
    """

    fields: Mapping[str, Any]
    number: int

    @property
    def id(self) -> str:
        """The record's own id if it has one, else its number. Raises :class:`RecordError` for one that is no text."""
        return self.maybe("id") or self.maybe("case_id") or str(self.number)

    @property
    def called(self) -> str:
        """What to call it in messages: its number, and its id if it has one that can be shown."""
        try:
            own = self.id
        except RecordError:
            own = ""
        return f"record {self.number}" + (f" (id {own})" if own not in ("", str(self.number)) else "")

    def raw(self, *names: str, expected: str) -> Any:
        """Return the first of these fields that is there. Raises :class:`RecordError` if none is."""
        for name in names:
            if self.fields.get(name) is not None:
                return self.fields[name]
        raise RecordError(f"field {names[0]!r} is missing. Expected {expected}")

    def text(self, *names: str, expected: str = "text") -> str:
        """Return the first of these fields as stripped text. Raises :class:`RecordError` if missing or no text."""
        value = self.raw(*names, expected=expected)
        if not isinstance(value, str | int | float):
            raise RecordError(f"field {names[0]!r} is {type(value).__name__}. Expected {expected}")
        return _clean(str(value), names[0])

    def maybe(self, *names: str) -> str | None:
        """Return the first of these fields as stripped text, or None where the record has none."""
        if any(self.fields.get(name) is not None for name in names):
            return self.text(*names)
        return None

    def texts(self, name: str) -> list[str]:
        """Return a field that may be a list or a single text as a list; [] where it is missing."""
        value = self.fields.get(name)
        if value is None:
            return []
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Iterable) or not all(isinstance(item, str) for item in values):
            raise RecordError(f'field {name!r} is no text nor a list of texts. Expected e.g. ["…", "…"]')
        return [_clean(item, name) for item in values]

    def part(self, name: str, expected: str) -> Record:
        """Return a field that is itself a record. Raises :class:`RecordError` if it is missing or none."""
        value = self.raw(name, expected=expected)
        if not isinstance(value, Mapping):
            raise RecordError(f"field {name!r} is {type(value).__name__}. Expected {expected}")
        return Record(value, self.number)

    def parts(self, name: str) -> list[Record]:
        """Return a field that is a list of records; [] where it is missing."""
        value = self.fields.get(name)
        if value is None:
            return []
        listed = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
        if not listed or not all(isinstance(item, Mapping) for item in value):
            raise RecordError(f"field {name!r} is {type(value).__name__}. Expected a list of objects")
        return [Record(item, self.number) for item in value]


@dataclass(frozen=True, slots=True)
class Form:
    """One field form and how to read it.

    Attributes
    ----------
    name: what ``form:`` in a suite says.
    marks: field names that together tell this form from the others.
    read: a record and the target field's name to requests; raises :class:`RecordError`.
    any_of: field names of which at least one must be there too, if given.
    targets: what ``target_field`` may say, the default first.
    merge: applied to all requests at the end, for forms that repeat themselves.
    """

    name: str
    marks: frozenset[str]
    read: Callable[[Record, str], list[Request]]
    targets: tuple[str, ...] = ("target_new",)
    merge: Callable[[list[Request]], list[Request]] = field(default=list)
    any_of: frozenset[str] = frozenset()

    def fits(self, present: Collection[str]) -> bool:
        """Return whether a record with these fields has this form."""
        return self.marks <= set(present) and (not self.any_of or not self.any_of.isdisjoint(present))


def filled(template: str, subject: str) -> tuple[str, int]:
    """Return the template with the subject in its place, and where the subject begins.

    Raises :class:`RecordError` if the template has no ``{}``.
    """
    start = template.find("{}")
    if start < 0:
        raise RecordError(f"field 'prompt' has no {{}}: {template!r}. Expected the subject's place marked by {{}}")
    return (template[:start] + subject + template[start + 2 :]).rstrip(), start


def probes(
    rephrase: Iterable[str] = (),
    target: str | None = None,
    neighbour: Iterable[tuple[str, str | None]] = (),
    locality: Iterable[tuple[str, str | None]] = (),
    portability: Iterable[tuple[str, str | None]] = (),
) -> tuple[Probe, ...]:
    """Return probes in the fixed order of kinds: rephrase, neighbour, locality, portability."""
    return (
        *(Probe(REPHRASE, prompt, target) for prompt in rephrase),
        *(Probe(NEIGHBOUR, prompt, answer) for prompt, answer in neighbour),
        *(Probe(LOCALITY, prompt, answer) for prompt, answer in locality),
        *(Probe(PORTABILITY, prompt, answer) for prompt, answer in portability),
    )

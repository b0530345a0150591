"""The two things a dataset is made of: requests to write into a model, and probes that ask about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

EDIT, REPHRASE, PREFIXED, NEIGHBOUR, LOCALITY, PORTABILITY = PROBE_KINDS = (
    "edit",
    "rephrase",
    "prefixed",
    "neighbour",
    "locality",
    "portability",
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One question asked of a model about a request.

    Attributes
    ----------
    kind: ``edit`` (the request's own prompt), ``rephrase`` (the same fact in other words), ``prefixed`` (the same
        after an unrelated sentence), ``neighbour`` (another subject with the same relation and the same true object,
        which the edit must not move), ``locality`` (an unrelated fact) or ``portability`` (what follows from the new
        fact: multi-hop, alias, reversed).
    prompt: text that ends where the answer goes, without the space before it.
    answer: what is right after the edit: the new target on ``edit``, ``rephrase`` and ``prefixed``, the gold answer
        on the others; None if the dataset does not say.
    """

    kind: str
    prompt: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One edit to make (the field's ``request``, after ROME): a fact and what it shall become.

    Attributes
    ----------
    id: unique within its dataset.
    prompt: the edit prompt with the subject filled in; ends where the object goes, without the space before it.
    subject: the subject as it stands in ``prompt``.
    target_new: the object to write, without a leading space.
    target_true: the object that is true, or None where the dataset gives none.
    relation: name of the relation, or "" where the dataset gives none.
    probes: every other question about this request, in a fixed order.
    subject_start: where ``subject`` begins in ``prompt``, in characters; None: its first occurrence.
    """

    id: str
    prompt: str
    subject: str
    target_new: str
    target_true: str | None = None
    relation: str = ""
    probes: tuple[Probe, ...] = ()
    subject_start: int | None = None

    def all_probes(self) -> Iterator[Probe]:
        """Yield the edit prompt as a probe, then ``probes``."""
        yield Probe(EDIT, self.prompt, self.target_new)
        yield from self.probes

    def without_probes(self) -> Request:
        """Return the request as a method gets it: what to write, and nothing of what will be asked about it."""
        return replace(self, probes=())

    def subject_span(self) -> tuple[int, int] | None:
        """Return [start, end) of the subject in the prompt, in characters, or None if it is not there."""
        start = self.prompt.find(self.subject) if self.subject_start is None else self.subject_start
        if start < 0 or not self.prompt.startswith(self.subject, start):
            return None
        return start, start + len(self.subject)

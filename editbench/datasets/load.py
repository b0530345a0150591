"""From a spec to a checked dataset with a content hash."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring

from editbench.base.plugins import blamed, names
from editbench.datasets import forms, holdout, native, quality
from editbench.datasets.files import check_source, is_hub_id, looks_like_path, read_source
from editbench.datasets.quality import FaultReport
from editbench.datasets.readers import PUBLISHED, require_path
from editbench.datasets.record import Rows
from editbench.datasets.registry import DATASETS, load_dataset_reader
from editbench.datasets.spec import DatasetSpec
from editbench.errors import BadData, BadPlugin, UnknownName
from editbench.requests import LOCALITY, NEIGHBOUR, Request


@dataclass(frozen=True, slots=True)
class Dataset:
    """Requests that passed the checks.

    Attributes
    ----------
    name: as the suite names it.
    requests: in the file's order; :func:`editbench.datasets.ordered` gives the order of editing.
    content_hash: sha256 over the requests' content, whatever file they came from.
    source: file name, or hub id with its revision.
    faults: what the quality checks found.
    target_field: the field that is written, resolved from ``default``.
    whole_hash, whole_requests: hash and number of the requests before any were held out; those above where none were.
    holdout: share of the subjects that is held out (:mod:`editbench.datasets.holdout`), or None.
    side: ``rest`` if ``requests`` are those that are not held out, else ``search``.
    """

    name: str
    requests: tuple[Request, ...]
    content_hash: str
    source: str
    faults: FaultReport
    target_field: str
    whole_hash: str = ""
    whole_requests: int = 0
    holdout: float | None = None
    side: str = "rest"

    @property
    def split(self) -> dict[str, str | int | float]:
        """What is held out, as plain values, for manifests; empty where nothing is."""
        if self.holdout is None:
            return {}
        return {
            "holdout": self.holdout,
            "side": self.side,
            "whole_hash": self.whole_hash,
            "whole_requests": self.whole_requests,
        }

    @property
    def split_note(self) -> str:
        """A sentence that says how many requests are held out; "" where none are."""
        if self.holdout is None:
            return ""
        return holdout.split_note(self.whole_requests, len(self.requests), self.side)


def content_hash(requests: Iterable[Request]) -> str:
    """Return the sha256 of the requests' content, probes and order included.

    A line of JSON per request, written by hand: json.dumps takes three times as long on a hundred thousand requests.
    """
    digest = hashlib.sha256()
    kept: dict[int, str] = {}
    held = []  # an id is only good as long as its probe lives
    for r in requests:
        probes = []
        for probe in r.probes:
            line = kept.get(id(probe))
            if line is None:
                line = f"[{_often(probe.kind)},{_quoted(probe.prompt)},{_often(probe.answer)}]"
                # these may be shared by many requests
                if probe.kind in {NEIGHBOUR, LOCALITY}:
                    kept[id(probe)] = line
                    held.append(probe)
            probes.append(line)
        texts = f"{_quoted(r.id)},{_quoted(r.prompt)},{_quoted(r.subject)}"
        objects = f"{_often(r.target_new)},{_often(r.target_true)},{_often(r.relation)}"
        start = "null" if r.subject_start is None else int(r.subject_start)
        digest.update(f"[{texts},{objects},{start},[{','.join(probes)}]]\n".encode())
    return digest.hexdigest()


def _quoted(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


_often = lru_cache(maxsize=1 << 16)(_quoted)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from looking through a million new objects, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def check_dataset_name(name: str | DatasetSpec) -> None:
    """Say whether this dataset can be named, without reading it; a spec is checked for its form and path too.

    Raises :class:`UnknownName` for a name that is no dataset, path or hub id, and :class:`BadData` for a path that is
    not there or a registered name that needs one.
    """
    spec = DatasetSpec.parse(name)
    if spec.form != "auto" and spec.form not in forms.FORMS:
        raise UnknownName("field form", spec.form, forms.FORMS, "form: auto tells it from the fields.")
    if spec.name in names(DATASETS):
        if spec.name in PUBLISHED:
            check_source(require_path(spec))
        return
    if looks_like_path(spec.name):
        check_source(spec.name)
    elif not is_hub_id(spec.name):
        raise UnknownName(
            "dataset",
            spec.name,
            names(DATASETS),
            "A path to a .json, .jsonl or .parquet file also works, and so does a hub id: org/name",
        )


def _read(spec: DatasetSpec) -> Rows | list[Request]:
    if spec.name in names(DATASETS):
        reader = load_dataset_reader(spec.name)
        with blamed(f"The reader of the dataset {spec.name!r} fails", "Mend it, or leave this dataset out."):
            found = reader(spec)
        if isinstance(found, Rows):
            return found
        if not isinstance(found, list):
            raise BadPlugin(f"The dataset {spec.name!r} returned {type(found).__name__}.", "Expected Rows or a list.")
        if all(isinstance(item, Request) for item in found):
            return found
        return Rows(found, spec.name, spec.form)
    rows = read_source(spec.name, spec.revision, spec.split)
    return Rows(rows.rows, rows.source, spec.form)


def _without_refused(
    requests: list[Request], unreadable: list[str], source: str, drop: bool
) -> tuple[list[Request], list[tuple[str, str]]]:
    faults = list(quality.refused_faults(requests))
    if not drop:
        messages = unreadable + [f"request {r.id}: {quality.REFUSED[fault]}: {r.prompt!r}" for fault, r in faults]
        quality.refuse(source, messages, len(requests) + len(unreadable))
    gone = {id(request) for _, request in faults}
    dropped = [("unreadable", message.partition(":")[0]) for message in unreadable]
    dropped += [(fault, request.id) for fault, request in faults]
    return [request for request in requests if id(request) not in gone], dropped


@_no_collection()
def load_dataset(spec: str | DatasetSpec, held_out: int = 1) -> Dataset:
    """Read, check and hash a dataset, or the side of it that the spec asks for.

    If the spec has a holdout, at least ``held_out`` requests (1 or more) must be in it, and one must not.

    Raises :class:`UnknownName` for a name that is no dataset, :class:`BadData` for a file, record or field that is not
    as documented, for refused faults (unless the spec says ``on_fault: drop``) and for too small a holdout, and
    :class:`~editbench.errors.BadPlugin` for a reader that cannot be loaded.
    """
    spec = DatasetSpec.parse(spec)
    check_dataset_name(spec)
    found = _read(spec)
    unreadable: list[str] = []
    if isinstance(found, Rows):
        form = forms.detect(found)
        target, source = forms.target_of(form, spec.target_field), found.source
        requests, unreadable = forms.read(found, form, target)
    else:
        requests, source, target = found, spec.name, forms.target_of(native.FORM, spec.target_field)
    kept, dropped = _without_refused(requests, unreadable, source, spec.on_fault == "drop")
    if not kept:
        raise BadData(f"{source} holds no request that can be edited.", "Expected at least one.")
    if spec.holdout is not None:
        holdout.refuse_too_small(kept, spec.holdout, held_out, source)
    wanted, whole = _wanted(kept, spec), content_hash(kept)
    return Dataset(
        name=spec.name,
        requests=tuple(wanted),
        content_hash=whole if spec.holdout is None else content_hash(wanted),
        source=source,
        faults=quality.check(wanted, dropped),
        target_field=target,
        whole_hash=whole,
        whole_requests=len(kept),
        holdout=spec.holdout,
        side=spec.side,
    )


def _wanted(requests: list[Request], spec: DatasetSpec) -> list[Request]:
    """Return the side that the spec asks for."""
    if spec.holdout is None:
        return requests
    rest, search = holdout.split(requests, spec.holdout)
    return search if spec.side == "search" else rest

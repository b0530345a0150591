"""Requests as numbers: subjects, objects and which template goes where, rendered into text on reading.

A hundred thousand requests with fourteen probes each are 150 MB of text, and 4 MB of facts and choices. One parquet
file holds both kinds of facts, a row each: first the kept ones, which probes ask about, then the edited ones. What all
share (templates, tables of what follows from an object, sentences to put in front) is JSON in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from editbench.datasets.facts import Fact, render
from editbench.errors import BadData
from editbench.requests import LOCALITY, NEIGHBOUR, PORTABILITY, PREFIXED, REPHRASE, Probe, Request

SHARED = b"editbench"
"""The key of the metadata's JSON."""

Follows = Mapping[str, Sequence[tuple[str, Mapping[str, str]]]]
Ask = Callable[[int], Probe]


@dataclass(frozen=True, slots=True)
class Kept:
    """A fact that no request edits, and the one template it is asked with.

    Attributes
    ----------
    relation: its relation's name.
    fact: subject, true object, article.
    template: number of the template in its relation.
    """

    relation: str
    fact: Fact
    template: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A request as numbers.

    Attributes
    ----------
    relation, fact: as in :class:`Kept`; the fact's answer is the true object.
    new: the object to write.
    templates: numbers of the templates of the prompt and of two rephrases.
    sentence: number of the sentence in front of the prompt.
    neighbours, localities: numbers of kept facts, as many in every request.
    follows: numbers of the relation's questions about what follows, below eight.
    """

    relation: str
    fact: Fact
    new: str
    templates: tuple[int, ...]
    sentence: int
    neighbours: tuple[int, ...]
    localities: tuple[int, ...]
    follows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Compact:
    """A dataset as numbers and what they point at.

    Attributes
    ----------
    edits, kept: the facts; the requests come in the order of ``edits``.
    templates: by relation.
    follows: by relation, (template, answer by object) of each question about what follows from the object.
    sentences: sentences to put in front of prompts.
    """

    edits: Sequence[Edit]
    kept: Sequence[Kept]
    templates: Mapping[str, Sequence[str]]
    follows: Follows
    sentences: Sequence[str]


def write(data: Compact, path: Path, notice: Mapping[str, str], *, lean: bool = False) -> None:
    """Write a dataset; ``notice`` goes into the file's metadata as it is.

    ``lean`` leaves out Arrow's own copy of the metadata, which would make a small file a fifth larger.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept, edits = data.kept, data.edits
    everyone: list[Kept | Edit] = [*kept, *edits]
    facts = [one.fact for one in everyone]
    names, byte, short = pa.dictionary(pa.int32(), pa.string()), pa.uint8(), pa.uint16()
    none = [0] * len(kept)

    columns = {
        "relation": pa.array([one.relation for one in everyone]).cast(names),
        "subject": pa.array([fact.subject for fact in facts]),
        "article": pa.array([fact.article for fact in facts]).cast(names),
        "target_true": pa.array([fact.answer for fact in facts]).cast(names),
        "target_new": pa.array([None] * len(kept) + [edit.new for edit in edits]).cast(names),
        "template": pa.array([one.template for one in kept] + [edit.templates[0] for edit in edits], byte),
        "sentence": pa.array(none + [edit.sentence for edit in edits], byte),
        "follows": pa.array(none + [sum(1 << number for number in edit.follows) for edit in edits], byte),
    }
    parts = {
        "rephrase": ([edit.templates[1:] for edit in edits], byte),
        "neighbour": ([edit.neighbours for edit in edits], short),
        "locality": ([edit.localities for edit in edits], short),
    }
    for name, (numbers, kind) in parts.items():
        for place, column in enumerate(zip(*numbers, strict=True)):
            columns[f"{name}_{place}"] = pa.array([*none, *column], kind)
    shared = {"templates": data.templates, "follows": data.follows, "sentences": data.sentences}
    metadata = {**notice, SHARED.decode(): json.dumps(shared, ensure_ascii=False, separators=(",", ":"))}
    table = pa.table(columns) if lean else pa.table(columns).replace_schema_metadata(metadata)
    with pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=19, store_schema=True) as writer:
        writer.write_table(table)
        if lean:
            writer.add_key_value_metadata(metadata)


def read(path: Path, prefix: str) -> list[Request]:
    """Return the requests of a file that :func:`write` made, their ids being ``prefix`` and a number.

    Raises :class:`BadData` if the file is not there or not of this kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        shared = json.loads(table.schema.metadata[SHARED])
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise BadData(f"{path.name} cannot be read: {type(error).__name__}: {error}") from error
    return _requests(
        {name: _values(table.column(name).combine_chunks()) for name in table.column_names}, shared, prefix
    )


def _values(column: Any) -> list[Any]:
    """Return a column's values; equal texts of a dictionary column are one object, and numbers come by way of numpy."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        texts = [*column.dictionary.to_pylist(), None]
        return [texts[place] for place in column.indices.fill_null(len(texts) - 1).to_numpy().tolist()]
    return list(column.to_numpy().tolist() if pa.types.is_integer(column.type) else column.to_pylist())


def _numbers(columns: Mapping[str, list[Any]], name: str) -> list[tuple[int, ...]]:
    places = [column for column in columns if column.startswith(f"{name}_") and column[-1].isdigit()]
    return list(zip(*(columns[place] for place in sorted(places)), strict=True))


def _asking(kind: str, facts: Sequence[Fact], columns: Mapping[str, list[Any]], templates: Any) -> Ask:
    """Return a function from a kept fact's number to its probe, the same object each time."""
    relation, template = columns["relation"], columns["template"]

    @cache
    def ask(number: int) -> Probe:
        fact = facts[number]
        return Probe(kind, render(templates[relation[number]][template[number]], fact)[0], fact.answer)

    return ask


def _requests(columns: Mapping[str, list[Any]], shared: Any, prefix: str) -> list[Request]:
    templates, follows, sentences = shared["templates"], shared["follows"], shared["sentences"]
    facts = list(map(Fact, columns["subject"], columns["target_true"], columns["article"]))
    neighbour = _asking(NEIGHBOUR, facts, columns, templates)
    locality = _asking(LOCALITY, facts, columns, templates)
    rephrase, near, far = (_numbers(columns, part) for part in ("rephrase", "neighbour", "locality"))
    news, names, numbers, follow = (columns[name] for name in ("target_new", "relation", "template", "follows"))
    asked = {
        (name, mask): [one for place, one in enumerate(follows.get(name, ())) if mask >> place & 1]
        for name, mask in set(zip(names, follow, strict=True))
    }
    first = news.count(None)
    requests = []
    for row in range(first, len(facts)):
        fact, new, relation = facts[row], news[row], names[row]
        texts = templates[relation]
        prompt, start = render(texts[numbers[row]], fact)
        probes = (
            *[Probe(REPHRASE, render(texts[number], fact)[0], new) for number in rephrase[row]],
            Probe(PREFIXED, f"{sentences[columns['sentence'][row]]} {prompt}", new),
            *map(neighbour, near[row]),
            *map(locality, far[row]),
            *[
                Probe(PORTABILITY, render(template, fact)[0], answers[new])
                for template, answers in asked[relation, follow[row]]
            ],
        )
        name = f"{prefix}{row - first:06d}"
        requests.append(Request(name, prompt, fact.subject, new, fact.answer, relation, probes, start))
    return requests

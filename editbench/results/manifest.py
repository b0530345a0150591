"""What ran, on what, from which commit: the manifest beside every run. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.machine import Checkout, checkout_of, machine, packages
from editbench.plan.held import planned_closure
from editbench.plan.sources import method_source

if TYPE_CHECKING:
    from editbench.datasets import Dataset
    from editbench.models.lm import LM
    from editbench.plan.runs import Run, RunOptions
    from editbench.plan.settings import Settings

MANIFEST_VERSION = 1
ByScale = Mapping[int, "Settings"]
"""The settings of a run at each of its scales."""


def _plain(checkout: Checkout | None) -> dict[str, Any] | None:
    return None if checkout is None else asdict(checkout)


def _method(run: Run, settings: ByScale | None) -> dict[str, Any]:
    if run.scored is not None:  # what edited the model is not known here
        nothing = dict.fromkeys(("checkout", "hparams", "settings"))
        return {"name": run.method, "address": "", "cite": "", "source_hash": "", "hparams_given": {}, **nothing}
    source = method_source(run.method, planned_closure(run.method, run.source_hash))
    return {
        "name": source.name,
        "address": run.method,
        "cite": source.cite,
        "source_hash": run.source_hash,
        "checkout": _plain(checkout_of(source.path)),
        "hparams_given": {key: value for one in run.given for key, value in one.values.items()},
        "hparams": None if settings is None else settings[max(settings)].values.model_dump(mode="json"),
        "settings": None if settings is None else _by_scale(settings),
    }


def _by_scale(settings: ByScale) -> list[dict[str, Any]]:
    """Return values with where each came from, and the scales they hold at: scales with the same ones together."""
    return _together([{"scales": [scale], **one.as_dict()} for scale, one in settings.items()])


def _model(run: Run, lm: LM | None) -> dict[str, Any]:
    given = {"name": run.model, "revision": run.revision, "dtype": run.dtype}
    if lm is None:
        return {**given, "source": "", "weights_hash": "", "shape": None, "device": ""}
    loaded = {
        "source": lm.source,
        "weights_hash": lm.weights_hash,
        "shape": lm.shape.as_dict(),
        "device": str(lm.device),
    }
    return {**given, **loaded}


def _data(run: Run, dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "hash": dataset.content_hash,
        "requests": len(dataset.requests),
        **dataset.split,
        "target_field": dataset.target_field,
        "faults": asdict(dataset.faults),
        "given": run.dataset.model_dump(),
    }


def packages_of(run: Run) -> dict[str, str]:
    """Return the versions of the packages that decide a run's results: the harness's, and those its method imports."""
    return packages(() if run.scored is not None else planned_closure(run.method, run.source_hash).libraries)


def made_by(run: Run, options: RunOptions, lm: LM | None) -> dict[str, Any]:
    """Return what a cell was made by: unlike the rest of the manifest it may differ between the cells of a run."""
    return {
        "checkout": _plain(checkout_of(Path(__file__).parent)),
        "packages": packages_of(run),
        "device": "" if lm is None else str(lm.device),
        "token_budget": options.token_budget,
    }


def continued(earlier: Mapping[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a run that goes on: all scales asked for so far, its first start, what was resolved."""
    if earlier is None:
        return now
    cells = {**earlier["cells"], **now["cells"]}
    kept = {"started": earlier["started"], "cells": cells, "scales": sorted(int(scale) for scale in cells)}
    if now["capability"] is None:
        kept["capability"] = earlier.get("capability")
    if not now["model"]["weights_hash"]:
        kept["model"] = earlier["model"]
    if now["method"]["hparams"] is None:
        kept["method"] = earlier["method"]
    elif earlier["method"].get("settings"):
        kept["method"] = {
            **now["method"],
            "settings": _together(earlier["method"]["settings"], now["method"]["settings"]),
        }
    return {**now, **kept}


def _together(*parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return settings of different scales as one list; of a scale that several have, the last part's."""
    by_scale = {scale: entry for part in parts for entry in part for scale in entry["scales"]}
    found: list[dict[str, Any]] = []
    for scale, entry in sorted(by_scale.items()):
        alike = (one for one in found if all(one[key] == entry[key] for key in ("values", "sources")))
        same = next(alike, None)
        if same is None:
            found.append({**entry, "scales": [scale]})
        else:
            same["scales"].append(scale)
    return found


def manifest(
    run: Run,
    dataset: Dataset,
    options: RunOptions,
    lm: LM | None = None,
    settings: ByScale | None = None,
) -> dict[str, Any]:
    """Return a run's manifest.

    ``lm`` and ``settings`` (the hyper-parameters resolved for it, by scale) are None where it could not be loaded.
    """
    return {
        "version": MANIFEST_VERSION,
        "run_id": run.run_id,
        "suite": run.suite,
        "label": run.label,
        "seed": run.seed,
        "scales": list(run.scales),
        "regime": run.regime,
        "chunk": run.chunk,
        "suite_regime": run.suite_regime,
        "cells": {str(scale): run.cell_id(scale) for scale in run.scales},
        "method": _method(run, settings),
        "model": _model(run, lm),
        "dataset": _data(run, dataset),
        "protocol": run.protocol.model_dump(),
        "protocol_hash": run.protocol.hash,
        "probes": run.probes.model_dump(),
        "capability": None,
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "command": options.command,
        "options": asdict(options),
        "packages": packages_of(run),
        "machine": machine(),
        "checkout": _plain(checkout_of(Path(__file__).parent)),
    }


def matches(found: Mapping[str, Any] | None, lm: LM) -> bool:
    """Return whether a run's earlier manifest was made with these very weights (or is not there)."""
    known = (found or {}).get("model", {}).get("weights_hash")
    return not known or known == lm.weights_hash

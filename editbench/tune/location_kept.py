"""What a location study leaves behind: every place's numbers, heat maps, the place chosen as a file of settings."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import replace_file
from editbench.report.escape import csv_cell
from editbench.report.figures.axes import metric_label
from editbench.report.figures.style import PRESETS, Look
from editbench.report.figures.writing import as_bytes
from editbench.tune.frame import CAPABILITY, Frame
from editbench.tune.kept import SETTINGS, settings_text, today
from editbench.tune.location import RULE, Seen, chosen, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES, HEAT_MAP = "places.csv", "places.svg"
_MAPS = ("reliability", "generalisation", "ns", CAPABILITY)
_PANEL = 0.9  # inches, and a row's part of it below
_ROW = 0.22


def write(folder: Path, frame: Frame, method: str, seen: Sequence[Seen], about: Mapping[str, Any]) -> Path:
    """Write places, heat maps and settings, with ``about`` as a search has it; return the file of settings."""
    replace_file(folder / PLACES, _table(seen).encode())
    path, place = folder / SETTINGS, chosen(seen, frame.keep)
    hours = sum(one.seconds for one in seen) / 3600
    searched = f"{path.parent.name}/{path.name}, {len(seen)} places in {hours:.2f} h, {today()}"
    entries = {} if place is None else {method: [{"searched": searched, **place.place.hparams}]}
    search = {"study": "location", "rule": RULE, "scale": frame.scales[0], "places": PLACES}
    replace_file(path, settings_text(frame, about, search, entries))
    if any(one.value is not None for one in seen):
        replace_file(folder / HEAT_MAP, heat_map(seen, frame))
    return path


def _table(seen: Sequence[Seen]) -> str:
    """Return every place as CSV: which, what came of it, its value averaged with that of the blocks beside it."""
    metrics = list(dict.fromkeys(name for one in seen for name in one.metrics))
    means, text = smoothed(seen), io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["weights", "block", "status", "value", "smoothed", "seconds", *metrics, "reason"])
    for one in sorted(seen, key=lambda one: (one.place.kind, one.place.block)):
        numbers = [one.value, means.get(one.place), round(one.seconds, 2), *(one.metrics.get(name) for name in metrics)]
        cells = [one.place.kind, one.place.block, one.status, *numbers, one.reason]
        rows.writerow(["" if cell is None else csv_cell(cell) for cell in cells])
    return text.getvalue()


def heat_map(seen: Sequence[Seen], frame: Frame) -> bytes:
    """Return the heat maps as SVG: a panel per metric, a row per kind of weights, a column per block.

    What was not tried stays white; the place that was chosen has a frame.
    """
    kinds = list(dict.fromkeys(one.place.kind for one in seen))
    maps = [name for name in _MAPS if any(name in one.metrics for one in seen)]
    look = Look(PRESETS["screen"], {})
    with look.settings():
        figure = look.figure(0.4 + len(maps) * (_PANEL + _ROW * len(kinds)), wide=True)
        panels = figure.subplots(len(maps), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, maps, strict=True):
            _panel(axes, seen, kinds, name, frame.keep)
        panels[-1].set_xlabel("block")
        return as_bytes(figure, "svg")


def _panel(axes: Axes, seen: Sequence[Seen], kinds: Sequence[str], name: str, keep: float) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle

    grid = np.full((len(kinds), 1 + max(one.place.block for one in seen)), np.nan)
    for one in seen:
        grid[kinds.index(one.place.kind), one.place.block] = one.metrics.get(name, np.nan)
    image = axes.imshow(grid, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_title(metric_label(name), loc="left")
    axes.figure.colorbar(image, ax=axes, pad=0.01)
    best = chosen(seen, keep)
    if best is not None:
        corner = best.place.block - 0.5, kinds.index(best.place.kind) - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8))

"""A causal trace as a terminal table and as a figure."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.base.files import replace_file
from editbench.base.outputs import refuse_others, with_option
from editbench.errors import UserError
from editbench.report.figures.style import BLUE, GREEN, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from editbench.locate.tracing import Curve, Tracing

SUFFIXES = (".svg", ".pdf", ".png")
_PLACES = {"subject": "at the subject's last token", "last": "at the prompt's last token"}
# Okabe and Ito's colours, and line styles that tell the curves apart without any.
_STYLES: dict[str, tuple[str, str, Any]] = {
    "block": ("block", BLUE, "-"),
    "mlp": ("MLP", VERMILION, (0, (5, 1.5))),
    "attention": ("attention", GREEN, (0, (1, 1))),
}
_SIZE = (7.0, 3.0)  # inches


def check_figure_path(path: Path) -> None:
    """Refuse, before anything is computed, a figure that could not be written.

    Raises :class:`UserError` for a suffix that is no format, a folder that is not there, and a file that is.
    """
    if path.suffix.lower() not in SUFFIXES:
        hint = f"Such as {path.with_suffix('.svg')}." if path.name else ""
        raise UserError(f"{path} is no figure.", f"Expected a name that ends in {', '.join(SUFFIXES)}.", hint)
    refuse_others(path, "--figure FILE", lambda _: False)


def points(curve: Curve, block: int) -> str:
    """Return one effect in percentage points, ``12.3 ±4.5``."""
    text = f"{100 * curve.mean[block]:.1f}"
    if curve.high is None:
        return text
    return f"{text} ±{100 * (curve.high[block] - curve.mean[block]):.1f}"


def rows(found: Tracing) -> list[list[str]]:
    """Return the table's texts: block, then the effects at the subject, then those at the last token."""
    curves = [found.curves[kind, place] for place in _PLACES for kind in _STYLES]
    return [[str(block), *(points(curve, block) for curve in curves)] for block in range(found.n_blocks)]


def statement(found: Tracing) -> list[str]:
    """Return what the numbers are, and of how many facts."""
    blocks = "1 block" if found.window == 1 else f"{found.window} blocks"
    left_out = f"{found.unknown:,} not known, {found.skipped:,} without true object or subject in the prompt"
    return [
        "Average indirect effect in percentage points, ± half of the 95% interval over facts; what is restored is "
        "restored at the subject's last token, or at the prompt's.",
        f"MLP and attention are restored over {blocks}; noise {found.options.noise:g} × {found.sigma:.3g}, "
        f"{found.options.draws} draw(s) per fact.",
        f"{found.kept:,} facts traced of {found.tried:,} tried ({left_out}).",
        f"Probability {100 * found.clean:.1f}% clean, {100 * found.corrupted:.1f}% corrupted: "
        f"total effect {points(found.total, 0)}.",
    ]


def certain(found: Tracing) -> bool:
    """Whether the effect at the best layer is told apart from none: whether its interval lies above 0."""
    low = found.curves["mlp", "subject"].low
    return low is not None and low[found.best_layer] > 0


def advice(found: Tracing) -> str:
    """Return what to try first with methods that need a block, and how far to trust it."""
    layers = ", ".join(map(str, found.spread_layers))
    said = f"Start with layer: {found.best_layer} for rome, layers: [{layers}] for memit and alphaedit."
    if not certain(found):
        return f"{said} With {found.kept:,} fact(s) that effect is not told apart from 0: trace more of them."
    return f"{said} Where a fact is stored does not say where editing works best: try the blocks around it too."


def as_dict(found: Tracing) -> dict[str, Any]:
    """Return plain values, for JSON; probabilities, not percentage points."""
    names = ("model", "tried", "skipped", "unknown", "kept", "clean", "corrupted", "window", "sigma")
    return {
        **{name: getattr(found, name) for name in names},
        "options": asdict(found.options),
        "total": asdict(found.total),
        "effects": {kind: {place: asdict(found.curves[kind, place]) for place in _PLACES} for kind in _STYLES},
        "best_layer": found.best_layer,
        "spread_layers": list(found.spread_layers),
        "certain": certain(found),
        "advice": advice(found),
    }


def as_rich(found: Tracing) -> Table:
    """Return the trace as a Rich table; the block with the largest effect of the MLP at the subject is bold."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"{found.model}: causal tracing", box=box.SIMPLE_HEAD, title_justify="left")
    table.caption, table.caption_justify = "\n".join(statement(found)), "left"
    table.add_column("\nBlock", justify="right")
    for place in _PLACES:
        for number, (label, _, _) in enumerate(_STYLES.values()):
            table.add_column(f"{place if number == 0 else ''}\n{label}", justify="right", no_wrap=True)
    for block, texts in enumerate(rows(found)):
        table.add_row(*texts, style="bold" if block == found.best_layer else "")
    return table


def draw(found: Tracing, path: Path) -> None:
    """Write the figure: a panel per position, a curve per kind, bands for the 95% intervals.

    The suffix decides the format. Raises :class:`UserError` if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    panels = figure.subplots(1, len(_PLACES), sharey=True)
    for axes, place in zip(panels, _PLACES, strict=True):
        _panel(axes, found, place)
    panels[0].set_ylabel("average indirect effect (points)", fontsize=9)
    figure.suptitle(f"{found.model}: {found.kept:,} facts, total effect {points(found.total, 0)} points", fontsize=9)
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix.lower().removeprefix("."), dpi=200)
    with with_option("--figure FILE"):
        replace_file(path, file.getvalue())


def _panel(axes: Axes, found: Tracing, place: str) -> None:
    from matplotlib.ticker import MaxNLocator

    blocks, curves = range(found.n_blocks), {kind: found.curves[kind, place] for kind in _STYLES}
    for kind, (_, colour, style) in _STYLES.items():
        curve = curves[kind]
        axes.plot(blocks, [100 * value for value in curve.mean], color=colour, linestyle=style, linewidth=1.6)
        if curve.low is not None and curve.high is not None:
            low, high = ([100 * value for value in ends] for ends in (curve.low, curve.high))
            axes.fill_between(blocks, low, high, color=colour, alpha=0.15, linewidth=0)
    for kind in _STYLES:
        _label(axes, kind, curves)
    if place == "subject":
        best = found.best_layer
        axes.plot([best], [100 * curves["mlp"].mean[best]], "o", color=_STYLES["mlp"][1], markersize=4)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    axes.set_title(_PLACES[place], fontsize=9)
    axes.set_xlabel("block", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, kind: str, curves: dict[str, Curve]) -> None:
    """Write a curve's name where it is farthest from the others, on its free side."""
    own, others = curves[kind].mean, [curve.mean for name, curve in curves.items() if name != kind]
    reach = max(len(own) // 15, 1)  # half of the text's width
    near = [range(max(b - reach, 0), min(b + reach + 1, len(own))) for b in range(len(own))]
    gaps = [min((own[n] - other[n] for other in others for n in near[b]), key=abs) for b in range(len(own))]
    block = max(range(len(gaps)), key=lambda b: abs(gaps[b]))
    above = gaps[block] >= 0
    height = (max if above else min)(own[n] for n in near[block])
    text, colour, _ = _STYLES[kind]
    side = "left" if block < reach else "right" if block >= len(own) - reach else "center"
    axes.annotate(
        text,
        (block, 100 * height),
        xytext=(0, 4 if above else -4),
        textcoords="offset points",
        ha=side,
        va="bottom" if above else "top",
        color=colour,
        fontsize=8,
    )

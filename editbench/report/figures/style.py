"""How figures look: the venues' widths and fonts, and a colour, marker and line for every method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from editbench.base.plain import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours without the yellow, which is too pale on paper, and three of Tol's muted ones; ordered so that
# neighbours differ in grey.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
_COLOURS = (BLUE, "#E69F00", "#000000", "#CC79A7", GREEN, VERMILION, "#56B4E9", "#882255", "#999933", "#888888")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.2, 1, 1.2)), (0, (3, 1, 1, 1, 1, 1)))
_LONGEST = 30  # characters of a name that are shown
_CM = 1 / 2.54


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes and fonts of a venue; ``docs/figures.md`` has the sources.

    Attributes
    ----------
    column, text: widths in inches, of a column and of the whole text block.
    font: a family that comes with matplotlib, so that every machine draws the same.
    size, small: points, of labels and of numbers at ticks.
    titled: whether a figure says what it is of; in a paper the caption does.
    """

    column: float
    text: float
    font: str = "STIXGeneral"
    size: float = 8.0
    small: float = 7.0
    titled: bool = False


PRESETS: Mapping[str, Preset] = {
    "neurips": Preset(5.5, 5.5),
    "icml": Preset(3.25, 6.75),
    "iclr": Preset(5.5, 5.5),
    "acl": Preset(7.7 * _CM, 16.0 * _CM),
    "screen": Preset(6.4, 9.6, "DejaVu Sans", 10.0, 9.0, titled=True),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a method from the others, with colour and without."""

    colour: str
    marker: str
    line: Any

    @property
    def ink(self) -> str:
        """The colour, dark enough for small text."""
        from matplotlib.colors import to_hex, to_rgb

        red, green, blue = to_rgb(self.colour)
        return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))


def marks(methods: Iterable[str]) -> dict[str, Mark]:
    """Return a mark for each method, by order of name; colours repeat after 10, markers after 11."""
    return {
        name: Mark(_COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)], _LINES[k % len(_LINES)])
        for k, name in enumerate(sorted(set(methods)))
    }


def shown(name: str) -> str:
    """Return a name as a figure shows it: on one line, its end left out where it is long."""
    text = one_line(name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@dataclass(frozen=True)
class Look:
    """A preset, and the marks of all methods of a set of figures: a method looks the same in each of them."""

    preset: Preset
    marks: Mapping[str, Mark]

    def figure(self, height: float, wide: bool = False) -> Figure:
        """Return an empty figure of ``height`` inches, as wide as a column or as the text. Works on Agg alone."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.preset.text if wide else self.preset.column, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure

    def settings(self) -> AbstractContextManager[None]:
        """Return matplotlib's settings for drawing and for writing; what the user has set is back afterwards."""
        from matplotlib import style

        context: AbstractContextManager[None] = style.context(["default", _settings(self.preset)])
        return context


def _settings(preset: Preset) -> dict[str, Any]:
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), preset.small)
    large = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize"), preset.size)
    return {
        **small,
        **large,
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
        **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
        **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
        "font.family": preset.font,
        "text.parse_math": False,  # names are names, dollars too
        "axes.unicode_minus": True,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.6,
        "lines.markeredgewidth": 0.6,
        "axes.labelpad": 2.5,
        "pdf.fonttype": 42,  # TrueType: the form that venues ask for
        "svg.hashsalt": "editbench",
        "pgf.rcfonts": False,
        "pgf.texsystem": "pdflatex",
    }

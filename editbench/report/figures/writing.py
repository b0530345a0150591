"""A figure as the bytes of a file: PDF, PGF, SVG or PNG, the same for the same numbers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "pgf", "svg", "png")
_DPI = 300
# without dates; the programs' names stay
_METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def as_bytes(figure: Figure, form: str) -> bytes:
    """Return a figure in a format of :data:`FORMATS`; PGF needs no LaTeX to be written.

    Call it under the settings the figure was drawn with.
    """
    if form == "pgf":
        from editbench.report.figures.pgf import as_pgf

        return as_pgf(figure).encode()
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=_DPI, metadata=_METADATA[form])
    return file.getvalue()

"""A figure as a file: PDF, PGF, SVG or PNG, the same bytes for the same numbers, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.errors import StoreError, UserError

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


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises :class:`UserError`, naming the path and what to do."""
    from editbench.base.files import replace_file

    try:
        replace_file(path, data)
    except StoreError as error:
        raise UserError(error.given, hint="Name another folder for figures, with --out DIR.") from error

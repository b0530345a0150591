r"""A figure as a PGF picture for ``\input``, written without LaTeX.

Matplotlib's own writer asks LaTeX how large every text is. Here the figure's layout is done before, with a font of the
preset, so that nothing has to be asked; the document's LaTeX then sets the texts in the document's font. Nothing is
clipped: in a wider font than the preset's a text reaches out of the picture instead of being cut off.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_pgf import RendererPgf

from editbench.report import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = r"""% A figure by editbench. In the preamble: \usepackage{pgf}. Then: \input{THIS FILE}
\begingroup
\makeatletter
\begin{pgfpicture}
\pgfpathrectangle{\pgfpointorigin}{\pgfqpoint{%fin}{%fin}}
\pgfusepath{use as bounding box}
"""
_FOOTER = r"""\end{pgfpicture}
\makeatother
\endgroup
"""


class _Renderer(RendererPgf):
    def draw_text(self, gc: Any, x: float, y: float, s: str, *rest: Any, **more: Any) -> None:
        super().draw_text(gc, x, y, escape.latex(s), *rest, **more)  # type: ignore[no-untyped-call]

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return RendererBase.get_text_width_height_descent(self, s, prop, ismath)


def as_pgf(figure: Figure) -> str:
    """Return a figure whose layout is done as a ``pgfpicture``; text in it is escaped."""
    file = io.StringIO()
    file.write(_HEADER.replace("%fin}{%fin", f"{figure.get_figwidth():f}in}}{{{figure.get_figheight():f}in"))
    figure.draw(_Renderer(figure, file))  # type: ignore[no-untyped-call]
    file.write(_FOOTER)
    return file.getvalue()

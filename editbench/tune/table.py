"""What a search found, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editbench.tune.frame import Frame
from editbench.tune.trial import Tried, best

if TYPE_CHECKING:
    from rich.table import Table


def as_rows(tried: Sequence[Tried], frame: Frame) -> list[dict[str, Any]]:
    """Return a row per method and scale, as plain values: the best trial, the first (the method's own), the budget."""
    rows = []
    for method, scale in dict.fromkeys((one.method, one.scale) for one in tried):
        here = sorted((one for one in tried if (one.method, one.scale) == (method, scale)), key=lambda one: one.number)
        top = best(here, frame.keep)
        own = here[0].value if here[0].outcome == "done" else None
        rows.append(
            {
                "method": method,
                "scale": scale,
                "trials": len(here),
                "hours": sum(one.seconds for one in here) / 3600,
                "own": own,
                "best": None if top is None else top.value,
                "keeps": None if top is None else top.keeps,
                "allowed": top is not None and top.allowed(frame.keep),
                "hparams": {} if top is None else dict(top.hparams),
            }
        )
    return rows


def as_rich(tried: Sequence[Tried], frame: Frame) -> Table:
    """Return it as a Rich table."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"{frame.model}: searched settings", box=box.SIMPLE_HEAD, title_justify="left")
    table.caption, table.caption_justify = "\n".join(statement(frame)), "left"
    for title in ("Method", "Scale", "Trials", "Hours", "Own", "Best", "Capability", "Settings"):
        table.add_column(title, justify="left" if title in ("Method", "Settings") else "right")
    for row in as_rows(tried, frame):
        numbers = [row["own"], row["best"], row["keeps"]]
        texts = ["–" if number is None else f"{number:.3f}" for number in numbers]
        values = ", ".join(f"{name} {_short(value)}" for name, value in row["hparams"].items())
        values += "" if row["allowed"] or row["best"] is None else " (keeps too little capability)"
        head = (row["method"], f"{row['scale']:,}", str(row["trials"]), f"{row['hours']:.2f}")
        table.add_row(*head, *texts, values)
    return table


def statement(frame: Frame) -> list[str]:
    """Return what the numbers are."""
    keep = f", with at least {frame.keep:g} of the unedited model's capability" if frame.keep else ""
    return [
        f"Best: the largest {frame.objective} (harmonic mean of {', '.join(frame.aim.metrics)}){keep}. "
        "Own: the same of the settings that the method had before.",
        "Searched on requests that no suite edits. Chance flatters the best of many trials: compare on other requests.",
    ]


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]}–{value[-1]}" if len(value) > 1 else str(value[0]) if value else "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""A plan with its estimated cost, as ``editbench run --dry-run`` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from editbench.base.progress import clock, run_label
from editbench.plan.settings import in_words

if TYPE_CHECKING:
    from rich.table import Table

    from editbench.plan.estimate import CellEstimate
    from editbench.plan.planned import Planned
    from editbench.plan.runs import Plan


def as_rows(found: Sequence[CellEstimate]) -> list[dict[str, Any]]:
    """Return plain values, for JSON: seconds and bytes, None where nothing can be said."""
    return [
        {
            "model": cell.run.model,
            "method": cell.run.label,
            "seed": cell.run.seed,
            "scale": cell.scale,
            "run_id": cell.run.run_id,
            "cell_id": cell.run.cell_id(cell.scale),
            "edit_s": cell.edit_s,
            "evaluate_s": cell.evaluate_s,
            "memory_bytes": cell.memory,
        }
        for cell in found
    ]


def as_rich(plan: Plan, found: Sequence[CellEstimate]) -> Table:
    """Return the plan as a Rich table, with the total and what the figures are worth."""
    from rich import box
    from rich.table import Table

    title = f"{plan.suite.name}: {len(plan.runs)} run(s), {len(found)} cell(s)"
    table = Table(title=title, caption=_worth(found), box=box.SIMPLE_HEAD, title_justify="left")
    table.caption_justify = "left"
    for head, side in (("Model", "left"), ("Method", "left"), ("Seed", "right"), ("Scale", "right")):
        table.add_column(head, justify="right" if side == "right" else "left")
    for head in ("Edit", "Probe", "Memory", "Cell id"):
        table.add_column(head, justify="right")
    for cell in found:
        memory = "?" if cell.memory is None else f"{cell.memory / 1e9:.1f} GB"
        times = (_time(cell.edit_s), _time(cell.evaluate_s), memory)
        run = cell.run
        table.add_row(run.model, run.label, str(run.seed), f"{cell.scale:,}", *times, run.cell_id(cell.scale)[:8])
    return table


def settings_rows(found: Sequence[Planned]) -> list[dict[str, Any]]:
    """Return settings with where each value came from as plain values, for JSON; none where they are not known yet."""
    return [
        {
            "model": one.model,
            "method": one.label,
            "scales": list(one.scales),
            **({"values": None, "sources": None} if one.settings is None else one.settings.as_dict()),
        }
        for one in found
    ]


def settings_lines(found: Sequence[Planned]) -> list[str]:
    """Return a line for the settings of each method on each model: every value, and where it came from."""
    lines = ["Settings:"]
    for one in found:
        lines.append(f"  {one.model} · {one.label} · {', '.join(f'{scale:,}' for scale in one.scales)}: {_said(one)}")
    return lines


def _said(one: Planned) -> str:
    if one.settings is None:
        return "not known before the model is loaded"
    said = in_words(one.settings.values.model_dump(mode="json"), one.settings.origins, whole=True)
    return said or "no hyper-parameters"


def left_out(cells: Sequence[CellEstimate]) -> list[str]:
    """Return a line for each run that lost scales to a limit of hours: which, and what they would take."""
    lost: dict[tuple[str, str, int], list[CellEstimate]] = {}
    for cell in cells:
        lost.setdefault(cell.run.key, []).append(cell)
    return [
        f"left out: {run_label(*key)} at {', '.join(f'{cell.scale:,}' for cell in same)}, "
        f"about {clock(sum(cell.seconds or 0.0 for cell in same))}"
        for key, same in lost.items()
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return "< 1 s" if seconds < 1 else clock(seconds)


def _worth(found: Sequence[CellEstimate]) -> str:
    known = [cell.seconds for cell in found if cell.seconds is not None]
    if len(known) < len(found):
        return "The shape of a model is not known before it is loaded, so that its cost cannot be estimated."
    total = clock(sum(known))
    return (
        f"About {total} in all, if nothing is there yet. Estimated from operation counts and this device's speed in "
        "matrix products: good to a factor of 3. Memory is without what a method keeps of its requests."
    )

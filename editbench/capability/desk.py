"""Between the runner and the tasks: knows what a cell lacks, and imports lm-eval only where something is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editbench.capability.index import lm_eval_version
from editbench.capability.local_data import LocalData
from editbench.capability.spec import CapabilitySpec
from editbench.capability.tasks import Wanted, lacking, resolve

if TYPE_CHECKING:
    from editbench.cache import Cache
    from editbench.capability.bench import Bench
    from editbench.models.lm import LM
    from editbench.plan.runs import Run

Report = Callable[[float, str], None]

_MOST_NAMED = 3


def failed_tasks(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how many of a cell's tasks failed, and which: ``2 of 22 tasks failed: copa, piqa``; "" if none did."""
    failed = [name for name, entry in entries.items() if entry["status"] == "failed"]
    if not failed:
        return ""
    more = f" and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
    return f"{len(failed)} of {len(entries)} tasks failed: {', '.join(failed[:_MOST_NAMED])}{more}"


class Desk:
    """Answers for one process what capability its runs still need, and measures it.

    Parameters
    ----------
    data: folder of local data for lm-eval's tasks, or None.
    cache: for the unedited model's results and the names of tasks.
    trusted: whether code that comes with tasks may run.
    """

    def __init__(self, data: str | None, cache: Cache, *, trusted: bool = False) -> None:
        self.data, self.cache, self.trusted = data, cache, trusted
        self._wanted: tuple[CapabilitySpec, Wanted] | None = None
        self._bench: tuple[CapabilitySpec, Bench] | None = None
        self._data_state: str | None = None

    def asks(self, run: Run, scale: int) -> bool:
        """Return whether capability is measured in this cell."""
        return run.capability is not None and run.capability.at(scale)

    def lacks(self, run: Run, scale: int, cell: Mapping[str, Any]) -> bool:
        """Return whether a finished cell (``cell.json``) has not got what the suite asks for.

        A task that could not be had is looked for again. Where lm-eval's version or the folder of local data is another
        than then, tasks are loaded, and those with another version or other documents are lacking. Raises
        :class:`~editbench.errors.UserError` for a name that is not there.
        """
        if run.capability is None or not self.asks(run, scale) or cell["status"] != "done":
            return False
        found = cell.get("capability") or {}
        wanted = self._wanted_by(run.capability)
        if lacking(wanted, found):
            return True
        suspected = any(self._may_differ(found[one.name]) for one in wanted)
        return suspected and self._bench_of(run.capability).changed(found)

    def _may_differ(self, entry: Mapping[str, Any]) -> bool:
        """Return whether a task may be another now, as far as can be told without loading it."""
        if entry.get("at") == "loading" or entry.get("lm_eval", lm_eval_version()) != lm_eval_version():
            return True
        # without a folder the hub would be asked each time; what is there stays
        return self.data is not None and entry.get("data") not in (None, self._state())

    def _state(self) -> str:
        if self._data_state is None and self.data is not None:
            self._data_state = LocalData(Path(self.data)).state
        return self._data_state or ""

    def baseline(self, run: Run, scales: Sequence[int], lm: LM, report: Report) -> dict[str, Any] | None:
        """Measure the unedited model if one of these cells needs it; return what goes into the manifest."""
        if run.capability is None or not any(self.asks(run, scale) for scale in scales):
            return None
        bench = self._bench_of(run.capability)
        bench.baseline(lm, report)
        return bench.manifest()

    def without_baseline(self, run: Run, scales: Sequence[int]) -> dict[str, Any] | None:
        """Do without the unedited model, which is not known; return what :meth:`baseline` does."""
        if run.capability is None or not any(self.asks(run, scale) for scale in scales):
            return None
        bench = self._bench_of(run.capability)
        bench.without_baseline()
        return bench.manifest()

    def measure(
        self, run: Run, scale: int, folder: Path, report: Report, lm: LM, *, changed: bool
    ) -> dict[str, dict[str, Any]]:
        """Return an entry for each task of a cell on ``lm``; {} where none is asked. :meth:`baseline` comes first."""
        if run.capability is None or not self.asks(run, scale):
            return {}
        return self._bench_of(run.capability).measure(folder, report, lm, changed=changed)

    def _wanted_by(self, spec: CapabilitySpec) -> Sequence[Any]:
        if self._wanted is None or self._wanted[0] != spec:
            self._wanted = (spec, resolve(spec, self.cache))
        return self._wanted[1].asked

    def _bench_of(self, spec: CapabilitySpec) -> Bench:
        from editbench.capability.bench import Bench

        if self._bench is None or self._bench[0] != spec:
            data = None if self.data is None else Path(self.data)
            self._bench = (spec, Bench(spec, data, self.cache, trusted=self.trusted))
        return self._bench[1]

"""The source in memory is the source that was hashed: a method's modules are run from the bytes that were read.

A run is named after source that was read when it was planned; its method is imported later, some of its modules only
inside ``edit``, and meanwhile somebody may edit the files. So the modules of a closure are run from the bytes in the
closure, not from the disk, whenever that is. A module that is in memory already, from other source, is run anew; one of
editbench itself cannot be, for half of the process holds on to it: then the method is refused.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from editbench.errors import BadPlugin
from editbench.plan.closure import Closure, Source, closure_of, is_engine


class _Loader(SourceFileLoader):
    """Runs a module from the bytes that were read, and shows them in tracebacks."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.module, str(source.path))
        self.source = source

    def get_code(self, fullname: str) -> CodeType | None:
        lines = (self.get_source(fullname) or "").splitlines(keepends=True)
        linecache.cache[self.path] = (len(self.source.content), None, lines, self.path)
        return self.source_to_code(self.source.content, self.path)

    def get_data(self, path: str) -> bytes:
        return self.source.content if path == self.path else super().get_data(path)


class _Finder(MetaPathFinder):
    """Finds modules that were read, before anything else does.

    Attributes
    ----------
    sources: module -> the source to run it from.
    """

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = self.sources.get(fullname)
        if source is None:
            return None
        return spec_from_file_location(fullname, source.path, loader=_Loader(source))


_FINDER = _Finder()
_READ: dict[tuple[str, str], Closure] = {}  # (name, hash) -> what was read
_KNOWN: dict[str, tuple[ModuleType, str]] = {}  # module -> itself, and the hash of the source that it was run from


def read_closure(name: str) -> Closure:
    """Read a method's source from the disk, to be run as it is now whenever that will be.

    Raises :class:`UnknownName` or :class:`BadPlugin`.
    """
    closure = closure_of(name)
    return _READ.setdefault((name, closure.hash), closure)


def planned_closure(name: str, planned: str) -> Closure:
    """Return the source of this hash: as this process read it before, else from the disk.

    Raises :class:`BadPlugin` if it is on the disk no longer.
    """
    closure = _READ.get((name, planned)) or read_closure(name)
    if closure.hash != planned:
        raise BadPlugin(
            f"The source of the method {name} was changed after this run was planned.",
            f"Expected the source of hash {planned[:12]}, as planned; found {closure.hash[:12]}.",
            "Start the command again: the run is then planned with the source as it is.",
        )
    return closure


def hold(closure: Closure) -> None:
    """Make sure that the closure's modules are run, now and later, from the source that was read.

    Raises :class:`BadPlugin` where editbench itself was changed since this process loaded it.
    """
    other = [source for source in closure.sources.values() if not _is_in_memory_as(source)]
    for source in other:
        if is_engine(source.module):
            raise BadPlugin(
                f"{source.path} was changed after this process had loaded it.",
                "Expected the source that runs to be the source that results are named after.",
                "Start Python again.",
            )
    own = [source for source in closure.sources.values() if not is_engine(source.module)]
    for source in own if other else []:  # all of them, for one may hold what it took from another
        sys.modules.pop(source.module, None)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.sources |= {name: source for name, source in closure.sources.items() if source.path.suffix == ".py"}
    root = closure.address.root
    if root is not None and str(root) not in sys.path:
        sys.path.append(str(root))  # last, so that no file there takes the name of a library


def _is_in_memory_as(source: Source) -> bool:
    """Return whether a module was run from this source, or was not run yet."""
    module = sys.modules.get(source.module)
    if module is None:
        return True
    loader = getattr(module.__spec__, "loader", None)
    if isinstance(loader, _Loader):
        return loader.source.hash == source.hash and loader.source.path == source.path
    known = _KNOWN.get(source.module)
    if known is None or known[0] is not module:
        if not _unchanged(module, source):
            return False
        known = _KNOWN[source.module] = (module, source.hash)
    return known[1] == source.hash


def _unchanged(module: ModuleType, source: Source) -> bool:
    """Return whether a module that Python loaded by itself was run from a file that is older than this process."""
    file = getattr(module, "__file__", None)
    if file is None or Path(file).resolve() != source.path.resolve():
        return False
    return source.path.is_file() and source.path.stat().st_mtime <= _started()


@cache
def _started() -> float:
    import psutil

    return float(psutil.Process().create_time())

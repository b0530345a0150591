"""The rooms of the house: who may import whom, and who never imports torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "editbench"
# what an author of a method imports: files of one room, so to speak
HALL = ("requests", "cache", "savepoint", "context", "edits", "ledger", "spaces", "method")
# from the ground up: a room imports those before it and none behind it; docs/design.md says what happens in each
ROOMS = (
    *("errors", "base", "hall", "models", "metrics", "datasets", "capability", "plan", "results"),
    *("analysis", "report", "publish", "measure", "locate", "running", "tune", "testing", "cli"),
)
TORCH_FREE = ("plan", "results", "analysis", "report", "publish")
ENTRY = ("__init__", "__main__")


def room_of(module: str) -> str:
    """Return the room that a dotted name under ``editbench`` belongs to."""
    return within(module.split(".")[1])


def within(part: str) -> str:
    """Return the room of what lies at the top level under this name."""
    return "hall" if part in HALL else part


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module of ours that a file imports at run time, lazily too, with the line."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "editbench":
            yield from ((f"editbench.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("editbench."):
            yield str(node.module), node.lineno
        elif isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.startswith("editbench."))
        waiting += ast.iter_child_nodes(node)


def test_every_file_lies_in_a_room_or_in_the_hall() -> None:
    found = {path.relative_to(HOUSE).with_suffix("").parts[0] for path in HOUSE.rglob("*.py")}
    assert found == {*ROOMS, *HALL, *ENTRY} - {"hall"}


def test_no_room_imports_one_above_it() -> None:
    upward = []
    for path in sorted(HOUSE.rglob("*.py")):
        own = within(path.relative_to(HOUSE).with_suffix("").parts[0])
        if own in ENTRY:
            continue
        for module, line in imported(path):
            if ROOMS.index(room_of(module)) > ROOMS.index(own):
                upward.append(f"{path.relative_to(HOUSE)}:{line} imports {module}")
    assert not upward, "\n".join(upward)


def test_only_one_room_knows_both_methods_and_measuring() -> None:
    both = set()
    for path in HOUSE.rglob("*.py"):
        own = within(path.relative_to(HOUSE).with_suffix("").parts[0])
        if own not in ENTRY:
            both |= {(own, room_of(module)) for module, _ in imported(path)}
    rooms = {own for own, other in both if other == "measure"} - {"measure"}
    assert rooms == {"running"}


@pytest.mark.parametrize("room", TORCH_FREE)
def test_rooms_of_files_and_plans_never_import_torch(room: str) -> None:
    modules = [
        ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts) for path in sorted((HOUSE / room).rglob("*.py"))
    ]
    code = f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'transformers', 'lm_eval') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""The examples of docs/adding_a_method.md are complete, and lawful."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from editbench.edits import KINDS
from editbench.plan.registry import load_method
from editbench.testing import OtherProcess, check_method

PAGE = (Path(__file__).parents[1] / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def method_in(block: str) -> str:
    """Return the name of the class that an example ends with."""
    return [node.name for node in ast.parse(block).body if isinstance(node, ast.ClassDef)][-1]


def address(block: str, folder: Path) -> str:
    file = folder / "example.py"
    file.write_text(block, encoding="utf-8")
    return f"{file}:{method_in(block)}"


# the first is installed as a package, and tried there: tests/test_third_party.py
@pytest.mark.parametrize("block", BLOCKS[1:], ids=method_in)
def test_an_example_obeys_every_law(block: str, tmp_path: Path, elsewhere: OtherProcess) -> None:
    results = check_method(address(block, tmp_path), elsewhere=elsewhere)
    assert not [result for result in results if not result.passed]


def test_there_is_an_example_of_each_kind(tmp_path: Path) -> None:
    assert {load_method(address(block, tmp_path)).kind for block in BLOCKS} == set(KINDS)

"""The method of docs/adding_a_method.md, as an outsider's package that is really installed and found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parent.parent / "docs" / "adding_a_method.md"
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "one-step-editing"
version = "1.0"

[project.entry-points."editbench.methods"]
one-step = "one_step_editing:OneStep"

[tool.setuptools]
py-modules = ["one_step_editing"]
"""


def documented_method() -> str:
    [code] = re.findall(r"```python\n(\"\"\"Push.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    return code


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outsider's package installed in it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "one_step_editing.py").write_text(documented_method())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, str(source)], check=True, capture_output=True)
    return site


def editbench(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "editbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_an_installed_package_adds_its_method(site: Path) -> None:
    listed = json.loads(editbench(site, "list", "methods", "--json").stdout)
    [own] = [row for row in listed["methods"] if row["name"] == "one-step"]
    assert "single gradient step" in own["says"]
    assert "one-step" not in editbench(site / "nowhere", "list", "methods").stdout


def test_the_documented_method_obeys_every_law(site: Path) -> None:
    done = editbench(site, "check", "--method", "one-step")
    assert done.returncode == 0, done.stdout + done.stderr

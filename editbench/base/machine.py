"""What this process runs on: packages, processor, accelerators, and the git state of a source tree."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    "editbench",
    "torch",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "gguf",
    "numpy",
    "scipy",
    "pandas",
    "pydantic",
    "lm_eval",
    "datasets",
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """The git state of a source tree.

    Attributes
    ----------
    commit: full hash of its HEAD.
    dirty: whether tracked files differ from it, or the file in question is not tracked.
    """

    commit: str
    dirty: bool


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def checkout_of(path: Path) -> Checkout | None:
    """Return the git state of the checkout that tracks ``path``, or None if it lies in none."""
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    tracked = _git(folder, "ls-files", "--error-unmatch", str(path)) is not None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if not tracked and path.suffix != ".py":
        return None
    return Checkout(commit, dirty=not tracked or bool(changed))


def packages(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the packages that decide results, and of those that bring these ``modules``.

    They are those that this process found when it first asked. A module that no package brings (Python's own, a file
    on the path) is left out.
    """
    others = {module for module in modules if module not in sys.stdlib_module_names} - set(PACKAGES)
    brought = _brought() if others else {}
    names = (*PACKAGES, *sorted({package for module in others for package in brought.get(module, ())}))
    found = {name: _version(name) for name in names}
    return {name: known for name, known in found.items() if known is not None}


@cache  # which reads and parses a file of each package's, a hundred times in a small run
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _brought() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the names of NVIDIA devices, as ``nvidia-smi`` lists them; empty without one."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()


def device_kind(device: str) -> str:
    """Return what ``--device`` comes to, as torch calls it: ``cpu``, ``cuda``; "auto" is looked up without torch.

    A guess where a driver is there that torch cannot use; who loads the model compares.
    """
    if device != "auto":
        return device.partition(":")[0]
    return "cuda" if gpu_names() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") and _torch_knows_cuda() else "cpu"


@cache
def _torch_knows_cuda() -> bool:
    """Return whether the installed torch was built for CUDA, from its file of versions."""
    spec = find_spec("torch")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    try:
        text = (Path(places[0]) / "version.py").read_text(encoding="utf-8") if places else ""
    except OSError:
        return True
    return re.search(r"^cuda\b[^=\n]*=\s*None", text, re.MULTILINE) is None


def machine() -> dict[str, Any]:
    """Return platform, processor, accelerators, cores this process may use, and thread settings."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "gpus": list(gpu_names()),
        "cores": cores,
        "thread_settings": threads,
    }

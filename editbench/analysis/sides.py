"""What ``editbench compare A B`` is about: the runs on each side, and which of A goes with which of B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editbench.analysis.selection import choose_runs, conditions, merge_folders, weights_of
from editbench.errors import UnknownName, UserError
from editbench.results.store import RunResult, Store, read_run


@dataclass(frozen=True, slots=True)
class Match:
    """Runs to be compared, one per seed on each side; a side may be empty.

    Attributes
    ----------
    suite, model: which both sides share.
    labels: what tables call the two.
    a, b: seed -> run.
    """

    suite: str
    model: str
    labels: tuple[str, str]
    a: Mapping[int, RunResult]
    b: Mapping[int, RunResult]


def find_side(text: str, root: Path, suite: str | None = None) -> list[RunResult]:
    """Return the runs that a word of the command line names, one per suite, model, label and seed.

    ``text`` is a label or a method's name in ``root``, a results folder, ``FOLDER:LABEL``, or a run's folder.
    Raises :class:`UserError` where there are none.
    """
    path = Path(text)
    if (path / "manifest.json").is_file():
        return [run for run in [read_run(path)] if suite in (None, run.manifest["suite"])] or _nothing(text, suite)
    folder, label = _place(text, root)
    if folder == path and not (path / "runs").is_dir():
        raise UserError(
            f"{text} is no results folder.",
            "Expected a folder with 'runs' or 'manifest.json' in it, or a method's label.",
        )
    runs = Store(folder).scan(suite)
    if not runs:
        return _nothing(str(root) if label == text else text, suite)
    named = [run for run in runs if not label or label in (run.manifest["label"], run.manifest["method"]["name"])]
    exact = [run for run in named if run.manifest["label"] == label]
    if not named:
        raise UnknownName("method with results", label, {run.manifest["label"] for run in runs}, "Or name a folder.")
    return _newest(exact or named)


def _place(text: str, root: Path) -> tuple[Path, str]:
    """Return the results folder that a word means, and the label in it, "" for all."""
    folder, _, label = text.rpartition(":")
    if Path(text).is_dir():
        return Path(text), ""
    return (Path(folder), label) if folder and Path(folder).is_dir() else (root, text)


def unread(words: Sequence[str], root: Path, suite: str | None = None) -> list[str]:
    """Return a sentence for each run that :func:`find_side` leaves out, as its manifest is damaged."""
    folders = dict.fromkeys(_place(text, root)[0] for text in words)
    return [said for folder in folders for said in Store(folder).damaged(suite)]


def _nothing(place: str, suite: str | None) -> list[RunResult]:
    what = f" of {suite}" if suite else ""
    raise UserError(f"There are no results{what} in {place}.", hint=f"editbench run --suite {suite or 'quickstart'}")


def _newest(runs: Sequence[RunResult]) -> list[RunResult]:
    merged, _ = merge_folders(runs)
    suites = dict.fromkeys(run.manifest["suite"] for run in merged)
    return [
        run for suite in suites for run in choose_runs([r for r in merged if r.manifest["suite"] == suite], None)[0]
    ]


def match(a: Sequence[RunResult], b: Sequence[RunResult]) -> list[Match]:
    """Return what goes together: the same suite and model, and the same label, unless each side has just one.

    Raises :class:`UserError` where nothing does, or where the two were made with other protocols, data or weights.
    """
    names = [sorted({str(run.manifest["label"]) for run in side}) for side in (a, b)]
    one_each = all(len(found) == 1 for found in names)
    sides = [_grouped(side, one_each) for side in (a, b)]
    keys = list(dict.fromkeys([*sides[0], *sides[1]]))
    if not set(sides[0]) & set(sides[1]):
        listed = ["; ".join(" / ".join(part for part in key if part) for key in side) for side in sides]
        raise UserError(
            "A and B have nothing in common.",
            f"A has {listed[0]}; B has {listed[1]} (suite / model / label).",
            "Compare two labels of one suite, or two results folders of one suite.",
        )
    found = [
        Match(*key[:2], (key[2] or names[0][0], key[2] or names[1][0]), *(side.get(key, {}) for side in sides))
        for key in keys
    ]
    for one in found:
        refuse_differing(one)
    return found


def _grouped(runs: Sequence[RunResult], one_each: bool) -> dict[tuple[str, str, str], dict[int, RunResult]]:
    found: dict[tuple[str, str, str], dict[int, RunResult]] = {}
    for run in runs:
        manifest = run.manifest
        key = (manifest["suite"], manifest["model"]["name"], "" if one_each else manifest["label"])
        found.setdefault(key, {})[int(manifest["seed"])] = run
    return found


def without_a_side(matches: Sequence[Match]) -> list[str]:
    """Say which suites, models and methods only one side has runs of: a line for each suite, model and side."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in matches:
        for name, label, runs in zip("AB", one.labels, (one.a, one.b), strict=True):
            if not runs:
                found.setdefault((one.suite, one.model, name), []).append(label)
    return [
        f"{suite} on {model} is left out, {name} has no run there: {', '.join(labels)}"
        for (suite, model, name), labels in found.items()
    ]


def refuse_differing(one: Match) -> None:
    """Raise :class:`UserError` where A and B differ in protocol, dataset, probes or weights; says in which."""
    if not one.a or not one.b:
        return
    said = []
    for name in ("protocol", "dataset", "probes", "weights"):
        values = [sorted({_condition(run, name) for run in side.values()} - {""}) for side in (one.a, one.b)]
        if values[0] and values[1] and values[0] != values[1]:
            said.append(f"{name} ({' and '.join(values[0])} against {' and '.join(values[1])})")
    if said:
        raise UserError(
            f"{' and '.join(dict.fromkeys(one.labels))} on {one.model}: A and B differ in {'; '.join(said)}.",
            "Only answers to the same questions by the same model can be compared.",
            "Run one of them again under the other's conditions.",
        )


def _condition(run: RunResult, name: str) -> str:
    return weights_of(run) if name == "weights" else conditions(run.manifest)[name]


def other_conditions(one: Match) -> list[str]:
    """Return in what else the two differ: allowed, and said."""
    first: list[Mapping[str, Any]] = [next(iter(side.values())).manifest for side in (one.a, one.b) if side]
    if len(first) < 2:
        return []
    pairs = {
        "dtype": [manifest["model"]["dtype"] for manifest in first],
        "regime": [f"{manifest['regime']} {manifest.get('chunk') or ''}".strip() for manifest in first],
    }
    return [f"A and B differ in {name}: {a} against {b}" for name, (a, b) in pairs.items() if a != b]

"""A suite read from YAML; every mistake names file, line and key."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from editbench.base.parsing import Unparsable, parse_yaml, read_text
from editbench.capability.spec import CapabilitySpec, TaskSpec
from editbench.datasets import DatasetSpec
from editbench.errors import BadSuite
from editbench.plan.protocol import Protocol
from editbench.plan.registry import suite_file
from editbench.plan.suite import MethodSpec, ModelSpec, Probes, Sequential, Suite, said
from editbench.plan.yaml_traps import refuse_traps

Loc = tuple[str | int, ...]


def load_suite(name_or_path: str | Path) -> Suite:
    """Return the registered suite of this name, or the one in this YAML file.

    Raises :class:`UnknownName`, :class:`BadPlugin` or :class:`BadSuite`.
    """
    path = suite_path(name_or_path)
    return parse_suite(read_text(path, BadSuite, f"The suite {path}"), str(path))


def suite_path(name_or_path: str | Path) -> Path:
    """Return the file of a suite given by name or path."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        return suite_file(str(name_or_path))
    if not path.is_file():
        raise BadSuite(f"There is no suite file {path}.", hint="See the suites there are: editbench list suites")
    return path


def parse_suite(text: str, file: str) -> Suite:
    """Return the suite that this YAML text describes; ``file`` is for messages. Raises :class:`BadSuite`."""
    try:
        root, values = parse_yaml(text)
    except Unparsable as error:
        raise BadSuite(f"{file}{error.place}: this is no YAML that can be read: {error.reason}.") from error
    refuse_traps(root, file)
    if root is None or not isinstance(values, dict):
        raise BadSuite(f"{file}: a suite is a mapping of keys to values.", f"Keys: {', '.join(Suite.model_fields)}.")
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        raise _explained(error, root, file) from error
    suite._file, suite._lines = file, _lines(root, suite)
    return suite


def _find(node: yaml.Node, loc: Loc) -> yaml.Node:
    """Return the node at ``loc``, or the deepest one on the way to it; for a mapping's entry, its key's node."""
    shown = node
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            shown = node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                continue  # a part of pydantic's own making, such as the branch of a union
            shown, node = pair
    return shown


def _line(node: yaml.Node, *loc: str | int) -> int:
    return int(_find(node, loc).start_mark.line) + 1


def _explained(error: ValidationError, root: yaml.Node, file: str) -> BadSuite:
    # a misspelt key often leaves a missing one behind; the misspelt one is the news
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    loc: Loc = first["loc"]
    key = ".".join(str(part) for part in loc)
    where = f"{file}, line {_line(root, *loc)}"
    if first["type"] == "extra_forbidden":
        return _unknown_key(where, loc)
    if first["type"] == "missing":
        return BadSuite(f"{where}: the key {key!r} is missing.", "See one that works: editbench show suite quickstart")
    return BadSuite(f"{where}, {key}: {said(first)}." if key else f"{where}: {said(first)}.")


def _unknown_key(where: str, loc: Loc) -> BadSuite:
    owners: dict[str, type[BaseModel]] = {
        "methods": MethodSpec,
        "models": ModelSpec,
        "dataset": DatasetSpec,
        "protocol": Protocol,
        "probes": Probes,
        "regime": Sequential,
        "capability": CapabilitySpec if len(loc) < 3 else TaskSpec,
    }
    owner = Suite if len(loc) == 1 else owners.get(str(loc[0]), Suite)
    known = list(owner.model_fields)
    close = get_close_matches(str(loc[-1]), known, n=2, cutoff=0.5)
    expected = f"Did you mean {' or '.join(close)}?" if close else f"Known keys: {', '.join(known)}."
    return BadSuite(f"{where}: unknown key {'.'.join(str(part) for part in loc)!r}.", expected)


def _lines(root: yaml.Node, suite: Suite) -> dict[str, int]:
    lines = {key: _line(root, key) for key in ("dataset", "scales", "metrics", "regime", "seeds", "capability")}
    lines |= {f"models/{model.name}": _line(root, "models", i) for i, model in enumerate(suite.models)}
    for i, method in enumerate(suite.methods):
        name = method.label or method.method
        lines[f"methods/{name}"] = _line(root, "methods", i)
        for key, value in method.hparams.items():
            lines[f"methods/{name}/{key}"] = _line(root, "methods", i, "hparams", key)
            inner = value if isinstance(value, dict) else {}
            lines |= {f"methods/{name}/{key}/{part}": _line(root, "methods", i, "hparams", key, part) for part in inner}
    return lines

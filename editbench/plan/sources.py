"""What a method's source says, read without importing it: where it lies, its hash, its first line.

``editbench list`` must answer at once and name a plugin that cannot work, whatever that plugin would import.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from editbench.base.plugins import blamed, entries
from editbench.errors import BadPlugin
from editbench.plan.registry import METHODS, load_method

OURS = "editbench_methods"
"""Our own package of methods: one file each, and what they share in ``_*.py`` files."""


@dataclass(frozen=True, slots=True)
class MethodSource:
    """A method's source, as text.

    Attributes
    ----------
    name: the class attribute ``name``, or the class's own name where the source does not spell it out.
    path: its file.
    title: first line of the class docstring.
    cite: its class attribute, or "".
    hash: sha256 over its file, what it shares in its package and its YAML: another hash, other results.
    """

    name: str
    path: Path
    title: str
    cite: str
    hash: str


def is_file_address(name: str) -> bool:
    """Return whether ``name`` is the side door ``./file.py:Class`` instead of a registered name."""
    return ":" in name and name.rpartition(":")[0].endswith(".py")


def method_source(name: str) -> MethodSource:
    """Read the source of a method. Raises :class:`UnknownName` or :class:`BadPlugin`."""
    module, attribute = _address(name)
    path = Path(module).expanduser().resolve() if is_file_address(name) else _module_file(module, name)
    if not path.is_file():
        raise BadPlugin(f"--method {name}: there is no file {path}.", "Expected ./my_method.py:MyMethod")
    return _read(path, attribute, name)


def _address(name: str) -> tuple[str, str]:
    if is_file_address(name):
        module, _, attribute = name.rpartition(":")
        return module, attribute
    targets = [entry.target for entry in entries(METHODS) if entry.name == name]
    if len(targets) != 1:
        load_method(name)  # says that there is none, or that there are two
    module, _, attribute = targets[0].partition(":")
    return module, attribute


def _module_file(module: str, name: str) -> Path:
    with blamed(f"The method {name!r} cannot be loaded"):
        spec = find_spec(module)
    if spec is None or not spec.origin:
        raise BadPlugin(f"The method {name!r} cannot be loaded: there is no module {module}.")
    return Path(spec.origin)


def _read(path: Path, attribute: str, name: str) -> MethodSource:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (SyntaxError, ValueError) as error:
        raise BadPlugin(f"The method {name!r} cannot be loaded: {path.name}: {error}") from error
    _refuse_missing_imports(tree, name)
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute), None)
    if found is None:
        return _from_class(path, name)
    title = (ast.get_docstring(found) or "").partition("\n")[0]
    return MethodSource(
        _constant(found, "name") or attribute, path, title, _constant(found, "cite"), source_hash(path, name)
    )


def _from_class(path: Path, name: str) -> MethodSource:
    """Read a class that its module does not spell out (made by a call, or imported from elsewhere)."""
    cls = load_method(name)
    return MethodSource(
        cls.name, path, (cls.__doc__ or "").strip().partition("\n")[0], cls.cite, source_hash(path, name)
    )


def _constant(node: ast.ClassDef, attribute: str) -> str:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        named = any(isinstance(target, ast.Name) and target.id == attribute for target in targets)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return ""


def _refuse_missing_imports(tree: ast.Module, name: str) -> None:
    for package in _imported_packages(tree):
        try:
            missing = find_spec(package) is None
        except (ImportError, ValueError):
            missing = False
        if missing:
            raise BadPlugin(
                f"The method {name!r} cannot be loaded: ModuleNotFoundError: No module named {package!r}",
                hint=f"Install {package}, or leave this method out.",
            )


def _imported_packages(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.module.partition(".")[0]


def source_hash(path: Path, name: str) -> str:
    """Return the sha256 (hex) over the file of the method ``name``, what it shares in its package, and its YAML.

    Of somebody's installed package that is every ``.py`` file of the folder; of ours, and of a file given by its
    address, the ``_*.py`` files and the methods it is built on (``from .alphaedit import AlphaEdit``). A file in a
    folder without ``__init__.py`` shares nothing.
    """
    digest = hashlib.sha256()
    for file in (path, *_shared(path, name), path.with_suffix(".yaml")):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _shared(path: Path, name: str) -> list[Path]:
    if not (path.parent / "__init__.py").is_file():
        return []
    if is_file_address(name) or _address(name)[0].partition(".")[0] == OURS:
        private = {file for file in path.parent.glob("_*.py") if not file.name.startswith("__")}
        return sorted(private | _built_on(path))
    return sorted(file for file in path.parent.glob("*.py") if file != path)


def _built_on(path: Path) -> set[Path]:
    """Return the files that a file imports from its own folder at its top level, and those that they import."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        tree = ast.parse(waiting.pop().read_text(encoding="utf-8"))
        modules = [s.module for s in tree.body if isinstance(s, ast.ImportFrom) and s.level == 1 and s.module]
        files = {path.parent / f"{module}.py" for module in modules}
        new = {file for file in files if file.is_file()} - found - {path}
        found |= new
        waiting += new
    return found


def first_line(target: str) -> str:
    """Return the first docstring line of ``module:attribute`` without importing it; "" where it has none.

    Raises :class:`BadPlugin` if there is no such module.
    """
    module, _, attribute = target.partition(":")
    path = _module_file(module, target)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""

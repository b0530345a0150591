"""JSON and YAML that somebody else wrote, read so that nothing in it can do harm.

Nesting without end, aliases that double or refer to themselves, numbers of thousands of digits, halves of surrogate
pairs and bytes that are no text all end as :class:`Unparsable`, at once and with the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from editbench.errors import UserError

MOST_LEVELS = 100
# A YAML file's length in characters, and its values with every alias written out.
LONGEST_YAML, MOST_VALUES = 1 << 19, 20_000
_MOST_DIGITS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")
# Halves of surrogate pairs as JSON writes them; every emoji has two, so what follows is looked at too.
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class Unparsable(ValueError):
    """Text that is no JSON or YAML, or none that is safe to read.

    Attributes
    ----------
    reason: what is wrong, without a full stop.
    line, column: where, from 1; 0 where that is not known.
    position: the same in characters of the text, from 0; 0 where that is not known.
    """

    def __init__(self, reason: str, line: int = 0, column: int = 0, position: int = 0) -> None:
        self.reason, self.line, self.column, self.position = reason, line, column, position
        super().__init__(f"line {line}: {reason}" if line else reason)

    @property
    def place(self) -> str:
        """``, line 3, column 7``, as far as that is known; to be put behind a file's name."""
        return (f", line {self.line}" if self.line else "") + (f", column {self.column}" if self.column else "")

    def in_line(self, number: int) -> str:
        """``, line 7, column 12`` of a file whose line 7 this text is."""
        return f", line {number}" + (f", column {self.column}" if self.column else "")


def read_text(path: Path, blame: type[UserError] = UserError, name: str = "") -> str:
    """Return a file's text without a byte order mark.

    Raises ``blame`` for what is no file, cannot be read or is not UTF-8, naming it ``name`` (default: its path).
    """
    named = name or str(path)
    try:
        if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
            raise blame(f"{named} is no file.")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object[: error.start].count(b"\n") + 1
            said = f"{named} is not UTF-8: line {line}, {error.reason} at byte {error.start}."
            raise blame(said, hint="Save it again as UTF-8.") from error
        raise blame(f"{named} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def why_no_text(text: str) -> str:
    """Return why a string can be neither tokenised nor written as UTF-8 text; "" if it can be."""
    if "\0" in text:
        return "it holds a NUL character"
    half = None if text.isascii() else _SURROGATE.search(text)
    return f"it holds half a surrogate pair, \\u{ord(half[0]):04x}" if half else ""


def parse_json(text: str | bytes) -> Any:
    """Return the value that JSON text holds. Raises :class:`Unparsable`."""
    try:
        whole = text if isinstance(text, str) else text.decode()
        value = json.loads(whole, parse_int=_whole_number)
    except json.JSONDecodeError as error:
        raise Unparsable(error.msg, error.lineno, error.colno, error.pos) from error
    except UnicodeDecodeError as error:
        raise Unparsable(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise Unparsable(_too_deep()) from error
    if whole.count("[") + whole.count("{") > MOST_LEVELS or _ESCAPED_HALF.search(whole):
        _refuse_depth_and_halves(value)
    return value


def _too_deep() -> str:
    return f"it is nested more than {MOST_LEVELS} levels deep"


def _whole_number(digits: str) -> int:
    """Return a whole number. Raises :class:`Unparsable` for one so long that Python itself may refuse it."""
    return int(digits) if len(digits) <= _MOST_DIGITS else _too_large(digits)


def _too_large(digits: str) -> NoReturn:
    shown = digits if len(digits) <= 24 else f"{digits[:20]}… ({len(digits)} digits)"
    raise Unparsable(f"the number {shown} is too large")


def _refuse_depth_and_halves(value: Any) -> None:
    waiting = [(value, 0)]
    while waiting:
        item, level = waiting.pop()
        if level > MOST_LEVELS:
            raise Unparsable(_too_deep())
        if isinstance(item, dict):
            waiting += [(key, level) for key in item]
            waiting += [(inner, level + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, level + 1) for inner in item]
        elif isinstance(item, str) and not item.isascii() and _SURROGATE.search(item):
            raise Unparsable(why_no_text(item) or "it is no text")


class _Loader(yaml.SafeLoader):
    """Safe values only; a scalar that cannot be read as what it looks like is an error with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Unparsable as error:
            raise yaml.constructor.ConstructorError(None, None, error.reason, node.start_mark) from error
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            shown = f"{str(node.value)[:40]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, shown, node.start_mark) from error

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        digits = str(node.value)
        if len(digits) > _MOST_DIGITS:
            _too_large(digits)
        number = int(super().construct_yaml_int(node))
        if not -(2**63) <= number < 2**63:  # no table holds it
            _too_large(str(number))
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """Return YAML text as nodes, which know their lines, and as the value it holds. Raises :class:`Unparsable`."""
    root = compose_yaml(text)
    with _said(text):
        return root, yaml.load(text, Loader=_Loader)


def compose_yaml(text: str) -> yaml.Node | None:
    """Return YAML text as nodes; tags are not looked at, nothing is made of them. Raises :class:`Unparsable`."""
    if len(text) > LONGEST_YAML:
        raise Unparsable(f"it is longer than {LONGEST_YAML:,} characters")
    with _said(text):
        _refuse_bombs(text)
        return yaml.compose(text, Loader=_Loader)


@contextmanager
def _said(text: str) -> Iterator[None]:
    """Turn what PyYAML raises into :class:`Unparsable`."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise Unparsable(f"the character #x{int(error.character):04x} is not allowed", line) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Unparsable(str(getattr(error, "problem", error)), mark.line + 1 if mark else 0) from error
    except Unparsable:
        raise
    except (ValueError, OverflowError) as error:  # an escape of no character, such as "\U00110000"
        raise Unparsable(str(error)) from error


def _refuse_bombs(text: str) -> None:
    """Raise :class:`Unparsable` for YAML that would not end, or not soon, were its aliases written out."""
    known: dict[str, tuple[int, int]] = {}  # anchor -> its values and levels, all aliases written out
    open_: list[tuple[str | None, int, int]] = [(None, 0, 0)]  # of collections begun: anchor, values, levels
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1, 0))
            if len(open_) > MOST_LEVELS:
                raise Unparsable(_too_deep(), line)
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, *_ in open_):
                raise Unparsable(f"*{event.anchor} refers to what it is part of", line)
            anchor, (values, levels) = None, known.get(event.anchor or "", (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            if why := why_no_text(event.value):
                raise Unparsable(why, line)
            anchor, values, levels = event.anchor, 1, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, levels = open_.pop()
            levels += 1
        else:
            continue
        if anchor is not None:
            known[anchor] = values, levels
        above, so_far, deepest = open_[-1]
        open_[-1] = above, so_far + values, max(deepest, levels)
        if open_[-1][1] > MOST_VALUES:
            raise Unparsable(f"it holds more than {MOST_VALUES:,} values, its aliases written out", line)
        if len(open_) + levels > MOST_LEVELS:
            raise Unparsable(_too_deep(), line)

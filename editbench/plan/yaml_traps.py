"""What YAML reads otherwise than a person meant it, refused with the line it is on."""

from __future__ import annotations

import re

import yaml

from editbench.errors import BadSuite

# What PyYAML takes for text although a person meant a number: 1e-4, 5E3.
_NUMBER_READ_AS_TEXT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def _spelt(number: str) -> str:
    """Return a number as YAML reads it: ``1e-4`` becomes ``1.0e-4``."""
    mantissa, exponent = re.split("[eE]", number)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def refuse_traps(node: yaml.Node | None, file: str, key: str = "") -> None:
    """Refuse what YAML takes without a word although it is not what was meant: ``1e-4``, a key given twice."""
    if isinstance(node, yaml.ScalarNode):
        is_text = node.tag == "tag:yaml.org,2002:str" and node.style is None
        if is_text and _NUMBER_READ_AS_TEXT.fullmatch(node.value):
            given = f"{file}, line {node.start_mark.line + 1}, {key}: YAML reads {node.value} as text."
            raise BadSuite(given, hint=f"Write {_spelt(node.value)}")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            refuse_traps(item, file, key)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                raise BadSuite(f"{file}, line {name.start_mark.line + 1}: the key {name.value!r} is given twice.")
            seen.add(name.value)
            refuse_traps(value, file, f"{key}.{name.value}".strip("."))

"""Data made harmless inside a ``<script>`` element: nothing in it can end the element or a line of it."""

from __future__ import annotations

import json
import math
from typing import Any

_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def for_script(value: Any) -> str:
    """Return a value as JSON that an HTML parser and a JavaScript parser both read as nothing but data.

    Numbers that are not finite become null; lone surrogates become U+FFFD, because they cannot be written as UTF-8.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value

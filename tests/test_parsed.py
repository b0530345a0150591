from __future__ import annotations

import pytest

from editbench.plan.parsed import parsed


@pytest.mark.parametrize(
    "same",
    [
        "x = 1  # one\n",
        "\n\nx = (1)\n",
        '"""A docstring."""\nx = 0x1\n"and a string"\n',
        "from typing import TYPE_CHECKING\nx = 1\nif TYPE_CHECKING:\n    import torch\n",
        "x = 1\nif __name__ == '__main__':\n    print(x)\n",
    ],
)
def test_comments_layout_docstrings_and_what_does_not_run_leave_the_hash_alone(same: str) -> None:
    plain = "from typing import TYPE_CHECKING\nx = 1\n" if "typing" in same else "x = 1\n"
    assert parsed(same.encode()).hash == parsed(plain.encode()).hash


def test_every_other_change_of_the_code_changes_the_hash() -> None:
    others = ["x = 1", "x = 2", "x = True", "x = 1.0", "x = '1'", "x = b'1'", "x = -1", "y = 1", "x: int = 1", "del x"]
    others += ["x = f'{y}'", "x = f'{y!r}'", "x = y[1:]", "x = y[:1]", "x = (1,)", "x = [1]", "x = None", "x = ..."]
    others += ["def x(a, /): 1", "def x(a): 1", "def x(*, a): 1", "async def x(a): 1", "x = 1; x = 1", "x = 10 ** 5000"]
    others += [f"x = {hex(16**5000)}", "x = '\\ud800'", "if x:\n  y\nelse:\n  z", "if x:\n  y\nz"]
    assert len({parsed(text.encode()).hash for text in others}) == len(others)


def test_the_hash_of_a_file_does_not_depend_on_the_version_of_python() -> None:
    text = "import a.b as c\n@d\nclass E(F, g=1):\n    def h(self, *i, j: int = 2, **k) -> 'L':\n"
    text += "        return f'{i!r:>{j}}'\nmatch x:\n    case {'a': [1, *_]} if y: pass\n"
    assert parsed(text.encode()).hash == "9159ce92059878263e273f529a0c67f7bcc59bc941282548475effa72ee0dd2f"

"""The Python of README.md runs, in order, and gives the values that its comments show."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

import pywasmrt

README = Path(__file__).resolve().parent.parent / "README.md"
NATIVE = any(info.name == "wasmtime" and info.available for info in pywasmrt.list_runtimes())

pytestmark = [
    pytest.mark.skipif(not README.is_file(), reason="README.md is not beside the tests"),
    pytest.mark.skipif(not NATIVE, reason="README.md is written for the default runtime"),
]


def blocks() -> list[str]:
    """Each block with as many lines before it as in the file, so that a failure tells the file's line."""
    text = README.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text.count("\n", 0, match.start(1)) + match[1] for match in found]


def run(block: str, names: dict[str, Any]) -> None:
    """Run a block; where an expression has a comment behind it, its value's repr must be that comment."""
    lines = block.split("\n")
    for statement in ast.parse(block).body:
        where = f"{README.name}:{statement.lineno}"
        assert statement.end_lineno is not None
        _, _, shown = lines[statement.end_lineno - 1].partition("  # ")
        if isinstance(statement, ast.Expr) and shown:
            value = eval(compile(ast.Expression(statement.value), where, "eval"), names)
            assert repr(value) == shown, where
        else:
            exec(compile(ast.Module([statement], []), where, "exec"), names)


def test_the_blocks_run_and_give_what_they_show() -> None:
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks():
            run(block, names)
    text = README.read_text(encoding="utf-8")
    claimed = [line for line in re.findall(r"^    (.*)$", text, re.MULTILINE) if "add()" in line]
    assert len(claimed) == 3
    assert printed.getvalue().splitlines()[: len(claimed)] == claimed
    assert names["message"].startswith("cannot instantiate the module: 2 imports do not fit")


def test_the_readme_has_a_tour() -> None:
    assert len(blocks()) > 8

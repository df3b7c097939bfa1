"""The examples of README.md and of the pages under `docs/` run, in order, and show what the text says they show.

Three kinds of blocks take part, each page by itself in a folder of its own:

* `python`: run in the page's namespace. An expression with a comment behind it has that repr; an indented block behind
  the code is what it prints.
* `{code-block}` with a `:caption:`: a file of that name.
* `console`: what follows `$ ` is run, the rest is what it prints, and its exit code where that is not 0.

In what is printed, `...` stands for anything. Other blocks, such as `sh`, are only shown.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pywasmrt

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PACKAGE_ROOT = Path(pywasmrt.__file__).resolve().parent.parent
NATIVE = any(info.name == "wasmtime" and info.available for info in pywasmrt.list_runtimes())

_BLOCK = re.compile(
    r"^```(?P<kind>python|console|\{code-block\} \w+)\n(?P<text>.*?)^```$(?:\n\n(?P<printed>(?:    [^\n]*\n)+))?",
    re.MULTILINE | re.DOTALL,
)
_CAPTION = re.compile(r":caption: (.*)\n\n")
_COMMANDS = {
    "python": [sys.executable],
    "pywasmrt": [sys.executable, "-m", "pywasmrt"],
    "pytest": [sys.executable, "-m", "pytest", "-p", "pywasmrt.testing.pytest_plugin", "-p", "no:cacheprovider"],
}

pytestmark = [
    pytest.mark.skipif(not README.is_file(), reason="README.md is not beside the tests"),
    pytest.mark.skipif(not NATIVE, reason="the examples are written for the default runtime"),
]


class Block(NamedTuple):
    """A block of a page: what it is, its text, what it prints (None: nobody says), and its first line's number."""

    kind: str
    text: str
    printed: str | None
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        printed = found["printed"]
        if printed is not None:
            printed = re.sub("^    ", "", printed, flags=re.MULTILINE)
        yield Block(found["kind"], found["text"], printed, text.count("\n", 0, found.start("text")) + 1)


def pages() -> list[Path]:
    return [README, *sorted(DOCS.rglob("*.md"))]


def check_printed(wanted: str, got: str, where: str) -> None:
    if not doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS):
        pytest.fail(f"{where} printed\n{got}\ninstead of\n{wanted}", pytrace=False)


def run_python(page: Path, block: Block, names: dict[str, Any]) -> None:
    """Run a block; where an expression has a comment behind it, its value's repr must be that comment."""
    source = "\n" * (block.line - 1) + block.text  # so that a failure tells the page's line
    lines = source.split("\n")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for statement in ast.parse(source).body:
            assert statement.end_lineno is not None
            where = f"{page.name}:{statement.lineno}"
            _, _, shown = lines[statement.end_lineno - 1].partition("  # ")
            if isinstance(statement, ast.Expr) and shown:
                value = eval(compile(ast.Expression(statement.value), page, "eval"), names)
                assert repr(value) == shown, where
            else:
                exec(compile(ast.Module([statement], []), page, "exec"), names)
    if block.printed is not None:
        check_printed(block.printed, printed.getvalue(), f"{page.name}:{block.line}")


def run_console(page: Path, block: Block) -> None:
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    for command, wanted in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        name, *arguments = shlex.split(command)
        done = subprocess.run(
            [*_COMMANDS[name], *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": path},
        )
        ended = f"[exit code {done.returncode}]\n" if done.returncode else ""
        check_printed(wanted, done.stdout + ended, f"{page.name}:{block.line}: {command}")


def write_file(block: Block) -> None:
    caption = _CAPTION.match(block.text)
    if caption is not None:
        Path(caption[1]).write_text(block.text[caption.end() :], encoding="utf-8")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.kind == "python":
            run_python(page, block, names)
        elif block.kind == "console":
            run_console(page, block)
        else:
            write_file(block)
    if page == README:
        assert names["message"].startswith("cannot instantiate the module: 2 imports do not fit")


def test_the_figures_are_those_of_the_run_beside_them(tmp_path: Path) -> None:
    if not DOCS.is_dir():
        pytest.skip("docs/ is not beside the tests")
    figures = DOCS / "figures"
    command = [sys.executable, str(ROOT / "bench" / "plots.py"), str(figures / "bench.json"), "--to", str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in figures.iterdir()}
    assert drawn == kept, "draw them again: python bench/plots.py docs/figures/bench.json --to docs/figures"


def test_there_are_examples() -> None:
    assert len(list(blocks(README))) > 8
    if DOCS.is_dir():
        assert sum(len(list(blocks(page))) for page in pages()) > 50


def test_a_page_that_shows_something_else_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n    3\n\n")
    [block] = blocks(page)
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:2 printed\n2\n\ninstead of\n3"):
        run_python(page, block, {})
    with pytest.raises(AssertionError, match=r"page\.md:2"):
        run_python(page, Block("python", "1 + 1  # 3\n", None, 2), {})

"""Text lints over the C sources: rules that the compiler does not keep, each with the reason it exists."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pywasmrt import _shim

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "csrc"
FILES = sorted(SOURCES.rglob("*.[ch]"))
ENGINES = [path for path in FILES if path.is_relative_to(SOURCES / "engines")]
FASTCALL = [path for path in FILES if path.is_relative_to(SOURCES / "fast")]


def place(path: Path) -> str:
    """A file's path below csrc/, which names it in reports and in its include guard."""
    return path.relative_to(SOURCES).as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=place)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code(path: Path) -> str:
    """The text with comments and strings blanked out, so that offsets and lines stay the same."""
    pattern = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), read(path))


def lines_matching(text: str, pattern: str) -> list[str]:
    return [f"line {n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if re.search(pattern, line)]


def test_there_are_sources_of_both_modules() -> None:
    assert ENGINES
    assert FASTCALL


@each_file
def test_a_file_opens_by_saying_what_it_holds(path: Path) -> None:
    assert read(path).startswith(f"/* {path.name}: ")


@each_file
def test_the_text_is_tidy(path: Path) -> None:
    assert lines_matching(read(path), r"\t|\s+$|.{129}|\b(?:TODO|FIXME|XXX)\b") == []
    assert read(path).endswith("\n")


@each_file
def test_a_header_has_an_include_guard_of_its_own_name(path: Path) -> None:
    if path.suffix != ".h":
        pytest.skip("no header")
    guard = re.sub(r"\W", "_", place(path).removeprefix("engines/")).upper()
    assert re.search(rf"^#ifndef (WRT_)?{guard}\n#define (WRT_)?{guard}\n", read(path), re.MULTILINE)
    assert read(path).endswith("#endif\n")


@each_file
def test_no_python_object_is_kept_in_static_storage(path: Path) -> None:
    """A static object outlives its interpreter and is shared between several; module state and heap types are not."""
    assert lines_matching(code(path), r"^\s*static\s+(?:const\s+)?(?:Py\w+|fast_\w+)\s*\*\s*\w+\s*(?:=|;|\[)") == []
    assert lines_matching(code(path), r"\bstatic\s+PyTypeObject\b|\bPyModule_Create\b") == []


@each_file
def test_every_allocation_is_checked(path: Path) -> None:
    """The variable that receives the memory, or the assignment as a whole, is compared within the next few lines."""
    text = code(path)
    unchecked = []
    for found in re.finditer(r"([\w.>\[\]-]+)\s*=\s*(?:Py\w+_)?(?:[mcMC]alloc|[rR]ealloc|strn?dup)\s*\(", text):
        name = re.escape(found[1])
        following = "\n".join(text[found.start() :].split("\n")[:5])
        checked = rf"!{name}\b|\b{name} [!=]= NULL|\)\) [!=]= NULL|if \({name}\)|{name} &&|{name} \?"
        if not re.search(checked, following):
            unchecked.append(f"line {text[: found.start()].count(chr(10)) + 1}: {found[0]}")
    assert unchecked == []


@each_file
def test_no_function_that_cannot_know_its_bounds(path: Path) -> None:
    assert lines_matching(code(path), r"\b(?:strcpy|strcat|sprintf|vsprintf|gets|alloca)\s*\(") == []


@pytest.mark.parametrize("path", ENGINES, ids=place)
def test_an_engine_knows_no_python(path: Path) -> None:
    assert lines_matching(code(path), r"\bPy[A-Z_]\w+|Python\.h") == []


@pytest.mark.parametrize("path", FASTCALL, ids=place)
def test_the_call_path_knows_no_engine(path: Path) -> None:
    assert lines_matching(code(path), r"\bwasmtime_\w+|\bwasm_\w+_t\b|\bwrt_wasmtime\w*") == []
    assert lines_matching(read(path), r'#include "(?:\.\./)?engines/') == []


@pytest.mark.parametrize("path", ENGINES, ids=place)
def test_an_engine_shows_only_what_the_contract_or_its_own_headers_declare(path: Path) -> None:
    definition = re.compile(r"^(?!static\b|typedef\b|return\b|#)\w[\w \*]*?(\w+)\([^;{]*\)\s*\{", re.MULTILINE)
    defined = set(definition.findall(code(path)))
    headers = [*SOURCES.glob("wrt*.h"), *path.parent.glob("*.h")]
    contract = {name for header in headers for name in re.findall(r"\b(\w+)\(", code(header))}
    hooks = set(re.findall(r"\b(wrt_wasm3_\w+) \(", read(PROJECT / "pywasmrt" / "_shim" / "wasm3_changes.py")))
    assert defined - contract - hooks == set()


def engine_table() -> str:
    header = read(PROJECT / "csrc" / "wrt.h")
    found = re.search(r"typedef struct wrt_engine_ops \{(.*?)\n\} wrt_engine_ops;", header, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_operation_says_who_owns_what() -> None:
    member = r"(?:/\*((?:(?!\*/).)*)\*/\s*)?^  [\w \*]+\(\*(\w+)\)\("
    operations = re.findall(member, engine_table(), re.DOTALL | re.MULTILINE)
    assert len(operations) == len(re.findall(r"^  \w.*\(\*\w+\)\(", engine_table(), re.MULTILINE))
    says = re.compile(
        r"\b(?:own|borrow|belong|releas|free|kept|keep|hand|cop[iy]|caller|untouched|vouch|previous|same)",
        re.IGNORECASE,
    )
    assert [name for comment, name in operations if not says.search(comment)] == []


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.skipif(_shim.unavailable_reason() is not None, reason="needs the native parts")
@pytest.mark.parametrize("name", ["_wrt", "_fastcall", "_wire", "_files"])
def test_an_extension_exports_its_init_function_alone(name: str) -> None:
    """Any other symbol could meet one of the same name in another library of the process."""
    path = importlib.import_module(f"pywasmrt._shim.{name}").__file__
    listed = subprocess.run(["nm", "-D", "--defined-only", path], text=True, capture_output=True, check=True).stdout
    symbols = {line.split()[-1] for line in listed.splitlines()}
    # What the linker, the sanitizers and gcov add.
    tools = re.compile(r"_init$|_fini$|__(?:asan|odr_asan|ubsan|tsan|gcov|llvm|start|stop)|mangle_path$")
    ours = {symbol for symbol in symbols if not tools.match(symbol)}
    assert ours == {f"PyInit_{name}"}

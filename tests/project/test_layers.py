"""Imports run one way: between the floors of the package, between its files, and between the folders of the C code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pywasmrt

ROOT = Path(pywasmrt.__file__).parent
SOURCES = Path(__file__).resolve().parents[2] / "csrc"

# Each floor may import from itself and from the floors above it in this list.
FLOORS: list[set[str]] = [
    {"_version", "types"},
    {"errors"},
    {"protocols"},
    {"annotated"},
    {"values", "wasm", "host"},
    {"component"},
    {"_shim"},
    {"runtimes"},
    {"registry"},
    {"__init__"},
    {"wasi", "plugin", "columns"},
    {"diagnostics"},
    {"otel", "testing"},
    {"cli", "__main__"},
]


def floor_of(path: Path) -> str:
    """The first part of a module's name within the package: that of its file, or of its folder."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rank(name: str) -> int:
    for n, floor in enumerate(FLOORS):
        if name in floor:
            return n
    raise AssertionError(f"pywasmrt.{name} has no floor: add it to FLOORS")


def imported(path: Path) -> list[str]:
    """What a file imports of the package when it runs, as names like those of `floor_of`. Imports for type checkers are
    free.
    """
    found: list[str] = []
    package = path.relative_to(ROOT).parent.parts

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "pywasmrt":
                    found.append(parts[1] if len(parts) > 1 else "__init__")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            elif (node.module or "").split(".")[0] == "pywasmrt":
                base = tuple((node.module or "").split(".")[1:])
            else:
                base = None
            if base is not None:
                base = tuple(part for part in base if part)
                if base:
                    found.append(base[0])
                else:
                    found.extend(alias.name if is_module(alias.name) else "__init__" for alias in node.names)
        elif late := late_name(node):
            found.append([*package, *late.split(".")][0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def late_name(node: ast.AST) -> str | None:
    """What a file loads of its own folder by `late(f"{__package__}.name")` of pywasmrt/values.py."""
    if (
        not isinstance(node, ast.Call)
        or ast.unparse(node.func) != "late"
        or not isinstance(node.args[0], ast.JoinedStr)
    ):
        return None
    first, *rest = node.args[0].values
    own = isinstance(first, ast.FormattedValue) and ast.unparse(first.value) == "__package__"
    return str(rest[0].value).lstrip(".") if own and len(rest) == 1 and isinstance(rest[0], ast.Constant) else None


def is_module(name: str) -> bool:
    return (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir()


def test_imports_run_one_way() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        name = floor_of(path)
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in imported(path) if rank(other) > rank(name)]
    assert wrong == []


def test_the_check_sees_imports() -> None:
    assert "types" in imported(ROOT / "errors.py")
    assert "wasm" in imported(ROOT / "runtimes" / "base" / "runtime.py")
    assert "runtimes" in imported(ROOT / "runtimes" / "wasmtime_py" / "adapter.py")
    assert {"protocols", "runtimes"} <= set(imported(ROOT / "registry.py"))
    assert rank("cli") > rank("registry") > rank("runtimes") > rank("types")


# Circles that stay, each by the name of its folder, with the reason in docs/architecture.md.
CIRCLES = {"wasi"}


def file_imports() -> dict[str, set[str]]:
    """Each file of the package with the files that it imports, those for type checkers included."""
    names = {
        ".".join((*path.relative_to(ROOT).parent.parts, path.stem)).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        package = path.relative_to(ROOT).parent.parts
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
                inside = {f"{base}.{alias.name}".lstrip(".") for alias in node.names} & names.keys()
                found[name] |= inside or ({base} & names.keys())
            elif late := late_name(node):
                found[name] |= {".".join((*package, late))} & names.keys()
    return found


def circles(graph: dict[str, set[str]]) -> Iterator[set[str]]:
    """The sets of files that reach each other."""
    reached = {name: {name} for name in graph}
    grew = True
    while grew:
        grew = False
        for known in reached.values():
            more = set().union(*(reached[each] | {each} for other in known for each in graph[other])) - known
            if more:
                known |= more
                grew = True
    left = set(graph)
    while left:
        name = left.pop()
        circle = {other for other in reached[name] if name in reached[other]}
        left -= circle
        if len(circle) > 1:
            yield circle


def test_no_files_import_each_other_in_a_circle() -> None:
    found = [circle for circle in circles(file_imports()) if {each.split(".")[0] for each in circle} - CIRCLES]
    assert found == []


def test_the_check_sees_circles() -> None:
    assert list(circles({"a": {"b"}, "b": {"a", "c"}, "c": set()})) == [{"a", "b"}]
    assert {"runtimes.base.lifetime", "runtimes.base.turns"} <= file_imports()["runtimes.base.store"]


@pytest.mark.skipif(not SOURCES.exists(), reason="needs the project's own folder")
def test_the_c_code_includes_its_own_folder_and_the_contracts_alone() -> None:
    wrong = []
    for path in sorted(SOURCES.rglob("*.[ch]")):
        folder = path.parent.relative_to(SOURCES)
        for included in re.findall(
            r'^#include "((?!_cgo_export)[^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            target = next((each for each in (path.parent / included, SOURCES / included) if each.exists()), None)
            place = target.resolve().parent.relative_to(SOURCES) if target else None
            if place not in (folder, Path()):
                wrong.append(f"{path.relative_to(SOURCES)} includes {included}")
    assert wrong == []


@pytest.mark.skipif(not SOURCES.exists(), reason="needs the project's own folder")
def test_few_files_lie_loose() -> None:
    assert len(list(SOURCES.glob("*.[ch]"))) <= 4
    assert len(list(ROOT.glob("*.py"))) <= 10

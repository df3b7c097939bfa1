"""The package's modules import one way: types, errors <- protocols <- values ... <- runtimes <- registry <- the
rest.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pywasmrt

ROOT = Path(pywasmrt.__file__).parent

# Each floor may import from itself and from the floors above it in this list.
FLOORS: list[set[str]] = [
    {"_version", "types"},
    {"errors"},
    {"protocols"},
    {"annotated"},
    {"values", "wasm", "host"},
    {"_shim"},
    {"runtimes"},
    {"registry"},
    {"__init__"},
    {"wasi", "plugin"},
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
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


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
    assert "runtimes" in imported(ROOT / "runtimes" / "wasmtime_py" / "runtime.py")
    assert rank("cli") > rank("registry") > rank("runtimes") > rank("types")

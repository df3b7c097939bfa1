"""The C declarations of csrc/engines/wasmtime/api.h against those that the `wasmtime` package makes for itself.

The package's ctypes declarations are generated from Wasmtime's own headers, so they tell for each version what its C
API looks like. The suite checks the installed version. `make abi` checks every accepted one: it sets
PYWASMRT_WASMTIME_WHEELS to a folder of wheels, each of which is unpacked and checked by this same file in a process of
its own.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pywasmrt import _shim
from pywasmrt._shim import wasmtime_library as library

PROJECT = Path(__file__).resolve().parents[2]
WHEELS = os.environ.get("PYWASMRT_WASMTIME_WHEELS")

pytestmark = pytest.mark.skipif(
    _shim.unavailable_reason() is not None or library.wasmtime_library_reason() is not None,
    reason="needs the native parts and Wasmtime's library",
)


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL).replace("\\\n", " ")


HEADER = without_comments((PROJECT / "csrc" / "engines/wasmtime/api.h").read_text(encoding="utf-8"))


def macro(name: str) -> str:
    """The body of a list macro of the header."""
    found = re.search(rf"^#define {name}\(X\)(.*)$", HEADER, re.MULTILINE)
    assert found is not None, name
    return found[1]


def split(text: str) -> list[str]:
    """Split at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def entries(name: str) -> list[list[str]]:
    """The arguments of every X(...) in a list macro."""
    one_line = re.sub(r"\)\s+X\(", "),X(", macro(name).strip())
    return [split(entry[len("X(") : -1]) for entry in split(one_line)]


def api_functions() -> dict[str, tuple[str, list[str]]]:
    """Every function that the header lists: name to the C types of its result and parameters."""
    functions = {}
    for result, name, parameters in entries("WASMTIME_API"):
        functions[name] = (result, [] if parameters == "(void)" else split(parameters[1:-1]))
    for type_, name in entries("WASMTIME_SETTINGS"):
        functions[f"wasmtime_config_{name}_set"] = ("void", ["wasm_config_t *", type_])
    return functions


def api_constants() -> dict[str, int]:
    """The enumeration constants of the header."""
    constants = {}
    for body in re.findall(r"enum\s*\{([^}]*)\}", HEADER):
        value = -1
        for item in filter(None, map(str.strip, body.split(","))):
            name, _, given = map(str.strip, item.partition("="))
            value = int(given, 0) if given else value + 1
            constants[name] = value
    return constants


FUNCTIONS = api_functions()
SCALARS = {
    "bool": ctypes.c_bool,
    "uint8_t": ctypes.c_uint8,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
}


def c_shape(type_: str) -> str:
    """How a value of a C type is passed: nothing, a pointer, or an integer of some size."""
    if type_ == "void":
        return "void"
    if "*" in type_ or type_.endswith("_callback"):
        return "pointer"
    return f"integer of {ctypes.sizeof(SCALARS[type_])}"


def ctypes_shape(type_: Any) -> str:
    if type_ is None:
        return "void"
    if issubclass(type_, (ctypes._Pointer, ctypes._CFuncPtr, ctypes.c_void_p, ctypes.c_char_p)):
        return "pointer"
    assert type_._type_ in "?bBhHiIlLqQ", type_
    return f"integer of {ctypes.sizeof(type_)}"


def layout() -> dict[str, dict[str | None, tuple[int, int]]]:
    """Our structs as the C compiler laid them out: type to field to offset and size; None has alignment and size."""
    wrt = importlib.import_module("pywasmrt._shim._wrt")
    rows = wrt.ffi.new("const wrt_layout **")
    count = wrt.lib.wrt_wasmtime_layout(rows)
    types: dict[str, dict[str | None, tuple[int, int]]] = defaultdict(dict)
    for n in range(count):
        row = rows[0][n]
        field = None if row.field == wrt.ffi.NULL else wrt.ffi.string(row.field).decode()
        types[wrt.ffi.string(row.type).decode()][field] = (row.offset, row.size)
    return dict(types)


@pytest.fixture(scope="module")
def package() -> Any:
    """The declarations of the installed package."""
    return importlib.import_module("wasmtime._ffi")


def their_type(package: Any, name: str) -> Any:
    return getattr(package, name, None) or getattr(package, f"{name}_t")


def their_field(type_: Any, name: str) -> tuple[int, int]:
    """Offset and size; a field that C calls private_ is __private there."""
    bare = name.rstrip("_")
    field = next(getattr(type_, spelt) for spelt in (name, bare, f"__{bare}") if hasattr(type_, spelt))
    return field.offset, field.size


def test_the_declarations_are_read_from_the_library_that_is_used(package: Any) -> None:
    assert Path(package.filename) == library.find().path
    expected = os.environ.get("PYWASMRT_WASMTIME_EXPECTED")
    assert expected is None or library.find().version == expected


@pytest.mark.parametrize("name", sorted(re.findall(r"typedef (?:struct|union) (\w+) \{", HEADER)))
def test_a_struct_has_the_layout_that_the_package_declares(package: Any, name: str) -> None:
    ours, theirs = layout()[name], their_type(package, name)
    fields = {field: their_field(theirs, field) for field in ours if field is not None}
    assert ours == {None: (ctypes.alignment(theirs), ctypes.sizeof(theirs)), **fields}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_takes_and_gives_what_the_package_declares(package: Any, name: str) -> None:
    result, parameters = FUNCTIONS[name]
    theirs = getattr(package.dll, name)
    assert [c_shape(result), *map(c_shape, parameters)] == [
        ctypes_shape(theirs.restype),
        *map(ctypes_shape, theirs.argtypes),
    ]


def test_every_function_is_exported_by_the_library() -> None:
    opened = ctypes.CDLL(str(library.find().path))
    assert [name for name in FUNCTIONS if not hasattr(opened, name)] == []


def test_constants_are_those_of_the_package(package: Any) -> None:
    # The package names the older kinds of reference without VALKIND.
    ours = {name.replace("WASM_VALKIND_", "WASM_"): value for name, value in api_constants().items()}
    shared = {name for name in ours if hasattr(package, name)}
    assert {"WASMTIME_V128", "WASMTIME_EXTERNREF", "WASM_FUNCREF", "WASMTIME_EXTERN_MEMORY"} <= shared
    assert {name: ours[name] for name in shared} == {name: getattr(package, name).value for name in shared}


@pytest.mark.skipif(WHEELS is None, reason="PYWASMRT_WASMTIME_WHEELS names no folder; `make abi` sets it")
@pytest.mark.parametrize("major", library.SUPPORTED_MAJORS)
def test_every_accepted_version_declares_the_same(tmp_path: Path, major: int) -> None:
    wheels = sorted(Path(WHEELS or "").glob(f"wasmtime-{major}.*.whl"))
    assert wheels, f"there is no wheel of wasmtime {major} in {WHEELS}"
    for wheel in wheels:
        folder = tmp_path / wheel.stem
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYWASMRT_WASMTIME_EXPECTED": wheel.name.split("-")[1]}
        del environment["PYWASMRT_WASMTIME_WHEELS"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", __file__]
        child = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=False)
        assert child.returncode == 0, child.stdout + child.stderr
        assert re.search(rf"\d+ passed, {len(library.SUPPORTED_MAJORS)} skipped", child.stdout), child.stdout

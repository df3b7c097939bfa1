"""The C structs of components against the declarations of the installed package."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest


def test_layouts_are_those_of_the_package() -> None:
    shim = pytest.importorskip("pywasmrt._shim._wrt")
    from pywasmrt._shim import wasmtime_library

    bindings: Any = pytest.importorskip("wasmtime._bindings")
    if wasmtime_library.major(wasmtime_library.find().version) < wasmtime_library.COMPONENT_MAJOR:
        pytest.skip("its structs are older")
    ffi, lib = shim.ffi, shim.lib
    rows = ffi.new("wrt_layout **")
    count = lib.wrt_wasmtime_component_layout(rows)
    assert count > 20
    for i in range(count):
        row = rows[0][i]
        name = ffi.string(row.type).decode()
        struct = getattr(bindings, name)
        if row.field == ffi.NULL:
            assert (row.size, row.offset) == (ctypes.sizeof(struct), ctypes.alignment(struct)), name
        else:
            field = getattr(struct, ffi.string(row.field).decode())
            assert (row.offset, row.size) == (field.offset, field.size), (name, row.field)


def test_kinds_have_the_packages_numbers() -> None:
    shim = pytest.importorskip("pywasmrt._shim._wrt")
    ffi: Any = pytest.importorskip("wasmtime._ffi")
    for name in (
        "BOOL S8 U8 S16 U16 S32 U32 S64 U64 F32 F64 CHAR STRING LIST RECORD TUPLE VARIANT ENUM OPTION RESULT FLAGS"
        " RESOURCE"
    ).split():
        theirs = getattr(ffi, f"WASMTIME_COMPONENT_{name}")
        assert getattr(shim.lib, f"WRT_VALUE_{name}") == theirs.value

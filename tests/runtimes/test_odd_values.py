"""Values and names at the edges: odd buffers, references of the guest's own, no room for references."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from helpers.children import EXTERNREF, I32, V128, Needs

import pywasmrt
from pywasmrt import (
    Caller,
    FunctionType,
    Limits,
    ModuleInstantiateError,
    Runtime,
    WasmError,
)
from pywasmrt.testing import guests


@pytest.mark.parametrize(
    "value",
    [
        bytearray(16),
        memoryview(bytes(32))[::2],
        memoryview(bytes(16)).cast("I"),
        memoryview(bytes(16)).cast("B", (4, 4)),
    ],
    ids=["bytearray", "gaps", "words", "matrix"],
)
def test_a_v128_comes_from_any_buffer_of_16_bytes(runtime: Runtime, needs: Needs, value: Any) -> None:
    needs("simd")
    guest = guests.passthrough(FunctionType((V128,), (V128,)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": lambda x: value}})
    assert instance.exports.direct(value) == bytes(16)
    store = runtime.new_store()
    assert store.global_(V128, value).value == bytes(16)


GUESTS_OWN = """
(module
  (import "env" "f" (func $f (param externref) (result externref)))
  (global (export "g") externref (extern.convert_any (ref.i31 (i32.const 5))))
  (table (export "t") 1 externref (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "result") (result externref) (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "results") (param externref) (result externref externref)
    (local.get 0) (extern.convert_any (ref.i31 (i32.const 5))))
  (func (export "argument") (result externref) (call $f (extern.convert_any (ref.i31 (i32.const 5))))))
"""


def test_a_reference_of_the_guests_own_is_not_read_as_none(native: Runtime) -> None:
    """The package behind the fallback cannot tell the two apart."""
    with pywasmrt.new_runtime(native.info.name) as runtime:
        called: list[object] = []
        instance: Any = runtime.instantiate(runtime.compile(GUESTS_OWN), {"env": {"f": called.append}})
        exports = instance.exports
        counts = sys.getrefcount(called)
        assert (exports.result(), exports.argument(), exports.g.value, exports.t[0]) == (5, None, 5, 5)
        assert exports.results(called) == (called, 5)
        assert called == [5]
        instance.close()
        assert sys.getrefcount(called) <= counts


def test_no_room_for_references_is_no_error_of_instantiating(runtime: Runtime) -> None:
    guest = guests.passthrough(FunctionType((EXTERNREF,), (EXTERNREF,)))
    with runtime.instantiate(
        runtime.compile(guest.encode()), {"env": {"f": lambda x: x}}, limits=Limits(memory_bytes=0)
    ) as instance:
        exports: Any = instance.exports
        try:
            found = exports.direct(runtime)
        except ModuleInstantiateError:
            raise
        except WasmError:
            found = runtime  # an engine that does not count what it needs for references passes it
        assert found is runtime
        assert exports.direct(None) is None


def test_a_caller_has_nothing_of_an_odd_name(runtime: Runtime) -> None:
    found: list[object] = []

    def f(caller: Caller, x: int) -> int:
        for ask in (caller.function, caller.global_, caller.table):
            found.append(ask("no such name"))
            for name in (5, None, b"direct"):
                wrong: Any = name
                with pytest.raises(TypeError, match=r"^an export is asked for by its name, a str, not "):
                    ask(wrong)
        return x

    guest = guests.passthrough(FunctionType((I32,), (I32,)))
    instance: Any = runtime.instantiate(runtime.compile(guest.encode()), {"env": {"f": f}})
    assert instance.exports.direct(1) == 1
    assert found == [None, None, None]

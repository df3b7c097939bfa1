"""Engines, modules and components are owned in C (csrc/fast/handle.c); signals: test_module_finalizers."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from pywasmrt import _shim

pytestmark = [
    pytest.mark.skipif(_shim.unavailable_reason() is not None, reason="needs the native parts"),
]


def test_a_handle_is_filled_in_place_and_freed_once() -> None:
    from pywasmrt._shim._wrt import ffi

    from pywasmrt._shim import _fastcall

    freed: list[int] = []

    @ffi.callback("void (*)(wrt_module *)")
    def release(module: Any) -> None:
        freed.append(int(ffi.cast("uintptr_t", module)))

    handle = _fastcall.Handle(int(ffi.cast("uintptr_t", release)))
    assert handle.address == 0
    ffi.cast("uintptr_t *", handle.place)[0] = 42
    assert handle.address == 42
    del handle
    gc.collect()
    assert freed == [42]
    empty = _fastcall.Handle(int(ffi.cast("uintptr_t", release)))
    del empty
    assert freed == [42]
    with pytest.raises(ValueError, match="a handle needs the engine's function that frees it"):
        _fastcall.Handle(0)
    with pytest.raises(ValueError, match="there is no engine in the handle"):
        _fastcall.Engine(1, _fastcall.Handle(int(ffi.cast("uintptr_t", release))))

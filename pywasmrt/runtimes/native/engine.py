"""One engine reached through C: its table, its settings, and the errors for its failures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..._shim import _fastcall
from ..._shim._wrt import ffi, lib
from ...errors import (
    Exit,
    FuelExhausted,
    ModuleCompileError,
    ModuleInstantiateError,
    Trap,
    UnsupportedFeatureError,
    WasmError,
)
from ...types import (
    Frame,
    TrapCode,
)
from ..base.forking import inside
from ..base.notes import add_guest_note
from .component import ComponentEngine
from .handles import new_handle
from .tags import raise_exception

__all__ = ["CANNOT_INSTANTIATE", "Engine"]

_TRAPS = tuple(TrapCode)
_UNKNOWN_OFFSET = (1 << 64) - 1
CANNOT_INSTANTIATE = "cannot instantiate the module: "
Explain = Callable[[str], str]
CompleteFrames = Callable[[str, "list[Frame]"], "list[Frame]"]
RawFrame = tuple[int, int, int, "str | None", "str | None"]


class Engine:
    """One engine: its table, its settings, and the errors for its failures.

    `explain` shortens the engine's text of a failure to the essential. `complete` adds to a trap's frames what that
    text says about them.
    """

    def __init__(
        self,
        ops: Any,
        options: Mapping[str, int],
        stack_needed: int,
        explain: Explain,
        complete: CompleteFrames | None = None,
        component_ops: Any = None,
    ) -> None:
        """`component_ops` is the engine's table for components, where it runs any."""
        self.ops = ops
        self.stack_needed = stack_needed
        self._explain = explain
        self._complete = complete
        names = [ffi.new("char[]", name.encode()) for name in options]
        settings = ffi.new("wrt_option[]", [(name, value) for name, value in zip(names, options.values(), strict=True)])
        handle = new_handle(ops.engine_delete)
        self._do(ops.engine_new, settings, len(names), ffi.cast("wrt_engine **", handle.place))
        self.handle = ffi.cast("wrt_engine *", handle.address)
        self.owner = _fastcall.Engine(
            int(ffi.cast("uintptr_t", ops)),
            handle,
            0 if component_ops is None else int(ffi.cast("uintptr_t", component_ops)),
        )
        self.components: ComponentEngine | None = None
        if component_ops is not None:
            self.components = ComponentEngine(component_ops, self.handle, self._do, self._bytes)

    def validate(self, data: bytes) -> None:
        """Raise `ModuleCompileError` unless `data` is a valid module."""
        self._do(self.ops.validate, self.handle, ffi.from_buffer("uint8_t[]", data), len(data))

    def compile(self, data: bytes) -> Any:
        """The module's handle."""
        return self._module(self.ops.compile, data)

    def deserialize(self, blob: bytes) -> Any:
        """The module's handle."""
        return self._module(self.ops.deserialize, blob)

    def text_to_binary(self, text: str) -> bytes:
        """The module in its binary form."""
        data = text.encode()
        return self._bytes(self.ops.text_to_binary, ffi.from_buffer(data), len(data))

    def serialize(self, module: Any) -> bytes:
        """The module's blob."""
        return self._bytes(self.ops.serialize, ffi.cast("wrt_module *", module.address))

    def _do(self, operation: Any, *args: Any) -> None:
        failure = ffi.new("wrt_failure *")
        with inside:
            result = operation(*args, failure)
        if result == lib.WRT_OK:
            return
        message = ffi.string(failure.message).decode() if failure.message else None
        self.ops.failure_clear(failure)
        self.fail(result, lib.WRT_TRAP_OTHER, message, [])

    def _module(self, operation: Any, data: bytes) -> _fastcall.Handle:
        handle = new_handle(self.ops.module_delete)
        place = ffi.cast("wrt_module **", handle.place)
        self._do(operation, self.handle, ffi.from_buffer("uint8_t[]", data), len(data), place)
        return handle

    def _bytes(self, operation: Any, *args: Any) -> bytes:
        out = ffi.new("wrt_bytes *")
        self._do(operation, *args, out)
        data = bytes(ffi.buffer(out.data, out.size))
        self.ops.bytes_clear(out)
        return data

    def fail(self, result: int, trap: int, message: str | None, frames: list[RawFrame], exception: Any = None) -> None:
        """Raise the error of a failed operation. `result` and `trap` are numbers of wrt.h; with WRT_EXIT `trap` is the
        exit code. `exception` describes a guest's exception that nobody caught. With WRT_HOST it is the exception of a
        host function: it gets a note of the guest's frames, and nothing is raised.
        """
        if result == lib.WRT_HOST and exception is not None:
            told = partial(_frames, message or "", frames, self._complete)
            add_guest_note(exception, told, sys._getframe().f_back)  # None where a greenlet ends
            return
        if result == lib.WRT_EXIT:
            raise Exit(trap)
        if result == lib.WRT_TRAP and trap == lib.WRT_TRAP_OUT_OF_FUEL:
            raise FuelExhausted
        message = message or "the engine gave no reason"
        text = self._explain(message)
        if result == lib.WRT_TRAP:
            told = partial(_frames, message, frames, self._complete)
            if exception is not None:
                raise_exception(exception, text, told)
            raise Trap(text, _TRAPS[trap], told)
        if result == lib.WRT_INVALID:
            raise ModuleCompileError(text)
        if result in (lib.WRT_LINK, lib.WRT_LIMIT):
            raise ModuleInstantiateError(f"{CANNOT_INSTANTIATE}{text}")
        if result == lib.WRT_UNSUPPORTED:
            feature, colon, rest = text.partition(": ")
            raise UnsupportedFeatureError(rest or text, feature if colon else None)
        raise WasmError(text)


def _frames(message: str, frames: list[RawFrame], complete: CompleteFrames | None) -> list[Frame]:
    found = [
        Frame(
            index,
            name,
            module,
            None if func_offset == _UNKNOWN_OFFSET else func_offset,
            None if module_offset == _UNKNOWN_OFFSET else module_offset,
        )
        for index, func_offset, module_offset, name, module in frames
    ]
    return found if complete is None else complete(message, found)

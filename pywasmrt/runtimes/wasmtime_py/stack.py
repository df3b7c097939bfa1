"""How much stack a thread has left. The C library tells it, by ctypes; the native runtimes check it in C.

The engine relies on `max_wasm_stack` bytes of the calling thread's stack without checking that they are there, and the
host functions that a guest calls need some more. Where the system does not tell how much is left (other systems than
Linux, other processors), nothing is checked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from functools import cache
from typing import Any

from ...errors import Trap, WasmError
from ...types import TrapCode

__all__ = ["COMPILER_STACK", "check_for_call", "check_for_compiler"]

HOST_STACK = 3 << 20  # as in csrc/stack.h, which says what was measured
COMPILER_STACK, READER_STACK = 512 << 10, 128 << 10  # likewise
_MOST_STACK = 64 << 20
_STEP = 64 << 10
# For each processor: the offset of the stack pointer in a ucontext_t, and the number of the system call clock_gettime.
_MACHINES = {"x86_64": (160, 228), "aarch64": (432, 113)}


class _Here(threading.local):
    """The lowest address of this thread's stack, 0 where that is not known, its size, and where its pointer is read."""

    def __init__(self) -> None:
        self.pointer = _StackPointer()
        self.bottom, self.size = _measure(self.pointer)


class _StackPointer:
    """Reads the stack pointer of the thread that calls. The buffers are made once, as each call of a guest reads it."""

    def __init__(self) -> None:
        library = _library()
        if library is not None:
            self._context = ctypes.create_string_buffer(8192)
            self._found = ctypes.c_uint64.from_buffer(self._context, _MACHINES[platform.machine()][0])
            self._getcontext = library.getcontext

    def read(self) -> int:
        """The stack pointer, on a system whose C library tells about the stack."""
        self._getcontext(self._context)
        return self._found.value


@cache
def _library() -> Any:
    """The C library, or None where it cannot tell about the stack."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return None
    library = ctypes.CDLL(None)
    names = ("pthread_self", "pthread_getattr_np", "pthread_attr_getstack", "pthread_attr_destroy", "getcontext")
    if not all(hasattr(library, name) for name in (*names, "syscall")):
        return None
    library.pthread_self.restype = ctypes.c_void_p
    library.syscall.restype = ctypes.c_long
    return library


def _measure(pointer: _StackPointer) -> tuple[int, int]:
    library = _library()
    if library is None:
        return 0, 0
    attributes = (ctypes.c_uint64 * 16)()
    bottom, size = ctypes.c_void_p(), ctypes.c_size_t()
    if library.pthread_getattr_np(ctypes.c_void_p(library.pthread_self()), attributes) != 0:
        return 0, 0
    found = library.pthread_attr_getstack(attributes, ctypes.byref(bottom), ctypes.byref(size))
    library.pthread_attr_destroy(attributes)
    if found != 0 or not bottom.value:
        return 0, 0
    top, low = bottom.value + size.value, max(bottom.value, bottom.value + size.value - _MOST_STACK)
    if threading.get_native_id() == os.getpid():
        low = _claim(library, low, pointer.read())
    return low, top - low


def _claim(library: Any, low: int, here: int) -> int:
    """Make the main thread's stack grow at once, so that a limit that is lowered later does not stop it; see
    csrc/stack.h.
    """
    number = ctypes.c_long(_MACHINES[platform.machine()][1])
    while low + _STEP < here and library.syscall(number, ctypes.c_long(1), ctypes.c_void_p(low)) != 0:
        low += _STEP
    return low


_here = _Here()


def _left(needed: int) -> int | None:
    """How many bytes are left, if they are fewer than `needed`; otherwise None."""
    bottom = _here.bottom
    if not bottom or _here.size >= needed + 2 * HOST_STACK:  # Python alone never uses so much
        return None
    left = _here.pointer.read() - bottom
    return left if 0 <= left < needed else None


def check_for_call(guest: int) -> None:
    """Raise the trap of a call whose guest may use `guest` bytes of stack, if this thread has too little left."""
    needed = guest + min(HOST_STACK, _here.size // 2)
    left = _left(needed)
    if left is not None:
        raise Trap(
            f"call stack exhausted: the thread has {left >> 10} KiB of stack left and a call may use {needed >> 10} "
            "KiB; give the thread more by threading.stack_size(), or the guest less by the option max_wasm_stack",
            TrapCode.STACK_OVERFLOW,
        )


def check_for_compiler(needed: int = READER_STACK) -> None:
    """Raise `WasmError` where this thread has too little stack left to read a module, or to compile it."""
    left = _left(needed)
    if left is not None:
        raise WasmError(
            f"the thread has {left >> 10} KiB of stack left, and the compiler may take {needed >> 10} KiB; give it "
            "more by threading.stack_size()"
        )

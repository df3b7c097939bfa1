"""Finds and opens the library with wazero: a Go library of its own beside the other native parts.

It is opened when the runtime is first asked for, since it starts Go's runtime: some threads, some MiB, a few
descriptors, and signal handlers that pass on the signals that are not Go's.
"""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache
from pathlib import Path

from ..errors import RuntimeNotFoundError
from ..values import late

__all__ = ["ENGINE_VERSION", "open_table", "wazero_reason"]

ENGINE_VERSION = "1.12.0"
"""The version of wazero that `csrc/engines/wazero/go.mod` requires; a test compares the two."""

_PATH = Path(__file__).with_name("_wrt_wazero.so")


def wazero_reason() -> str | None:
    """Why there is no library to open, in one sentence; None where there is one."""
    if _PATH.is_file():
        return None
    try:
        recorded: str | None = late(f"{__package__}._build_info").wazero_reason
    except (ModuleNotFoundError, AttributeError):
        recorded = None
    return f"this was built without wazero: {recorded or 'the library is missing'}"


@cache
def open_table() -> int:
    """The address of wazero's engine table. Raises `RuntimeNotFoundError` where the library does not open."""
    # The threads of Go's runtime inherit the signal mask of this one. Signals are for the program's own threads. The
    # mask is read first, since the call that changes it may raise what a handler in Python raises.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        library = _open_library()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    library.wrt_wazero_ops.restype = ctypes.c_void_p
    address: int = library.wrt_wazero_ops()
    return address


def _open_library() -> ctypes.CDLL:
    try:
        kept = os.pipe()  # two descriptors that Go's runtime is going to need, without which it ends the process
        try:
            return ctypes.CDLL(str(_PATH))
        finally:
            for each in kept:
                os.close(each)
    except OSError as error:
        raise RuntimeNotFoundError(f"the library of the runtime 'wazero' cannot be opened: {error}") from None

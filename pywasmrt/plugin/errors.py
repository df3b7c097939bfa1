"""What the plugin layer raises beside the errors of the runtimes.

WasmError
 └── PluginError              a plugin cannot do what was asked of it
      ├── GuestProtocolError  the guest broke the rules of its ABI: a bad pointer, a second result, a wrong signature
      └── GuestStatusError    a guest function answered with a status other than 0: .status, .reason
"""

from __future__ import annotations

from ..errors import WasmError
from ..types import expect

__all__ = ["GuestProtocolError", "GuestStatusError", "PluginError", "status_text"]

_STATUS = {0: "OK", 1: "ERROR", 2: "INVALID_ARGUMENT"}


def status_text(status: int) -> str:
    """A guest's status as text: OK, ERROR, INVALID_ARGUMENT or UNKNOWN(n)."""
    return _STATUS.get(status, f"UNKNOWN({status})")


class PluginError(WasmError):
    """A plugin cannot do what was asked of it; the text says why."""


class GuestProtocolError(PluginError):
    """The guest broke the rules of its ABI. `transient` says that the same call may go well at another time."""

    def __init__(self, message: str, transient: bool = False) -> None:
        expect("GuestProtocolError", "a str", str, message=message)
        expect("GuestProtocolError", "True or False", bool, transient=transient)
        super().__init__(message)
        self.transient = transient


class GuestStatusError(PluginError):
    """A guest function answered with the status `status`, other than 0, and gave `reason` for it (empty if none)."""

    def __init__(self, function: str, status: int, reason: str) -> None:
        expect("GuestStatusError", "a str", str, function=function, reason=reason)
        expect("GuestStatusError", "an int", int, status=status)
        super().__init__(f"{function} answered {status_text(status)}: {reason or 'the guest gave no reason'}")
        self.function = function
        self.status = status
        self.reason = reason

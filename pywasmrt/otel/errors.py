"""What the OpenTelemetry components raise.

PluginError
 └── TelemetryError           a batch was not handled: .status, .reason, .permanent
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ClosedError, DeadlineExceeded, Interrupted, WasmError
from ..plugin.errors import GuestProtocolError, PluginError, status_text
from ..types import expect

__all__ = ["TelemetryError", "telemetry_error"]

_INVALID_ARGUMENT = 2


class TelemetryError(PluginError):
    """A batch was not handled.

    `component` and `signal` say where. `status` is the guest's answer, or None if it gave none; then the
    error's cause is the exception that ended the call. `reason` is the guest's, or else describes that exception.
    `permanent` tells that the same batch would fail again; otherwise it is `retryable`.
    """

    def __init__(
        self,
        component: str,
        signal: str,
        status: int | None,
        reason: str,
        permanent: bool,
        *,
        status_name: Callable[[int], str] = status_text,
    ) -> None:
        """`status_name` puts the status into words if it does not come from a guest."""
        expect("TelemetryError", "a str", str, component=component, signal=signal, reason=reason)
        expect("TelemetryError", "an int or None", (int, type(None)), status=status)
        expect("TelemetryError", "True or False", bool, permanent=permanent)
        answer = "failed" if status is None else f"answered {status_name(status)}"
        super().__init__(f"{component} {answer} ({signal}): {reason or 'the guest gave no reason'}")
        self.component = component
        self.signal = signal
        self.status = status
        self.reason = reason
        self.permanent = permanent

    @property
    def retryable(self) -> bool:
        """Whether the same batch may go well at another time."""
        return not self.permanent


def status_error(component: str, signal: str, status: int, reason: str) -> TelemetryError:
    """The error of a guest that answered `status`. An invalid argument stays invalid; anything else may pass."""
    return TelemetryError(component, signal, status, reason, status == _INVALID_ARGUMENT)


def telemetry_error(component: str, signal: str, error: Exception) -> TelemetryError:
    """The error of a call that ended in `error`. A guest that trapped or broke its ABI would do so again; one that ran
    out of time or memory, or was interrupted, need not.
    """
    if isinstance(error, TelemetryError):
        return error
    transient = isinstance(error, (DeadlineExceeded, Interrupted, ClosedError)) or (
        isinstance(error, GuestProtocolError) and error.transient
    )
    text = str(error) if isinstance(error, WasmError) else f"{type(error).__name__}: {error}"
    return TelemetryError(component, signal, None, text, not transient)

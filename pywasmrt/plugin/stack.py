"""What one call hands to the guest and takes back from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, Union

__all__ = ["Stack"]

ResultCallback = Optional[Callable[[bytes], object]]
Payload = Union[bytes, bytearray, memoryview]


class Stack:
    """The state of one call into a plugin; a new one for each call, a receiver's lives as long as it runs.

    `current_*` is the OTLP payload that the guest is given, any bytes-like object of single bytes; it must not change
    during the call. `result_*` is what the guest set, or None; for a receiver, whose callbacks get each result, it
    stays None. `on_result_*` is called with each result as it is set, on the thread that runs the guest; what it raises
    comes out of the call. `status_reason` is the reason that the guest gave last. `requested_shutdown` may be set from
    any thread. Any of them can be given as a keyword argument.
    """

    # Defaults of the class: a call sets two or three of them, and making a Stack costs next to nothing.
    current_traces: Payload = b""
    current_metrics: Payload = b""
    current_logs: Payload = b""
    result_traces: bytes | None = None
    result_metrics: bytes | None = None
    result_logs: bytes | None = None
    on_result_traces: ResultCallback = None
    on_result_metrics: ResultCallback = None
    on_result_logs: ResultCallback = None
    status_reason: str = ""
    requested_shutdown: bool = False

    def __init__(self, **values: Any) -> None:
        if values:
            for name in values:
                if name not in Stack.__annotations__:
                    raise TypeError(f"a Stack has no {name!r}, only {', '.join(Stack.__annotations__)}")
            self.__dict__.update(values)

    def __repr__(self) -> str:
        parts = []
        for signal in ("traces", "metrics", "logs"):
            current, result = getattr(self, f"current_{signal}"), getattr(self, f"result_{signal}")
            if len(current) or result is not None:
                parts.append(f"{signal}: {len(current)} in, {'nothing' if result is None else len(result)} out")
        return f"<Stack {'; '.join(parts) or 'empty'}>"

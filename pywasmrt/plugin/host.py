"""The host functions of all dialects, one implementation for every signal, over the call that is going on.

What a guest does wrong raises `GuestProtocolError` inside the host function; that unwinds the guest and comes out of
the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MemoryAccessError
from ..types import ExternKind, FunctionType, HostFunction, ValueType
from .abi import CALLS, IMPORT_MODULES, SIGNALS, Call, Role
from .errors import GuestProtocolError
from .logs import MAX_LOG_BYTES, GuestLog

if TYPE_CHECKING:
    from ..protocols import Caller, CompiledModule, HostModule, Memory
    from .stack import Stack

__all__ = ["LOG_SHAPES", "PluginHost", "check_log_imports"]

_I32 = ValueType.I32
_FILL = ((_I32, _I32), (_I32,))
_SPAN = ((_I32, _I32), ())
_MASK = 0xFFFF_FFFF
MAX_REASON_BYTES = 64 * 1024

LOG_SHAPES = (FunctionType((_I32, _I32, _I32), ()), FunctionType((_I32, _I32), ()))


@dataclass(frozen=True)
class _Functions:
    """Host functions under one module name, as `protocols.HostModule` wants them."""

    name: str
    functions: Mapping[str, HostFunction]


class PluginHost:
    """The host's side of one plugin: what its guest may ask for. Serves one call at a time.

    `memory` is the guest's, once the instance is made; before that, while it initialises, it is looked up by the
    calling instance. `stack` and `call` are those of the call that is going on, or None; `data` is its payload, and
    `result` what a processor set. A payload passes four Python functions on its way, so these are kept short: what a
    call needs is put here at its beginning, not looked up by name when the guest asks.
    """

    def __init__(self, log: GuestLog, config_json: bytes) -> None:
        self.log = log
        self.config_json = config_json
        self.memory: Memory | None = None
        self.read: Callable[[int, int], bytes] = _no_memory
        self.write: Callable[[int, Any], None] = _no_memory
        self.data: Any = b""
        self.result: bytes | None = None
        self.stack: Stack | None = None
        self.call: Call | None = None
        self.discarded = 0  # results that an exporter set, for which there is no place

    def attach(self, memory: Memory | None) -> None:
        """Learn of the guest's memory, or forget it."""
        self.memory = memory
        self.read = _no_memory if memory is None else memory.read
        self.write = _no_memory if memory is None else memory.write

    def modules(self) -> list[HostModule]:
        """The host functions, under both names that guests import from."""
        functions = {
            name: HostFunction(name, function, params, results, pass_caller)
            for name, ((params, results), function, pass_caller) in self._functions().items()
        }
        return [_Functions(name, functions) for name in IMPORT_MODULES]

    def _functions(self) -> dict[str, tuple[Any, Callable[..., Any], bool]]:
        """Types, callable, and whether it wants the caller: those that a guest may call before its memory is known."""
        # The guest's import decides by which of its two shapes `logMessage` is called: see `check_log_imports`.
        functions: dict[str, tuple[Any, Callable[..., Any], bool]] = {
            "logMessage": ((None, ()), self._log_message, True)
        }
        for signal in SIGNALS:
            functions[f"current{signal.capitalize()}"] = (_FILL, self._current(signal), False)
            setter = self._set_result(signal)
            functions[f"setResult{signal.capitalize()}"] = (_SPAN, setter, False)
            functions[f"otelwasm_set_result_{signal}"] = (_SPAN, setter, False)
        for name, other, types, function in (
            ("getPluginConfig", "otelwasm_get_plugin_config", _FILL, self._get_plugin_config),
            ("setResultStatusReason", "otelwasm_set_status_reason", _SPAN, self._set_status_reason),
            ("getShutdownRequested", "otelwasm_get_shutdown_requested", ((), (_I32,)), self._get_shutdown_requested),
        ):
            functions[name] = functions[other] = (types, function, True)
        functions["otelwasm_log"] = (((_I32, _I32, _I32), ()), self._log_text, True)
        return functions

    # Data for the guest: written if its buffer holds it, and the true size returned, by which the guest knows

    def _current(self, signal: str) -> Callable[[int, int], int]:
        name = f"current{signal.capitalize()}"
        handled = {call.role: call for call in CALLS.values() if call.signal == signal}
        process, push = handled[Role.PROCESSOR], handled[Role.EXPORTER]

        def current(offset: int, limit: int) -> int:
            if self.call is not process and self.call is not push:
                raise self._out_of_place(name, f"there are no current {signal}")
            data = self.data
            size = len(data)
            if size and size <= (limit if limit >= 0 else limit & _MASK):
                try:
                    self.write(offset if offset >= 0 else offset & _MASK, data)
                except MemoryAccessError as error:
                    raise _bad_buffer(f"the current {signal}", error) from None
            return size

        return current

    def _get_plugin_config(self, caller: Caller, offset: int, limit: int) -> int:
        size = len(self.config_json)
        if size <= limit & _MASK:
            try:
                (caller.memory() if self.memory is None else self.memory).write(offset & _MASK, self.config_json)
            except MemoryAccessError as error:
                raise _bad_buffer("the plugin's configuration", error) from None
        return size

    def _get_shutdown_requested(self, caller: Caller) -> int:
        return 1 if self.stack is not None and self.stack.requested_shutdown else 0

    # Data from the guest

    def _read(self, caller: Caller, offset: int, size: int, what: str, limit: int) -> bytes:
        """A text of the guest's, or the first `limit` bytes of it."""
        offset, size = offset & _MASK, size & _MASK
        memory = caller.memory() if self.memory is None else self.memory
        try:
            if offset + size > memory.size:
                raise MemoryAccessError(f"{size} bytes at offset {offset}: the memory ends at {memory.size}")
            return memory.read(offset, min(size, limit))
        except MemoryAccessError as error:
            raise _bad_data(what, error) from None

    def _set_result(self, signal: str) -> Callable[[int, int], None]:
        callback, name = f"on_result_{signal}", f"setResult{signal.capitalize()}"
        process = next(call for call in CALLS.values() if call.signal == signal and call.role is Role.PROCESSOR)

        def set_result(offset: int, size: int) -> None:
            call = self.call
            if call is process:
                if self.result is not None:
                    raise GuestProtocolError(
                        f"the guest set a second result in {process.name}: a processor sets one, or what it set first"
                        " is lost"
                    )
            elif call is None:
                raise self._out_of_place(name, "there is no batch")
            elif call.role is not Role.RECEIVER:
                if call.signal != signal:
                    raise self._out_of_place(name, f"the batch holds {call.signal}")
                self.discarded += 1
                return
            try:
                data = self.read(offset if offset >= 0 else offset & _MASK, size if size >= 0 else size & _MASK)
            except MemoryAccessError as error:
                raise _bad_data(f"the result ({signal})", error) from None
            if call is process:
                self.result = data
            notify = getattr(self.stack, callback)
            if notify is not None:
                notify(data)

        return set_result

    def _set_status_reason(self, caller: Caller, offset: int, size: int) -> None:
        reason = self._read(caller, offset, size, "a status reason", MAX_REASON_BYTES).decode("utf-8", "replace")
        if self.stack is not None:
            self.stack.status_reason = reason

    def _log_message(self, caller: Caller, *args: Any) -> None:
        level, offset, size = args if len(args) == 3 else (None, *args)
        self.log.json(level, self._read(caller, offset, size, "a log message", MAX_LOG_BYTES))

    def _log_text(self, caller: Caller, level: int, offset: int, size: int) -> None:
        self.log.text(level, self._read(caller, offset, size, "a log message", MAX_LOG_BYTES))

    def _out_of_place(self, name: str, why: str) -> GuestProtocolError:
        during = "outside of a call that handles telemetry" if self.call is None else f"during {self.call.name}"
        return GuestProtocolError(f"the guest called {name} {during}, where {why}")


def _no_memory(*args: Any) -> Any:
    raise GuestProtocolError("the guest called the host for data before it was instantiated")


def _bad_buffer(what: str, error: MemoryAccessError) -> GuestProtocolError:
    return GuestProtocolError(f"the guest's buffer for {what} is not in its memory: {error}")


def _bad_data(what: str, error: MemoryAccessError) -> GuestProtocolError:
    return GuestProtocolError(f"{what} that the guest gave is not in its memory: {error}")


def check_log_imports(module: CompiledModule) -> None:
    """Raise `GuestProtocolError` where a module imports `logMessage` in a shape that does not exist."""
    for each in module.imports:
        ours = each.module in IMPORT_MODULES and each.kind is ExternKind.FUNCTION
        if ours and each.name == "logMessage" and each.type not in LOG_SHAPES:
            raise GuestProtocolError(f"the guest imports {each}; it is {' or '.join(map(str, LOG_SHAPES))}")

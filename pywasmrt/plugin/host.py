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
from .abi import IMPORT_MODULES, SIGNALS, Call, Role
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
    calling instance. `stack` and `call` are those of the call that is going on, or None.
    """

    def __init__(self, log: GuestLog, config_json: bytes) -> None:
        self.log = log
        self.config_json = config_json
        self.memory: Memory | None = None
        self.stack: Stack | None = None
        self.call: Call | None = None
        self.discarded = 0  # results that an exporter set, for which there is no place

    def modules(self) -> list[HostModule]:
        """The host functions, under both names that guests import from."""
        functions = {
            name: HostFunction(name, function, params, results, True)
            for name, ((params, results), function) in self._functions().items()
        }
        return [_Functions(name, functions) for name in IMPORT_MODULES]

    def _functions(self) -> dict[str, tuple[Any, Callable[..., Any]]]:
        # The guest's import decides by which of its two shapes `logMessage` is called: see `check_log_imports`.
        functions: dict[str, tuple[Any, Callable[..., Any]]] = {"logMessage": ((None, ()), self._log_message)}
        for signal in SIGNALS:
            functions[f"current{signal.capitalize()}"] = (_FILL, self._current(signal))
            setter = self._set_result(signal)
            functions[f"setResult{signal.capitalize()}"] = (_SPAN, setter)
            functions[f"otelwasm_set_result_{signal}"] = (_SPAN, setter)
        for name, other, types, function in (
            ("getPluginConfig", "otelwasm_get_plugin_config", _FILL, self._get_plugin_config),
            ("setResultStatusReason", "otelwasm_set_status_reason", _SPAN, self._set_status_reason),
            ("getShutdownRequested", "otelwasm_get_shutdown_requested", ((), (_I32,)), self._get_shutdown_requested),
        ):
            functions[name] = functions[other] = (types, function)
        functions["otelwasm_log"] = (((_I32, _I32, _I32), ()), self._log_text)
        return functions

    # Data for the guest

    def _fill(self, caller: Caller, data: bytes | bytearray | memoryview, offset: int, limit: int, what: str) -> int:
        """Write `data` if the guest's buffer holds it, and return its true size, by which the guest knows."""
        size = len(data)
        if size > limit & _MASK:
            return size
        if size:
            try:
                (self.memory or caller.memory()).write(offset & _MASK, data)
            except MemoryAccessError as error:
                raise GuestProtocolError(f"the guest's buffer for {what} is not in its memory: {error}") from None
        return size

    def _current(self, signal: str) -> Callable[[Caller, int, int], int]:
        attribute = f"current_{signal}"
        name = f"current{signal.capitalize()}"
        fill = self._fill

        def current(caller: Caller, offset: int, limit: int) -> int:
            call = self.call
            if call is None or call.signal != signal or call.role is Role.RECEIVER:
                raise self._out_of_place(name, f"there are no current {signal}")
            return fill(caller, getattr(self.stack, attribute), offset, limit, f"the current {signal}")

        return current

    def _get_plugin_config(self, caller: Caller, offset: int, limit: int) -> int:
        return self._fill(caller, self.config_json, offset, limit, "the plugin's configuration")

    def _get_shutdown_requested(self, caller: Caller) -> int:
        return 1 if self.stack is not None and self.stack.requested_shutdown else 0

    # Data from the guest

    def _read(self, caller: Caller, offset: int, size: int, what: str, limit: int = _MASK) -> bytes:
        offset, size = offset & _MASK, size & _MASK
        memory = self.memory or caller.memory()
        try:
            if size <= limit:
                return memory.read(offset, size)
            if offset + size > memory.size:
                raise MemoryAccessError(f"{size} bytes at offset {offset}: the memory ends at {memory.size}")
            return memory.read(offset, limit)
        except MemoryAccessError as error:
            raise GuestProtocolError(f"{what} that the guest gave is not in its memory: {error}") from None

    def _set_result(self, signal: str) -> Callable[[Caller, int, int], None]:
        result, callback = f"result_{signal}", f"on_result_{signal}"
        name = f"setResult{signal.capitalize()}"
        what = f"the result ({signal})"
        read = self._read

        def set_result(caller: Caller, offset: int, size: int) -> None:
            call, stack = self.call, self.stack
            if call is None or stack is None:
                raise self._out_of_place(name, "there is no batch")
            if call.role is Role.RECEIVER:
                data = read(caller, offset, size, what)
                notify = getattr(stack, callback)
                if notify is not None:
                    notify(data)
                return
            if call.signal != signal:
                raise self._out_of_place(name, f"the batch holds {call.signal}")
            if call.role is Role.EXPORTER:
                self.discarded += 1
                return
            if getattr(stack, result) is not None:
                raise GuestProtocolError(
                    f"the guest set a second result in {call.name}: a processor sets one, or what it set first is lost"
                )
            data = read(caller, offset, size, what)
            setattr(stack, result, data)
            notify = getattr(stack, callback)
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


def check_log_imports(module: CompiledModule) -> None:
    """Raise `GuestProtocolError` where a module imports `logMessage` in a shape that does not exist."""
    for each in module.imports:
        ours = each.module in IMPORT_MODULES and each.kind is ExternKind.FUNCTION
        if ours and each.name == "logMessage" and each.type not in LOG_SHAPES:
            raise GuestProtocolError(f"the guest imports {each}; it is {' or '.join(map(str, LOG_SHAPES))}")

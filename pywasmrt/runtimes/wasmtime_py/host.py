"""How guests call Python functions through the `wasmtime` package, and how exceptions pass through guests.

The package keeps what its callbacks call in a table that lives as long as the process, and an exception in a global
slot that threads share. So callbacks hold their store weakly, and an exception is parked on its store while the guest
is unwound by a marker; the package's slot is never relied on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wasmtime

from ...errors import (
    ClosedError,
    DeadlineExceeded,
    FuelExhausted,
    ModuleInstantiateError,
    Trap,
    UnsupportedFeatureError,
    WasmError,
    WasmException,
)
from ...types import ExternKind, Frame, TrapCode
from ...values import results_from_host
from ..base.linking import HostImport
from ..base.observing import observed
from ..base.runtime import BaseCaller, Exports, InstanceState
from ..wasmtime_text import compile_error_text, trap_text
from .contracts import OwningStore
from .ending import keep_importable
from .externs import BOUNDS, NEVER, REFERENCES
from .facts import NAME
from .greenlets import guarded
from .signals import KEPT, deliver

__all__ = [
    "CallerState",
    "Unwind",
    "callback",
    "displaced",
    "ending",
    "exchange",
    "frame_of",
    "link_error",
    "trap_error",
]

_UNCAUGHT = "thrown Wasm exception"


class Unwind(BaseException):
    """Raised into the package to make it unwind the guest. The real exception is parked on the store."""


def callback(store: OwningStore, function: HostImport, instance: InstanceState) -> Callable[..., Any]:
    """What the package calls for a host function.

    It must hold neither the store nor the user's function, as the package would keep both for ever (see the top of the
    file). So the user's function is `store.hosts[at]`, found through the store, which is alive whenever this runs.
    """
    cell = store.cell
    at = len(store.hosts)
    store.hosts.append(guarded(observed(store.observers, instance, function)))
    store.served.append((at, instance, function))
    name = f"{function.module}.{function.name}"
    params, results = function.type.params, function.type.results
    wanted, low, high = BOUNDS.get(results[0], NEVER) if len(results) == 1 else NEVER
    lifts = not REFERENCES.isdisjoint(params)

    def lifted(store: OwningStore, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([store.lift(value, type) for value, type in zip(args, params, strict=True)]) if lifts else args

    def finished(store: OwningStore, result: Any) -> Any:
        if store._life.ended_by is not None:
            raise store._life.error("function")
        store.clock.check()
        checked = results_from_host(name, results, result)
        where = f"host function {name}"
        lowered = [store.lower(value, type, where) for value, type in zip(checked, results, strict=True)]
        if not lowered:
            return None
        return lowered[0] if len(lowered) == 1 else lowered

    # The most frequent case, so it is kept short: it leaves out the steps that most results do not need.
    def call(*args: Any) -> Any:
        store: Any = cell[0]()
        try:
            if KEPT:
                deliver()
            result = store.hosts[at](*args)
            if type(result) is wanted and low <= result <= high and store.clock.quiet:
                return result
            return finished(store, result)
        except BaseException as error:
            store.parked = uncatchable(store, error)
        raise Unwind

    def call_with_references(*args: Any) -> Any:
        store: Any = cell[0]()
        try:
            if KEPT:
                deliver()
            return finished(store, store.hosts[at](*lifted(store, args)))
        except BaseException as error:
            store.parked = uncatchable(store, error)
        raise Unwind

    def call_with_caller(raw: Any, *args: Any) -> Any:
        store: Any = cell[0]()
        caller = _Caller(store, instance, raw)
        try:
            if KEPT:
                deliver()
            return finished(store, store.hosts[at](caller, *lifted(store, args)))
        except BaseException as error:
            store.parked = uncatchable(store, error)
        finally:
            caller.end()
        raise Unwind

    if function.pass_caller:
        return call_with_caller
    return call_with_references if lifts else call


def exchange(store: OwningStore) -> None:
    """Have each callback call what the store's observers return for it now."""
    for at, instance, function in store.served:
        store.hosts[at] = guarded(observed(store.observers, instance, function))


def uncatchable(store: OwningStore, error: BaseException) -> BaseException:
    """The exception that a call raises for a host function's: the same one, unless the guest was meant to catch it."""
    if not isinstance(error, WasmException) or getattr(error.tag, "store", None) is not store:
        return error
    refusal = UnsupportedFeatureError(
        f"{NAME} cannot throw an exception into a guest; the runtime 'wasmtime' can", "exception-values"
    )
    refusal.__cause__ = error
    return refusal


class _Caller(BaseCaller):
    __slots__ = ("_caller", "_instance", "_store")

    def __init__(self, store: OwningStore, instance: InstanceState, caller: Any) -> None:
        self._store = store
        self._instance = instance
        self._caller = caller

    def end(self) -> None:
        self._caller = None

    def _check(self) -> Any:
        if self._caller is None:
            raise ClosedError("this caller is gone: it lasts as long as the host function that received it runs")
        if self._instance.life.ended_by is not None:
            raise self._instance.life.error("caller")
        return self._caller

    @property
    def exports(self) -> Exports:
        """The exports of the calling instance, by name. If an instance exports this host function again and another one
        imports it, the exports are still those of the first.
        """
        self._check()
        return Exports(self._store, CallerState(self._instance, self))

    def _find(self, name: str, kind: ExternKind) -> Any:
        store = self._store
        raw = self._check()
        self._check_name(name)
        keep_importable()
        handle = raw.get(name)
        if handle is None or handle_kind(handle) is not kind:
            return None
        type = store.type_of(handle, kind, name)
        if type is None and kind is not ExternKind.FUNCTION:
            raise UnsupportedFeatureError(
                f"{NAME} cannot tell the type of the calling instance's {kind} {name!r}", "simd"
            )
        return store.wrap(self._instance.life, handle, kind, type, name)


class CallerState(InstanceState):
    """The calling instance, as `Exports` sees it."""

    __slots__ = ("caller",)

    def __init__(self, instance: InstanceState, caller: _Caller) -> None:
        super().__init__(instance.module, instance.life)
        self.caller = caller


def handle_kind(handle: Any) -> ExternKind:
    if isinstance(handle, wasmtime.Func):
        return ExternKind.FUNCTION
    if isinstance(handle, (wasmtime.Memory, wasmtime.SharedMemory)):
        return ExternKind.MEMORY
    if isinstance(handle, wasmtime.Table):
        return ExternKind.TABLE
    return ExternKind.GLOBAL if isinstance(handle, wasmtime.Global) else ExternKind.TAG


def ending(error: Any) -> WasmError | None:
    """The error for a trap by which the engine ended a guest on our behalf; None for other traps."""
    name = getattr(error.trap_code, "name", None)
    if name == "INTERRUPT":  # only deadlines advance the epoch
        return DeadlineExceeded("the call reached its deadline")
    if name == "OUT_OF_FUEL":
        return FuelExhausted()
    return None


def frame_of(frame: Any) -> Frame:
    """Convert one frame of the package's."""
    offsets = _offset(frame.func_offset), _offset(frame.module_offset)
    return Frame(frame.func_index, frame.func_name, frame.module_name, *offsets)


def trap_error(error: Any) -> Trap:
    code = error.trap_code
    frames = [frame_of(each) for each in error.frames]
    text = trap_text(error.message)
    if code is None:
        return Trap(text, TrapCode.UNCAUGHT_EXCEPTION if text == _UNCAUGHT else TrapCode.OTHER, frames)
    try:
        return Trap(text, TrapCode[code.name], frames)
    except KeyError:
        return Trap(text, TrapCode.OTHER, frames)


def link_error(message: str) -> WasmError:
    """The error for a failed instantiation. Of the start function's traps, only an uncaught exception gets here."""
    if trap_text(message) == _UNCAUGHT:
        return Trap(_UNCAUGHT, TrapCode.UNCAUGHT_EXCEPTION)
    return ModuleInstantiateError(f"cannot instantiate the module: {compile_error_text(message)}")


def _offset(offset: int) -> int | None:
    return None if offset == (1 << 64) - 1 else offset


def displaced(marker: Unwind) -> BaseException:
    if isinstance(marker.__context__, wasmtime.WasmtimeError):
        return marker.__context__
    at = marker.__traceback__
    while at is not None:
        found = at.tb_frame.f_locals.get("trap_obj")
        if isinstance(found, wasmtime.Trap):
            return found
        at = at.tb_next
    return Trap("the guest trapped while a host function failed on another thread; the trap's details were lost")

"""Components through the package's `wasmtime.component`: the hooks of `Components` for this runtime.

The rules for host functions are those of `host.py`: callbacks hold their store weakly, and an exception is parked on
the store while the guest is unwound. Each instance has a linker of its own, as the callbacks must find their store.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn
from weakref import ref

import wasmtime

from ..._shim.bridge import raise_asynchronous
from ..._shim.waiting import on_thread
from ...component.codec import Refusal
from ...component.linking import Definition, Linkage
from ...component.signature import Signature
from ...component.types import ComponentFunctionType, ResourceType
from ...component.wasi import INHERITED, ComponentWasi
from ...errors import (
    BusyError,
    ComponentError,
    DeadlineExceeded,
    Exit,
    FuelExhausted,
    ModuleCompileError,
    ModuleInstantiateError,
    Trap,
)
from ...types import TrapCode
from ..base.component import BaseComponent, Components
from ..base.component_instance import ComponentState
from ..base.forking import inside
from ..base.lifetime import Life, stays
from ..wasmtime_text import compile_error_text, trap_text
from .contracts import OwningStore
from .ending import components, keep_importable, unseen
from .host import frame_of
from .signals import KEPT, begin, deliver, end

__all__ = ["PackageComponents"]

_ENTERED_AGAIN = "the component trapped before, and so cannot be entered again; make a new instance"
_TRAPS = {
    "call stack exhausted": TrapCode.STACK_OVERFLOW,
    "out of bounds memory access": TrapCode.MEMORY_OUT_OF_BOUNDS,
    "unaligned atomic": TrapCode.HEAP_MISALIGNED,
    "undefined element": TrapCode.TABLE_OUT_OF_BOUNDS,
    "uninitialized element": TrapCode.INDIRECT_CALL_TO_NULL,
    "indirect call type mismatch": TrapCode.BAD_SIGNATURE,
    "integer overflow": TrapCode.INTEGER_OVERFLOW,
    "integer divide by zero": TrapCode.INTEGER_DIVISION_BY_ZERO,
    "invalid conversion to integer": TrapCode.BAD_CONVERSION_TO_INTEGER,
    "wasm `unreachable` instruction executed": TrapCode.UNREACHABLE,
    "null reference": TrapCode.NULL_REFERENCE,
    "out of bounds array access": TrapCode.ARRAY_OUT_OF_BOUNDS,
    "allocation size too large": TrapCode.ALLOCATION_TOO_LARGE,
    "cast failure": TrapCode.CAST_FAILURE,
}


class PackageComponents(Components):
    """The hooks for components. `_engine` is the package's."""

    _engine: Any

    def _compiling(self) -> Any:
        raise NotImplementedError

    def _compile_component(self, data: bytes) -> Any:
        component = components()
        try:
            with inside:
                compiler = self._compiling()
                made = component.Component(compiler, data)
                if compiler is not self._engine:
                    made = component.Component.deserialize(self._engine, made.serialize())
                return unseen(made)
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _deserialize_component(self, code: bytes) -> Any:
        component = components()
        try:
            with inside:
                return unseen(component.Component.deserialize(self._engine, code))
        except wasmtime.WasmtimeError as error:
            raise ModuleCompileError(compile_error_text(str(error))) from None

    def _make_component(self, handle: Any, data: bytes) -> BaseComponent:
        return _Component(self, handle, data)

    def _link_component(self, component: BaseComponent, linkage: Linkage, suspends: bool) -> Any:
        state = _State(component, linkage, None)
        for interface, definitions in linkage.definitions.items():
            for each in definitions:
                if each.type is not None:
                    _signature(state, interface, each, each.type)  # raises for types that cannot cross
        return None

    def _component_state(self, component: BaseComponent, linkage: Linkage, store: Any) -> ComponentState:
        return _State(component, linkage, store)

    def _instantiate_component(self, state: ComponentState, prepared: Any, wasi: Any) -> None:
        assert isinstance(state, _State)
        state.instantiate(wasi)


class _Component(BaseComponent):
    def _serialize(self) -> bytes:
        with inside:
            return bytes(self.handle.serialize())


def _signature(
    state: ComponentState, interface: str | None, definition: Definition, type: ComponentFunctionType
) -> Signature:
    shown = definition.name if interface is None else f"{interface} {definition.name}"
    return Signature(type, state.codecs, shown)


class _State(ComponentState):
    """An instance in a store of the package's."""

    store: Any

    def __init__(self, component: BaseComponent, linkage: Linkage, store: Any) -> None:
        super().__init__(component, linkage, store)
        self._held: dict[int, Any] = {}  # by number: the host's resources to which the guest has handles
        if store is not None:
            store.held.append(self._held)
        self._next = 0
        self.lent: list[tuple[Any, int]] = []  # the handles that the running call lends to the guest
        self.written: list[tuple[Callable[[bytes], object], bytes]] = []
        self.forgotten: list[Any] = []
        self._refused: Exception | None = None  # the error that every call raises
        self.cell: list[Any] = [ref(self)]  # what callbacks find the state by

    def refuse_calls(self, error: Exception) -> None:
        self._refused = error

    # Linking

    def instantiate(self, wasi: ComponentWasi | None) -> None:
        component = components()
        store = self.store
        linker = component.Linker(store.runtime._engine)
        linker.allow_shadowing = True
        if wasi is not None:
            linker.add_wasip2()
            if self.linkage.http:
                linker.add_wasi_http()
            self._give_wasi(wasi)
        with linker.root() as root:
            for interface, definitions in self.linkage.definitions.items():
                if interface is None:
                    self._define(root, None, definitions)
                    continue
                with root.add_instance(interface) as inner:
                    self._define(inner, interface, definitions)
        store._enter(store._life, "store")
        guarded = begin()
        try:
            if store.clock.set:
                store.clock.start()
            try:
                self.handle = linker.instantiate(store.handle, self.component.handle)
            finally:
                store.clock.stop()
        except wasmtime.WasmtimeError as error:
            raise self._failure(error, instantiating=True) from None
        finally:
            store._leave()
            if guarded:
                end()
        self.drain()

    def _define(self, scope: Any, interface: str | None, definitions: list[Definition]) -> None:
        Host = components().ResourceType
        state = self.cell
        for each in definitions:
            if each.callable is None or each.type is None:
                scope.add_resource(each.name, Host.host(each.number), lambda _, rep: _release(state, rep))
            else:
                at = len(self.store.hosts)
                turns = self.store.turns
                self.store.hosts.append(each.callable if turns is None else turns.function(each.callable, each.awaits))
                signature = _signature(self, interface, each, each.type)
                scope.add_func(each.name, _callback(state, at, signature))

    def _give_wasi(self, wasi: ComponentWasi) -> None:
        config = wasmtime.WasiConfig()
        config.argv = list(wasi.args)
        config.env = [list(pair) for pair in wasi.env]
        temporary = None
        if wasi.stdin is INHERITED:
            config.inherit_stdin()
        elif wasi.stdin:
            with tempfile.NamedTemporaryFile(delete=False) as file:
                file.write(wasi.stdin)
                temporary = file.name
            config.stdin_file = temporary
            os.unlink(temporary)
        for name, sink in (("stdout", wasi.stdout), ("stderr", wasi.stderr)):
            if sink is INHERITED:
                getattr(config, f"inherit_{name}")()
            elif sink is not None:
                setattr(config, f"{name}_custom", _collector(self.written, sink))
        for host, guest, writable in wasi.directories:
            config.preopen_dir(host, guest, writable)
        self.store.handle.set_wasi(config)
        if wasi.http:
            self.store.handle.set_wasi_http()

    # Calling

    def _function(self, interface: str | None, name: str, signature: Signature) -> Any:
        store = self.store
        store._enter(store._life, "component instance")
        try:
            outer = None
            if interface is not None:
                outer = self.handle.get_export_index(store.handle, interface)
            index = self.handle.get_export_index(store.handle, name, outer)
            found = None if index is None else self.handle.get_func(store.handle, index)
        finally:
            store._leave()
        assert found is not None, f"the engine does not find the export {name!r}, which the interface names"
        return _Function(self, found, signature)

    def call(self, function: Any, signature: Signature, args: tuple[Any, ...]) -> Any:
        """Call an exported function with values as Python has them."""
        store = self.store
        name = signature.shown_name
        if self._refused is not None:
            raise self._refused
        store._enter(store._life, "component instance")
        guarded = False
        try:
            if store._depth > 1:
                raise BusyError(
                    f"{name}() cannot be called now: its component is running, and the component model does not let a"
                    " host function call back into the component that called it"
                )
            self.drop_forgotten()
            guarded = begin()
            try:
                keep_importable()
                if self.cell[0]() is None:  # the collector cleared it: a destructor in a cycle with the state calls
                    self.cell[0] = ref(self)
                lowered = signature.lower_arguments(name, args)
                if store.clock.set:
                    store.clock.start()
                try:
                    raw = function(store.handle, *lowered)
                finally:
                    store.clock.stop()
            except Exception as error:
                raise self._failure(error) from None
            finally:
                self._end_loans()
            return signature.lift_result(raw)
        finally:
            self.drain()
            store._leave()
            if guarded:
                end()

    def _failure(self, error: Exception, instantiating: bool = False) -> BaseException:
        """The error to raise for a call that failed with the package's error."""
        parked, self.store.parked = self.store.parked, None
        if parked is not None:
            return parked  # type: ignore[no-any-return]
        if isinstance(error, wasmtime.ExitTrap):
            return Exit(error.code)
        if not isinstance(error, wasmtime.WasmtimeError):
            return error
        text = str(error)
        if "cannot enter component instance" in text:
            return Trap(_ENTERED_AGAIN, TrapCode.OTHER)
        if "wasm trap: interrupt" in text:
            return DeadlineExceeded("the call reached its deadline")
        if "all fuel consumed" in text:
            return FuelExhausted()
        if instantiating and "wasm trap" not in text and "backtrace" not in text:
            return ModuleInstantiateError(f"cannot instantiate the component: {compile_error_text(text)}")
        code = next((code for mark, code in _TRAPS.items() if f"wasm trap: {mark}" in text), TrapCode.OTHER)
        frames = [frame_of(each) for each in getattr(error, "frames", [])]
        return Trap(trap_text(text), code, frames)

    def drain(self) -> None:
        """Pass what the guest has written to the host's sinks."""
        while self.written:
            sink, data = self.written.pop(0)
            sink(data)

    # Resources

    def _resource_base(self) -> Any:
        return PackageResource

    def check_handle(self, value: Any) -> None:
        if value._state is not self:
            raise Refusal(TypeError, f"the {value._name} belongs to another instance")

    def keep(self, value: Any) -> int:
        """Keep a host object for the guest. Returns its number."""
        self._next += 1
        self._held[self._next] = value
        return self._next

    def release(self, rep: int) -> None:
        """Let go of an object: the guest has dropped its handle."""
        self._held.pop(rep, None)

    def lower_handle(self, resource: ResourceType, value: Any, owned: bool) -> Any:
        number = self.host_number(resource)
        if not number:
            if not owned:
                return value._handle
            handle, value._handle = value._handle, None
            return handle
        ResourceHost = components().ResourceHost
        rep = self.keep(value)
        if owned:
            return ResourceHost.own(rep, number)
        handle = ResourceHost.borrow(rep, number).to_any(self.store.handle)
        self.lent.append((handle, rep))
        return handle

    def _end_loans(self) -> None:
        for handle, rep in self.lent:
            handle.drop(self.store.handle)
            self.release(rep)
        self.lent.clear()

    def lift_handle(self, resource: ResourceType, raw: Any, owned: bool) -> Any:
        if self.host_number(resource):
            host = raw.to_host(self.store.handle)
            value = self._held[host.rep]
            if host.owned:
                self.release(host.rep)
            return value
        made = object.__new__(self.guest_class(resource))
        made._state, made._handle, made._lent = self, unseen(raw), not owned
        return made

    def drop_forgotten(self) -> None:
        """Drop the handles whose Python objects were freed."""
        while self.forgotten:
            self.forgotten.pop().drop(self.store.handle)


def _release(cell: list[Any], rep: int) -> None:
    found: _State | None = cell[0]()
    if found is not None:
        found.release(rep)


def _collector(written: list[Any], sink: Callable[[bytes], object]) -> Callable[[bytes], int]:
    def collect(data: bytes) -> int:
        written.append((sink, bytes(data)))
        return len(data)

    return collect


def _callback(cell: list[Any], at: int, signature: Signature) -> Callable[..., Any]:
    """What the package calls for a host function. It holds the state weakly, as the package keeps it for long."""
    params = signature.params
    borrowed = [n for n, each in enumerate(params) if each.kind == "borrow"]

    def call(_: Any, *raw: Any) -> Any:
        state: Any = cell[0]()
        args: list[Any] = []
        try:
            if KEPT:
                deliver()
            args += [codec.lift(value) for codec, value in zip(params, raw, strict=True)]
            try:
                value = state.store.hosts[at](*args)
            except ComponentError as error:
                if not signature.fallible:
                    raise
                return signature.lower_error(error.payload)
            if state.store._life.ended_by is not None:
                raise state.store._life.error("component instance")
            state.store.clock.check()
            return signature.lower_result(value)
        except BaseException as error:
            state.store.parked = error
        finally:
            for n in borrowed[: len(args)]:
                end = getattr(args[n], "_end_loan", None)
                if end is not None:
                    end()
        raise wasmtime.WasmtimeError("host")

    return call


class _Function:
    """A function of a component."""

    __slots__ = ("__weakref__", "_function", "_signature", "_state")

    def __init__(self, state: _State, function: Any, signature: Signature) -> None:
        self._state = state
        self._function = function
        self._signature = signature

    @property
    def __name__(self) -> str:
        return self._signature.shown_name

    @property
    def __signature__(self) -> Any:
        return self._signature.__signature__

    @property
    def type(self) -> ComponentFunctionType:
        """The function's signature."""
        return self._signature.type

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call with Python values, by position or by name."""
        if self._state.store.turns is not None:
            if self._state.store.closed:
                raise self._state.store._life.error("component instance")
            raise_asynchronous(self._signature.shown_name)
        return self._run(*self._arranged(args, keywords))

    async def call_async(self, *args: Any, **keywords: Any) -> Any:
        """Await the call, made on a worker thread; cancelling does not stop the guest."""
        run = partial(self._run, *self._arranged(args, keywords))
        turns = self._state.store.turns
        return await (on_thread(run, ()) if turns is None else turns.call(run))

    def _arranged(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        signature = self._signature
        if keywords or len(args) != len(signature.params):
            return signature.arrange(signature.shown_name, args, keywords)
        return args

    def _run(self, *args: Any) -> Any:
        return self._state.call(self._function, self._signature, args)

    def __reduce__(self) -> NoReturn:
        stays("component's function", "component")

    def __repr__(self) -> str:
        state = " (closed)" if self._state.store.closed else ""
        return f"<ComponentFunction {self._signature.shown_name}: {self.type}{state}>"


class PackageResource:
    """A handle to a resource of a component."""

    __slots__ = ("__weakref__", "_handle", "_lent", "_state")
    _state: Any
    _handle: Any
    _lent: bool

    @property
    def closed(self) -> bool:
        """Whether the resource was dropped or given away, or its store closed."""
        return self._handle is None or self._state.store.closed

    @property
    def _borrowed(self) -> bool:
        return self._lent

    def _drop(self) -> None:
        store: OwningStore = self._state.store
        if self._handle is None or store.closed:
            return
        if self._lent:
            raise ValueError("the resource is only lent, and so is not to be dropped here")
        handle, self._handle = self._handle, None
        store._enter(Life(), "resource")
        try:
            if store._depth > 1:  # inside a host function, whose guest must not be entered
                self._state.forgotten.append(handle)
            else:
                handle.drop(store.handle)
        except Exception as error:
            raise self._state._failure(error) from None
        finally:
            store._leave()

    def _end_loan(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.drop(self._state.store.handle)

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and not self._lent:
            self._handle = None  # a destructor of the same cycle may run after this one
            self._state.forgotten.append(handle)

"""A guest loaded as a plugin: found, compiled, linked, checked, and called one call at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    BusyError,
    ClosedError,
    Exit,
    FunctionNotExportedError,
    InvalidConfigurationError,
    MemoryAccessError,
    MemoryExportNotFoundError,
    ModuleCompileError,
    WasmError,
)
from ..registry import new_runtime
from ..runtimes.base.source import load
from ..types import ExternKind, FunctionType
from .abi import CALLS, SUPPORTED_TELEMETRY, V1_FUNCTIONS, Call, Dialect, Role, Telemetry, canonical_name, dialect_of
from .config import DEFAULT_TIMEOUT, PluginConfig
from .errors import GuestProtocolError, GuestStatusError, PluginError
from .forking import renew_after_fork
from .host import PluginHost, check_log_imports
from .logs import GuestLog
from .stack import Stack
from .system import instance_limits, wasi_config

if TYPE_CHECKING:
    from ..protocols import CompiledModule, ModuleInstance, Runtime, Store

__all__ = ["WasmPlugin"]

_log = logging.getLogger("pywasmrt.plugin")
_ALLOCATE = "otelwasm_memory_allocate"
_U32 = 0xFFFF_FFFF


class WasmPlugin:
    """A guest of the otelwasm ABI, ready to be called.

    `config` is a `PluginConfig` or a mapping as `PluginConfig.from_mapping` takes. `required_functions` are the guest
    functions that must be there, by their experimental names (`processTraces`), whatever the guest's dialect, or by its
    own. Loading compiles (or takes the compiled module from the cache), links the host functions and WASI, checks
    `memory` and the required functions, and starts the guest. If any step fails, all that was made is closed again.
    Raises `InvalidConfigurationError`; `ModuleCompileError`; `ModuleInstantiateError`, which lists the imports that
    nobody provides; `MemoryExportNotFoundError`; `FunctionNotExportedError`; `GuestProtocolError` for a function of the
    wrong type; `GuestStatusError` where the guest refuses to start; and what the runtime raises.

    A plugin may be used from any thread; calls wait for each other. A call that ends the guest (a trap, a deadline, a
    breach of the ABI) leaves it in an unknown state, so the next call works on a new instance of the module;
    `restarts` counts those. What the old one remembered is lost. The same goes for the child of a fork, where another
    thread was in a call.
    """

    def __init__(
        self, config: PluginConfig | Any, required_functions: Iterable[str] = (), *, role: Role | None = None
    ) -> None:
        """`role` is that of the component; None takes it from the required functions."""
        self.config = config if isinstance(config, PluginConfig) else PluginConfig.from_mapping(config)
        self.config.validate()
        required = (required_functions,) if isinstance(required_functions, str) else tuple(required_functions)
        self.name = self.config.guest_name()
        self.restarts = 0
        self._lock = threading.RLock()  # re-entrant: a signal handler is told by `_owner`, and never waits for itself
        self._owner = 0
        self._ending = False  # no call begins any more
        self._closed = False
        self._lost = False
        self._telemetry: Telemetry | None = None
        self._runtime: Runtime
        self._module: CompiledModule
        self._store: Store | None = None
        self._instance: ModuleInstance | None = None  # None while there is none that can be called
        self._functions: dict[str, Callable[[Stack], int | None]] = {}
        self._host = PluginHost(GuestLog(self.name), self.config.plugin_config_json())
        self._role = role
        self._closing = ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            self._load(required)
            undo.pop_all()
        renew_after_fork(self)

    # Loading

    def _load(self, required: tuple[str, ...]) -> None:
        settings = self.config.runtime()
        if settings.cache is None:
            settings = replace(settings, cache=self.config.cache)
        self._runtime = self._closing.enter_context(_opened(new_runtime(settings)))
        data = self._read()
        try:
            module = self._runtime.compile(data)
        except ModuleCompileError as error:
            raise ModuleCompileError(f"{self.config.path}: {error}") from error
        self._module = self._closing.enter_context(_opened(module))
        self.dialect: Dialect = dialect_of(self._module)
        names = [canonical_name(self.dialect, name, self._role) for name in required]
        if self._role is None:
            self._role = next((CALLS[name].role for name in names if name in CALLS), None)
        self._types = {
            export.name: export.type for export in self._module.exports if export.kind is ExternKind.FUNCTION
        }
        self._check_exports(required, names)
        check_log_imports(self._module)
        self._limits = instance_limits(self.config, self._runtime.info, self._role)
        self._wasi = wasi_config(self.config, self._module, self._role)
        self._imports = self._host.modules()
        self._instantiate()

    def _read(self) -> bytes | str:
        try:
            return load(Path(self.config.path))
        except (OSError, ValueError) as error:  # the latter for a NUL in it
            raise InvalidConfigurationError(f"path: the guest's module cannot be read: {error}") from error

    def _check_exports(self, required: tuple[str, ...], names: list[str]) -> None:
        if not any(export.name == "memory" and export.kind is ExternKind.MEMORY for export in self._module.exports):
            raise MemoryExportNotFoundError(
                f"the guest {self.name} exports no memory called 'memory', by which host and guest exchange data"
            )
        listed = ", ".join(sorted(self._types)) or "nothing"
        for asked, name in zip((*required, SUPPORTED_TELEMETRY), (*names, SUPPORTED_TELEMETRY), strict=True):
            exported = self.dialect.exported(name)
            if exported not in self._types:
                also = "" if exported == asked else f" (for {asked})"
                raise FunctionNotExportedError(
                    f"the guest {self.name} does not export the function {exported}{also}, which the ABI"
                    f" ({self.dialect.name}) wants; it exports {listed}"
                )
        wanted = {self.dialect.exported(name): self.dialect.type_of(name) for name in (*CALLS, SUPPORTED_TELEMETRY)}
        if self.dialect.starts:
            wanted.update(V1_FUNCTIONS)
            pushed = any(name in CALLS and CALLS[name].role is not Role.RECEIVER for name in names)
            if pushed and _ALLOCATE not in self._types:
                raise FunctionNotExportedError(
                    f"the guest {self.name} does not export {_ALLOCATE}, which takes its data; it exports {listed}"
                )
        for exported, type in wanted.items():
            found = self._types.get(exported)
            if found is not None and type is not None and found != type:
                raise GuestProtocolError(f"the guest {self.name} exports {exported} as {found}; the ABI wants {type}")

    def _instantiate(self) -> None:
        """Make an instance, with the lock held or before anybody else knows the plugin."""
        host = self._host
        host.attach(None)
        host.call = None
        host.stack = stack = Stack()
        store = self._store = self._runtime.new_store(self._limits)
        try:
            with self._bounded(store):
                instance = self._runtime.instantiate(self._module, *self._imports, store=store, wasi=self._wasi)
                self._instance = instance
                host.attach(instance.memory())
                self._functions = {}
                self._initialise(instance)
                if self.dialect.starts and "otelwasm_start" in self._types:
                    status = instance.exports["otelwasm_start"]() & _U32
                    if status:
                        raise GuestStatusError("otelwasm_start", status, stack.status_reason)
        except BaseException:
            self._instance = None
            store.close()
            raise
        finally:
            host.stack = None

    def _bounded(self, store: Store | None) -> AbstractContextManager[None]:
        """The time limit of short calls, for a guest whose store has none."""
        timeout = self.config.timeout
        if timeout is None or self._limits.timeout is not None or "deadline" not in self._runtime.info.features:
            return nullcontext()
        assert store is not None
        return store.deadline(timeout)

    def _initialise(self, instance: ModuleInstance) -> None:
        """Run the initialisers that toolchains export. With WASI, `instantiate` has called `_initialize` already."""
        if self._types.get("_initialize") == FunctionType():
            if self._wasi is None or "_start" in self._types:
                instance.exports["_initialize"]()
        elif self.dialect.starts and self._types.get("_start") == FunctionType():
            try:
                instance.exports["_start"]()
            except Exit as end:
                if end.code:
                    raise

    # Calling

    def process_function_call(self, name: str, stack: Stack) -> int | None:
        """Call the guest function `name` with `stack`; return its status, unsigned, or None for one that returns none.

        `name` is the experimental name or that of the guest's dialect. Where the dialect pushes data, that of `stack`
        is written into the guest first. Waits for other calls; raises `BusyError` from within a call of the same
        plugin, `ClosedError` after `shutdown`, `FunctionNotExportedError`, `Trap`, `GuestProtocolError`,
        `DeadlineExceeded`, and what a callback in `stack` raised.
        """
        me = threading.get_ident()
        if self._owner == me:
            raise BusyError(f"the guest {self.name} is in a call on this very thread; it cannot be called from within")
        with self._lock:
            if self._ending:
                raise ClosedError(f"the plugin {self.name} was shut down")
            self._owner = me
            try:
                if self._lost:
                    self._restart()
                function = self._functions.get(name)
                if function is None:
                    function = self._functions[name] = self._bind(name)
                try:
                    return function(stack)
                except BaseException:
                    self._lost = True
                    raise
            finally:
                self._owner = 0
                host = self._host
                host.stack = host.call = host.result = None
                host.data = b""

    def _restart(self) -> None:
        """Replace an instance that a failed call left in an unknown state."""
        self._instance = None
        if self._store is not None:
            self._store.close()
        self._instantiate()
        self._lost = False
        self.restarts += 1
        _log.info("the guest %s was started again after a call that failed", self.name)

    def after_fork(self) -> None:
        """Let go of a call that another thread was in: in this process it never ends."""
        if self._owner == threading.get_ident():
            return  # the call goes on here as well
        if not self._lock.acquire(blocking=False):
            self._lost = True
        self._lock = threading.RLock()
        self._owner = 0
        self._host.stack = self._host.call = self._host.result = None

    def _bind(self, name: str) -> Callable[[Stack], int | None]:
        """A callable that calls the guest's function `name`."""
        assert self._instance is not None
        canonical = canonical_name(self.dialect, name, self._role)
        exported = self.dialect.exported(canonical)
        found = self._instance.function(exported)
        if found is None:
            raise FunctionNotExportedError(f"the guest {self.name} does not export the function {exported}")
        guest: Callable[..., Any] = found
        host = self._host
        call = CALLS.get(canonical)
        if call is None and found.type.params:
            raise GuestProtocolError(
                f"{exported} is {found.type}: only functions without parameters are called by name"
            )
        if call is None:

            def short(stack: Stack) -> int | None:
                host.stack = stack
                with self._bounded(self._store):
                    status = guest()
                return None if status is None else int(status) & _U32

            return short
        if call.role is Role.RECEIVER:

            def receive(stack: Stack) -> None:
                host.stack = stack
                host.call = call
                guest()

            return receive
        return self._bind_push(call, guest) if self.dialect.pushes else self._bind_pull(call, guest)

    def _bind_pull(self, call: Call, guest: Callable[[], Any]) -> Callable[[Stack], int]:
        host = self._host
        attribute, result = f"current_{call.signal}", f"result_{call.signal}"

        def pull(stack: Stack) -> int:
            host.stack = stack
            host.call = call
            host.data = getattr(stack, attribute)
            status: int = guest()
            if host.result is not None:
                setattr(stack, result, host.result)
            return status & _U32

        return pull

    def _bind_push(self, call: Call, guest: Callable[[int, int], Any]) -> Callable[[Stack], int]:
        assert self._instance is not None
        host = self._host
        found = self._instance.function(_ALLOCATE)
        if found is None:
            raise FunctionNotExportedError(f"the guest {self.name} does not export the function {_ALLOCATE}")
        allocate: Callable[[int], int] = found
        attribute, result = f"current_{call.signal}", f"result_{call.signal}"

        def push(stack: Stack) -> int:
            data = getattr(stack, attribute)
            size = len(data)
            offset = 0
            host.stack = stack  # reasons and logs may be set while allocating, results may not
            if size:
                if size > _U32:
                    raise GuestProtocolError(f"{size} bytes are more than a guest's memory holds")
                offset = allocate(size) & _U32
                if offset == 0:
                    raise GuestProtocolError(f"{_ALLOCATE} of the guest gave 0 for {size} bytes: no memory", True)
                try:
                    host.write(offset, data)
                except MemoryAccessError as error:
                    raise GuestProtocolError(f"{_ALLOCATE} of the guest gave what is not its memory: {error}") from None
            host.call = call
            status: int = guest(offset, size)
            if host.result is not None:
                setattr(stack, result, host.result)
            return status & _U32

        return push

    # What the guest is

    @property
    def supported_telemetry(self) -> Telemetry:
        """The kinds of telemetry that the guest says it handles; asked once. Unknown bits are dropped."""
        if self._telemetry is None:
            answer = self.process_function_call(SUPPORTED_TELEMETRY, Stack()) or 0
            known = Telemetry.METRICS | Telemetry.LOGS | Telemetry.TRACES
            self._telemetry = Telemetry(answer & known)
        return self._telemetry

    def exports(self, name: str) -> bool:
        """Whether the guest exports the function `name`, the experimental name or that of its dialect."""
        return self.dialect.exported(canonical_name(self.dialect, name, self._role)) in self._types

    @property
    def discarded_results(self) -> int:
        """How many results the guest set as an exporter. They are dropped."""
        return self._host.discarded

    # Ending

    def interrupt(self) -> bool:
        """Stop the call that runs, if any, from any thread; it raises `Interrupted`. Returns whether one was running.

        Raises `UnsupportedFeatureError` where the runtime cannot.
        """
        store = self._store
        return False if store is None or store.closed else store.interrupt()

    def abandon(self) -> None:
        """Close the guest's store under a call that runs, from any thread; the call ends in `ClosedError` as soon as
        the runtime notices, at the latest when the guest calls the host. The next call works on a new instance.
        """
        store = self._store
        if store is not None:
            store.close()

    @property
    def closed(self) -> bool:
        """Whether the plugin was shut down."""
        return self._closed

    def shutdown(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait for the call in flight, tell the guest (where its dialect has a function for that), and close
        everything.

        Calls that wait for their turn raise `ClosedError`. After `timeout` seconds the call in flight is interrupted.
        What the guest answers, or how it fails, is logged. Idempotent. From within a call of the plugin it raises
        `BusyError`, and `PluginError` if the call in flight cannot be stopped.
        """
        if self._owner == threading.get_ident():
            raise BusyError(
                f"the guest {self.name} is in a call on this very thread; it cannot be shut down from within"
            )
        self._ending = True
        if not self._lock.acquire(timeout=timeout):
            try:
                self.interrupt()
            except WasmError:
                self.abandon()
            if not self._lock.acquire(timeout=max(1.0, timeout)):
                raise PluginError(f"the guest {self.name} does not end its call; it was left running")
        try:
            if self._closed:
                return
            self._owner = threading.get_ident()
            try:
                self._tell_shutdown()
            finally:
                self._owner = 0
                self._close()
        finally:
            self._lock.release()

    def _tell_shutdown(self) -> None:
        if not self.dialect.starts or self._lost or self._instance is None or "otelwasm_shutdown" not in self._types:
            return
        stack = self._host.stack = Stack()
        stack.requested_shutdown = True
        try:
            with self._bounded(self._store):
                status = self._instance.exports["otelwasm_shutdown"]() & _U32
            if status:
                _log.warning("%s", GuestStatusError(f"otelwasm_shutdown of {self.name}", status, stack.status_reason))
        except Exception as error:  # raised by the guest, or by a host function such as a stream's
            _log.warning("the guest %s failed in otelwasm_shutdown: %s", self.name, error)
        finally:
            self._host.stack = None

    def _close(self) -> None:
        self._ending = self._closed = True
        self._instance = None
        self._functions = {}
        self._host.attach(None)
        if self._store is not None:
            self._store.close()
        self._closing.close()

    def __enter__(self) -> WasmPlugin:
        if self._closed:
            raise ClosedError(f"the plugin {self.name} was shut down")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<WasmPlugin {self.name} ({self.dialect.name}, {self._runtime.info.name}){state}>"


def _opened(thing: Any) -> Any:
    """A context manager that closes `thing`, whether it is one or not."""
    return contextlib.closing(thing)

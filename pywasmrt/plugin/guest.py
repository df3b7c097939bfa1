"""One instance of a plugin's guest: started, called, started again after a failure, and ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ClosedError, Exit, FunctionNotExportedError, MemoryAccessError
from ..types import FunctionType, Limits
from .abi import CALLS, Call, Dialect, Role, canonical_name
from .config import PluginConfig
from .errors import GuestProtocolError, GuestStatusError
from .host import PluginHost
from .logs import GuestLog
from .stack import Stack

if TYPE_CHECKING:
    from ..protocols import CompiledModule, ModuleInstance, Runtime, Store

__all__ = ["ALLOCATE", "Guest", "Loaded"]

_log = logging.getLogger("pywasmrt.plugin")
ALLOCATE = "otelwasm_memory_allocate"
_U32 = 0xFFFF_FFFF


@dataclass(frozen=True)
class Loaded:
    """What every instance of a plugin's guest is made of. `types` are those of the exported functions. With
    `side_by_side`, calls release the interpreter's lock at their beginning, since other instances run at the same time.
    """

    name: str
    config: PluginConfig
    runtime: Runtime
    module: CompiledModule
    dialect: Dialect
    role: Role | None
    types: Mapping[str, Any]
    limits: Limits
    wasi: Any
    side_by_side: bool


class Guest:
    """One instance. Who uses it has it alone: `owner` is the number of that thread, or 0 while nobody does.

    A call that fails leaves the instance `lost`, in an unknown state; the next call works on a new one, and `restarts`
    counts those.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.owner = 0
        self.lost = False
        self.restarts = 0
        self.host = PluginHost(GuestLog(loaded.name), loaded.config.plugin_config_json())
        self._imports = self.host.modules()
        self._store: Store | None = None
        self._instance: ModuleInstance | None = None  # None while there is none that can be called
        self._functions: dict[str, Callable[[Stack], int | None]] = {}

    # Starting

    def start(self) -> None:
        """Make the instance, and close everything again if it does not start."""
        loaded, host = self.loaded, self.host
        host.attach(None)
        host.call = None
        host.stack = stack = Stack()
        store = self._store = loaded.runtime.new_store(loaded.limits)
        if loaded.side_by_side:
            release = getattr(store, "release_at_once", None)
            if release is not None:
                release()
        try:
            with self._bounded(store):
                instance = loaded.runtime.instantiate(loaded.module, *self._imports, store=store, wasi=loaded.wasi)
                self._instance = instance
                host.attach(instance.memory())
                self._functions = {}
                self._initialise(instance)
                if loaded.dialect.starts and "otelwasm_start" in loaded.types:
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
        timeout = self.loaded.config.timeout
        if timeout is None or self.loaded.limits.timeout is not None:
            return nullcontext()
        if "deadline" not in self.loaded.runtime.info.features:
            return nullcontext()
        assert store is not None
        return store.deadline(timeout)

    def _initialise(self, instance: ModuleInstance) -> None:
        """Run the initialisers that toolchains export. With WASI, `instantiate` has called `_initialize` already."""
        types = self.loaded.types
        if types.get("_initialize") == FunctionType():
            if self.loaded.wasi is None or "_start" in types:
                instance.exports["_initialize"]()
        elif self.loaded.dialect.starts and types.get("_start") == FunctionType():
            try:
                instance.exports["_start"]()
            except Exit as end:
                if end.code:
                    raise

    # Calling

    def call(self, name: str, stack: Stack) -> int | None:
        """Call the guest's function `name`; its status, unsigned, or None for one that returns none."""
        try:
            if self.lost:
                self._restart()
            function = self._functions.get(name)
            if function is None:
                function = self._functions[name] = self._bind(name)
            try:
                return function(stack)
            except BaseException:
                self.lost = True
                raise
        finally:
            host = self.host
            host.stack = host.call = host.result = None
            host.data = b""

    def _restart(self) -> None:
        """Replace an instance that a failed call left in an unknown state."""
        self._instance = None
        if self._store is not None:
            self._store.close()
        self.start()
        self.lost = False
        self.restarts += 1
        _log.info("the guest %s was started again after a call that failed", self.loaded.name)

    def _bind(self, name: str) -> Callable[[Stack], int | None]:
        """A callable that calls the guest's function `name`."""
        loaded = self.loaded
        canonical = canonical_name(loaded.dialect, name, loaded.role)
        exported = loaded.dialect.exported(canonical)
        guest = self._function(exported)
        host = self.host
        call = CALLS.get(canonical)
        if call is None and guest.type.params:
            raise GuestProtocolError(
                f"{exported} is {guest.type}: only functions without parameters are called by name"
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
        return self._bind_push(call, guest) if loaded.dialect.pushes else self._bind_pull(call, guest)

    def _function(self, name: str) -> Any:
        if self._instance is None:
            raise ClosedError(f"the plugin {self.loaded.name} was shut down")
        found = self._instance.function(name)
        if found is None:
            raise FunctionNotExportedError(f"the guest {self.loaded.name} does not export the function {name}")
        return found

    def _bind_pull(self, call: Call, guest: Callable[[], Any]) -> Callable[[Stack], int]:
        host = self.host
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
        host = self.host
        allocate: Callable[[int], int] = self._function(ALLOCATE)
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
                    raise GuestProtocolError(f"{ALLOCATE} of the guest gave 0 for {size} bytes: no memory", True)
                try:
                    host.write(offset, data)
                except MemoryAccessError as error:
                    raise GuestProtocolError(f"{ALLOCATE} of the guest gave what is not its memory: {error}") from None
            host.call = call
            status: int = guest(offset, size)
            if host.result is not None:
                setattr(stack, result, host.result)
            return status & _U32

        return push

    # Ending

    def interrupt(self) -> bool:
        """Stop the call that runs, if any, from any thread. Whether one was running."""
        store = self._store
        return False if store is None or store.closed else store.interrupt()

    def abandon(self) -> None:
        """Close the store under a call that runs, from any thread."""
        store = self._store
        if store is not None:
            store.close()

    def left_by_fork(self) -> None:
        """Let go of a call that another thread was in: in this process it never ends."""
        self.lost = True
        self.owner = 0
        self.host.stack = self.host.call = self.host.result = None

    def tell_shutdown(self) -> None:
        """Call the guest's function for that, where its dialect has one. A bad answer or a failure is logged."""
        loaded = self.loaded
        if not loaded.dialect.starts or self.lost or self._instance is None or "otelwasm_shutdown" not in loaded.types:
            return
        stack = self.host.stack = Stack()
        stack.requested_shutdown = True
        try:
            with self._bounded(self._store):
                status = self._instance.exports["otelwasm_shutdown"]() & _U32
            if status:
                _log.warning("%s", GuestStatusError(f"otelwasm_shutdown of {loaded.name}", status, stack.status_reason))
        except Exception as error:  # raised by the guest, or by a host function such as a stream's
            _log.warning("the guest %s failed in otelwasm_shutdown: %s", loaded.name, error)
        finally:
            self.host.stack = None

    def close(self) -> None:
        """Close the store, and with it the instance. Idempotent."""
        self._instance = None
        self._functions = {}
        self.host.attach(None)
        if self._store is not None:
            self._store.close()

"""A guest loaded as a plugin: found, compiled, linked, checked, and called in one instance or several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ..errors import (
    ClosedError,
    FunctionNotExportedError,
    InvalidConfigurationError,
    MemoryExportNotFoundError,
    ModuleCompileError,
    WasmError,
)
from ..registry import new_runtime
from ..runtimes.base.source import load
from ..types import ExternKind, expect
from .abi import CALLS, SUPPORTED_TELEMETRY, V1_FUNCTIONS, Dialect, Role, Telemetry, canonical_name, dialect_of
from .config import DEFAULT_TIMEOUT, PluginConfig
from .errors import GuestProtocolError, PluginError
from .forking import renew_after_fork
from .guest import ALLOCATE, Guest, Loaded
from .host import check_log_imports
from .stack import Stack
from .system import instance_limits, wasi_config
from .turns import Turns

if TYPE_CHECKING:
    from ..protocols import CompiledModule, Runtime

__all__ = ["WasmPlugin"]


class WasmPlugin:
    """A guest of the otelwasm ABI, ready to be called.

    `config` is a `PluginConfig` or a mapping as `PluginConfig.from_mapping` takes. `required_functions` are the guest
    functions that must be there, by their experimental names (`processTraces`), whatever the guest's dialect, or by its
    own. Loading compiles (or takes the compiled module from the cache), links the host functions and WASI, checks
    `memory` and the required functions, and starts the guest. If any step fails, all that was made is closed again.
    Raises `InvalidConfigurationError`; `ModuleCompileError`; `ModuleInstantiateError`, which lists the imports that
    nobody provides; `MemoryExportNotFoundError`; `FunctionNotExportedError`; `GuestProtocolError` for a function of the
    wrong type; `GuestStatusError` where the guest refuses to start; and what the runtime raises.

    A plugin may be used from any thread. `runtime_config.instances` says how many instances of the guest there are (one
    unless given, as with a `RuntimeConfig`); a call takes one that is free, and waits where all are in calls. Each has
    a memory of its own. A call that ends the guest (a trap, a deadline, a breach of the ABI) leaves its instance in an
    unknown state, so a new one takes its place; `restarts` counts those. What the old one remembered is lost. The same
    goes for the child of a fork, where another thread was in a call.
    """

    def __init__(
        self, config: PluginConfig | Any, required_functions: Iterable[str] = (), *, role: Role | None = None
    ) -> None:
        """`role` is that of the component; None takes it from the required functions."""
        kinds = (str, tuple, list, set, frozenset)
        expect("WasmPlugin", "names of functions of the guest", kinds, required_functions=required_functions)
        for each in required_functions:
            expect("WasmPlugin", "names of functions of the guest", str, required_functions=each)
        expect("WasmPlugin", "a Role or None", (Role, type(None)), role=role)
        self.config = config if isinstance(config, PluginConfig) else PluginConfig.from_mapping(config)
        self.config.validate()
        required = (required_functions,) if isinstance(required_functions, str) else tuple(required_functions)
        self.name = self.config.guest_name()
        self._closed = False
        self._telemetry: Telemetry | None = None
        self._runtime: Runtime
        self._module: CompiledModule
        self._role = role
        self._guests: list[Guest] = []
        self._turns = Turns(self._guests, self.name)
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
        instances = self.config.instances()
        if instances > 1 and self._role is Role.RECEIVER:
            raise InvalidConfigurationError(
                f"runtime_config.instances: a receiver runs in one instance, not in {instances}"
            )
        loaded = Loaded(
            name=self.name,
            config=self.config,
            runtime=self._runtime,
            module=self._module,
            dialect=self.dialect,
            role=self._role,
            types=self._types,
            limits=instance_limits(self.config, self._runtime.info, self._role),
            wasi=wasi_config(self.config, self._module, self._role),
            side_by_side=instances > 1,
        )
        for _ in range(instances):
            guest = Guest(loaded)
            self._guests.append(guest)
            guest.start()

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
            if pushed and ALLOCATE not in self._types:
                raise FunctionNotExportedError(
                    f"the guest {self.name} does not export {ALLOCATE}, which takes its data; it exports {listed}"
                )
        for exported, type in wanted.items():
            found = self._types.get(exported)
            if found is not None and type is not None and found != type:
                raise GuestProtocolError(f"the guest {self.name} exports {exported} as {found}; the ABI wants {type}")

    # Calling

    def process_function_call(self, name: str, stack: Stack) -> int | None:
        """Call the guest function `name` with `stack`; return its status, unsigned, or None for one that returns none.

        `name` is the experimental name or that of the guest's dialect. Where the dialect pushes data, that of `stack`
        is written into the guest first. Waits until an instance is free; raises `BusyError` from within a call of the
        same plugin, `ClosedError` after `shutdown`, `FunctionNotExportedError`, `Trap`, `GuestProtocolError`,
        `DeadlineExceeded`, and what a callback in `stack` raised.
        """
        me = get_ident()
        turns = self._turns
        guest: Guest | None = None
        try:
            with turns.lock:
                guest = turns.find(me)
                guest.owner = me
            return guest.call(name, stack)
        finally:
            if guest is not None:
                guest.owner = 0
            if turns.waiting:
                turns.wake()

    def after_fork(self) -> None:
        """Let go of the calls that other threads were in: in this process they never end."""
        me = get_ident()
        for guest in self._guests:
            if guest.owner not in (0, me):
                guest.left_by_fork()
        self._turns.after_fork()

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
    def instances(self) -> int:
        """How many instances of the guest serve calls."""
        return len(self._guests)

    @property
    def restarts(self) -> int:
        """How many instances took the place of one that a call had left in an unknown state."""
        return sum(guest.restarts for guest in self._guests)

    @property
    def discarded_results(self) -> int:
        """How many results the guest set as an exporter. They are dropped."""
        return sum(guest.host.discarded for guest in self._guests)

    # Ending

    def interrupt(self) -> bool:
        """Stop the calls that run, if any, from any thread; they raise `Interrupted`. Returns whether one was running.

        Raises `UnsupportedFeatureError` where the runtime cannot.
        """
        interrupted = [guest.interrupt() for guest in self._guests]
        return any(interrupted)

    def abandon(self) -> None:
        """Close the guest's store under each call that runs, from any thread; the call ends in `ClosedError` as soon as
        the runtime notices, at the latest when the guest calls the host. The next call works on a new instance.
        """
        for guest in self._guests:
            if guest.owner:
                guest.abandon()

    @property
    def closed(self) -> bool:
        """Whether the plugin was shut down."""
        return self._closed

    def shutdown(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait for the calls in flight, tell the guest (where its dialect has a function for that), and close
        everything.

        Calls that wait for their turn raise `ClosedError`. After `timeout` seconds the calls in flight are interrupted.
        What the guest answers, or how it fails, is logged. Idempotent. From within a call of the plugin it raises
        `BusyError`, and `PluginError` if a call in flight cannot be stopped.
        """
        me = get_ident()
        turns = self._turns
        turns.refuse_within(me, "shut down")
        turns.ending = True
        try:
            if not turns.begin_closing(me, timeout):
                try:
                    self.interrupt()
                except WasmError:
                    self.abandon()
                if not turns.begin_closing(me, max(1.0, timeout)):
                    raise PluginError(f"the guest {self.name} does not end its call; it was left running")
            if self._closed:
                return
            try:
                for guest in self._guests:
                    guest.tell_shutdown()
            finally:
                self._close()
        finally:
            if turns.closer == me:
                turns.closer = 0
            turns.wake()

    def _close(self) -> None:
        self._turns.ending = self._closed = True
        for guest in self._guests:
            guest.close()
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

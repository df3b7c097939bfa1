"""The host's side of one instance: its descriptors, its clock and randomness, and its host functions.

The engine's store holds the functions, which hold the context; so the context must not hold the store, nor the memory,
which holds the store: a circle would keep the store until the garbage collector runs. It looks at the memory through a
weak reference, and asks the caller again where that is gone.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from ..errors import MemoryAccessError, MemoryExportNotFoundError
from ..types import HostFunction, ImportType
from ..values import late
from . import files, paths, polling, process, sockets, wasmedge
from .binding import Function, bind
from .clocks import checked
from .config import Preopen, WasiConfig
from .descriptors import Descriptor, Table
from .handles import HERE, open_at
from .host_files import HostDirectory
from .memory_files import MemoryDirectory
from .memory_tree import MemoryTree
from .quotas import BoundedDirectory, Quota
from .socket_files import lent_socket
from .stdio import bytes_from, open_input, open_output
from .threads import THREAD_SPAWN, ThreadGroup
from .waiting import Waiter

if TYPE_CHECKING:
    from ..protocols import Caller, HostModule, Memory, ModuleInstance

__all__ = ["PREVIEW1", "WasiContext", "host_modules"]

PREVIEW1: dict[str, Function] = {
    **process.FUNCTIONS,
    **files.FUNCTIONS,
    **paths.FUNCTIONS,
    **polling.FUNCTIONS,
    **sockets.FUNCTIONS,
}
"""The functions of `wasi_snapshot_preview1`."""

_MODULES = ("wasi_snapshot_preview1",)
_THREADS = "wasi"


class _HostModule:
    """The host functions that a module imports under one name, methods of its instances' contexts."""

    def __init__(self, name: str, functions: Mapping[str, HostFunction], new_state: Callable[[], Any]) -> None:
        self.name = name
        self.functions = functions
        self.new_state = new_state


def host_modules(imports: Sequence[ImportType], new_state: Callable[[], Any], threads: bool) -> list[HostModule]:
    """The host functions for exactly what is imported, methods of what `new_state` makes."""
    made: list[HostModule] = []
    for module in _MODULES:
        wanted = {each.name: each.type for each in imports if each.module == module}
        if wanted:
            known = {**PREVIEW1, **wasmedge.functions_for(wanted)}
            functions = {name: bind(known[name]) for name in wanted if name in known}
            made.append(_HostModule(module, functions, new_state))
    if threads and any(each.module == _THREADS and each.name == THREAD_SPAWN.name for each in imports):
        made.append(_HostModule(_THREADS, {THREAD_SPAWN.name: THREAD_SPAWN}, new_state))
    return made


class WasiContext:
    """What `WasiConfig` describes, opened for one instance. Closing it forgets every descriptor and ends a wait."""

    def __init__(self, config: WasiConfig) -> None:
        self.args = [_encoded(each) for each in config.args]
        self.env = [_encoded(f"{name}={value}") for name, value in config.env.items()]
        self.clock = checked(config.clock)
        self.random_bytes = _random_source(config.random)
        self.on_exit = config.on_exit
        self.network = config.network
        self.waiter = Waiter()
        self.threads = ThreadGroup(config.threads)
        self.lookups: dict[Any, Any] = {}  # of names, which the event loop waits for
        self.table = Table(config.max_descriptors)
        self.files = self.table.files
        self.memory: Callable[[], Memory | None] = _nothing
        self.views = False  # whether the memory has the buffer protocol
        try:
            self._open(config)
        except BaseException:
            self.close()
            raise

    def _open(self, config: WasiConfig) -> None:
        add = self.table.add
        add(open_input(config.stdin, self.waiter))
        add(open_output("stdout", config.stdout, self.waiter))
        add(open_output("stderr", config.stderr, self.waiter))
        for guest, host in config.preopens.items():
            directory = self._directory(host)
            directory.preopen = _encoded(guest)
            add(directory)
        for each in config.sockets:
            add(lent_socket(each, self.waiter))

    def _directory(self, host: Any) -> Descriptor:
        given = host if isinstance(host, Preopen) else Preopen(host)
        if isinstance(given.host, MemoryTree):
            return MemoryDirectory(given.host, given.host.root, self.clock, given.readonly)
        handle = open_at(HERE, os.fsencode(given.host), os.O_RDONLY | os.O_DIRECTORY, 0)
        if given.limit is None or given.readonly:
            return HostDirectory(handle, self.waiter, given.readonly)
        return BoundedDirectory(handle, self.waiter, Quota(given.limit))

    def begin_asynchronous(self) -> None:
        """Have the event loop wait for the guest, whose store is asynchronous. It gets no threads."""
        self.waiter.gives_up = True
        self.threads = ThreadGroup(0)

    def attach(self, instance: ModuleInstance) -> None:
        """Learn of the instance once it exists, and let its store end the waits."""
        self.use_memory(instance.memory())
        self.waiter.attach(instance.store)
        self.threads.attach(instance, self.end_threads)

    def use_memory(self, memory: Any) -> None:
        """Take `memory`, or None, for what the guest points into."""
        if memory is not None:
            self.memory = ref(memory)
            self.views = _gives_views(memory)

    def begin_threads(self, siblings: Any, store: Any) -> None:
        """Learn how the guest's threads are made, and in which store its first instance is to live."""
        self.threads.begin(siblings, store)

    def end_threads(self) -> None:
        """End the guest's threads, as its command has ended, and wait for them."""
        self.threads.end(None)
        self.threads.join()

    async def end_threads_async(self) -> None:
        """As `end_threads`; another thread waits for them, so the event loop goes on."""
        self.threads.end(None)
        if self.threads.running:
            await late("asyncio").to_thread(self.threads.join, None, threading.current_thread())

    def find_memory(self, caller: Caller) -> Memory:
        """The memory of the instance that calls, where it is not known: before `attach`, or when nobody holds it."""
        try:
            return caller.memory()
        except MemoryExportNotFoundError:
            return _NO_MEMORY

    def close(self) -> None:
        """Forget every descriptor, and end threads and waits that are under way. Idempotent, from any thread."""
        self.threads.end(None)
        self.waiter.close()
        self.table.clear()
        self.lookups.clear()


class _NoMemory:
    """Stands for the memory of a guest that exports none: every pointer is beyond it."""

    size = 0

    def read(self, offset: int, size: int) -> bytes:
        raise MemoryAccessError("the guest exports no memory named 'memory'")

    def write(self, offset: int, data: Any) -> None:
        self.read(offset, 0)


_NO_MEMORY = cast("Memory", _NoMemory())


def _gives_views(memory: Any) -> bool:
    try:
        memoryview(memory).release()
    except TypeError:
        return False
    return True


def _nothing() -> None:
    return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _random_source(source: int | Callable[[int], bytes] | None) -> Callable[[int], bytes]:
    if source is None:
        return os.urandom
    if isinstance(source, int):
        return random.Random(source).randbytes
    return _of_that_size(source)


def _of_that_size(source: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def random_bytes(size: int) -> bytes:
        data = bytes_from("WasiConfig.random", source(size))
        if len(data) != size:  # too few would leave a guest with zeros where it counts on chance
            raise ValueError(f"WasiConfig.random gave {len(data)} bytes where {size} were asked for")
        return data

    return random_bytes

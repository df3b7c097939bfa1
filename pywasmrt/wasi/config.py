"""How a guest's world is set up: `WasiConfig`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Union

from ..errors import InvalidConfigurationError
from ..values import is_list, late, shown
from .clocks import Clock, SystemClock
from .memory_tree import MemoryTree
from .network import Network

if TYPE_CHECKING:
    from ..component.wasi import ComponentWasi
    from ..protocols import HostModule
    from ..types import ImportType
    from .context import WasiContext

__all__ = ["Preopen", "WasiConfig"]


MAX_THREADS = 1 << 12


@dataclass(frozen=True)
class Preopen:
    """A directory of the host for a guest, or a tree in memory; with `readonly` nothing in it can be changed.

    `limit` bounds the bytes that an instance may add to a directory of the host: how much larger files become, and 640
    for each name (with what a link says). Beyond it the guest gets `ENOSPC`. Space that is cut off or removed is given
    back, except for a file that was removed while the guest had it open. Each instance has an account of its own,
    so two that share a directory may add twice as much, and one may hold open what the other removed. A `MemoryTree`
    has a limit of its own instead.
    """

    host: str | os.PathLike[str] | MemoryTree
    readonly: bool = False
    limit: int | None = None


@cache
def context_module() -> Any:
    """The module of contexts, which imports this one. Loaded with the package and kept, since the interpreter gives no
    module any more when it ends.
    """
    from . import context

    return context


HostPath = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class WasiConfig:
    """What a guest sees of the world through WASI preview 1. It sees nothing that is not given here.

    * `args`: the arguments, the program's name (argv[0]) first.
    * `env`: the environment. The host's is never passed on by itself.
    * `stdin`: None (empty), `wasi.INHERIT`, bytes, a binary or text file, a callable `(size) -> bytes or str`, or a
      `pathlib.Path` to read.
    * `stdout`, `stderr`: None (discarded), `wasi.INHERIT`, a bytearray to append to, a binary or text file, a callable
      `(bytes) -> None`, or a `pathlib.Path` to replace, which may be the same for both. Text files get UTF-8, decoded.
      All three are streams, whatever they are on the host's side: a guest cannot seek in them, or change size, flags or
      times of a file.
    * `preopens`: guest path to a path of the host, to a `Preopen`, or to a `MemoryTree`. The guest can reach what is in
      these directories, and no other file.
    * `clock`: `SystemClock()`, or a `FixedClock` or `SteppingClock` for a time that tests control.
    * `random`: None for the system's, a seed for numbers that repeat, or a callable `(size) -> bytes`.
    * `on_exit`: called with the exit code when the guest calls `proc_exit`, before `Exit` is raised.
    * `network`: which addresses may be connected to and listened on.
    * `sockets`: listening sockets of the host's for the guest to accept from; their descriptors follow those of
      `preopens`, which start at 3. The guest works on duplicates, which block as the sockets do (Go wants
      `setblocking(False)`), and cannot shut them down, connect them, or set their options.
    * `max_descriptors`: how many descriptors the guest may have open at a time.
    * `threads`: how many threads the guest may have at a time beside its first (`wasi.thread-spawn`); 0 for none. On
      runtimes that link shared memories, and not in asynchronous stores, where starting one fails; a shared memory that
      the guest imports is made for it if nobody provides one. Each thread is
      an instance in a store of its own with the limits of the first, and host functions are called from all of them.
      They end when the command returns or any calls `proc_exit`, when one traps or raises, and with the store. The
      error that ends them is raised from the running call of the first instance, and from every later one.

    One may serve any number of instances; each gets descriptors of its own. It is checked when it is used, by
    `Runtime.link` and `Runtime.instantiate`, which raise `InvalidConfigurationError`.
    """

    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    preopens: Mapping[str, HostPath | Preopen | MemoryTree] = field(default_factory=dict)
    clock: Clock = field(default_factory=SystemClock)
    random: int | Callable[[int], bytes] | None = None
    on_exit: Callable[[int], object] | None = None
    network: Network = field(default_factory=Network)
    sockets: Sequence[socket.socket] = ()
    max_descriptors: int = 1024
    threads: int = 0

    def __post_init__(self) -> None:
        context_module()

    def modules(self, imports: Sequence[ImportType]) -> Sequence[HostModule]:
        """The host functions for a module that imports `imports`; each takes the instance's context first.
        `Runtime.link` calls this.

        Raises `InvalidConfigurationError` for what cannot be used. Opens nothing.
        """
        self.validate()
        host_modules: Callable[..., Sequence[HostModule]] = context_module().host_modules
        return host_modules(imports, self.new_context, self.threads > 0)

    def new_context(self) -> WasiContext:
        """Open what is given here, for one instance. Called for each.

        Raises `InvalidConfigurationError` for what cannot be used, and `OSError` for files that cannot be opened.
        """
        self.validate()
        context: WasiContext = context_module().WasiContext(self)
        return context

    def component_settings(self, http: bool, opened: bool = True) -> ComponentWasi:
        """The same for a component, whose WASI 0.2 is the engine's own. `http` says that it asks for wasi:http.
        `Runtime.link_component` calls this with `opened` false, to check, and again for each instance.

        Raises `UnsupportedFeatureError` naming the field that the engine cannot keep.
        """
        settings: ComponentWasi = late(f"{__package__}.components").component_wasi(self, http, opened)
        return settings

    def validate(self) -> None:
        """Raise `InvalidConfigurationError` for values that cannot be used, without opening anything."""
        if not is_list(self.args):
            raise InvalidConfigurationError(f"WasiConfig.args is a list of arguments, not {shown(self.args)}")
        for each in self.args:
            _check_text("args", each)
        if not isinstance(self.env, Mapping):
            raise InvalidConfigurationError(f"WasiConfig.env is a mapping of names to values, not {shown(self.env)}")
        for name, value in self.env.items():
            _check_text("env", name)
            _check_text("env", value)
            if not name or "=" in name:
                raise InvalidConfigurationError(f"{name!r} is no name for a variable of WasiConfig.env")
        for name, stream in (("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr)):
            if isinstance(stream, MemoryTree):
                raise InvalidConfigurationError(
                    f"WasiConfig.{name} is one stream, not a MemoryTree; a tree is for WasiConfig.preopens"
                )
        if not isinstance(self.preopens, Mapping):
            raise InvalidConfigurationError(
                f"WasiConfig.preopens is a mapping of guest paths to directories, not {shown(self.preopens)}"
            )
        for guest, host in self.preopens.items():
            _check_text("preopens", guest)
            source = host.host if isinstance(host, Preopen) else host
            if not guest or not isinstance(source, (str, os.PathLike, MemoryTree)):
                raise InvalidConfigurationError(
                    f"WasiConfig.preopens[{guest!r}] is a path, a Preopen or a MemoryTree, not {shown(source)}"
                )
            if isinstance(host, Preopen) and host.limit is not None:
                _check_limit(guest, host)
        if not isinstance(self.clock, Clock):
            raise InvalidConfigurationError(f"WasiConfig.clock is a wasi.Clock, not {shown(self.clock)}")
        if not (self.random is None or isinstance(self.random, int) or callable(self.random)):
            raise InvalidConfigurationError(f"WasiConfig.random is a seed or a callable, not {shown(self.random)}")
        if not (self.on_exit is None or callable(self.on_exit)):
            raise InvalidConfigurationError(f"WasiConfig.on_exit is a callable, not {shown(self.on_exit)}")
        if not isinstance(self.network, Network):
            raise InvalidConfigurationError(f"WasiConfig.network is a wasi.Network, not {shown(self.network)}")
        self.network.validate()
        if not is_list(self.sockets):
            raise InvalidConfigurationError(f"WasiConfig.sockets is a list of sockets, not {shown(self.sockets)}")
        for sock in self.sockets:
            if not isinstance(sock, socket.socket):
                raise InvalidConfigurationError(f"WasiConfig.sockets holds sockets that listen, not {shown(sock)}")
        if not isinstance(self.threads, int) or isinstance(self.threads, bool) or not 0 <= self.threads <= MAX_THREADS:
            raise InvalidConfigurationError(
                f"WasiConfig.threads is a number of threads, 0 to {MAX_THREADS}, not {shown(self.threads)}"
            )
        least = 3 + len(self.preopens) + len(self.sockets)
        if not isinstance(self.max_descriptors, int) or not least <= self.max_descriptors <= 1 << 20:
            raise InvalidConfigurationError(
                f"WasiConfig.max_descriptors is {least} (what is open from the start) to {1 << 20}, "
                f"not {shown(self.max_descriptors)}"
            )


def _check_limit(guest: str, given: Preopen) -> None:
    limit = given.limit
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise InvalidConfigurationError(
            f"the limit of WasiConfig.preopens[{guest!r}] is a number of bytes, or None for none; not {shown(limit)}"
        )
    if isinstance(given.host, MemoryTree):
        raise InvalidConfigurationError(
            f"WasiConfig.preopens[{guest!r}] is a MemoryTree, which has a limit of its own: MemoryTree(limit={limit})"
        )


def _check_text(where: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidConfigurationError(f"WasiConfig.{where} holds str, not {shown(value)}")
    if "\0" in value:
        raise InvalidConfigurationError(f"WasiConfig.{where} cannot hold a NUL character: {value!r}")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidConfigurationError(f"WasiConfig.{where} holds text that has no UTF-8: {value!r}") from None

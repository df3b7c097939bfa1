"""Translates a `WasiConfig` for the engine's own WASI 0.2. Fields that the engine cannot keep are refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ..component.wasi import INHERITED, ComponentWasi
from ..errors import InvalidConfigurationError, UnsupportedFeatureError
from ..values import copied_buffer, late, shown
from .clocks import SystemClock
from .memory_tree import MemoryTree
from .stdio import INHERIT, bytes_from, text_writer, wants_text

if TYPE_CHECKING:
    from .config import WasiConfig

__all__ = ["component_wasi"]


def component_wasi(config: WasiConfig, http: bool, opened: bool) -> ComponentWasi:
    """The settings for one instance; `opened` says whether streams are opened, or all is only checked.

    `http` says that the component asks for wasi:http. Raises `UnsupportedFeatureError` naming the field that cannot be
    kept, `InvalidConfigurationError` for invalid values, and `OSError` for files that do not exist.
    """
    config.validate()
    if type(config.clock) is not SystemClock:
        _cannot("clock", "the engine reads the system's clocks")
    if config.random is not None:
        _cannot("random", "the engine takes the system's random numbers")
    if config.on_exit is not None:
        _cannot("on_exit", "what a command exits with is the result of run(), or raised as Exit")
    if config.sockets:
        _cannot("sockets", "the engine passes no sockets of the host's on")
    if config.threads != type(config).threads:
        _cannot("threads", "the engine's WASI starts none")
    if config.max_descriptors != type(config).max_descriptors:
        _cannot("max_descriptors", "the engine does not count what a guest has open")
    return ComponentWasi(
        args=[_text("args", each) for each in config.args],
        env=[(_text("env", name), _text("env", value)) for name, value in config.env.items()],
        stdin=_stdin(config.stdin, opened),
        stdout=_output("stdout", config.stdout, opened),
        stderr=_output("stderr", config.stderr, opened),
        directories=_directories(config),
        network=_network(config, http),
        http=http,
    )


def _cannot(field: str, why: str) -> NoReturn:
    raise UnsupportedFeatureError(
        f"WasiConfig.{field} cannot be kept for a component, whose WASI is the engine's: {why}", "component-model"
    )


def _text(field: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        _cannot(field, f"{value!r} is not Unicode, which WASI 0.2 wants")
    return value


def _network(config: WasiConfig, http: bool) -> bool:
    network = config.network
    everything = list(network.connect) == ["*"] and list(network.listen) == ["*"] and network.resolve
    if everything:
        return True
    if network.connect or network.listen or network.resolve:
        _cannot("network", "it allows every address or none; give Network(['*'], ['*'], resolve=True), or nothing")
    if http:
        _cannot("network", "wasi:http reaches every host or none; give Network(['*'], ['*'], resolve=True)")
    return False


def _stdin(source: Any, opened: bool) -> Any:
    if source is None:
        return b""
    if source is INHERIT:
        return INHERITED
    if isinstance(source, (bytes, bytearray, memoryview)):
        return copied_buffer(source)
    if isinstance(source, os.PathLike):
        if not opened:
            return b""
        with open(source, "rb") as file:
            return file.read()
    read = getattr(source, "read", None)
    if read is None:
        if callable(source):
            _cannot("stdin", "the engine takes all of the input beforehand; give bytes or a file")
        raise InvalidConfigurationError(
            f"WasiConfig.stdin is None, wasi.INHERIT, bytes, a file or a pathlib.Path, not {shown(source)}"
        )
    if not opened:
        return b""
    data = read()
    return data.encode() if isinstance(data, str) else bytes_from("WasiConfig.stdin", data)


def _output(name: str, sink: Any, opened: bool) -> Any:
    if sink is None:
        return None
    if sink is INHERIT:
        return INHERITED
    if isinstance(sink, bytearray):
        return sink.extend
    if isinstance(sink, os.PathLike):
        if opened:
            open(sink, "wb").close()
        return _appending(sink)
    write = getattr(sink, "write", None)
    if write is not None:
        return text_writer(write) if wants_text(sink) else write
    if callable(sink):
        return sink
    raise InvalidConfigurationError(
        f"WasiConfig.{name} is None, wasi.INHERIT, a bytearray, a file, a callable or a pathlib.Path, not {shown(sink)}"
    )


def _appending(path: os.PathLike[str]) -> Callable[[bytes], object]:
    def put(data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)

    return put


def _directories(config: WasiConfig) -> list[tuple[str, str, bool]]:
    Preopen = late(f"{__package__}.config").Preopen
    found = []
    for guest, given in config.preopens.items():
        preopen = given if isinstance(given, Preopen) else Preopen(given)
        if isinstance(preopen.host, MemoryTree):
            _cannot("preopens", f"{guest!r} is a tree in memory, and the engine opens directories of the host")
        if preopen.limit is not None:
            _cannot("preopens", f"{guest!r} has a limit, and the engine does not count what a guest adds")
        host = os.fspath(preopen.host)
        os.listdir(host)  # raises what is wrong with it
        found.append((_text("preopens", host), _text("preopens", guest), not preopen.readonly))
    return found

"""What a guest may use of the system: its limits and its WASI.

`wasi` in a plugin's configuration is a `WasiConfig`, or a mapping:

    args: [main.wasm]                  # the guest's name unless given
    env: {KEY: value}                  # nothing of the host's environment is passed on by itself
    stdout: inherit                    # or discard, log (to pywasmrt.guest.<name>, by lines), or a file's path
    stderr: inherit
    preopens: {/data: ./data}          # or {/data: {path: ./data, readonly: true, limit: 1048576}}
    network: {connect: ["*:4318"], listen: ["127.0.0.1:4318"], resolve: true}    # or true for everything, false

A receiver may by default listen and connect, and an exporter connect, since that is what they are for; a processor has
no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidConfigurationError, UnsupportedFeatureError
from ..types import Limits
from ..values import did_you_mean, late, shown
from .abi import Role
from .config import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from ..protocols import CompiledModule
    from ..types import RuntimeInfo
    from .config import PluginConfig

__all__ = ["instance_limits", "wasi_config"]

_log = logging.getLogger("pywasmrt.plugin")
_PREVIEW1 = "wasi_snapshot_preview1"
_WASI = f"{__package__.rpartition('.')[0]}.wasi"
_KEYS = ("args", "env", "stdout", "stderr", "preopens", "network")
_ANYWHERE = ("*:*",)


def instance_limits(config: PluginConfig, info: RuntimeInfo, role: Role | None) -> Limits:
    """The limits of the guest's store. A receiver runs without end; its short calls are bounded one by one.

    Raises `UnsupportedFeatureError` where the runtime cannot keep a time limit that is not the default.
    """
    timeout = config.timeout
    if timeout is not None and "deadline" not in info.features:
        if timeout != DEFAULT_TIMEOUT:
            raise UnsupportedFeatureError(
                f"timeout: {info.name} cannot stop a guest; choose another runtime, or timeout: null", "deadline"
            )
        _log.warning("calls of %s are not bounded in time: %s cannot stop a guest", config.guest_name(), info.name)
        timeout = None
    return Limits(memory_bytes=config.memory_bytes, timeout=None if role is Role.RECEIVER else timeout)


def wasi_config(config: PluginConfig, module: CompiledModule, role: Role | None) -> Any:
    """The guest's WASI, or None for a module that imports none. Raises `InvalidConfigurationError`."""
    given = config.wasi
    if given is not None and not isinstance(given, Mapping) and not hasattr(given, "new_context"):
        raise InvalidConfigurationError(f"wasi is a mapping or a WasiConfig, not {shown(given)}")
    made = _from_mapping({} if given is None else given, config.guest_name(), role) if _is_mapping(given) else given
    if not any(each.module == _PREVIEW1 for each in module.imports):
        return None
    return made


def _is_mapping(given: object) -> bool:
    return given is None or isinstance(given, Mapping)


def _from_mapping(given: Mapping[str, Any], name: str, role: Role | None) -> Any:
    WasiConfig = late(_WASI).WasiConfig
    for key in given:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS) if isinstance(key, str) else ""
            raise InvalidConfigurationError(f"wasi has no key {shown(key)}, only {', '.join(_KEYS)}{hint}")
    made = WasiConfig(
        args=given.get("args", [name]),
        env=given.get("env") or {},
        stdout=_stream("stdout", given.get("stdout", "inherit"), name),
        stderr=_stream("stderr", given.get("stderr", "inherit"), name),
        preopens={guest: _preopen(guest, host) for guest, host in _mapping("preopens", given.get("preopens")).items()},
        network=_network(given.get("network"), role),
    )
    try:
        made.validate()
    except InvalidConfigurationError as error:
        raise InvalidConfigurationError(f"wasi: {error}") from None
    return made


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidConfigurationError(f"wasi.{key} is a mapping, not {shown(value)}")
    return value


def _stream(key: str, value: object, name: str) -> Any:
    INHERIT = late(_WASI).INHERIT
    if value == "inherit":
        return INHERIT
    if value == "discard" or value is None:
        return None
    if value == "log":
        return _logged(name, logging.INFO if key == "stdout" else logging.WARNING)
    if isinstance(value, str):
        return Path(value)
    if callable(value) or hasattr(value, "write") or isinstance(value, (bytearray, Path)):
        return value
    raise InvalidConfigurationError(f"wasi.{key} is inherit, discard, log or the path of a file, not {shown(value)}")


def _logged(name: str, level: int) -> Callable[[bytes], None]:
    """A callable that takes a stream's bytes and logs its lines; an unfinished line is kept until it ends."""
    logger = logging.getLogger(f"pywasmrt.guest.{name}")
    kept = bytearray()

    def write(data: bytes) -> None:
        kept.extend(data)
        *lines, rest = bytes(kept).split(b"\n")
        kept[:] = rest
        if len(kept) > 65536:
            lines.append(bytes(kept))
            kept.clear()
        for line in lines:
            logger.log(level, "%s", line.decode("utf-8", "replace"))

    return write


def _preopen(guest: str, host: object) -> Any:
    Preopen = late(_WASI).Preopen
    if isinstance(host, Mapping):
        unknown = set(host) - {"path", "readonly", "limit"}
        if unknown or "path" not in host or not isinstance(host.get("readonly", False), bool):
            raise InvalidConfigurationError(
                f"wasi.preopens[{guest!r}] is a path, or a mapping with path, readonly and limit; not {shown(host)}"
            )
        return Preopen(host["path"], host.get("readonly", False), host.get("limit"))
    return host


def _network(given: object, role: Role | None) -> Any:
    Network = late(_WASI).Network
    if given is None:
        reaches = role in (Role.RECEIVER, Role.EXPORTER)
        listens = role is Role.RECEIVER
        return Network(_ANYWHERE if reaches else (), _ANYWHERE if listens else (), reaches)
    if isinstance(given, bool):
        return Network(("*",), ("*",), True) if given else Network()
    if isinstance(given, Mapping):
        for key in given:
            if key not in ("connect", "listen", "resolve"):
                raise InvalidConfigurationError(f"wasi.network has no key {shown(key)}, only connect, listen, resolve")
        lists = [given.get(key) or () for key in ("connect", "listen")]
        resolve = given.get("resolve", False)
        if any(isinstance(each, str) or not isinstance(each, (list, tuple)) for each in lists):
            raise InvalidConfigurationError("wasi.network.connect and listen are lists of address patterns")
        if not isinstance(resolve, bool):
            raise InvalidConfigurationError(f"wasi.network.resolve is true or false, not {shown(resolve)}")
        return Network(tuple(lists[0]), tuple(lists[1]), resolve)
    raise InvalidConfigurationError(f"wasi.network is true, false or a mapping, not {shown(given)}")

"""The configuration of a plugin: which module, on which runtime, with which settings.

    path: ./main.wasm
    plugin_config: {...}               # any mapping, handed to the guest as JSON
    runtime_config:                    # or `runtime`, as upstream's main branch spells it
      type: wasmtime                   # a name that list_runtimes() tells, or auto
      mode: compiled                   # instead of a type: compiled or interpreter
      wasmtime: {strategy: cranelift}  # options of a runtime by its name; those of another one have no effect
      instances: 2                     # of the guest, so that calls of as many threads run at once; not for receivers
    name: attributes                   # what logs call the guest; the file's name unless given
    timeout: 30                        # seconds for each call; null for no limit
    memory_bytes: 536870912            # the most that the guest's memory may grow to; null for no limit
    cache: true                        # keep compiled modules on disk; a folder's path puts them there
    wasi: {...}                        # what the guest may use of the system: see `pywasmrt.plugin.system`

Every key but `path` has a default; unknown keys are errors.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ..errors import InvalidConfigurationError
from ..registry import list_runtimes
from ..types import RuntimeConfig
from ..values import can_be_a_path, did_you_mean, late, shown

__all__ = ["DEFAULT_MEMORY_BYTES", "DEFAULT_TIMEOUT", "MAX_CONFIG", "PluginConfig", "RuntimeMode", "RuntimeType"]

DEFAULT_TIMEOUT = 30.0
MAX_CONFIG = 1 << 24
"""What `plugin_config` may hold: its characters, and 16 for each value, all counted as often as they are written."""
_VALUE = 16
DEFAULT_MEMORY_BYTES = 512 * 1024 * 1024
MAX_INSTANCES = 1024
"""More instances of one guest than this are taken for a mistake: each is a memory, and starts with the plugin."""


class RuntimeType(str, enum.Enum):
    """The runtimes that a configuration is likely to name. Any other registered name serves as well."""

    AUTO = "auto"
    WASMTIME = "wasmtime"
    WASMTIME_PY = "wasmtime-py"
    WASM3 = "wasm3"
    WAZERO = "wazero"  # upstream's; here where it was built

    __str__ = str.__str__


class RuntimeMode(str, enum.Enum):
    """How upstream's main branch chooses: by how guests are executed."""

    COMPILED = "compiled"
    INTERPRETER = "interpreter"

    __str__ = str.__str__


_SWITCHES = ("interruptible", "trap_on_grow_failure")
_OWN_KEYS = ("type", "mode", "features", "options", "instances", *_SWITCHES)
_MODES = {RuntimeMode.COMPILED: RuntimeType.AUTO, RuntimeMode.INTERPRETER: RuntimeType.WASM3}
_KEYS = ("path", "plugin_config", "runtime_config", "runtime", "name", "timeout", "memory_bytes", "cache", "wasi")


@dataclass(frozen=True)
class PluginConfig:
    """The configuration of a plugin. Building one acquires nothing; `validate` checks it, and `WasmPlugin` does so.

    `path` is that of the module's file, `.wat` for the text format. `plugin_config` is handed to the guest as JSON.
    `runtime_config` chooses the runtime and the number of instances: a mapping as in the module's docstring, or a
    `RuntimeConfig`, for one instance. `timeout`, in
    seconds, bounds each call, a receiver's running time excepted. `memory_bytes` bounds the guest's memory. `cache`
    keeps compiled modules: True in the user's cache folder, a path there, False nowhere. `wasi` is a mapping of what
    the guest may use of the system, or a `WasiConfig`. None for `timeout` and `memory_bytes` means no limit.
    """

    path: Union[str, os.PathLike[str]]
    plugin_config: Mapping[str, Any] = field(default_factory=dict)
    runtime_config: Union[RuntimeConfig, Mapping[str, Any]] = field(default_factory=dict)
    name: Union[str, None] = None
    timeout: Union[float, None] = DEFAULT_TIMEOUT
    memory_bytes: Union[int, None] = DEFAULT_MEMORY_BYTES
    cache: Union[bool, str, os.PathLike[str]] = True
    wasi: Any = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> PluginConfig:
        """Read a configuration. Raises `InvalidConfigurationError`, naming the key and what is allowed."""
        if not isinstance(mapping, Mapping):
            hint = "; the guest's file goes under its key path" if isinstance(mapping, (str, os.PathLike)) else ""
            raise InvalidConfigurationError(f"the configuration of a plugin is a mapping, not {shown(mapping)}{hint}")
        for key in mapping:
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS) if isinstance(key, str) else ""
                raise InvalidConfigurationError(
                    f"a plugin's configuration has no key {shown(key)}, only {', '.join(_KEYS)}{hint}"
                )
        if "runtime_config" in mapping and "runtime" in mapping:
            raise InvalidConfigurationError("runtime and runtime_config are two spellings of one key: give one of them")
        if "path" not in mapping:
            raise InvalidConfigurationError("path is required: the file of the guest's module")
        given = {key: mapping[key] for key in mapping if key not in ("runtime", "runtime_config")}
        runtime = mapping.get("runtime_config", mapping.get("runtime"))
        for key in ("plugin_config", "cache", "wasi"):
            if given.get(key, ...) is None:  # `key:` in YAML, with nothing behind it
                del given[key]
        config = cls(**given, **({} if runtime is None else {"runtime_config": runtime}))
        config.validate()
        return config

    @classmethod
    def from_yaml(cls, text: str) -> PluginConfig:
        """Read a configuration in YAML (needs the package PyYAML, the extra `yaml`).

        Unlike PyYAML's own habit, `yes`, `on` and `12:30` are read as the strings they look like, as in YAML 1.2.
        Raises `InvalidConfigurationError` for text that is not YAML, and as `from_mapping` does.
        """
        return cls.from_mapping(late(f"{__package__}._yaml").load(text))

    def validate(self) -> None:
        """Raise `InvalidConfigurationError`, naming the key and what is allowed, unless every value can be used."""
        if not isinstance(self.path, (str, os.PathLike)) or not os.fspath(self.path):
            raise InvalidConfigurationError(f"path is the file of the guest's module, not {shown(self.path)}")
        if not can_be_a_path(self.path):
            raise InvalidConfigurationError(
                f"path is the file of the guest's module, and no file can have the name {shown(self.path)}"
            )
        self.plugin_config_json()
        self.runtime()
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise InvalidConfigurationError(f"name is a str that is not empty, not {shown(self.name)}")
        _check_number("timeout", self.timeout, (int, float), "a number of seconds above 0", 1e9)
        _check_number("memory_bytes", self.memory_bytes, (int,), "a number of bytes above 0", 1 << 63)
        if not isinstance(self.cache, (bool, str, os.PathLike)):
            raise InvalidConfigurationError(f"cache is true, false, or the path of a folder, not {shown(self.cache)}")

    def plugin_config_json(self) -> bytes:
        """What the guest reads: `plugin_config` as JSON in UTF-8."""
        if not isinstance(self.plugin_config, Mapping):
            raise InvalidConfigurationError(f"plugin_config is a mapping, not {shown(self.plugin_config)}")
        try:
            text = json.dumps(
                _Plain().of(self.plugin_config), ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            return text.encode()
        except UnicodeEncodeError as error:
            raise InvalidConfigurationError(
                f"plugin_config cannot be written as JSON: no UTF-8 has the character {text[error.start]!r} in it"
            ) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidConfigurationError(f"plugin_config cannot be written as JSON: {error}") from None

    def runtime(self) -> RuntimeConfig:
        """The runtime's configuration. Raises `InvalidConfigurationError`, listing the runtimes that there are."""
        given = self.runtime_config
        if isinstance(given, RuntimeConfig):
            _check_type(given.type)
            return given
        if not isinstance(given, Mapping):
            raise InvalidConfigurationError(f"runtime_config is a mapping, not {shown(given)}")
        return _runtime_config(given)

    def instances(self) -> int:
        """How many instances of the guest there are: `runtime_config.instances`, or one."""
        given = self.runtime_config
        return given.get("instances", 1) if isinstance(given, Mapping) else 1

    def guest_name(self) -> str:
        """What logs call the guest."""
        if self.name is not None:
            return self.name
        stem = os.path.splitext(os.path.basename(os.fspath(self.path)))[0]
        # Upstream's guests are all called main.wasm, in a folder that tells them apart.
        folder = os.path.basename(os.path.dirname(os.path.abspath(os.fspath(self.path))))
        return folder if stem == "main" and folder else stem or "guest"


class _Plain:
    """Turns mappings into dictionaries for the JSON encoder, and counts the values to write: ten lists may hold the
    same list, and ten more may hold each of those.
    """

    def __init__(self) -> None:
        self._left = MAX_CONFIG

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError(f"it is larger than {MAX_CONFIG} bytes, where each value counts for {_VALUE}")

    def of(self, value: Any) -> Any:
        self._take(_VALUE + len(value) if isinstance(value, str) else _VALUE)
        if isinstance(value, Mapping):
            made = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"the key {shown(key)} is no str")
                self._take(len(key))
                made[key] = self.of(item)
            return made
        if isinstance(value, (list, tuple)):
            return [self.of(item) for item in value]
        return value


def _check_number(key: str, value: object, types: tuple[type, ...], wanted: str, limit: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, types) or not 0 < value < limit:  # type: ignore[operator]
        raise InvalidConfigurationError(f"{key} is {wanted}, or null for no limit; not {shown(value)}")


_available: set[str] = {RuntimeType.AUTO.value}  # seen in this process: looking for runtimes takes milliseconds


def _runtimes() -> dict[str, str | None]:
    """The runtimes there are, each with the reason why it is not available."""
    found = {info.name: info.reason if not info.available else None for info in list_runtimes()}
    _available.update(name for name, reason in found.items() if reason is None)
    return found


def _check_type(type: object) -> None:
    if isinstance(type, str) and str(type) in _available:
        return
    runtimes = _runtimes()
    available = [RuntimeType.AUTO.value, *(name for name, reason in runtimes.items() if reason is None)]
    if not isinstance(type, str):
        raise InvalidConfigurationError(f"runtime_config.type is one of {', '.join(available)}, not {shown(type)}")
    name = str(type)
    if name in available:
        return
    reason = runtimes.get(name)
    why = f" ({reason})" if reason else did_you_mean(name, available)
    raise InvalidConfigurationError(
        f"runtime_config.type: the runtime {name!r} is not installed; there are {', '.join(available)}{why}"
    )


def _runtime_config(given: Mapping[str, Any]) -> RuntimeConfig:
    sections = {*_available, RuntimeType.WAZERO.value}
    if not sections.union(_OWN_KEYS).issuperset(given):
        sections.update(_runtimes())
    sections.discard(RuntimeType.AUTO.value)
    keys = (*_OWN_KEYS, *sorted(sections))
    for key, value in given.items():
        if key not in keys:
            hint = did_you_mean(key, keys) if isinstance(key, str) else ""
            raise InvalidConfigurationError(f"runtime_config has no key {shown(key)}, only {', '.join(keys)}{hint}")
        if (key in sections or key == "options") and not isinstance(value, (Mapping, type(None))):
            raise InvalidConfigurationError(f"runtime_config.{key} is a mapping of options, not {shown(value)}")
    if "type" in given and "mode" in given:
        raise InvalidConfigurationError("runtime_config has a type and a mode: give one of them")
    instances = given.get("instances", 1)
    if type(instances) is not int or not 0 < instances <= MAX_INSTANCES:
        raise InvalidConfigurationError(
            f"runtime_config.instances is a number from 1 to {MAX_INSTANCES}, not {shown(instances)}"
        )
    wazero = given.get(RuntimeType.WAZERO.value) or {}
    if RuntimeType.WAZERO.value not in _available:
        for key in wazero:
            if key != "mode":
                raise InvalidConfigurationError(f"runtime_config.wazero has no key {shown(key)}, only mode")
        if "mode" in wazero:
            _mode(wazero["mode"], "runtime_config.wazero.mode")
    chosen: Any = given.get("type", RuntimeType.AUTO.value)
    if "mode" in given:
        chosen = _MODES[_mode(given["mode"], "runtime_config.mode")].value
    _check_type(chosen)
    name = str(chosen)
    options = dict(given.get("options") or {})
    own = given.get("wasmtime" if name == RuntimeType.AUTO.value else name) or {}
    twice = options.keys() & own.keys()
    if twice:
        raise InvalidConfigurationError(
            f"runtime_config gives the option {min(map(str, twice))!r} twice: under options and under its name"
        )
    options.update(own)
    features = given.get("features")
    listed = isinstance(features, (list, tuple, set, frozenset)) and all(isinstance(each, str) for each in features)
    if features is not None and not listed:
        raise InvalidConfigurationError(f"runtime_config.features is a list of names, not {shown(features)}")
    switches = {each: given[each] for each in _SWITCHES if each in given}
    for each, value in switches.items():
        if not isinstance(value, bool):
            raise InvalidConfigurationError(f"runtime_config.{each} is true or false, not {shown(value)}")
    return RuntimeConfig(name, None if features is None else frozenset(features), options, **switches)


def _mode(mode: object, key: str) -> RuntimeMode:
    try:
        return RuntimeMode(mode)
    except ValueError:
        raise InvalidConfigurationError(
            f"{key} is one of {', '.join(each.value for each in RuntimeMode)}, not {shown(mode)}"
        ) from None

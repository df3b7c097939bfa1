"""Finding runtimes by name: the built-in ones, those registered by the program, and those of installed packages.

A runtime stands behind a factory: a callable that takes a `RuntimeConfig` and returns a `Runtime`, with an optional
attribute `describe`, a callable that returns the `RuntimeInfo` without loading the engine. Packages offer factories as
entry points in the group `pywasmrt.runtimes`; the environment variable `PYWASMRT_NO_PLUGINS=1` leaves them out. Asking
for a name that two packages offer is an error; a name that is already taken is skipped, which is logged.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Union
from weakref import WeakValueDictionary

from ._version import __version__
from .errors import (
    ClosedError,
    InvalidConfigurationError,
    ModuleCompileError,
    RuntimeNotFoundError,
    UnsupportedFeatureError,
    UnsupportedRuntimeTypeError,
)
from .types import Pool, RuntimeConfig, RuntimeInfo
from .values import did_you_mean, ended, late, shown

if TYPE_CHECKING:
    from .protocols import Runtime

__all__ = ["RuntimeFactory", "list_runtimes", "new_runtime", "register_runtime"]

RuntimeFactory = Callable[[RuntimeConfig], "Runtime"]
"""Takes a `RuntimeConfig`, returns a `Runtime`; may have an attribute `describe` that returns the `RuntimeInfo`."""

_AUTO = ("wasmtime", "wasmtime-py")  # "auto" takes the first of these that is available
_GROUP = "pywasmrt.runtimes"
_SWITCHES = ("interruptible", "trap_on_grow_failure")
_CONFIG_KEYS = ("type", "features", "options", *_SWITCHES, "cache", "pool")

_log = logging.getLogger(__name__)


class _Entry:
    """One runtime that can be asked for."""

    def __init__(self, name: str, factory: RuntimeFactory | None = None) -> None:
        self.name = name
        self._factory = factory

    def factory(self) -> RuntimeFactory:
        """The factory. Raises whatever importing it raises."""
        assert self._factory is not None
        return self._factory

    def describe(self) -> RuntimeInfo:
        """What `describe` tells; a failure becomes the reason why the runtime is not available."""
        try:
            describe = getattr(self.factory(), "describe", None)
            if describe is None:
                return RuntimeInfo(self.name, True)
            info = describe()
            if not isinstance(info, RuntimeInfo):
                raise TypeError(f"its describe() gave {shown(info)} instead of a RuntimeInfo")
            return info if info.name == self.name else replace(info, name=self.name)
        except Exception as error:
            return _unavailable(self.name, error)


def _unavailable(name: str, error: Exception) -> RuntimeInfo:
    reason = str(error) if isinstance(error, ClosedError) else f"{type(error).__name__}: {error}"
    return RuntimeInfo(name, False, reason=reason)


class _BuiltIn(_Entry):
    """A runtime of this package: a module under `pywasmrt.runtimes` with `create(config)` and `describe()`."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(name)
        self._name_of_module = module
        self._imported: Any = None

    def _module(self) -> Any:
        # Kept, as import_module takes the module's lock each time before Python 3.11. A signal handler that comes while
        # its own thread takes the lock, or lets it go, would wait for it without an end.
        if self._imported is None:
            self._imported = late(f"{__package__}.runtimes.{self._name_of_module}")
        return self._imported

    def factory(self) -> RuntimeFactory:
        create: RuntimeFactory = self._module().create
        return create

    def describe(self) -> RuntimeInfo:
        try:
            info: RuntimeInfo = self._module().describe()
            return info
        except Exception as error:
            return _unavailable(self.name, error)


class _Plugin(_Entry):
    """A runtime of an installed package, imported when it is asked for."""

    def __init__(self, point: Any) -> None:
        super().__init__(point.name)
        self._point = point
        self._others: set[str] = set()

    def also(self, point: Any) -> None:
        """Another entry point has the same name. One that was merely found twice has the same value."""
        if point.value != self._point.value:
            self._others.add(point.value)

    def factory(self) -> RuntimeFactory:
        if self._others:
            offered = ", ".join(sorted({self._point.value, *self._others}))
            raise InvalidConfigurationError(
                f"several packages offer a runtime {self.name!r}: {offered}; uninstall all but one of them"
            )
        if self._factory is None:
            loaded = self._load()
            if not callable(loaded):
                raise UnsupportedRuntimeTypeError(
                    f"the entry point {self.name!r} ({self._point.value}) is {shown(loaded)}, not a factory of runtimes"
                )
            self._factory = loaded
        return self._factory

    def _load(self) -> Any:
        try:
            return self._point.load()
        except ImportError:
            if sys.meta_path is not None:
                raise
            raise ended(self._point.value) from None


_BUILT_IN: dict[str, _Entry] = {
    name: _BuiltIn(name, module)
    for name, module in (
        ("wasmtime", "native.wasmtime"),
        ("wasm3", "native.wasm3"),
        ("wasmtime-py", "wasmtime_py.adapter"),
        ("wazero", "native.wazero"),
    )
}

# Re-entrant, as each lock here: a signal handler or a destructor may ask for a runtime while its own thread does.
_lock = threading.RLock()
_restoring = threading.RLock()  # held while a module is unpickled, which signal handlers may do too


def _renew_locks() -> None:
    global _lock, _restoring
    _lock, _restoring = threading.RLock(), threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)  # a thread of the parent may have held it
_registered: dict[str, _Entry] = {}
_plugins: dict[str, _Plugin] | None = None  # None: not looked for yet


def _find_plugins() -> dict[str, _Plugin]:
    if os.environ.get("PYWASMRT_NO_PLUGINS", "") not in ("", "0"):
        return {}
    found: dict[str, _Plugin] = {}
    for point in late("importlib.metadata").entry_points(group=_GROUP):
        if point.name == "auto" or point.name in _BUILT_IN:
            _log.warning("the entry point %s = %s is passed over: the name is taken", point.name, point.value)
        elif point.name in found:
            found[point.name].also(point)
        else:
            found[point.name] = _Plugin(point)
    return found


def _entries() -> dict[str, _Entry]:
    """Every runtime by name."""
    global _plugins
    with _lock:
        if _plugins is None:
            _plugins = _find_plugins()
        return {**_BUILT_IN, **_plugins, **_registered}


def list_runtimes() -> list[RuntimeInfo]:
    """Describe every runtime: the built-in ones first, then plug-ins, then registered ones. Loads no engine."""
    return [entry.describe() for entry in _entries().values()]


def register_runtime(name: str, factory: RuntimeFactory) -> None:
    """Make `factory` known as `name`, for this process.

    Raises `InvalidConfigurationError` if the name is taken, and `UnsupportedRuntimeTypeError` if `factory` is not
    callable.
    """
    if not isinstance(name, str) or not name:
        raise UnsupportedRuntimeTypeError(f"the name of a runtime is a str, not {shown(name)}")
    if not callable(factory):
        raise UnsupportedRuntimeTypeError(
            "a runtime is registered by a callable that takes a RuntimeConfig and returns a Runtime, not by"
            f" {shown(factory)}"
        )
    known = _entries()
    with _lock:
        if name == "auto" or name in known or name in _registered:
            raise InvalidConfigurationError(f"the runtime {name!r} is there already; choose another name")
        _registered[name] = _Entry(name, factory)


def new_runtime(
    name: Union[str, RuntimeConfig, Mapping[str, Any]] = "auto",
    config: Union[RuntimeConfig, Mapping[str, Any], None] = None,
) -> Runtime:
    """Make a runtime.

    `name` is one of `list_runtimes`, "auto", or itself a configuration with a type. `config` is a `RuntimeConfig`, or a
    mapping with the keys `type`, `features`, `options`, `interruptible`, `trap_on_grow_failure`, `cache` and `pool`, or
    with the runtime's name for its options:

        new_runtime("wasmtime")
        new_runtime({"type": "wasmtime", "wasmtime": {"strategy": "cranelift"}})

    Raises `RuntimeNotFoundError`, with the reason, where there is no such runtime here; `InvalidConfigurationError`;
    `UnsupportedRuntimeTypeError` where what was named or registered is not a runtime; and `UnsupportedFeatureError` for
    `trap_on_grow_failure` on a runtime that cannot do it.
    """
    if not isinstance(name, str):
        if not isinstance(name, (RuntimeConfig, Mapping)):
            raise UnsupportedRuntimeTypeError(
                f"a runtime is asked for by name or by a configuration, not by {shown(name)}"
            )
        if config is not None:
            raise InvalidConfigurationError("the configuration was given twice: pass new_runtime(name, config)")
        config = name
        name = "auto"
    entries = _entries()
    settings = _as_config(config, name, entries)
    if name != "auto" and settings.type not in ("auto", name):
        raise InvalidConfigurationError(
            f"the runtime {name!r} was asked for with a configuration for {settings.type!r}"
        )
    asked = name if name != "auto" else settings.type
    if not isinstance(asked, str):
        raise InvalidConfigurationError(f"the type of a runtime is its name, not {shown(asked)}")
    entry = _auto(entries) if asked == "auto" else entries.get(asked)
    if entry is None:
        raise RuntimeNotFoundError(
            f"there is no runtime {asked!r}, only {', '.join(entries)}{did_you_mean(asked, entries)}"
        )
    runtime: Runtime = _create(entry, replace(settings, type=entry.name))
    return runtime


def _auto(entries: Mapping[str, _Entry]) -> _Entry:
    reasons = []
    for name in _AUTO:
        info = entries[name].describe()
        if info.available:
            return entries[name]
        reasons.append(f"\n  {name}: {info.reason}")
    raise RuntimeNotFoundError(f"no runtime is available; pip install wasmtime gives one{''.join(reasons)}")


def _create(entry: _Entry, config: RuntimeConfig) -> Any:
    try:
        factory = entry.factory()
    except (ClosedError, InvalidConfigurationError, UnsupportedRuntimeTypeError):
        raise
    except Exception as error:
        raise RuntimeNotFoundError(
            f"the runtime {entry.name!r} is not available: {type(error).__name__}: {error}"
        ) from error
    if isinstance(entry, _BuiltIn):
        info = entry.describe()
        if not info.available:
            raise RuntimeNotFoundError(f"the runtime {entry.name!r} is not available: {info.reason}")
    try:
        runtime: Any = factory(config)
    except ImportError as error:
        if sys.meta_path is None:
            raise ended(f"what the runtime {entry.name!r} needs") from None
        raise RuntimeNotFoundError(f"the runtime {entry.name!r} is not available: {error}") from error
    if not isinstance(runtime, late(f"{__package__}.protocols").Runtime):
        raise UnsupportedRuntimeTypeError(f"the factory of {entry.name!r} gave {shown(runtime)}, which is no Runtime")
    if config.trap_on_grow_failure and "growth-traps" not in runtime.info.features:
        runtime.close()
        raise UnsupportedFeatureError(f"{entry.name} has no trap_on_grow_failure", "growth-traps")
    if config.pool is not None and "pooling" not in runtime.info.features:
        runtime.close()
        raise UnsupportedFeatureError(f"{entry.name} has no pool for instances; leave pool out", "pooling")
    if isinstance(runtime, late(f"{__package__}.runtimes.base.runtime").BaseRuntime):
        runtime.configured(config, _restore)
    return runtime


# Unpickled modules and components, keyed by their configuration and content, so that a process compiles each once.
# Nothing else here keeps their runtimes alive.
_MOST_RESTORED = 32
_restored: dict[tuple[str, bytes], Any] = {}
_restored_runtimes: WeakValueDictionary[str, Any] = WeakValueDictionary()


def _restore(
    form: int, version: str, engine: str, config: RuntimeConfig, compiled: bool, data: bytes, component: bool = False
) -> Any:
    """Unpickle a module or component (`BaseRuntime.recipe`) from its bytes or compiled code and its configuration."""
    if form != late(f"{__package__}.runtimes.base.runtime").PICKLES:
        raise ModuleCompileError(
            f"the module was pickled by pywasmrt {version}, in a form that this version, {__version__}, does not know; "
            "use the same version in all processes"
        )
    settings = _settings_key(config)
    key = settings, late("hashlib").sha256(data).digest()
    with _restoring:
        module = _restored.pop(key, None)
        if module is None or module.closed:
            runtime = _restored_runtimes.get(settings)
            if runtime is None or runtime.closed:
                runtime = _restored_runtimes[settings] = new_runtime(config)
            if compiled:
                module = _loaded(runtime, version, engine, data, component)
            else:
                module = runtime.compile_component(data) if component else runtime.compile(data)
        _restored[key] = module  # last in order, as the most recently used
        if len(_restored) > _MOST_RESTORED:
            del _restored[next(iter(_restored))]
    return module


def _settings_key(config: RuntimeConfig) -> str:
    values = {**vars(config), "options": sorted(config.options.items())}
    values["features"] = None if config.features is None else sorted(config.features)
    return repr(values)


def _loaded(runtime: Any, version: str, engine: str, data: bytes, component: bool) -> Any:
    try:
        return runtime.deserialize_component(data) if component else runtime.deserialize(data)
    except ModuleCompileError as error:
        raise ModuleCompileError(
            f"the module was pickled by pywasmrt {version} as compiled code for {engine}, and cannot be loaded here: "
            f"{error}"
        ) from None


# Free them before the interpreter is torn down, since their engines still need it.
atexit.register(_restored.clear)


def _as_config(config: object, name: str, entries: Mapping[str, _Entry]) -> RuntimeConfig:
    if config is None:
        return RuntimeConfig()
    if isinstance(config, RuntimeConfig):
        return _checked(config)
    if not isinstance(config, Mapping):
        raise InvalidConfigurationError(f"a configuration is a RuntimeConfig or a mapping, not {shown(config)}")
    type = config.get("type", "auto")
    chosen = type if name == "auto" else name
    keys = (*_CONFIG_KEYS, *([chosen] if isinstance(chosen, str) and chosen in entries else []))
    for key in config:
        if key not in keys:
            hint = "; options of a runtime need its name as the type" if key in entries else ""
            raise InvalidConfigurationError(f"a configuration has no {shown(key)}, only {', '.join(keys)}{hint}")
    options: dict[str, Any] = {}
    for key in ("options", chosen):
        given = config.get(key, {}) if isinstance(key, str) else {}
        if not isinstance(given, Mapping):
            raise InvalidConfigurationError(f"{key!r} is a mapping of options, not {shown(given)}")
        twice = options.keys() & given.keys()
        if twice:
            raise InvalidConfigurationError(
                f"the option {min(twice)!r} is given twice, under 'options' and under {chosen!r}"
            )
        options.update(given)
    switches = {name: config[name] for name in (*_SWITCHES, "cache", "pool") if name in config}
    return _checked(RuntimeConfig(type, config.get("features"), options, **switches))


def _checked(config: RuntimeConfig) -> RuntimeConfig:
    if not isinstance(config.options, Mapping) or not all(isinstance(key, str) for key in config.options):
        raise InvalidConfigurationError(f"options is a mapping of names to values, not {shown(config.options)}")
    for name in _SWITCHES:
        if not isinstance(getattr(config, name), bool):
            raise InvalidConfigurationError(f"{name} is a bool, not {shown(getattr(config, name))}")
    if config.cache is not None:
        late(f"{__package__}.runtimes.base.cache").cache_of(config.cache)  # raises if it is wrong
    if config.pool is not None and not isinstance(config.pool, Pool):
        raise InvalidConfigurationError(f"pool is a Pool or None, not {shown(config.pool)}")
    if config.features is None:
        return config
    adapters = late(f"{__package__}.runtimes.base.features")  # an adapter is imported next anyway
    return replace(config, features=adapters.feature_names(config.features))  # as a frozenset, from any iterable

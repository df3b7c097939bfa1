"""The common base of processors, exporters and receivers: the plugin, the signals, and the counting."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidConfigurationError
from ..plugin.abi import CALLS, SIGNALS, Role
from ..plugin.config import DEFAULT_TIMEOUT, PluginConfig
from ..plugin.errors import PluginError
from ..plugin.forking import renew_after_fork
from ..plugin.plugin import WasmPlugin
from ..plugin.stack import Stack
from ..types import expect
from ..values import did_you_mean, shown
from .errors import TelemetryError, status_error, telemetry_error
from .wire import items_in

__all__ = ["Counters", "WasmComponent"]

Payload = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Counters:
    """How many items (spans, metrics, log records) and batches of one signal a component handled, by outcome. A
    payload that is not OTLP counts as a batch without items.
    """

    succeeded_items: int = 0
    succeeded_batches: int = 0
    failed_items: int = 0
    failed_batches: int = 0

    def __post_init__(self) -> None:
        expect("Counters", "an int", int, **vars(self))

    @property
    def accepted_items(self) -> int:
        """All items except those in progress."""
        return self.succeeded_items + self.failed_items

    @property
    def accepted_batches(self) -> int:
        """All batches except those in progress."""
        return self.succeeded_batches + self.failed_batches


class Counting:
    """The counters of one signal, to be changed by any thread."""

    __slots__ = ("__weakref__", "_lock", "_values")

    def __init__(self) -> None:
        self._values = [0, 0, 0, 0]  # the fields of Counters
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Renew the lock: a thread of the parent may have held it at the fork."""
        self._lock = threading.RLock()  # re-entrant: a signal handler may count as well

    def succeed(self, items: int) -> None:
        values = self._values
        with self._lock:
            values[0] += items
            values[1] += 1

    def fail(self, items: int) -> None:
        values = self._values
        with self._lock:
            values[2] += items
            values[3] += 1

    def read(self) -> Counters:
        with self._lock:
            return Counters(*self._values)


def items_of(data: Payload) -> int:
    """How many items a payload holds; 0 if it is not OTLP."""
    try:
        return items_in(data)
    except ValueError:
        return 0


class WasmComponent:
    """One guest in one role. `signals` are those it handles here."""

    _role: Role

    def __init__(self, config: PluginConfig | Mapping[str, Any], signals: Any = None) -> None:
        asked = _checked_signals(signals)
        names = {call.signal: call.name for call in CALLS.values() if call.role is self._role}
        required = [names[signal] for signal in asked or ()]
        self.plugin = WasmPlugin(config, required, role=self._role)
        try:
            supported = self.plugin.supported_telemetry.signals
            missing = [signal for signal in asked or () if signal not in supported]
            if missing:
                raise InvalidConfigurationError(
                    f"the guest {self.plugin.name} does not support {', '.join(missing)}, only"
                    f" {', '.join(supported) or 'nothing'}"
                )
            self.signals: tuple[str, ...] = asked if asked is not None else self._offered(supported, names)
            if not self.signals:
                raise PluginError(
                    f"the guest {self.plugin.name} is no {self._role.value}: it says that it supports"
                    f" {', '.join(supported) or 'nothing'}, and exports none of {', '.join(self._exported(names))}"
                )
        except BaseException:
            self.plugin.shutdown()
            raise
        self.name = self.plugin.name
        self._names = names
        self._counting = {signal: Counting() for signal in SIGNALS}
        self._handled = {
            signal: (names[signal], f"current_{signal}", self._counting[signal]) for signal in self.signals
        }

    def _exported(self, names: Mapping[str, str]) -> list[str]:
        return [self.plugin.dialect.exported(name) for name in names.values()]

    def _offered(self, supported: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
        """The signals that the guest says it supports and has the function of this role for."""
        return tuple(signal for signal in supported if self.plugin.exports(names[signal]))

    def counters(self, signal: str) -> Counters:
        """How many items and batches of one signal succeeded and failed so far."""
        return self._counting[_checked_signals((signal,))[0]].read()  # type: ignore[index]

    def shutdown(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait for the batch in flight, for `timeout` seconds at most, and close the guest. Idempotent."""
        self.plugin.shutdown(timeout)

    @property
    def closed(self) -> bool:
        """Whether the component was shut down."""
        return self.plugin.closed

    def _call(self, signal: str, data: Payload) -> Stack:
        """Hand one batch to the guest. Raises `TelemetryError`, and `TypeError` if `data` is not bytes-like."""
        if type(data) is not bytes:
            data = _checked_payload(data)
        try:
            name, attribute, counting = self._handled[signal]
        except KeyError:
            handles = f"the guest handles {', '.join(self.signals)}, not {signal}"
            raise TelemetryError(self.name, signal, None, handles, True) from None
        try:
            items = items_in(data)
        except ValueError:  # not OTLP: the guest decides what to do with it
            items = 0
        stack = Stack()
        setattr(stack, attribute, data)
        try:
            status = self.plugin.process_function_call(name, stack)
        except Exception as error:
            counting.fail(items)
            raise telemetry_error(self.name, signal, error) from error
        except BaseException:
            counting.fail(items)
            raise
        if status:
            counting.fail(items)
            raise status_error(self.name, signal, status, stack.status_reason)
        counting.succeed(items)
        return stack

    def __enter__(self) -> Any:
        self.plugin.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({', '.join(self.signals)}){' closed' if self.closed else ''}>"


def _checked_payload(data: object) -> bytes | bytearray:
    if isinstance(data, (bytes, bytearray)):
        return data
    if isinstance(data, memoryview):
        return bytes(data)  # its length is not always in bytes
    raise TypeError(f"telemetry is the bytes of an OTLP payload, not {shown(data)}")


def _checked_signals(signals: Any) -> tuple[str, ...] | None:
    if signals is None:
        return None
    if not isinstance(signals, Iterable) or isinstance(signals, (bytes, bytearray, memoryview)):
        raise InvalidConfigurationError(f"signals is a list of {', '.join(SIGNALS)}, or None; not {shown(signals)}")
    listed = (signals,) if isinstance(signals, str) else tuple(signals)
    for signal in listed:
        if signal not in SIGNALS:
            hint = did_you_mean(signal, SIGNALS) if isinstance(signal, str) else ""
            raise InvalidConfigurationError(f"a signal is one of {', '.join(SIGNALS)}, not {shown(signal)}{hint}")
    if not listed:
        raise InvalidConfigurationError(f"signals names at least one of {', '.join(SIGNALS)}, or is None for all")
    return tuple(signal for signal in SIGNALS if signal in listed)

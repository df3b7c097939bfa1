"""A guest that brings telemetry in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ClosedError, Interrupted, WasmError
from ..plugin.abi import SIGNALS, Role
from ..plugin.config import PluginConfig
from ..plugin.errors import PluginError
from ..plugin.stack import Stack
from ..values import shown
from .component import WasmComponent, items_of
from .consumer import Consumer, check_consumer

__all__ = ["DEFAULT_SHUTDOWN_TIMEOUT", "WasmReceiver"]

_log = logging.getLogger("pywasmrt.otel.receiver")
DEFAULT_SHUTDOWN_TIMEOUT = 5.0


class WasmReceiver(WasmComponent):
    """A guest that brings telemetry in, on a thread of its own, and hands it to `consumer`.

    `config` is a `PluginConfig` or a mapping. `signals` are those the guest must handle; None takes those that it and
    the consumer do. All of them are served by one instance of the guest: its start functions are called in turn
    (traces, metrics, logs), the next one when the one before has returned, and while one runs, the guest may give
    results of any signal. Raises as `WasmPlugin` does.

    Every result goes to the consumer at once, on the receiver's thread, while the guest waits. What the consumer raises
    is logged and counted as failed; the guest goes on. A guest that fails is logged, and `error` holds what ended it.
    """

    _role = Role.RECEIVER

    def __init__(self, config: PluginConfig | Mapping[str, Any], consumer: Consumer, signals: Any = None) -> None:
        check_consumer("consumer", consumer)
        super().__init__(config, signals)
        self._consumer = consumer
        consumes = [signal for signal in SIGNALS if callable(getattr(consumer, f"consume_{signal}", None))]
        wanted = [signal for signal in self.signals if signal in consumes]
        if not wanted or (signals is not None and len(wanted) < len(self.signals)):
            self.plugin.shutdown()
            lacking = ", ".join(f"consume_{signal}" for signal in self.signals if signal not in consumes)
            raise TypeError(f"the consumer {shown(consumer)} lacks {lacking}, which the receiver {self.name} needs")
        self.signals = tuple(wanted)
        self.error: BaseException | None = None
        self._stack = Stack()
        for signal in SIGNALS:
            setattr(self._stack, f"on_result_{signal}", self._handler(signal))
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()  # re-entrant: a signal handler may shut down what its thread starts
        self._warned: set[str] = set()
        self._closes_itself = False

    def start(self) -> None:
        """Start the guest on a thread of its own and return. Raises `ClosedError` after `shutdown`, and `PluginError`
        where it was started already.
        """
        with self._starting:
            if self.closed or self._stack.requested_shutdown:
                raise ClosedError(f"the receiver {self.name} was shut down")
            if self._thread is not None:
                raise PluginError(f"the receiver {self.name} was started already")
            self._thread = threading.Thread(target=self._run, name=f"receiver {self.name}", daemon=True)
            self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the guest is running."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the guest has ended, for `timeout` seconds at most. Whether it has."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def shutdown(self, timeout: float = DEFAULT_SHUTDOWN_TIMEOUT) -> None:
        """Ask the guest to end, and close it. One that has not ended after `timeout` seconds is interrupted.
        Idempotent. In a consumer, on the receiver's own thread, it asks and returns; the guest is closed once it has
        ended.

        Raises `PluginError` if the guest cannot be stopped; its thread then ends with the process.
        """
        with self._starting:
            self._stack.requested_shutdown = True
            thread = self._thread
        if thread is threading.current_thread():
            self._closes_itself = True  # a consumer stops its own receiver: the guest is told, and ends soon
            return
        if thread is not None and thread.is_alive():
            thread.join(timeout)
            if thread.is_alive():
                try:
                    self.plugin.interrupt()
                except WasmError:
                    self.plugin.abandon()
                thread.join(max(1.0, timeout))
            if thread.is_alive():
                raise PluginError(f"the receiver {self.name} does not end; it was left running")
        self.plugin.shutdown(timeout)

    def _run(self) -> None:
        try:
            for signal in self.signals:
                self.plugin.process_function_call(self._names[signal], self._stack)
                if self._stack.requested_shutdown:
                    return
        except Interrupted as error:
            if self._stack.requested_shutdown:
                _log.warning("the receiver %s did not end by itself and was interrupted", self.name)
            else:
                self._failed(error)
        except BaseException as error:
            self._failed(error)
        else:
            _log.info("the receiver %s ended by itself", self.name)
        finally:
            if self._closes_itself:
                self.plugin.shutdown()

    def _failed(self, error: BaseException) -> None:
        self.error = error
        if self._stack.requested_shutdown and isinstance(error, WasmError):
            _log.info("the receiver %s ended in its shutdown: %s", self.name, error)
        else:
            _log.error("the receiver %s failed: %s", self.name, error, exc_info=error)

    def _handler(self, signal: str) -> Callable[[bytes], None]:
        counting = self._counting[signal]
        consume = getattr(self._consumer, f"consume_{signal}", None)

        def handle(data: bytes) -> None:
            items = items_of(data)
            if signal not in self.signals or consume is None:
                counting.fail(items)
                if signal not in self._warned:
                    self._warned.add(signal)
                    _log.error("the receiver %s gives %s, which nobody here consumes; they are lost", self.name, signal)
                return
            try:
                consume(data)
            except Exception as error:
                counting.fail(items)
                _log.error("the consumer of the receiver %s refused %d items (%s): %s", self.name, items, signal, error)
            except BaseException:
                counting.fail(items)
                raise
            else:
                counting.succeed(items)

        return handle

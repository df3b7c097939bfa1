"""A chain of guests for one signal: processors in their order, then an exporter or OTLP over HTTP. Never raises."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from ..errors import BusyError, ClosedError
from ..plugin.config import PluginConfig
from .component import Counters, Counting, items_of
from .consumer import Consumer
from .environment import Settings, otlp_sender
from .exporter import WasmExporter
from .processor import WasmProcessor

__all__ = ["ExportChain"]

_log = logging.getLogger("pywasmrt.otel.export")


class ExportChain:
    """The processors and the final consumer of one signal. `suppress` makes a context manager that wraps each batch.

    If a component raises while the chain is made, the components made so far are shut down and the error is raised.
    """

    def __init__(
        self,
        signal: str,
        settings: Settings,
        suppress: Callable[[], AbstractContextManager[Any]],
        last: Consumer | None = None,
    ) -> None:
        self.signal = signal
        self._suppress = suppress
        self._counting = Counting()
        self._thread = threading.local()  # .exports: whether this thread is in `export`
        self._shut = False
        with ExitStack() as undo:
            self.processors: Sequence[WasmProcessor] = [
                self._made(undo, WasmProcessor(config, [signal])) for config in settings.processors
            ]
            self.last: Any = (
                last if last is not None else self._made(undo, self._end(settings.module, settings.endpoint))
            )
            undo.pop_all()

    def _made(self, undo: ExitStack, component: Any) -> Any:
        undo.callback(component.shutdown)
        return component

    def _end(self, module: PluginConfig | None, endpoint: str | None) -> Any:
        return WasmExporter(module, [self.signal]) if module is not None else otlp_sender(self.signal, endpoint)

    def export(self, encode: Callable[[], bytes]) -> bool:
        """Send the payload that `encode` returns through the chain. Returns whether it went well; failures are logged
        and counted.

        Batches that come from within an export are only counted: an application may export its logs, including those
        of guests and of this chain, and then each logged failure would cause the next.
        """
        within = getattr(self._thread, "exports", False)
        self._thread.exports = True
        items = 0
        try:
            with self._suppress():
                data = encode()
                items = items_of(data)
                if self._shut:
                    raise ClosedError("the exporter was shut down")
                if within:
                    raise BusyError("it came from within an export")
                self._send(data)
        except Exception as error:
            self._counting.fail(items)
            if not within:
                _log.error("a batch of %d items (%s) was not exported: %s", items, self.signal, error)
            return False
        finally:
            self._thread.exports = within
        self._counting.succeed(items)
        return True

    def _send(self, data: bytes) -> None:
        for processor in self.processors:
            data = getattr(processor, f"process_{self.signal}")(data)
            if not data:  # a guest that filters may leave nothing
                return
        getattr(self.last, f"consume_{self.signal}")(data)

    @property
    def counters(self) -> Counters:
        """How many batches succeeded and failed so far. Items are counted before processing."""
        return self._counting.read()

    def shutdown(self) -> None:
        """Shut every component down, the last one first so that it stops retrying. Idempotent; failures are logged."""
        if self._shut:
            return
        self._shut = True
        for component in (self.last, *self.processors):
            try:
                component.shutdown()
            except Exception as error:
                _log.error("%r did not shut down: %s", component, error)

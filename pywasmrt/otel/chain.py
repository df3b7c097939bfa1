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
    """Processors and what comes last, for one signal. `suppress` makes what wraps each batch.

    Raises what the components raise while it is made; then everything made so far is shut down.
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
        """Send what `encode` gives through the chain. Whether it went well; what did not is logged and counted.

        What comes from within an export is counted only: an application may have its logging exported, that of guests
        and of this chain among it, and each failure would make the next.
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
        """What became of the batches so far, in items as they were given."""
        return self._counting.read()

    def shutdown(self) -> None:
        """Shut every component down, the last one first told to stop trying again. Idempotent; failures are logged."""
        if self._shut:
            return
        self._shut = True
        for component in (self.last, *self.processors):
            try:
                component.shutdown()
            except Exception as error:
                _log.error("%r did not shut down: %s", component, error)

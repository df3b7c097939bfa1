"""`trace`: a log of the host calls that guests make, as text and as OpenTelemetry spans."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn, cast
from weakref import ref

from ..errors import Exit
from ..runtimes.base.instance import BaseInstance, InstanceState
from ..runtimes.base.linking import HostImport
from ..runtimes.base.store import BaseStore
from ..types import expect, printable
from ..values import late, shown, shown_int
from ..wasm.probes import HOST_MODULE as COVERAGE
from .wasi_calls import errno_name, wasi_call

if TYPE_CHECKING:
    from typing import TextIO

    from opentelemetry.trace import Tracer

    from ..protocols import ModuleInstance, Store

__all__ = ["Trace", "trace"]

_LIMIT = 64


def trace(
    target: ModuleInstance | Store,
    file: TextIO | str | Path | None = None,
    *,
    tracer: Tracer | None = None,
    limit: int = _LIMIT,
    times: bool = False,
) -> Trace:
    """Log each host call of an instance, with its arguments and its result: what strace does for processes.

        with pywasmrt.trace(instance, sys.stderr):
            instance.run()

        env.add_one(41) = 42
        wasi_snapshot_preview1.path_open(3, SYMLINK_FOLLOW, "a.txt", 0, 0x2, 0x0, 0) = NOENT (44)
        wasi_snapshot_preview1.fd_write(1, "hello\\n") = SUCCESS, 6

    `target` is an instance, or a store: then all instances in it are traced, and those that are made later are traced
    from their start function on. `file` takes the text: an object with `write`, or the path of a file to write anew;
    without it, and without `tracer`, the text goes to standard error. A line begins when its call begins, so a call
    that does not return can be seen; a line that another call cuts in two says `<unfinished ...>` and `<... resumed>`.
    At most `limit` bytes of each path or buffer are shown. `times` adds how many seconds each call took.

    `tracer` is a Tracer of the OpenTelemetry API: each call becomes a span, named like the function, with the
    attributes `wasm.module`, `wasm.function`, `wasm.arguments` and `wasm.result`. A call that raises, or that returns
    an errno of WASI other than 0, has the status ERROR and `error.type`. Calls within it are its children.

    Tracing lasts until `Trace.close`, or as long as the store. Calls that are not traced cost what they did before:
    this function replaces the host functions by stand-ins. If `file` or `tracer` raises an exception, tracing ends, the
    guest goes on, and `close` raises it. Raises `TypeError` for another `target`, `ClosedError` where it is closed,
    `BusyError` where it runs on another thread, and `UnsupportedFeatureError` on a runtime without the feature
    "host-observation".
    """
    if isinstance(target, BaseInstance):
        if target.closed:
            raise target._state.life.error("instance")
        store, only = cast("BaseStore", target.store), target._state
    elif isinstance(target, BaseStore):
        store, only = target, None
    else:
        raise TypeError(f"trace takes an instance of a module, or a store, not {shown(target)}")
    _check_limit(limit)
    if tracer is not None and not callable(getattr(tracer, "start_as_current_span", None)):
        raise TypeError(f"tracer is a Tracer of OpenTelemetry, not {shown(tracer)}")
    path = Path(file) if isinstance(file, (str, Path)) else None
    if file is None and tracer is None:
        file = sys.stderr
    if path is None and file is not None and not callable(getattr(file, "write", None)):
        raise TypeError(f"file is an object with write(), or a path, not {shown(file)}")
    sinks: list[Any] = [] if tracer is None else [_Spans(tracer)]
    if path is None and file is not None:
        sinks.append(_Lines(file, bool(times)))
    made = Trace(store, only, sinks, limit)
    if path is not None:
        made._write_to(path, bool(times))
    return made


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit is a number of bytes, not {shown(limit)}")
    if limit < 0:
        raise ValueError(f"limit is 0 bytes or more, not {shown_int(limit)}")


class Trace:
    """Host calls that are being logged. It is made by `trace`, and is a context manager."""

    def __init__(self, store: BaseStore, only: InstanceState | None, sinks: list[Any], limit: int) -> None:
        expect("a Trace", "a store; trace makes one", BaseStore, store=store)
        expect("a Trace", "the state of an instance, or None", (InstanceState, type(None)), only=only)
        expect("a Trace", "a list of what takes its calls; trace makes one", list, sinks=sinks)
        for sink in sinks:
            expect("a Trace", "a list of what takes its calls; trace makes one", (_Lines, _Spans), sinks=sink)
        _check_limit(limit)
        self._store = ref(store)
        self._only = None if only is None else ref(only)
        self._sinks = sinks
        self._own: Any = None  # the file that this opened
        self._limit = limit
        self._calls = 0
        self._failure: BaseException | None = None
        self._ended = False
        try:
            store.observe(self._stand_in)
        except BaseException:
            self._ended = True
            raise

    def _write_to(self, path: Path, times: bool) -> None:
        """Write the file anew. Last, as what stood in it is lost: whatever else is refused has been refused by now."""
        try:
            self._own = path.open("w", encoding="utf-8", errors="backslashreplace")
        except BaseException:
            self.close()
            raise
        self._sinks.append(_Lines(self._own, times))

    @property
    def calls(self) -> int:
        """How many host calls have begun."""
        return self._calls

    @property
    def closed(self) -> bool:
        """Whether tracing has ended: by `close`, or because its file or tracer failed."""
        return self._ended

    def close(self) -> None:
        """End tracing, and close the file if `trace` opened it. Idempotent, and allowed within a host call, and while a
        call runs on another thread: then the stand-ins stay in place, and only call the host functions, until the next
        trace or profile of the store. Raises the exception that the file or the tracer raised, once.
        """
        self._ended = True
        store = self._store()
        if store is not None:
            store.unobserve(self._stand_in)
        for sink in self._sinks:
            sink.close()
        failure, self._failure = self._failure, None
        try:
            self._close_own()
        finally:
            if failure is not None:
                raise failure

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self._close_own()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a trace cannot be copied or pickled: it belongs to this process; hand over the text that it writes"
        )

    def __repr__(self) -> str:
        return f"<Trace calls={self._calls}{' closed' if self._ended else ''}>"

    def _close_own(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def _stand_in(self, state: InstanceState, function: HostImport) -> Callable[..., Any]:
        """The stand-in that guests of the traced instance call in place of `function`."""
        inner = function.callable
        if (self._only is not None and self._only() is not state) or function.module == COVERAGE:
            return inner
        described = _Described(function, self._limit)
        awaits = function.awaits

        def call(*args: Any) -> Any:
            if self._ended:
                return inner(*args)
            begun = self._begin(described, args)
            try:
                result = inner(*args)
            except BaseException as error:
                self._finish(begun, described, args, None, error)
                raise
            if type(result) is CoroutineType or (awaits and hasattr(type(result), "__await__")):
                return self._awaited(begun, described, args, result)
            self._finish(begun, described, args, result, None)
            return result

        return call

    async def _awaited(self, begun: list[Any], described: _Described, args: tuple[Any, ...], result: Any) -> Any:
        try:
            value = await result
        except BaseException as error:
            self._finish(begun, described, args, None, error)
            raise
        self._finish(begun, described, args, value, None)
        return value

    def _begin(self, described: _Described, args: tuple[Any, ...]) -> list[Any]:
        self._calls += 1
        begun: list[Any] = []
        try:
            shown_arguments = described.arguments(args)
            for sink in self._sinks:
                begun.append(sink.begin(described.label, shown_arguments))
        except Exception as error:
            self._fail(error)
        return begun

    def _finish(
        self,
        begun: list[Any],
        described: _Described,
        args: tuple[Any, ...],
        result: Any,
        error: BaseException | None,
    ) -> None:
        try:
            outcome = described.outcome(args, result, error)
        except Exception as failure:
            self._fail(failure)
            outcome = _Outcome("= ?")
        for sink, call in zip(self._sinks, begun, strict=False):  # even if tracing ended meanwhile: spans must end
            try:
                sink.finish(call, outcome)
            except Exception as failure:
                self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        self._ended = True
        if self._failure is None:
            self._failure = error


class _Outcome:
    """How a call ended: the text for it, the errno's name where there is one other than 0, and the exception."""

    __slots__ = ("errno", "error", "text")

    def __init__(self, text: str, errno: str | None = None, error: BaseException | None = None) -> None:
        self.text = text
        self.errno = errno
        self.error = error


class _Described:
    """A host function as a trace shows it."""

    def __init__(self, function: HostImport, limit: int) -> None:
        self.module = printable(function.module)
        self.name = printable(function.name)
        self.label = f"{self.module}.{self.name}"
        self._limit = limit
        self._first = int(function.pass_caller)
        self._wasi = wasi_call(function.module, function.name, len(function.type.params)) if self._first else None
        self._has_errno = self._wasi is not None and len(function.type.results) == 1

    def arguments(self, args: tuple[Any, ...]) -> list[str]:
        values = args[self._first :]
        if self._wasi is not None:
            return self._wasi.arguments(_memory(args[0]), values, self._limit, _quoted)
        return [self._value(value) for value in values]

    def outcome(self, args: tuple[Any, ...], result: Any, error: BaseException | None) -> _Outcome:
        if isinstance(error, Exit):
            return _Outcome(f"exits ({error.code})")
        if error is not None:
            return _Outcome(f"raises {_raised(error)}", None, error)
        if self._wasi is None:
            return _Outcome(f"= {self._value(result)}")
        if not self._has_errno:
            return _Outcome("= None")
        if result:
            name = errno_name(result)
            return _Outcome(f"= {name}", name.split()[0])
        left = self._wasi.results(_memory(args[0]), args[1:], self._limit, _quoted)
        return _Outcome(", ".join(["= SUCCESS", *left]))

    def _value(self, value: object) -> str:
        if type(value) is int or type(value) is float or value is None:
            return repr(value)
        if type(value) is bytes:
            return _quoted(value[: self._limit], len(value))
        if type(value) is tuple:
            return f"({', '.join([self._value(each) for each in value])})"
        return printable(shown(value))


def _memory(caller: Any) -> Any:
    try:
        return caller.memory()
    except Exception:  # the guest exports none: addresses are shown instead
        return None


def _quoted(data: bytes, size: int) -> str:
    """Bytes as text in quotes, followed by the full size if they are only a part."""
    text = "".join(_ESCAPES.get(each) or _character(each) for each in data.decode("utf-8", "surrogateescape"))
    return f'"{text}"' + (f"... ({size} bytes)" if len(data) < size else "")


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _character(each: str) -> str:
    if 0xDC80 <= ord(each) <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{ord(each) - 0xDC00:02x}"
    return printable(each)


def _raised(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    text = printable(text if len(text) <= 200 else text[:197] + "...")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Lines:
    """Writes each call as a line of text."""

    def __init__(self, file: Any, times: bool) -> None:
        self._write = file.write
        self._flush = getattr(file, "flush", None)
        self._times = times
        self._closed = False
        self._open: object = None  # the call whose line has begun and not ended

    def begin(self, label: str, arguments: list[str]) -> tuple[str, float]:
        call = (label, time.perf_counter())
        cut = "" if self._open is None else " <unfinished ...>\n"
        self._open = call
        self._write(f"{cut}{label}({', '.join(arguments)})")
        if self._flush is not None:
            self._flush()
        return call

    def close(self) -> None:
        if self._open is not None and not self._closed:
            with suppress(Exception):  # the file itself may have failed
                self._write(" <trace closed>\n")
        self._closed = True

    def finish(self, call: tuple[str, float], outcome: _Outcome) -> None:
        if self._closed:
            return
        label, begun = call
        begin = ""
        if self._open is not call:
            begin = ("" if self._open is None else " <unfinished ...>\n") + f"<... {label} resumed>"
        self._open = None
        took = f" <{time.perf_counter() - begun:.6f}>" if self._times else ""
        self._write(f"{begin} {outcome.text}{took}\n")
        if self._flush is not None:
            self._flush()


class _Spans:
    """Makes a span of each call."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        api = late("opentelemetry.trace")
        self._failed: Callable[[str], Any] = lambda text: api.Status(api.StatusCode.ERROR, text)

    def begin(self, label: str, arguments: list[str]) -> tuple[Any, Any]:
        module, _, name = label.rpartition(".")
        scope = self._tracer.start_as_current_span(
            label,
            attributes={"wasm.module": module, "wasm.function": name, "wasm.arguments": arguments},
            record_exception=False,
            set_status_on_exception=False,
        )
        return scope, scope.__enter__()

    def close(self) -> None:
        """Nothing to do: each span ends with its call, even if that ends later."""

    def finish(self, call: tuple[Any, Any], outcome: _Outcome) -> None:
        scope, span = call
        try:
            span.set_attribute("wasm.result", outcome.text.removeprefix("= "))
            if outcome.error is not None:
                span.record_exception(outcome.error)
                span.set_attribute("error.type", type(outcome.error).__qualname__)
                span.set_status(self._failed(_raised(outcome.error)))
            elif outcome.errno is not None:
                span.set_attribute("error.type", outcome.errno)
                span.set_status(self._failed(outcome.errno))
        finally:
            scope.__exit__(None, None, None)

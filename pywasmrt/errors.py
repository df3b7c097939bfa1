"""Every error that this library raises of its own.

    WasmError
     ├── RuntimeNotFoundError (LookupError)       no runtime of that name, or it is not available here
     ├── UnsupportedRuntimeTypeError (TypeError)  what was registered or named is not a runtime
     ├── InvalidConfigurationError (ValueError)   a configuration that names an unknown option or a wrong value
     ├── ModuleCompileError                       malformed or invalid module
     ├── ModuleInstantiateError                   missing or mismatching imports, limits exceeded
     ├── FunctionNotExportedError                 also AttributeError and KeyError, as `exports.x` and `exports["x"]`
     ├── MemoryExportNotFoundError (LookupError)
     ├── HostFunctionNotFoundError (LookupError)
     ├── UnsupportedFeatureError                  valid, but beyond what this engine or adapter can do
     ├── MemoryAccessError (IndexError)           a read or write beyond the linear memory
     ├── ClosedError                              use after close
     ├── BusyError                                the store is running a call on another thread
     ├── ComponentError                           a component's function gave the error of its result: .payload
     ├── Trap                                     the guest trapped: .code, .frames
     │    └── WasmException                       nobody caught the guest's exception: .tag, .values
     ├── Exit                                     the guest called WASI's proc_exit: .code
     ├── Interrupted                              the call was stopped from outside
     │    └── DeadlineExceeded (TimeoutError)
     ├── RowError                                 a row of a batch trapped: .row, and the trap as its cause
     ├── UdfError                                 a guest of the arrow-udf ABI refused a batch, or gave none
     └── FuelExhausted

An error holds copied text and frames only, never an engine's pointer, so it may outlive the engine. An exception raised
by a host function is not wrapped: it comes out of the guest's call as itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from reprlib import Repr
from typing import TYPE_CHECKING, Any

from .types import Frame, TrapCode, expect, printable

if TYPE_CHECKING:
    from .protocols import Tag

__all__ = [
    "BusyError",
    "ClosedError",
    "ComponentError",
    "DeadlineExceeded",
    "Exit",
    "FuelExhausted",
    "FunctionNotExportedError",
    "HostFunctionNotFoundError",
    "Interrupted",
    "InvalidConfigurationError",
    "MemoryAccessError",
    "MemoryExportNotFoundError",
    "ModuleCompileError",
    "ModuleInstantiateError",
    "RowError",
    "RuntimeNotFoundError",
    "Trap",
    "UdfError",
    "UnsupportedFeatureError",
    "UnsupportedRuntimeTypeError",
    "WasmError",
    "WasmException",
]


class WasmError(Exception):
    """The base of every error in this library.

    Its text escapes characters from a guest or a server that would control a terminal; its attributes hold the
    original.
    """

    def __str__(self) -> str:
        return printable(Exception.__str__(self), keep="\n\t")


class RuntimeNotFoundError(WasmError, LookupError):
    """No runtime of that name is registered, or the one asked for is not available here."""


class UnsupportedRuntimeTypeError(WasmError, TypeError):
    """What was given is not a runtime, a factory of runtimes, or the name of one."""


class InvalidConfigurationError(WasmError, ValueError):
    """A configuration names an unknown option or feature, or gives one a value that it cannot take."""


class ModuleCompileError(WasmError):
    """The module is malformed or invalid, or a compiled blob does not fit this engine; the text says where and why."""


class ModuleInstantiateError(WasmError):
    """The module cannot be instantiated; `problems` lists every missing or mismatching import, one sentence each."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        expect("ModuleInstantiateError", "a str", str, message=message)
        expect("ModuleInstantiateError", "a sequence of sentences", (tuple, list), problems=problems)
        super().__init__(message)
        self.problems = tuple(problems)


class FunctionNotExportedError(WasmError, AttributeError, KeyError):
    """The instance exports no function, or nothing at all, of that name."""

    __str__ = WasmError.__str__  # KeyError would show the message as a quoted key


class MemoryExportNotFoundError(WasmError, LookupError):
    """The calling instance exports no memory of that name."""


class HostFunctionNotFoundError(WasmError, LookupError):
    """The host module holds no function of that name."""


class UnsupportedFeatureError(WasmError):
    """What was asked for is valid WebAssembly, but this engine or adapter cannot do it; `feature` names what is
    missing.
    """

    def __init__(self, message: str, feature: str | None = None) -> None:
        expect("UnsupportedFeatureError", "a str", str, message=message)
        expect("UnsupportedFeatureError", "a str or None", (str, type(None)), feature=feature)
        super().__init__(message)
        self.feature = feature


class MemoryAccessError(WasmError, IndexError):
    """A read or write reaches beyond the linear memory; nothing was read or written."""


class ClosedError(WasmError):
    """The object, or one that it belongs to, was closed."""


class ComponentError(WasmError):
    """A function of a component whose result is a `result<…>` gave its error, which is `payload`.

    A host function raises it to give a component such an error.
    """

    def __init__(self, payload: Any = None) -> None:
        super().__init__(payload)
        self.payload = payload

    def __str__(self) -> str:
        return "the function gave an error without a value" if self.payload is None else str(self.payload)


class BusyError(WasmError):
    """The store is running a call on another thread; a store runs one call chain at a time."""


class Trap(WasmError):
    """The guest trapped. `code` says why, `frames` where: the guest's frames, innermost first.

    An adapter may give a function that makes the frames. It is called when the frames are first read.
    """

    def __init__(
        self,
        message: str,
        code: TrapCode = TrapCode.OTHER,
        frames: Sequence[Frame] | Callable[[], Sequence[Frame]] = (),
    ) -> None:
        if type(message) is not str or type(code) is not TrapCode:
            expect("Trap", "a str", str, message=message)
            expect("Trap", "a TrapCode", TrapCode, code=code)
        super().__init__(message)
        self.message = message
        self.code = code
        if not callable(frames):
            expect("Trap", "a sequence of Frame, or a function that makes one", (tuple, list), frames=frames)
            for each in frames:
                expect("Trap", "a sequence of Frame", Frame, frames=each)
            frames = tuple(frames)
        self._frames = frames

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The guest's frames, innermost first."""
        frames = self._frames
        if not isinstance(frames, tuple):
            frames = self._frames = tuple(frames())
        return frames

    def __reduce__(self) -> tuple[Any, ...]:
        frames = self.frames  # the adapter's function cannot go to another process
        return type(self), (self.message, self.code, frames), {**self.__dict__, "_frames": frames}

    def __str__(self) -> str:
        return "\n".join(
            [printable(self.message, keep="\n\t"), *(f"  {n}: {frame}" for n, frame in enumerate(self.frames))]
        )


def _brief(values: tuple[Any, ...]) -> str:
    """The values of an exception, for its message: numbers, bytes (shortened), and the class of any other value."""
    plain = [
        _REPR.repr(value) if type(value) in (int, float, bytes, type(None)) else f"<{type(value).__name__}>"
        for value in values[:16]
    ]
    return f"({', '.join([*plain, *(['...'] if len(values) > 16 else [])])})"


_REPR = Repr()


class WasmException(Trap):
    """An exception of the exception-handling proposal, with its `tag` and its `values`.

    A call raises it where a guest throws and no guest catches (the feature "exception-values"; without it, the call
    raises a plain `Trap` of the same code). A host function raises it for its guest to catch. It takes a tag of the
    guest's store, which an instance exports or `store.tag` makes, and one value for each type in `tag.type.params`.
    `TypeError` and `OverflowError` name the value that does not fit.

        raise WasmException(instance.tag("error"), [42])

    What a guest catches and throws again comes out as the same object, with the traceback of the host function that
    raised it, as long as the guest threw it within the same call from Python and the host has thrown fewer than 64
    others meanwhile; otherwise as a new object with the same tag and values. In a guest of another store, or another
    runtime, it is an exception like any other: it cannot be caught there, and comes out of the call.

    A copy in another process has the tag None, since a tag belongs to its store, and None in place of values that are
    neither numbers nor bytes.
    """

    def __init__(
        self,
        tag: Tag | None,
        values: Iterable[Any] = (),
        message: str = "",
        frames: Sequence[Frame] | Callable[[], Sequence[Frame]] = (),
    ) -> None:
        if type(values) is not tuple:
            expect("WasmException", "a sequence of values", Iterable, values=values)
        if isinstance(values, (str, bytes, bytearray, memoryview)):  # a single value, not a sequence of values
            expect("WasmException", "a sequence of values", (), values=values)
        given = tuple(values)
        if type(message) is not str:
            expect("WasmException", "a str", str, message=message)
        if tag is not None:
            check = getattr(type(tag), "payload", None)
            if check is None:
                expect("WasmException", "a tag, of an instance or by store.tag(...), or None", (), tag=tag)
            else:
                given = check(tag, given)
        if not message:
            message = "thrown Wasm exception" + (f" with {_brief(given)}" if given else "")
        super().__init__(message, TrapCode.UNCAUGHT_EXCEPTION, frames)
        self.tag = tag
        self.values = given

    def __reduce__(self) -> tuple[Any, ...]:
        values = tuple([value if isinstance(value, (int, float, bytes)) else None for value in self.values])
        state = {**self.__dict__, "tag": None, "values": values, "_frames": self.frames}
        return _copied_exception, (type(self), self.message), state


def _copied_exception(kind: type[WasmException], message: str) -> WasmException:
    made = kind.__new__(kind, message)
    made.args = (message,)
    return made


class RowError(WasmError):
    """A row of a batch trapped. `row` counts from 0; the trap is the error's `__cause__`."""

    def __init__(self, message: str, row: int) -> None:
        expect("RowError", "a str", str, message=message)
        expect("RowError", "an int", int, row=row)
        super().__init__(message)
        self.row = row

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.row), self.__dict__


class UdfError(WasmError):
    """A guest of the arrow-udf ABI refused a batch, with its message, or returned something that is not a result."""


class Exit(WasmError):
    """The guest ended itself by WASI's `proc_exit`; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        expect("Exit", "an int", int, code=code)
        super().__init__(f"the guest exited with code {code}")
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code,), self.__dict__  # the argument is the code, not the text made of it


class Interrupted(WasmError):
    """The running call was stopped from outside the guest."""


class DeadlineExceeded(Interrupted, TimeoutError):
    """The running call reached its deadline."""


class FuelExhausted(WasmError):
    """The guest used up its fuel."""

    def __init__(
        self, message: str = "the guest used up its fuel; instance.fuel sets what it may use from here"
    ) -> None:
        expect("FuelExhausted", "a str", str, message=message)
        super().__init__(message)

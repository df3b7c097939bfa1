"""The objects of `pywasmrt.protocols`: what they are to their users, and what they share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from weakref import ref

from pywasmrt import (
    PAGE_SIZE,
    BusyError,
    ClosedError,
    Exit,
    ExternKind,
    FunctionNotExportedError,
    FunctionType,
    GlobalType,
    Limits,
    MemoryAccessError,
    MemoryExportNotFoundError,
    MemoryType,
    ModuleInstantiateError,
    RuntimeInfo,
    TableType,
    Trap,
    TrapCode,
    UnsupportedFeatureError,
    ValueType,
    WasmError,
)
from pywasmrt._shim.batch_rows import map_calls
from pywasmrt.component.absent import NoComponents
from pywasmrt.runtimes.base.buffers import GuestBuffer, put
from pywasmrt.runtimes.base.linking import HostImport, Linking
from pywasmrt.runtimes.base.map_bytes import map_bytes
from pywasmrt.runtimes.base.memory import MemoryHelpers
from pywasmrt.runtimes.base.turns import LendableLock, Turns
from pywasmrt.runtimes.base.workers import Workers
from pywasmrt.values import (
    arity_error,
    bytes_of,
    checked_delta,
    checked_index,
    checked_size,
    from_slots,
    memory_access_error,
    results_from_host,
    shown,
    to_slots,
    to_wasm,
)

from .decoding import Code, Parsed, parse
from .running import run

NAME, VERSION = "tiny", "0.1.0"
FEATURES = frozenset(
    {
        *("multi-value", "multi-value-blocks", "mutable-globals", "sign-extension", "saturating-float-to-int"),
        *("import-memory", "import-table", "import-global", "import-mutable-global", "host-memory", "host-table"),
    }
)
_MASKS = {ValueType.I32: (1 << 32) - 1, ValueType.I64: (1 << 64) - 1}
_FRAMES = 120  # guest frames in one call chain; each takes a few of Python's


def _raw(value: Any, type: ValueType) -> Any:
    """As the interpreter holds a value that `to_wasm` gave: integers unsigned."""
    return value & _MASKS[type] if type in _MASKS else value


def _cooked(value: Any, type: ValueType) -> Any:
    """As Python sees it: integers signed."""
    mask = _MASKS.get(type)
    return value - mask - 1 if mask is not None and value > mask >> 1 else value


class Unstoppable:
    """Refuses to stop calls: an interpreter this small runs until its guest is done."""

    fuel = None

    def interrupt(self) -> bool:
        raise UnsupportedFeatureError(f"{NAME} cannot stop a running call", "interruption")

    def deadline(self, seconds: float) -> Any:
        raise UnsupportedFeatureError(f"{NAME} cannot stop a running call", "deadline")


class Owned:
    """Something that can be closed, and is closed with what it belongs to."""

    kind = "object"

    def __init__(self, owner: Owned | None) -> None:
        self._owner = owner
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed or (self._owner is not None and self._owner.closed)

    def close(self) -> None:
        self._closed = True

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"this {self.kind}, or what it belongs to, was closed")

    def __enter__(self) -> Any:
        self.check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class TinyRuntime(NoComponents, Owned):
    """Implements protocols.Runtime."""

    kind = "runtime"

    def __init__(self) -> None:
        super().__init__(None)
        self.info = RuntimeInfo(NAME, True, VERSION, FEATURES)
        self.workers = Workers(16)

    def validate(self, source: Any) -> None:
        self.check_open()
        parse(_binary(source))

    def compile(self, source: Any) -> TinyModule:
        self.check_open()
        return TinyModule(self, parse(_binary(source)))

    def deserialize(self, blob: Any) -> NoReturn:
        raise UnsupportedFeatureError(f"{NAME} has no compiled code to keep; keep the module itself", "serialize")

    def new_store(self, limits: Limits | None = None) -> TinyStore:
        self.check_open()
        limits = limits or Limits()
        if limits.timeout is not None or limits.fuel is not None:
            raise UnsupportedFeatureError(f"{NAME} cannot stop a running call", "deadline")
        return TinyStore(self, limits)

    def link(self, module: Any, *imports: Any, wasi: Any = None, limits: Limits | None = None) -> TinyLinkedModule:
        self.new_store(limits)  # checks the limits
        return TinyLinkedModule(self._check(module, wasi), Linking(module, imports, None, _veto), limits)

    def instantiate(
        self, module: Any, *imports: Any, store: Any = None, wasi: Any = None, limits: Limits | None = None
    ) -> TinyInstance:
        if store is None:
            return self.link(module, *imports, wasi=wasi, limits=limits).instantiate()
        self._check(module, wasi)
        if not isinstance(store, TinyStore) or limits is not None:
            raise TypeError(f"store is what new_store gave, limits included, not {shown(store)}")
        store.check_open()
        return TinyInstance(store, Linking(module, imports, None, store.veto), False)

    async def instantiate_async(
        self, module: Any, *imports: Any, store: Any = None, wasi: Any = None, limits: Limits | None = None
    ) -> TinyInstance:
        self._check(module, wasi)
        own = store is None
        if own:
            store = self.new_store(limits)
        if not isinstance(store, TinyStore) or (limits is not None and not own):
            raise TypeError(f"store is what new_store gave, limits included, not {shown(store)}")
        return await store.instantiate_async(Linking(module, imports, None, _veto if own else store.veto), own)

    def _check(self, module: Any, wasi: Any) -> TinyModule:
        self.check_open()
        if wasi is not None:
            raise UnsupportedFeatureError(f"{NAME} has no WASI; leave wasi out", "wasi")
        if not isinstance(module, TinyModule) or module.runtime is not self:
            raise TypeError(f"what is linked is a module that this runtime compiled, not {shown(module)}")
        module.check_open()
        return module

    def instantiate_with_host(self, module: Any, *imports: Any, **options: Any) -> tuple[TinyInstance, TinyStore]:
        instance = self.instantiate(module, *imports, **options)
        return instance, instance.store  # a store has all that a context needs


def _veto(wanted: Any, extern: Any) -> str:
    """Why an instance in a store of its own cannot use an extern: each belongs to the store it was made in."""
    return "was given one that belongs to another store; instantiate with store=... of what it imports"


def _binary(source: Any) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, os.PathLike):
        return Path(source).read_bytes()
    if isinstance(source, str):
        raise UnsupportedFeatureError(f"{NAME} has no reader of the text format; pass a binary module", "wat")
    raise TypeError(f"a module is bytes or a path to a file, not {shown(source)}")


class TinyLinkedModule(Owned):
    """Implements protocols.LinkedModule."""

    kind = "linked module"

    def __init__(self, module: TinyModule, linking: Linking, limits: Limits | None) -> None:
        super().__init__(module)
        self.module, self.limits, self._linking = module, limits, linking

    async def instantiate_async(self, *, limits: Limits | None = None) -> TinyInstance:
        self.check_open()
        store = self.module.runtime.new_store(self.limits if limits is None else limits)
        return await store.instantiate_async(self._linking, True)

    def instantiate(self, *, limits: Limits | None = None) -> TinyInstance:
        self.check_open()
        store = self.module.runtime.new_store(self.limits if limits is None else limits)
        try:
            return TinyInstance(store, self._linking, True)
        except BaseException:
            store.close()
            raise


class TinyModule(Owned):
    """Implements protocols.CompiledModule."""

    kind = "module"

    def __init__(self, runtime: TinyRuntime, parsed: Parsed) -> None:
        super().__init__(runtime)
        self.runtime, self.parsed = runtime, parsed
        self.imports = tuple(parsed.imports)
        self.exports = parsed.export_types()

    def serialize(self) -> bytes:
        raise UnsupportedFeatureError(f"{NAME} has no compiled code to keep; keep the module itself", "serialize")


class TinyStore(Unstoppable, Owned):
    """Implements protocols.Store, and protocols.Context: an instance stands on nothing else."""

    kind = "store"

    def __init__(self, runtime: TinyRuntime, limits: Limits) -> None:
        super().__init__(runtime)
        self.limits = limits
        self.instances = self.frames = 0
        self._lock: Any = threading.RLock()
        self.turns: Turns | None = (
            None  # in an asynchronous store: its guests run on threads, its host functions do not
        )

    async def instantiate_async(self, linking: Linking, owned: bool) -> TinyInstance:
        self.check_open()
        if self.turns is None:
            if self.instances:
                raise ModuleInstantiateError("the store holds synchronous instances; make another")
            self._lock = LendableLock()
            self.turns = Turns(Lender(self), self._owner.workers.run)
        through = linking.calling(self.turns.function)
        return await self.turns.call(lambda: TinyInstance(self, through, owned))

    def lend(self, thread: int | None) -> None:
        self._lock.lent = thread

    def close(self) -> None:
        super().close()
        if self.turns is not None:
            self.turns.stop()

    @property
    def store(self) -> TinyStore:
        return self

    def veto(self, wanted: Any, extern: Any) -> str | None:
        return None if getattr(extern, "store", None) is self else _veto(wanted, extern)

    @contextmanager
    def use(self, thing: Owned) -> Iterator[None]:
        """Let one thread at a time use an open object; if it is closed meanwhile, the use ends in `ClosedError`."""
        if not self._lock.acquire(False):
            raise BusyError(f"the store of this {thing.kind} is running a call on another thread")
        try:
            thing.check_open()
            yield
        finally:
            self._lock.release()

    def memory(self, minimum: int, maximum: int | None = None, *, is_64: bool = False, shared: bool = False) -> Any:
        self.check_open()
        if is_64 or shared:
            raise UnsupportedFeatureError(f"{NAME} has 32-bit memories of one thread only", "memory64")
        _check_limits(minimum, maximum, 1 << 16)
        return TinyMemory(self, self, MemoryType(minimum, maximum))

    def table(
        self, minimum: int, maximum: int | None = None, element: ValueType = ValueType.FUNCREF, init: Any = None
    ) -> Any:
        self.check_open()
        if element is ValueType.EXTERNREF:
            raise UnsupportedFeatureError(f"{NAME} has tables of funcref only", "reference-types")
        if element is not ValueType.FUNCREF:
            raise TypeError(f"a table holds ValueType.FUNCREF, not {shown(element)}")
        _check_limits(minimum, maximum, (1 << 32) - 1)
        table = TinyTable(self, self, TableType(element, minimum, maximum))
        table.elements = [table.checked(init)] * minimum
        return table

    def global_(self, type: ValueType, value: Any, *, mutable: bool = False) -> Any:
        self.check_open()
        if type not in (ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64):
            raise UnsupportedFeatureError(f"{NAME} has globals of numbers only, not {shown(type)}", "reference-types")
        return TinyGlobal(self, self, GlobalType(type, mutable), _raw(to_wasm(value, type, "the global's value"), type))


def _check_limits(minimum: int, maximum: int | None, most: int) -> None:
    if not 0 <= minimum <= most or (maximum is not None and not minimum <= maximum <= most):
        raise ValueError(f"the limits {minimum} to {maximum} are not within 0 to {most}")


class Lender:
    """Implements pywasmrt.runtimes.base.turns.Lender. It holds the store weakly, as the store holds it."""

    def __init__(self, store: TinyStore) -> None:
        self._store = ref(store)

    @property
    def closed(self) -> bool:
        store = self._store()
        return store is None or store.closed

    def until(self) -> int:
        return 0

    def this_thread(self) -> int:
        return threading.get_ident()

    def lend(self, thread: int | None) -> None:
        store = self._store()
        if store is not None:
            store.lend(thread)

    def stop_guest(self) -> None:
        return None


class TinyExports:
    """Implements protocols.Exports."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            raise FunctionNotExportedError(
                f"the instance does not export {name!r}, but {', '.join(self._found) or 'nothing'}"
            )
        return self._found[name]

    __getattr__ = __getitem__

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found


class TinyInstance(Unstoppable, Owned):
    """Implements protocols.ModuleInstance."""

    kind = "instance"

    def __init__(self, store: TinyStore, linking: Linking, owns_store: bool) -> None:
        super().__init__(store)
        module: Any = linking.module
        self.store, self.module, self._owns_store = store, module, owns_store
        if store.turns is None:
            linking.check_awaits_nothing()
        self._linking, self._states = linking, linking.new_states()
        if store.limits.instances is not None and store.instances >= store.limits.instances:
            raise ModuleInstantiateError(f"the store is limited to {store.limits.instances} instances")
        store.instances += 1
        self.functions: list[TinyFunction] = []
        self.tables: list[TinyTable] = []
        self.memories: list[TinyMemory] = []
        self.globals: list[TinyGlobal] = []
        spaces = {
            ExternKind.FUNCTION: self.functions,
            ExternKind.TABLE: self.tables,
            ExternKind.MEMORY: self.memories,
            ExternKind.GLOBAL: self.globals,
        }
        for wanted, served in zip(module.imports, linking.serve(self._states), strict=True):
            if isinstance(served, HostImport):
                served = TinyFunction(store, self, served.type, served.name, self._host(served))
            served.check_open()
            spaces[wanted.kind].append(served)
        self._define(module.parsed)
        self._exports = TinyExports(
            {name: spaces[kind][index] for name, kind, index in module.parsed.exports}  # type: ignore[index]
        )
        self._fill(module.parsed)
        if module.parsed.start is not None:
            self.functions[module.parsed.start]()

    def put(self, data: Any, *, allocator: Any = None, memory: str = "memory") -> GuestBuffer:
        return put(self.function, self.memory(memory), data, allocator)

    def map_bytes(self, function: Any, *columns: Any, memory: str = "memory", **options: Any) -> Any:
        return map_bytes(self.function, lambda: list(self.exports), self.memory(memory), function, columns, **options)

    def state(self, module: str = "env") -> Any:
        return self._linking.state(self._states, module)

    def _define(self, parsed: Parsed) -> None:
        names = {index: name for name, kind, index in parsed.exports if kind is ExternKind.FUNCTION}
        for code in parsed.codes:
            name = names.get(len(self.functions), f"<function {len(self.functions)}>")
            self.functions.append(TinyFunction(self.store, self, code.type, name, self._guest(code)))
        for table_type in parsed.tables[len(self.tables) :]:
            self.tables.append(TinyTable(self.store, self, table_type))
        for memory_type in parsed.memories[len(self.memories) :]:
            self.memories.append(TinyMemory(self.store, self, memory_type))
        for type, initial in zip(parsed.globals[len(self.globals) :], parsed.initial, strict=True):
            self.globals.append(TinyGlobal(self.store, self, type, self._value(initial)))

    def _value(self, constant: tuple[str, Any]) -> Any:
        what, value = constant
        return self.globals[value].raw if what == "global" else value

    def _fill(self, parsed: Parsed) -> None:
        for constant, indices in parsed.elements:
            at, elements = self._value(constant), self.tables[0].elements
            if at + len(indices) > len(elements):
                raise Trap("out of bounds table access: an element segment is beyond", TrapCode.TABLE_OUT_OF_BOUNDS)
            elements[at : at + len(indices)] = [self.functions[index] for index in indices]
        for constant, data in parsed.data:
            at, memory = self._value(constant), self.memories[0].data
            if at + len(data) > len(memory):
                raise Trap("out of bounds memory access: a data segment is beyond", TrapCode.MEMORY_OUT_OF_BOUNDS)
            memory[at : at + len(data)] = data

    def _guest(self, code: Code) -> Callable[[list[Any]], list[Any]]:
        return lambda args: run(self, code, args)

    def _host(self, function: HostImport) -> Callable[[list[Any]], list[Any]]:
        params, results = function.type.params, function.type.results

        def call(args: list[Any]) -> list[Any]:
            values = [_cooked(value, type) for value, type in zip(args, params, strict=True)]
            if function.pass_caller:
                caller = TinyCaller(self)
                try:
                    returned = function.callable(caller, *values)
                finally:
                    caller.close()
            else:
                returned = function.callable(*values)
            checked = results_from_host(f"{function.module}.{function.name}", results, returned)
            return [_raw(value, type) for value, type in zip(checked, results, strict=True)]

        return call

    @property
    def exports(self) -> TinyExports:
        self.check_open()
        return self._exports

    def _find(self, name: str, kind: type) -> Any:
        found = self.exports._found.get(name)
        return found if isinstance(found, kind) else None

    def function(self, name: str) -> TinyFunction | None:
        return self._find(name, TinyFunction)

    def memory(self, name: str = "memory") -> TinyMemory | None:
        return self._find(name, TinyMemory)

    def global_(self, name: str) -> TinyGlobal | None:
        return self._find(name, TinyGlobal)

    def table(self, name: str) -> TinyTable | None:
        return self._find(name, TinyTable)

    def run(self) -> int:
        start = self.function("_start")
        if start is None:
            raise FunctionNotExportedError("the module is no command: it exports no function '_start'")
        try:
            start()
        except Exit as end:
            return end.code
        return 0

    async def run_async(self) -> int:
        start = self.function("_start")
        if start is None:
            raise FunctionNotExportedError("the module is no command: it exports no function '_start'")
        try:
            await start.call_async()
        except Exit as end:
            return end.code
        return 0

    def close(self) -> None:
        super().close()
        if self._owns_store:
            self.store.close()


class TinyCaller(Owned):
    """Implements protocols.Caller: the instance, until the host function returns."""

    kind = "caller"

    def __init__(self, instance: TinyInstance) -> None:
        super().__init__(instance)
        self._instance = instance

    @property
    def exports(self) -> TinyExports:
        self.check_open()
        return self._instance.exports

    def function(self, name: str) -> TinyFunction | None:
        self.check_open()
        return self._instance.function(name)

    def global_(self, name: str) -> TinyGlobal | None:
        self.check_open()
        return self._instance.global_(name)

    def table(self, name: str) -> TinyTable | None:
        self.check_open()
        return self._instance.table(name)

    def memory(self, name: str = "memory") -> TinyMemory:
        self.check_open()
        found = self._instance.memory(name)
        if found is None:
            raise MemoryExportNotFoundError(f"the calling instance exports no memory {name!r}")
        return found

    def put(self, data: Any, *, allocator: Any = None, memory: str = "memory") -> GuestBuffer:
        return put(self.function, self.memory(memory), data, allocator)


class _Extern(Owned):
    def __init__(self, store: TinyStore, owner: Owned, type: Any) -> None:
        super().__init__(owner)
        self.store = store
        self._type = type

    @property
    def type(self) -> Any:
        return self._type


class TinyFunction(_Extern):
    """Implements protocols.FunctionInstance."""

    kind = "function"

    def __init__(
        self, store: TinyStore, owner: Owned, type: FunctionType, name: str, code: Callable[[list[Any]], list[Any]]
    ) -> None:
        super().__init__(store, owner, type)
        self._name, self._code = name, code

    def enter(self, args: list[Any]) -> list[Any]:
        """Run it, from within a guest or from outside; raw values in and out."""
        store = self.store
        if store.frames >= _FRAMES:
            raise Trap("call stack exhausted", TrapCode.STACK_OVERFLOW)
        store.frames += 1
        try:
            results = self._code(args)
        finally:
            store.frames -= 1
        self.check_open()  # a host function may have closed it
        return results

    def __call__(self, *args: Any) -> Any:
        if self.store.turns is not None and not self.store.frames:
            raise WasmError(f"the store of {self._name}() is asynchronous: await {self._name}.call_async(...)")
        return self.run(*args)

    def run(self, *args: Any) -> Any:
        params, results = self.type.params, self.type.results
        if len(args) != len(params):
            raise arity_error(self._name, self.type, len(args))
        raw = [
            _raw(to_wasm(value, type, f"argument {n} of {self._name}()"), type)
            for n, (value, type) in enumerate(zip(args, params, strict=True), 1)
        ]
        with self.store.use(self):
            found = [_cooked(value, type) for value, type in zip(self.enter(raw), results, strict=True)]
        if len(found) == 1:
            return found[0]
        return tuple(found) if found else None

    def map(self, *columns: Any, out: Any = None, on_error: str = "raise") -> Any:
        """Call once for each row of columns."""
        return map_calls(self, self._name, self.__call__, columns, out, on_error)

    async def call_async(self, *args: Any) -> Any:
        if self.store.turns is not None:
            return await self.store.turns.call(lambda: self.run(*args))
        return await asyncio.to_thread(self, *args)

    def call(self, *slots: int) -> list[int]:
        returned = self(*from_slots(self._name, self.type, slots))
        if len(self.type.results) == 1:
            returned = (returned,)
        return to_slots(self.type.results, returned or ())


class TinyMemory(_Extern, MemoryHelpers):
    """Implements protocols.Memory."""

    kind = "memory"

    def __init__(self, store: TinyStore, owner: Owned, type: MemoryType) -> None:
        super().__init__(store, owner, type)
        most = 1 << 16 if type.maximum is None else type.maximum
        if store.limits.memory_bytes is not None:
            most = min(most, store.limits.memory_bytes // PAGE_SIZE)
        if type.minimum > most:
            raise ModuleInstantiateError(f"cannot make a {type}: memories are limited to {most} pages here")
        self._most = most
        self.data = bytearray(type.minimum * PAGE_SIZE)

    @property
    def size(self) -> int:
        self.check_open()
        return len(self.data)

    def __len__(self) -> int:
        return self.size

    def _check(self, verb: str, offset: int, size: int) -> int:
        offset, size = checked_size(offset, "offset"), checked_size(size, "size")
        if offset + size > len(self.data):
            raise memory_access_error(verb, offset, size, len(self.data))
        return offset

    def read(self, offset: int, size: int) -> bytes:
        with self.store.use(self):
            offset = self._check("read", offset, size)
            return bytes(self.data[offset : offset + size])

    def write(self, offset: int, data: Any) -> None:
        data = bytes_of(data)
        with self.store.use(self):
            offset = self._check("write", offset, len(data))
            self.data[offset : offset + len(data)] = data

    def grow(self, pages: int) -> int:
        delta = checked_delta(pages, "pages")
        with self.store.use(self):
            return self.extend(delta)

    def extend(self, delta: int) -> int:
        """Grow, from within a guest or from outside."""
        before = len(self.data) // PAGE_SIZE
        if before + delta > self._most:
            raise MemoryAccessError(f"cannot grow the memory of {before} pages by {delta}: a limit forbids it")
        self.data.extend(bytes(delta * PAGE_SIZE))
        return before


class TinyGlobal(_Extern):
    """Implements protocols.Global."""

    kind = "global"

    def __init__(self, store: TinyStore, owner: Owned, type: GlobalType, raw: Any) -> None:
        super().__init__(store, owner, type)
        self.raw = raw

    @property
    def value(self) -> Any:
        with self.store.use(self):
            return _cooked(self.raw, self.type.content)

    @value.setter
    def value(self, value: Any) -> None:
        if not self.type.mutable:
            raise TypeError(f"the global is immutable: its type is {self.type}")
        checked = to_wasm(value, self.type.content, "the global's value")
        with self.store.use(self):
            self.raw = _raw(checked, self.type.content)


class TinyTable(_Extern):
    """Implements protocols.Table."""

    kind = "table"

    def __init__(self, store: TinyStore, owner: Owned, type: TableType) -> None:
        super().__init__(store, owner, type)
        limit = store.limits.table_elements
        if limit is not None and type.minimum > limit:
            raise ModuleInstantiateError(f"cannot make a {type}: tables are limited to {limit} elements here")
        self.elements: list[TinyFunction | None] = [None] * type.minimum

    def checked(self, value: Any) -> Any:
        value = to_wasm(value, self.type.element, "the table's element")
        if value is not None and getattr(value, "store", None) is not self.store:
            raise TypeError(f"the table's element: {shown(value)} belongs to another store")
        return value

    def __len__(self) -> int:
        self.check_open()
        return len(self.elements)

    def __getitem__(self, index: int) -> Any:
        with self.store.use(self):
            return self.elements[checked_index(index, len(self.elements))]

    def __setitem__(self, index: int, value: Any) -> None:
        with self.store.use(self):
            self.elements[checked_index(index, len(self.elements))] = self.checked(value)

    def grow(self, delta: int, value: Any = None) -> int:
        delta = checked_delta(delta, "elements")
        with self.store.use(self):
            before, limit = len(self.elements), self.store.limits.table_elements
            most = min(each for each in (self.type.maximum, limit, 10_000_000) if each is not None)
            if before + delta > most:
                raise IndexError(f"cannot grow the table of {before} elements by {delta}: a limit forbids it")
            self.elements += [self.checked(value)] * delta
            return before

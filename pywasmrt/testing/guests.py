"""Guest modules for tests, one a function, made to carry values where a host function or an engine could lose them.

All are valid, and terminate for every input. What a guest exports is listed in its docstring; `Module.encode` gives the
bytes and `Module.wat` the text. The feature each needs beyond WebAssembly 2.0 is named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..types import ExternKind, FunctionType, GlobalType, MemoryType, TableType, TrapCode, ValueType
from ..wasm.module import Instruction, Module, const

__all__ = [
    "TRAP_BODIES",
    "arithmetic",
    "constants",
    "globals_",
    "identities",
    "loops",
    "memories",
    "passthrough",
    "rearranged",
    "recursion",
    "starting",
    "table",
    "traps",
]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF
_NO_VALUES = FunctionType()
_SIZES = {_I32: 4, _I64: 8, _F32: 4, _F64: 8, _V128: 16}


def _gets(count: int, first: int = 0) -> list[Instruction]:
    return [("local.get", first + n) for n in range(count)]


def _zero(type: ValueType) -> Instruction:
    return const(type, bytes(16) if type is _V128 else 0)


def passthrough(
    type: FunctionType,
    *,
    module: str = "env",
    field: str = "f",
    memory: MemoryType | None = None,
    ways: Collection[str] = ("direct", "indirect", "start_again", "nested"),
) -> Module:
    """A guest around one imported function. Each export hands its arguments on and the results back:

    * `direct`: by `call`
    * `indirect`: by `call_indirect`, through the exported `table`, whose only element is the import
    * `nested`: takes a depth (i32) before the arguments, and calls itself that many times before it calls the import
    * `host`: the import itself
    * `start_again`: the same as `direct`, in a second function, for re-entry

    It has the exports named in `ways`, and `host`. With `memory` it has such a memory, exported as `memory`, for
    host functions that look into it.
    """
    guest = Module()
    imported = guest.import_(module, field, type, export="host")
    if memory is not None:
        guest.memory(memory, export="memory")
    if "indirect" in ways:
        guest.table(TableType(_FUNCREF, 1, 1), export="table")
        guest.elements([imported])
    args = _gets(len(type.params))
    if "direct" in ways:
        guest.function(type, [*args, ("call", imported)], export="direct", name="direct")
    if "indirect" in ways:
        guest.function(type, [*args, ("i32.const", 0), ("call_indirect", type, 0)], export="indirect", name="indirect")
    if "start_again" in ways:
        guest.function(type, [*args, ("call", imported)], export="start_again", name="start_again")
    if "nested" in ways:
        nested = FunctionType((_I32, *type.params), type.results)
        index = imported + 1 + len(guest.functions)
        args = _gets(len(type.params), 1)
        body: list[Instruction] = [
            ("local.get", 0),
            ("i32.eqz",),
            ("if", FunctionType((), ())),  # without results: not every engine has blocks that give several
            *args,
            ("call", imported),
            ("return",),
            ("end",),
            ("local.get", 0),
            ("i32.const", 1),
            ("i32.sub",),
            *args,
            ("call", index),
        ]
        assert guest.function(nested, body, export="nested", name="nested") == index
    return guest


def identities(types: Sequence[ValueType]) -> Module:
    """A guest that gives back what it is given, in several ways. Each export but the last takes and returns `types`:

    * `straight`: from the parameters
    * `locals`: copied to locals, in reverse order
    * `block`: through a block that takes and returns all of them
    * `call`: through a call of `straight`
    * `globals`: through a mutable global for each
    * `memory`: through linear memory, references excepted
    * `tables`: through a table for each reference, numbers excepted
    """
    guest = Module()
    type = FunctionType(tuple(types), tuple(types))
    count = len(types)
    gets = _gets(count)
    straight = guest.function(type, gets, export="straight")
    guest.function(
        type,
        [*gets, *(("local.set", n) for n in reversed(range(count, 2 * count))), *_gets(count, count)],
        locals=types,
        export="locals",
    )
    guest.function(type, [*gets, ("block", type), ("end",)], export="block")
    guest.function(type, [*gets, ("call", straight)], export="call")
    for each in types:
        guest.global_(GlobalType(each, True), _zero(each))
    sets: list[Instruction] = [("global.set", n) for n in reversed(range(count))]
    guest.function(type, [*gets, *sets, *(("global.get", n) for n in range(count))], export="globals")
    _through_memory(guest, type)
    _through_tables(guest, type)
    return guest


def _through_memory(guest: Module, type: FunctionType) -> None:
    stores: list[Instruction] = []
    loads: list[Instruction] = []
    for n, each in enumerate(type.params):
        if each in _SIZES:
            # An alignment of 0 and odd addresses: engines must cope with both.
            stores += [("i32.const", 17 * n + 1), ("local.get", n), (f"{each}.store", 0, 0)]
            loads += [("i32.const", 17 * n), (f"{each}.load", 0, 1)]
        else:
            loads.append(("local.get", n))
    guest.memory(MemoryType(1 + 17 * len(type.params) // 65536))
    guest.function(type, stores + loads, export="memory")


def _through_tables(guest: Module, type: FunctionType) -> None:
    stores: list[Instruction] = []
    loads: list[Instruction] = []
    for n, each in enumerate(type.params):
        if each in (_FUNCREF, _EXTERNREF):
            index = guest.table(TableType(each, 1))
            stores += [("i32.const", 0), ("local.get", n), ("table.set", index)]
            loads += [("i32.const", 0), ("table.get", index)]
        else:
            loads.append(("local.get", n))
    guest.function(type, stores + loads, export="tables")


def rearranged(params: Sequence[ValueType], order: Sequence[int]) -> Module:
    """A guest whose `rearrange` takes `params` and returns those at the positions `order`."""
    guest = Module()
    type = FunctionType(tuple(params), tuple(params[n] for n in order))
    guest.function(type, [("local.get", n) for n in order], export="rearrange")
    return guest


def globals_(types: Sequence[ValueType], *, mutable: bool = True) -> Module:
    """A guest with a global for each of `types`: `g0`, `g1`, …, all zero or null.

    Each is read by `get0()`, `get1()`, … and, where they are mutable, set by `set0(value)`, …
    """
    guest = Module()
    for n, each in enumerate(types):
        guest.global_(GlobalType(each, mutable), _zero(each), export=f"g{n}")
        guest.function(FunctionType((), (each,)), [("global.get", n)], export=f"get{n}")
        if mutable:
            guest.function(FunctionType((each,)), [("local.get", 0), ("global.set", n)], export=f"set{n}")
    return guest


def constants(values: Sequence[tuple[ValueType, Instruction]]) -> Module:
    """A guest that makes values itself: `c0`, `c1`, … return what the constant instructions push, `all` all of them."""
    guest = Module()
    for n, (each, instruction) in enumerate(values):
        guest.function(FunctionType((), (each,)), [instruction], export=f"c{n}")
    every = FunctionType((), tuple(each for each, _ in values))
    guest.function(every, [instruction for _, instruction in values], export="all")
    return guest


def table(type: TableType) -> Module:
    """A guest with a table `table`, and `get(index)`, `set(index, value)`, `grow(value, delta)` and `size()`."""
    guest = Module()
    element = type.element
    guest.table(type, export="table")
    guest.function(FunctionType((_I32,), (element,)), [("local.get", 0), ("table.get", 0)], export="get")
    guest.function(FunctionType((_I32, element)), [*_gets(2), ("table.set", 0)], export="set")
    guest.function(FunctionType((element, _I32), (_I32,)), [*_gets(2), ("table.grow", 0)], export="grow")
    guest.function(FunctionType((), (_I32,)), [("table.size", 0)], export="size")
    return guest


def memories(*types: MemoryType) -> Module:
    """A guest with the memories `memory`, `memory1`, `memory2`, … and for each, with its number n in the name:
    `loadN(address)` and `storeN(address, value)` of one byte, `growN(pages)` and `sizeN()`.

    More than one needs the feature multi-memory, a 64-bit one memory64, a shared one threads.
    """
    guest = Module()
    for n, type in enumerate(types):
        address = _I64 if type.is_64 else _I32
        guest.memory(type, export=f"memory{n or ''}")
        load = FunctionType((address,), (_I32,))
        guest.function(load, [("local.get", 0), ("i32.load8_u", 0, 0, n)], export=f"load{n}")
        store = FunctionType((address, _I32))
        guest.function(store, [*_gets(2), ("i32.store8", 0, 0, n)], export=f"store{n}")
        grow = FunctionType((address,), (address,))
        guest.function(grow, [("local.get", 0), ("memory.grow", n)], export=f"grow{n}")
        guest.function(FunctionType((), (address,)), [("memory.size", n)], export=f"size{n}")
    return guest


def arithmetic() -> Module:
    """A guest of plain functions: `add`, `sub` (i32), `add64`, `add_f32`, `add_f64`, and `nothing()`."""
    guest = Module()
    for name, type, word in (
        ("add", _I32, "i32.add"),
        ("sub", _I32, "i32.sub"),
        ("add64", _I64, "i64.add"),
        ("add_f32", _F32, "f32.add"),
        ("add_f64", _F64, "f64.add"),
    ):
        guest.function(FunctionType((type, type), (type,)), [*_gets(2), (word,)], export=name, name=name)
    guest.function(_NO_VALUES, [], export="nothing", name="nothing")
    return guest


def recursion() -> Module:
    """A guest that recurses: `forever` without end, until the stack is used up; `deep(n)` n times, returning n."""
    guest = Module()
    guest.function(_NO_VALUES, [("call", 0)], export="forever", name="forever")
    type = FunctionType((_I32,), (_I32,))
    body: list[Instruction] = [
        ("local.get", 0),
        ("i32.eqz",),
        ("if", FunctionType((), (_I32,))),
        ("i32.const", 0),
        ("else",),
        ("local.get", 0),
        ("i32.const", 1),
        ("i32.sub",),
        ("call", 1),
        ("i32.const", 1),
        ("i32.add",),
        ("end",),
    ]
    guest.function(type, body, export="deep", name="deep")
    return guest


def loops() -> Module:
    """A guest that takes its time, and exports a `memory` of one page that may grow to 16.

    `forever` never returns, and `count(n)` counts up to n and returns it. `call` calls the import `env.f`, a function
    without values; `call_forever` never stops doing so; `call_then_loop` does it once and then never returns.
    """
    guest = Module()
    guest.import_("env", "f", _NO_VALUES)
    guest.memory(MemoryType(1, 16), export="memory")
    forever: list[Instruction] = [("loop", _NO_VALUES), ("br", 0), ("end",)]
    counting: list[Instruction] = [
        ("loop", _NO_VALUES),
        ("local.get", 1),
        ("i32.const", 1),
        ("i32.add",),
        ("local.tee", 1),
        ("local.get", 0),
        ("i32.lt_u",),
        ("br_if", 0),
        ("end",),
        ("local.get", 1),
    ]
    guest.function(_NO_VALUES, forever, export="forever", name="forever")
    guest.function(FunctionType((_I32,), (_I32,)), counting, locals=(_I32,), export="count", name="count")
    guest.function(_NO_VALUES, [("call", 0)], export="call", name="call")
    calling: list[Instruction] = [("loop", _NO_VALUES), ("call", 0), ("br", 0), ("end",)]
    guest.function(_NO_VALUES, calling, export="call_forever", name="call_forever")
    guest.function(_NO_VALUES, [("call", 0), *forever], export="call_then_loop", name="call_then_loop")
    return guest


def starting(body: Sequence[Instruction] = (), *, imports: FunctionType | None = None) -> Module:
    """A guest with a start function: it adds one to the exported global `runs`, and goes on with `body`.

    With `imports`, function 0 is the import `env.f` of that type, for `body` to call. It exports a `memory` of one
    page.
    """
    guest = Module()
    if imports is not None:
        guest.import_("env", "f", imports)
    guest.memory(MemoryType(1, 1), export="memory")
    guest.global_(GlobalType(_I32, True), ("i32.const", 0), export="runs")
    count: list[Instruction] = [("global.get", 0), ("i32.const", 1), ("i32.add",), ("global.set", 0)]
    guest.start(guest.function(_NO_VALUES, [*count, *body], name="start"))
    return guest


TRAP_BODIES: dict[TrapCode, tuple[Instruction, ...]] = {
    TrapCode.UNREACHABLE: (("unreachable",),),
    TrapCode.MEMORY_OUT_OF_BOUNDS: (("i32.const", -1), ("i32.load", 0), ("drop",)),
    TrapCode.INTEGER_DIVISION_BY_ZERO: (("i32.const", 1), ("i32.const", 0), ("i32.div_s",), ("drop",)),
    TrapCode.INTEGER_OVERFLOW: (("i32.const", -(1 << 31)), ("i32.const", -1), ("i32.div_s",), ("drop",)),
    TrapCode.BAD_CONVERSION_TO_INTEGER: (const(_F64, float("nan")), ("i32.trunc_f64_s",), ("drop",)),
    TrapCode.TABLE_OUT_OF_BOUNDS: (("i32.const", 9), ("call_indirect", _NO_VALUES, 0)),
    TrapCode.INDIRECT_CALL_TO_NULL: (("i32.const", 0), ("call_indirect", _NO_VALUES, 0)),
    TrapCode.BAD_SIGNATURE: (("i32.const", 1), ("call_indirect", FunctionType((), (_I32,)), 0), ("drop",)),
    TrapCode.STACK_OVERFLOW: (("call", 0),),
}
"""Instructions that end in each trap, in a guest made by `traps`."""


def traps() -> Module:
    """A guest with a function for each trap in `TRAP_BODIES`, named and exported under the trap code's value.

    Another for each, called `via_` and the value, calls it through one more frame.
    """
    guest = Module()
    guest.memory(MemoryType(1, 1), export="memory")
    guest.table(TableType(_FUNCREF, 2, 2), export="table")
    # Function 0 recurses, so it must be the one for the overflow of the stack.
    for code in sorted(TRAP_BODIES, key=lambda code: code is not TrapCode.STACK_OVERFLOW):
        index = guest.function(_NO_VALUES, TRAP_BODIES[code], export=code.value, name=code.value)
        guest.function(_NO_VALUES, [("call", index)], export=f"via_{code.value}", name=f"via_{code.value}")
    guest.elements([0], offset=1)
    return guest


def exported(kind: ExternKind, type: Any) -> Module:
    """A guest that exports one thing of a kind and a type under the name `it`, for import matching."""
    guest = Module()
    if kind is ExternKind.MEMORY:
        guest.memory(type, export="it")
    elif kind is ExternKind.TABLE:
        guest.table(type, export="it")
    elif kind is ExternKind.GLOBAL:
        guest.global_(type, _zero(type.content), export="it")
    else:
        guest.function(type, [_zero(each) for each in type.results], export="it")
    return guest

"""Writes guests that compute something, out of plain bytes. `strategies.modules` and the fuzz targets use it.

The bytes are choices, read one after the other; where they run out, every choice is the simplest. So any bytes make a
valid module, fewer and smaller bytes make a smaller one, and a tool that varies bytes varies programs.

Every program ends. Functions call earlier ones only. Tables hold leaf functions only: those that neither call through
the table nor call a function that does. A loop counts down, and all the loops of an instance share a number of turns.

Which bits a NaN has is the engine's choice (core specification 2.0, section 4.3.3), so a program hands them out in
floating-point values only: where a float becomes bytes or an integer, NaNs are made the same first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..types import FunctionType, GlobalType, MemoryType, TableType, ValueType
from ..wasm.module import Instruction, Module
from .program_instructions import (
    BINARY,
    COMPARE,
    CONVERT,
    EDGES,
    LOADS,
    MIXED,
    STORES,
    TRAPPING_CONVERSIONS,
    UNARY,
    Word,
)

__all__ = ["TURNS", "FunctionTape", "Tape", "write_program"]

TURNS = 400
"""How many turns the loops of one instance take together, at the most."""

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF = ValueType.V128, ValueType.FUNCREF
_NUMBERS = (_I32, _I64, _F32, _F64)
_NONE = FunctionType()
_DEPTH = 4  # of expressions and of nested statements
_CALLS = 3  # in one function, so that straight code stays short when it is followed through calls

Code = list[Instruction]
FunctionTape = tuple[bytes, Sequence[bytes]]
"""The choices of one function: those of its signature and results, and those of each statement."""


def _integer(type: ValueType, bits: int) -> Instruction:
    """The constant of these bits, which is written signed."""
    width = 32 if type is _I32 else 64
    return (f"{type}.const", bits - (1 << width) if bits >> (width - 1) else bits)


class Tape:
    """Choices read from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1, of 256 at most; a smaller byte gives a smaller one, and the end gives 0."""
        at = self._at
        if at >= len(self._data):
            return 0
        self._at = at + 1
        return self._data[at] * count >> 8

    def bits(self, width: int) -> int:
        """An unsigned integer of so many bits."""
        end = self._at + width // 8
        value = int.from_bytes(self._data[self._at : end], "little")
        self._at = end
        return value


def write_program(
    features: Collection[str], header: bytes, functions: Sequence[FunctionTape], imports: int = 2
) -> Module:
    """Write a module that uses nothing beyond `features`, with at most `imports` imported functions.

    It exports its functions as `f0`, `f1`, … and, where it has them, `same`, which returns its arguments, `memory`,
    `table` and a mutable global for each value type: `g_i32`, `g_i64`, ….
    """
    writer = _Writer(frozenset(features), Tape(header), imports)
    for tapes in functions:
        writer.function(tapes)
    return writer.finish()


class _Writer:
    """The module under construction. What a program does not use is not declared."""

    def __init__(self, features: frozenset[str], header: Tape, imports: int) -> None:
        self.features = features
        self.types = (*_NUMBERS, _V128) if "simd" in features else _NUMBERS
        self.module = Module()
        self.header = header
        self.known: list[tuple[int, FunctionType, bool]] = []  # index, type, whether it is a leaf
        self.globals: dict[ValueType, int] = {}
        self.helpers: dict[str, int] = {}
        self.uses_table = False
        self.tape = header
        self._same((0, 1, 1, 2)[header.below(4)])
        for n in range(header.below(imports + 1)):
            type = FunctionType(self._some_types(3), self._some_types(2 if "multi-value" in features else 1))
            self.known.append((self.module.import_("env", f"h{n}", type), type, True))
        self.begin(_NONE, header, True)

    def _same(self, count: int) -> None:
        """A function that returns its arguments, this many: the shortest way for values in and out of the guest."""
        self.same = self._some_types(count, count) if count < 2 or "multi-value" in self.features else ()

    def begin(self, type: FunctionType, tape: Tape, leaf: bool) -> None:
        self.locals = list(type.params)
        self.params = len(self.locals)
        self.tape = tape
        self.leaf = leaf
        self.calls = _CALLS

    def function(self, tapes: FunctionTape) -> None:
        own = self.tape = Tape(tapes[0])
        most = (1, 1, 2, 3)[own.below(4)] if "multi-value" in self.features else 1
        type = FunctionType(self._some_types(3), self._some_types(most, least=most))
        self.begin(type, self.tape, self.tape.below(3) < 2)
        body: Code = []
        for statement in tapes[1]:
            self.tape = Tape(statement)
            body += self.statement(_DEPTH)
        self.tape = own
        body += self._ending(type)
        name = f"f{sum(item.name.startswith('f') for item in self.module.exports)}"
        index = self.module.function(type, body, locals=self.locals[self.params :], export=name, name=name)
        self.known.append((index, type, self.leaf))

    def finish(self) -> Module:
        """Add what the functions turned out to need, and `same`."""
        if self.same:
            type = FunctionType(self.same, self.same)
            self.module.function(type, [("local.get", n) for n in range(len(self.same))], export="same", name="same")
        if self.uses_table:
            leaves = [index for index, _, leaf in self.known if leaf]
            size = len(leaves) + 1  # the last element is null
            self.module.table(TableType(_FUNCREF, size, size + 3), export="table")
            if leaves:
                self.module.elements(leaves)
        if self.module.memories:
            data = bytes(self.header.bits(64).to_bytes(8, "little")).rstrip(b"\0")
            if data:
                self.module.data(data, offset=(0, 64, 65536 - len(data))[self.header.below(3)])
        return self.module

    # Parts

    def _some_types(self, most: int, least: int = 0) -> tuple[ValueType, ...]:
        count = least + self.tape.below(most - least + 1)
        return tuple(self.types[self.tape.below(len(self.types))] for _ in range(count))

    def _local(self, type: ValueType) -> int:
        """A local variable of a type: an existing one or a new one."""
        here = [n for n, each in enumerate(self.locals) if each is type]
        if here and (len(here) > 2 or self.tape.below(4) < 3):
            return here[self.tape.below(len(here))]
        self.locals.append(type)
        return len(self.locals) - 1

    def _global(self, type: ValueType) -> int:
        if type not in self.globals:
            zero: Instruction = (f"{type}.const", bytes(16) if type is _V128 else 0)
            self.globals[type] = self.module.global_(GlobalType(type, True), zero, export=f"g_{type}")
        return self.globals[type]

    def _memory(self) -> int:
        if not self.module.memories:
            self.module.memory(MemoryType(1, 3), export="memory")
        return 0

    def _spend(self) -> int:
        """A function that tells whether there are turns left, and takes one."""
        if "spend" not in self.helpers:
            turns = self.module.global_(GlobalType(_I32, True), ("i32.const", TURNS))
            body: Code = [("global.get", turns), ("i32.eqz",), ("if", _NONE), ("i32.const", 0), ("return",), ("end",)]
            body += [("global.get", turns), ("i32.const", 1), ("i32.sub",), ("global.set", turns), ("i32.const", 1)]
            self.helpers["spend"] = self.module.function(FunctionType((), (_I32,)), body, name="spend_a_turn")
        return self.helpers["spend"]

    def _same_nan(self, type: ValueType) -> Code:
        """Instructions that replace a NaN on the stack with one fixed NaN."""
        if type not in (_F32, _F64):
            return []
        name = f"same_nan_{type}"
        if name not in self.helpers:
            nan = 0x7FC0_0000 if type is _F32 else 0x7FF8 << 48
            body: Code = [("local.get", 0), (f"{type}.const", nan), ("local.get", 0), ("local.get", 0)]
            body += [(f"{type}.eq",), ("select",)]
            self.helpers[name] = self.module.function(FunctionType((type,), (type,)), body, name=name)
        return [("call", self.helpers[name])]

    # Values

    def value(self, type: ValueType, depth: int) -> Code:
        """Code that pushes one value of a type."""
        tape = self.tape
        if depth == 0 or tape.below(8) == 0:
            return self._leaf(type)
        # The simplest comes first, since shrinking goes towards the first.
        ways = [self._unary, self._converted, self._tee, self._loaded, self._binary]
        if type is _I32:
            ways += [self._sized, self._compared, self._compared]
        ways += [self._called, self._host_seen, self._select, self._if, self._block]
        return ways[tape.below(len(ways))](type, depth - 1)

    def _handed_out(self, type: ValueType, depth: int) -> Code:
        """Code that pushes a value for the host to see.

        Most computed values are small. So some values are handed out before anything is computed from them, and others
        are mixed with a number that sets the bits which small ones lack.
        """
        way = self.tape.below(6)
        if way in (1, 2):
            return self._leaf(type)
        if way == 0 or type not in MIXED:
            return self.value(type, depth)
        number = _integer(type, MIXED[type][self.tape.below(len(MIXED[type]))])
        return [*self.value(type, depth), number, (f"{type}.xor",)]

    def _leaf(self, type: ValueType) -> Code:
        which = self.tape.below(8)
        if which == 7:
            return [("global.get", self._global(type))]
        here = [n for n, each in enumerate(self.locals) if each is type]
        if which > 2 and here:
            return [("local.get", here[self.tape.below(len(here))])]
        return [self._constant(type)]

    def _constant(self, type: ValueType) -> Instruction:
        tape = self.tape
        if type is _V128:
            return ("v128.const", tape.bits(128).to_bytes(16, "little"))
        width = 32 if type in (_I32, _F32) else 64
        edges = EDGES[type]
        which = tape.below(len(edges) + 4)
        bits = edges[which] if which < len(edges) else tape.bits(width)
        return _integer(type, bits) if type in (_I32, _I64) else (f"{type}.const", bits)

    def _word(self, words: Sequence[Word]) -> Word:
        allowed = [word for word in words if word[2] is None or word[2] in self.features]
        return allowed[self.tape.below(len(allowed))]

    def _binary(self, type: ValueType, depth: int) -> Code:
        name, _, _ = self._word(BINARY[type])
        first, second = self.value(type, depth), self.value(type, depth)
        if (".div" in name and type in (_I32, _I64)) or ".rem" in name:
            # Most divisors are not zero, so that programs run on.
            second += [(f"{type}.const", 1), (f"{type}.or",)] if self.tape.below(4) < 3 else []
        elif "copysign" in name:
            second += self._same_nan(type)
        return [*first, *second, (name,)]

    def _unary(self, type: ValueType, depth: int) -> Code:
        name, source, _ = self._word(UNARY[type])
        return [*self.value(source, depth), (name,)]

    def _converted(self, type: ValueType, depth: int) -> Code:
        trapping = TRAPPING_CONVERSIONS.get(type)
        if trapping is not None and self.tape.below(16) == 15:
            name, source, _ = self._word(trapping)
            return [*self.value(source, depth), (name,)]
        name, source, _ = self._word([each for each in CONVERT[type] if each[1] in self.types])
        code = self.value(source, depth)
        if "reinterpret" in name:
            code += self._same_nan(source)
        return [*code, (name, 1) if name.endswith("_lane") else (name,)]

    def _compared(self, type: ValueType, depth: int) -> Code:
        operand = _NUMBERS[self.tape.below(4)]
        name, _, _ = self._word(COMPARE[operand])
        return [*self.value(operand, depth), *self.value(operand, depth), (name,)]

    def _select(self, type: ValueType, depth: int) -> Code:
        typed = "reference-types" in self.features and self.tape.below(4) == 3
        last: Instruction = ("select_typed", (type,)) if typed else ("select",)
        return [*self.value(type, depth), *self.value(type, depth), *self.value(_I32, depth), last]

    def _tee(self, type: ValueType, depth: int) -> Code:
        code = self.value(type, depth)
        return [*code, ("local.tee", self._local(type))]

    def _if(self, type: ValueType, depth: int) -> Code:
        condition = self.value(_I32, depth)
        first, second = self.value(type, depth), self.value(type, depth)
        return [*condition, ("if", FunctionType((), (type,))), *first, ("else",), *second, ("end",)]

    def _block(self, type: ValueType, depth: int) -> Code:
        """A block, left at its end or by a branch; with parameters and several results where there may be."""
        params: tuple[ValueType, ...] = ()
        results: tuple[ValueType, ...] = (type,)
        if "multi-value-blocks" in self.features and "multi-value" in self.features:
            params, results = self._some_types(2), (type, *self._some_types(1))
        code: Code = []
        for param in params:
            code += self.value(param, 0)
        code.append(("block", FunctionType(params, results)))
        code += [("local.set", self._local(param)) for param in reversed(params)]
        for result in results:
            code += self.value(result, max(depth - 1, 0))
        way = self.tape.below(4)
        if way == 2:
            code += [*self.value(_I32, 0), ("br_if", 0)]
        elif way == 3:
            code.append(("br", 0))
        return [*code, ("end",), *[("drop",)] * (len(results) - 1)]

    def _address(self, depth: int) -> Code:
        code = self.value(_I32, depth)
        # Most accesses are within the memory.
        return code if self.tape.below(12) == 11 else [*code, ("i32.const", 0xFFF8), ("i32.and",)]

    def _loaded(self, type: ValueType, depth: int) -> Code:
        name, _, _ = self._word(LOADS[type])
        offset = (0, 1, 4, 65532)[self.tape.below(16) >> 2 if self.tape.below(8) == 7 else 0]
        code = self._address(depth)
        return [*code, (name, 0, offset, self._memory())]

    def _sized(self, type: ValueType, depth: int) -> Code:
        if "reference-types" in self.features and self.tape.below(2):
            self.uses_table = True
            if self.tape.below(2):
                return [("i32.const", self.tape.below(8)), ("table.get", 0), ("ref.is_null",)]
            return [("table.size", 0)]
        return [("memory.size", self._memory())]

    def _called(self, type: ValueType, depth: int) -> Code:
        """A call of an earlier function with a result of the type, directly or through the table."""
        fitting = [each for each in self.known if type in each[1].results and (each[2] or not self.leaf)]
        if not fitting or self.calls == 0:
            return self._leaf(type)
        self.calls -= 1
        index, callee, leaf = fitting[self.tape.below(len(fitting))]
        code: Code = []
        for param in callee.params:
            code += self.value(param, max(depth - 1, 0))
        if leaf and not self.leaf and self.tape.below(2):
            code += self._through_table(index, callee)
        else:
            code.append(("call", index))
        if callee.results == (type,):
            return code
        kept = self._local(type)
        at = callee.results.index(type)
        code += [("drop",)] * (len(callee.results) - 1 - at)
        return [*code, ("local.set", kept), *[("drop",)] * at, ("local.get", kept)]

    def _through_table(self, index: int, callee: FunctionType) -> Code:
        self.uses_table = True
        leaves = [each for each, _, leaf in self.known if leaf]
        element = leaves.index(index)
        where: Instruction = ("i32.const", element)
        if self.tape.below(8) == 7:  # another function, null, or beyond the table
            where = ("i32.const", self.tape.below(12))
        return [where, ("call_indirect", callee, 0)]

    def _host_seen(self, type: ValueType, depth: int) -> Code:
        """A call of the first import with arguments that it takes, before a value is pushed."""
        if not self.module.imports or self.calls == 0:
            return self._leaf(type)
        return [*self._call_statement(depth), *self.value(type, depth)]

    # Statements

    def statement(self, depth: int) -> Code:
        ways = [self._set_local, self._set_global, self._grown, self._stored]
        if depth:
            if "bulk-memory" in self.features:
                ways.append(self._moved)
            if "reference-types" in self.features:
                ways.append(self._table_changed)
            ways += [self._call_statement, self._when, self._loop, self._switch]
        return ways[self.tape.below(len(ways))](max(depth - 1, 0))

    def _set_local(self, depth: int) -> Code:
        type = self.types[self.tape.below(len(self.types))]
        code = self.value(type, depth)
        return [*code, ("local.set", self._local(type))]

    def _set_global(self, depth: int) -> Code:
        type = self.types[self.tape.below(len(self.types))]
        return [*self.value(type, depth), ("global.set", self._global(type))]

    def _stored(self, depth: int) -> Code:
        type = self.types[self.tape.below(len(self.types))]
        name, _, _ = self._word(STORES[type])
        address, value = self._address(min(depth, 1)), self.value(type, depth)
        return [*address, *value, *self._same_nan(type), (name, 0, self.tape.below(3), self._memory())]

    def _when(self, depth: int) -> Code:
        code = [*self.value(_I32, depth), ("if", _NONE), *self.statement(depth)]
        way = self.tape.below(16)
        if way == 15:
            code.append(("unreachable",))
        elif way > 8:
            code += [("else",), *self.statement(depth)]
        return [*code, ("end",)]

    def _loop(self, depth: int) -> Code:
        """A loop of eight turns at the most, as long as there are any left."""
        spend = self._spend()
        self.locals.append(_I32)
        left = len(self.locals) - 1
        code: Code = [*self.value(_I32, 1), ("i32.const", 7), ("i32.and",), ("local.set", left)]
        code += [("loop", _NONE), *self.statement(min(depth, 2))]
        code += [("local.get", left), ("i32.eqz",), ("if", _NONE), ("else",)]
        code += [("local.get", left), ("i32.const", 1), ("i32.sub",), ("local.set", left)]
        return [*code, ("call", spend), ("br_if", 1), ("end",), ("end",)]

    def _switch(self, depth: int) -> Code:
        code: Code = [("block", _NONE), ("block", _NONE), ("block", _NONE), *self.value(_I32, depth)]
        code.append(("br_table", tuple(self.tape.below(3) for _ in range(3))))
        code += [("end",), *self.statement(depth), ("end",), *self.statement(0)]
        return [*code, ("end",)]

    def _call_statement(self, depth: int) -> Code:
        callable_ = [each for each in self.known if each[2] or not self.leaf]
        if not callable_ or self.calls == 0:
            return []
        self.calls -= 1
        index, callee, _ = callable_[self.tape.below(len(callable_))]
        code: Code = []
        for param in callee.params:
            code += self._handed_out(param, max(depth - 1, 0))
        return [*code, ("call", index), *[("drop",)] * len(callee.results)]

    def _grown(self, depth: int) -> Code:
        del depth
        return [("i32.const", self.tape.below(4)), ("memory.grow", self._memory()), ("drop",)]

    def _moved(self, depth: int) -> Code:
        del depth
        memory = self._memory()
        size: Code = [*self.value(_I32, 0), ("i32.const", 0xFF), ("i32.and",)]
        first, second = self._address(0), self._address(0)
        if self.tape.below(2):
            return [*first, *second, *size, ("memory.copy", memory, memory)]
        return [*first, *self.value(_I32, 0), *size, ("memory.fill", memory)]

    def _table_changed(self, depth: int) -> Code:
        del depth
        self.uses_table = True
        leaves = [each for each, _, leaf in self.known if leaf]
        value: Instruction = ("ref.null", _FUNCREF)
        if leaves and self.tape.below(2):
            value = ("ref.func", leaves[self.tape.below(len(leaves))])  # each stands in the table, so it is declared
        way = self.tape.below(3)
        if way == 0:
            return [("i32.const", self.tape.below(6)), value, ("table.set", 0)]
        if way == 1:
            return [value, ("i32.const", self.tape.below(3)), ("table.grow", 0), ("drop",)]
        return [("i32.const", self.tape.below(3)), value, ("i32.const", self.tape.below(3)), ("table.fill", 0)]

    def _ending(self, type: FunctionType) -> Code:
        if "tail-call" in self.features and self.tape.below(16) == 15:
            same = [each for each in self.known if each[1].results == type.results and (each[2] or not self.leaf)]
            if same:
                index, callee, _ = same[self.tape.below(len(same))]
                return [*(part for param in callee.params for part in self.value(param, 1)), ("return_call", index)]
        code: Code = []
        for result in type.results:
            code += self._handed_out(result, _DEPTH - 1)
        return [*code, ("return",)] if self.tape.below(8) == 7 else code

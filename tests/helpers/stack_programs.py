"""Random valid guests that make much of the stack: values that wait there while branches leave, loops that take values,
code that is never reached. They always end.

The kit's `modules` are for reading, and keep to tidy code; untidy code finds the bugs of an interpreter's compiler.
Permitted differences between engines are left out: the bits of a NaN reach neither memory nor an integer. Failures
shrink, since every choice is drawn through Hypothesis's own random numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from pywasmrt import FunctionType, GlobalType, MemoryType, TableType, ValueType
from pywasmrt.testing.guests import Module

I32, I64, F32, F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
TYPES = (I32, I64, F32, F64)
Code = list[tuple[Any, ...]]

_INTEGER = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr".split()
_COMPARISON = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split()
_FLOAT = "add sub mul div min max".split()
_UNARY = {
    I32: "clz ctz popcnt extend8_s extend16_s".split(),
    I64: "clz ctz popcnt extend8_s extend16_s extend32_s".split(),
    F32: "abs neg ceil floor trunc nearest sqrt".split(),
    F64: "abs neg ceil floor trunc nearest sqrt".split(),
}
_CONVERSIONS = {
    I32: [("i32.wrap_i64", I64), ("i64.eqz", I64), ("i32.eqz", I32)]
    + [(f"i32.trunc{sat}_{source}_{sign}", source) for sat in ("", "_sat") for source in (F32, F64) for sign in "su"],
    I64: [("i64.extend_i32_s", I32), ("i64.extend_i32_u", I32)]
    + [(f"i64.trunc{sat}_{source}_{sign}", source) for sat in ("", "_sat") for source in (F32, F64) for sign in "su"],
    F32: [(f"f32.convert_{source}_{sign}", source) for source in (I32, I64) for sign in "su"]
    + [("f32.demote_f64", F64)],
    F64: [(f"f64.convert_{source}_{sign}", source) for source in (I32, I64) for sign in "su"]
    + [("f64.promote_f32", F32)],
}
_LOADS = {I32: "load load8_s load8_u load16_s load16_u".split(), I64: "load load8_s load16_u load32_s load32_u".split()}
_STORES = {I32: "store store8 store16".split(), I64: "store store8 store16 store32".split()}
_EDGES = (0, 1, 2, -1, -2, 7, 31, 32, 63, 64, 127, 128, 255, 65535, 65536, 0x7FFFFFFF, -0x80000000)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3e9, -3e9, 1e19, 1e300, 5e-324, float("inf"), float("-inf"))
_FUEL = 300  # turns of loops, in the last global


class _Writer:
    """Writes one function after the other."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.module = Module()
        self.module.memory(MemoryType(1, 3), export="memory")
        self.module.table(TableType(ValueType.FUNCREF, 8, 8))
        for type in TYPES:
            self.module.global_(GlobalType(type, True), self.constant(type), export=f"global_{type}")
        self.module.global_(GlobalType(I32, True), ("i32.const", _FUEL))
        self.module.data(bytes(random.randrange(256) for _ in range(40)), offset=random.choice([0, 100, 65496]))
        self.types: list[FunctionType] = []
        self.locals: list[ValueType] = []
        self.labels: list[tuple[tuple[ValueType, ...], bool]] = []  # what a branch takes, and whether to a loop

    def program(self) -> Module:
        for index in range(self.random.randint(1, 4)):
            self.function(index)
        reach = min(len(self.types), 8)
        self.module.elements(list(range(reach)), offset=self.random.randint(0, 8 - reach))
        return self.module

    def some_types(self, most: int) -> tuple[ValueType, ...]:
        return tuple(self.random.choice(TYPES) for _ in range(self.random.randint(0, most)))

    def function(self, index: int) -> None:
        type = FunctionType(self.some_types(4), self.some_types(4))
        extra = (*TYPES, *self.some_types(3))
        self.locals = [*type.params, *extra]
        self.labels = [(type.results, False)]
        body: Code = []
        for _ in range(self.random.randint(0, 4)):
            body += self.statement(3)
        for result in type.results:
            body += self.value(result, 3)
        if self.random.random() < 0.2:
            body.append(("return",))
        self.module.function(type, body, locals=extra, export=f"f{index}")
        self.types.append(type)

    # Values

    def constant(self, type: ValueType) -> tuple[Any, ...]:
        if type in (I32, I64):
            number = self.random.choice(_EDGES)
            if type is I64 and self.random.random() < 0.3:
                number = self.random.choice([1 << 32, -(1 << 63), (1 << 63) - 1])
            return (f"{type}.const", number)
        number = self.random.choice(_FLOATS)
        if type is F32:
            if abs(number) > 1e38:
                number = float("inf")
            return ("f32.const", struct.unpack("<I", struct.pack("<f", number))[0])
        return ("f64.const", struct.unpack("<Q", struct.pack("<d", number))[0])

    def value(self, type: ValueType, depth: int) -> Code:
        """Code that pushes one value of a type."""
        random = self.random
        if depth == 0 or random.random() < 0.15:
            places = [n for n, each in enumerate(self.locals) if each is type]
            if random.random() < 0.5:
                return [("local.get", random.choice(places))]
            return [self.constant(type)] if random.random() < 0.7 else [("global.get", TYPES.index(type))]
        integer = type in (I32, I64)
        ways = [
            self._binary,
            self._unary,
            self._converted,
            self._select,
            self._if,
            self._block,
            self._tee,
            self._called,
            self._left,
            self._again,
        ]
        ways += [self._compared] * (type is I32) + [self._loaded] * integer + [self._binary] * 3
        return random.choice(ways)(type, depth - 1)

    def _binary(self, type: ValueType, depth: int) -> Code:
        word = self.random.choice(_INTEGER if type in (I32, I64) else _FLOAT)
        second = self.value(type, depth)
        # Only rarely divide by zero, or most programs would trap early.
        if word[:3] in ("div", "rem") and type in (I32, I64) and self.random.random() < 0.9:
            second += [(f"{type}.const", 1), (f"{type}.or",)]
        return [*self.value(type, depth), *second, (f"{type}.{word}",)]

    def _unary(self, type: ValueType, depth: int) -> Code:
        return [*self.value(type, depth), (f"{type}.{self.random.choice(_UNARY[type])}",)]

    def _converted(self, type: ValueType, depth: int) -> Code:
        word, source = self.random.choice(_CONVERSIONS[type])
        return [*self.value(source, depth), (word,)]

    def _compared(self, type: ValueType, depth: int) -> Code:
        operand = self.random.choice(TYPES)
        words = _COMPARISON if operand in (I32, I64) else "eq ne lt gt le ge".split()
        return [*self.value(operand, depth), *self.value(operand, depth), (f"{operand}.{self.random.choice(words)}",)]

    def _select(self, type: ValueType, depth: int) -> Code:
        return [*self.value(type, depth), *self.value(type, depth), *self.value(I32, depth), ("select",)]

    def _tee(self, type: ValueType, depth: int) -> Code:
        places = [n for n, each in enumerate(self.locals) if each is type]
        return [*self.value(type, depth), ("local.tee", self.random.choice(places))]

    def _inside(self, types: tuple[ValueType, ...], write: Callable[[], Code], loop: bool = False) -> Code:
        """The code that `write` writes inside a block that a branch leaves with `types`."""
        self.labels.append((types, loop))
        code = write()
        self.labels.pop()
        return code

    def _taken(self, types: Sequence[ValueType]) -> Code:
        """Put values off the stack into locals."""
        code: Code = []
        for type in reversed(types):
            places = [n for n, each in enumerate(self.locals) if each is type]
            code.append(("local.set", self.random.choice(places)))
        return code

    def _values(self, types: Sequence[ValueType], depth: int) -> Code:
        return [part for type in types for part in self.value(type, max(depth, 0))]

    def _if(self, type: ValueType, depth: int) -> Code:
        """An if that takes values and gives several."""
        params, results = self.some_types(2), (*self.some_types(1), type)
        code = [*self._values(params, depth - 1), *self.value(I32, depth), ("if", FunctionType(params, results))]
        code += self._inside(results, lambda: [*self._taken(params), *self._values(results, depth)])
        code.append(("else",))
        code += self._inside(results, lambda: [*self._taken(params), *self._values(results, depth - 1)])
        return [*code, ("end",), *self._kept_last(results)]

    def _block(self, type: ValueType, depth: int) -> Code:
        """A block with parameters and results, left at its end or by a branch."""
        params, results = self.some_types(3), (*self.some_types(2), type)

        def inside() -> Code:
            code = [*self._taken(params), *self._values(results, depth - 1)]
            if self.random.random() < 0.4:
                code += [*self.value(I32, 0), ("br_if", 0)]
            elif self.random.random() < 0.2:
                code.append(("br", 0))
                if self.random.random() < 0.5:  # never reached
                    code += [*self.value(type, 1), ("drop",), *self._values(results, 0)]
            return code

        code = [*self._values(params, depth - 1), ("block", FunctionType(params, results))]
        return [*code, *self._inside(results, inside), ("end",), *self._kept_last(results)]

    def _left(self, type: ValueType, depth: int) -> Code:
        """A value that waits while a branch may leave some block."""
        random = self.random
        level = random.randrange(len(self.labels))
        types, loop = self.labels[-1 - level]
        code = self.value(type, depth)
        if random.random() < 0.3:
            return code + self._table(type, types, depth)
        code += self._values(types, depth - 1)
        if loop:
            code += self._burnt()
        code += self.value(I32, 0)
        if loop:
            code.append(("i32.and",))
        return [*code, ("br_if", level), *[("drop",) for _ in types]]

    def _table(self, type: ValueType, types: tuple[ValueType, ...], depth: int) -> Code:
        """A value exchanged for another, unless a table of branches leaves with `types`."""
        levels = [n for n, each in enumerate(reversed(self.labels)) if each == (types, False)]
        if not levels:
            return [("drop",), *self.value(type, depth)]
        targets = tuple(self.random.choice(levels) + 1 for _ in range(self.random.randint(1, 3)))
        code: Code = [("drop",), *self.value(I32, 0), ("if", FunctionType((), (type,)))]
        code += self._inside((type,), lambda: self.value(type, depth))
        code.append(("else",))
        code += self._inside((type,), lambda: [*self._values(types, depth - 1), *self.value(I32, 0)])
        return [*code, ("br_table", targets), ("end",)]

    def _again(self, type: ValueType, depth: int) -> Code:
        """A loop that takes values, and at times begins again with others."""
        params, results = self.some_types(3), (*self.some_types(1), type)

        def inside() -> Code:
            code = self._taken(params) if self.random.random() < 0.5 else [("drop",) for _ in params]
            code += [*self._values(params, depth - 1), *self._burnt(), *self.value(I32, 0), ("i32.and",)]
            if self.random.random() < 0.5:
                return [*code, ("br_if", 0), *[("drop",) for _ in params], *self._values(results, depth - 1)]
            code += [("if", FunctionType(params, results)), ("br", 1), ("else",), *[("drop",) for _ in params]]
            return [*code, *self._inside(results, lambda: self._values(results, depth - 1)), ("end",)]

        code = [*self._values(params, depth - 1), ("loop", FunctionType(params, results))]
        return [*code, *self._inside(params, inside, loop=True), ("end",), *self._kept_last(results)]

    def _burnt(self) -> Code:
        """Use some of the fuel, and push whether there is more."""
        fuel = len(TYPES)
        code: Code = [("global.get", fuel), ("i32.const", 1), ("i32.sub",), ("global.set", fuel)]
        return [*code, ("global.get", fuel), ("i32.const", 0), ("i32.gt_s",)]

    def _kept_last(self, types: Sequence[ValueType]) -> Code:
        """Leave the last of several values and put the others away."""
        last = types[-1]
        places = [n for n, each in enumerate(self.locals) if each is last]
        place = self.random.choice(places)
        code: Code = [("local.set", place)]
        for type in reversed(types[:-1]):
            if type is not last and self.random.random() < 0.5:
                others = [n for n, each in enumerate(self.locals) if each is type]
                code.append(("local.set", self.random.choice(others)))
            else:
                code.append(("drop",))
        return [*code, ("local.get", place)]

    def _called(self, type: ValueType, depth: int) -> Code:
        """A call of an earlier function that returns a value of the type last; by the table at times."""
        fitting = [n for n, each in enumerate(self.types) if each.results and each.results[-1] is type]
        if not fitting:
            return self._unary(type, depth)
        index = self.random.choice(fitting)
        callee = self.types[index]
        code: Code = []
        for param in callee.params:
            code += self.value(param, max(depth - 1, 0))
        if self.random.random() < 0.4:
            code += [("i32.const", self.random.randint(0, 8)), ("call_indirect", callee, 0)]
        else:
            code.append(("call", index))
        return code + self._kept_last(callee.results)

    def _address(self, depth: int) -> Code:
        if self.random.random() < 0.8:
            return [*self.value(I32, depth), ("i32.const", 0xFFFF), ("i32.and",)]
        return self.value(I32, depth)

    def _loaded(self, type: ValueType, depth: int) -> Code:
        word = self.random.choice(_LOADS[type])
        return [*self._address(depth), (f"{type}.{word}", 0, self.random.choice([0, 1, 4, 65532]))]

    # Statements

    def statement(self, depth: int) -> Code:
        random = self.random
        type = random.choice(TYPES)
        if depth == 0:
            return [*self.value(type, 1), ("global.set", TYPES.index(type))]
        ways = [self._set, self._stored, self._when, self._loop, self._switch, self._moved, self._grown]
        return random.choice(ways)(depth - 1)

    def _set(self, depth: int) -> Code:
        n = self.random.randrange(len(self.locals))
        return [*self.value(self.locals[n], depth), ("local.set", n)]

    def _stored(self, depth: int) -> Code:
        type = self.random.choice([I32, I64])
        word = self.random.choice(_STORES[type])
        return [*self._address(depth), *self.value(type, depth), (f"{type}.{word}", 0, self.random.choice([0, 3, 8]))]

    def _when(self, depth: int) -> Code:
        none = FunctionType((), ())
        code = [*self.value(I32, depth), ("if", none), *self._inside((), lambda: self.statement(depth))]
        if self.random.random() < 0.5:
            code += [("else",), *self._inside((), lambda: self.statement(depth))]
        return [*code, ("end",)]

    def _loop(self, depth: int) -> Code:
        def inside() -> Code:
            return [*self.statement(depth), *self._burnt(), *self.value(I32, depth), ("i32.and",), ("br_if", 0)]

        return [("loop", FunctionType((), ())), *self._inside((), inside, loop=True), ("end",)]

    def _switch(self, depth: int) -> Code:
        none = FunctionType((), ())
        code: Code = [("block", none), ("block", none), ("block", none)]
        self.labels += [((), False)] * 3
        code += [*self.value(I32, depth), ("br_table", tuple(self.random.randint(0, 2) for _ in range(3)))]
        self.labels.pop()
        code += [("end",), *self.statement(depth), ("end",)]
        self.labels.pop()
        code += [*self.statement(0), ("end",)]
        self.labels.pop()
        return code

    def _moved(self, depth: int) -> Code:
        word = self.random.choice([("memory.copy", 0, 0), ("memory.fill", 0)])
        size: Code = [*self.value(I32, 0), ("i32.const", 0xFF), ("i32.and",)]
        return [*self._address(depth), *self._address(depth), *size, word]

    def _grown(self, depth: int) -> Code:
        del depth
        return [("i32.const", self.random.choice([0, 1, 2, 3])), ("memory.grow", 0), ("drop",)]


programs = st.randoms(use_true_random=False).map(lambda random: _Writer(random).program())
"""Guests that export `memory`, a mutable global `global_TYPE` for each type of number, and functions `f0`, `f1`, …"""

"""One function call: the loop over the code."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pywasmrt import PAGE_SIZE, MemoryAccessError, TrapCode

from .decoding import Code
from .numeric import trap

if TYPE_CHECKING:
    from .objects import TinyInstance


def run(instance: TinyInstance, code: Code, args: list[Any]) -> list[Any]:
    """Run a function of `instance` and return its results. Integers are unsigned on both sides."""
    body = code.body
    values = args + code.zeros
    stack: list[Any] = []
    push, pop = stack.append, stack.pop
    memory = instance.memories[0] if instance.memories else None
    at = 0
    while True:
        instruction = body[at]
        at += 1
        name = instruction[0]
        if name == 2:
            second = pop()
            stack[-1] = instruction[1](stack[-1], second)
        elif name == 1:
            stack[-1] = instruction[1](stack[-1])
        elif name == "local.get":
            push(values[instruction[1]])
        elif name == "const":
            push(instruction[1])
        elif name == "local.set":
            values[instruction[1]] = pop()
        elif name == "local.tee":
            values[instruction[1]] = stack[-1]
        elif name == "br" or name == "br_if":
            if name == "br" or pop():
                _, at, count, height = instruction
                del stack[height : len(stack) - count]
        elif name == "unless":
            if not pop():
                at = instruction[1]
        elif name == "load":
            _, offset, size, shape, mask = instruction
            where = pop() + offset
            if where + size > len(memory.data):
                raise trap(TrapCode.MEMORY_OUT_OF_BOUNDS, f"memory access out of bounds: {size} bytes at {where}")
            value = struct.unpack_from(shape, memory.data, where)[0]
            push(value if mask is None else value & mask)
        elif name == "store":
            _, offset, size, shape, mask = instruction
            value = pop()
            where = pop() + offset
            if where + size > len(memory.data):
                raise trap(TrapCode.MEMORY_OUT_OF_BOUNDS, f"memory access out of bounds: {size} bytes at {where}")
            struct.pack_into(shape, memory.data, where, value if mask is None else value & mask)
        elif name == "call" or name == "call_indirect":
            if name == "call":
                function = instance.functions[instruction[1]]
            else:
                function = _element(instance, pop(), instruction[1])
            count = len(function.type.params)
            args = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            stack += function.enter(args)
        elif name == "global.get":
            push(instance.globals[instruction[1]].raw)
        elif name == "global.set":
            instance.globals[instruction[1]].raw = pop()
        elif name == "drop":
            pop()
        elif name == "select":
            condition, second = pop(), pop()
            if not condition:
                stack[-1] = second
        elif name == "br_table":
            at += min(pop(), instruction[1] - 1)
        elif name == "memory.size":
            push(len(memory.data) // PAGE_SIZE)
        elif name == "memory.grow":
            try:
                push(memory.extend(pop()))
            except MemoryAccessError:
                push(0xFFFF_FFFF)
        elif name == "return":
            return stack[len(stack) - instruction[1] :]
        else:
            raise trap(TrapCode.UNREACHABLE, "unreachable executed")


def _element(instance: TinyInstance, index: int, type: Any) -> Any:
    elements = instance.tables[0].elements
    if index >= len(elements):
        raise trap(TrapCode.TABLE_OUT_OF_BOUNDS, f"undefined element {index} of {len(elements)}")
    function = elements[index]
    if function is None:
        raise trap(TrapCode.INDIRECT_CALL_TO_NULL, f"uninitialized element {index}")
    if function.type != type:
        raise trap(TrapCode.BAD_SIGNATURE, f"indirect call type mismatch: {function.type} instead of {type}")
    return function

"""Functions that run one instruction behind a prefix, 0xFC to 0xFE, whose number may be padded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from typing import NamedTuple

from pywasmrt.wasm.opcodes import PREFIXED
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import HEADER

MISCELLANEOUS, VECTOR, ATOMIC = 0xFC, 0xFD, 0xFE
RELAXED = range(0x100, 0x114)
"""Vector instructions whose results an engine may choose in places."""

_I32, _I64, _F32, _F64, _V128 = b"\x7f", b"\x7e", b"\x7d", b"\x7c", b"\x7b"
_CONSTANTS = {  # an address, as it may be one; what no float of the same size takes for a NaN
    _I32: b"\x41\x10",
    _I64: b"\x42\x05",
    _F32: b"\x43\x00\x00\xc0\x3f",
    _F64: b"\x44\x00\x00\x00\x00\x00\x00\xf8\x3f",
    _V128: b"\xfd\x0c" + bytes(range(16)),
}
_RESULTS = (b"", _I32, _I64, _F32, _F64, _V128)
_OPERANDS = [
    operands
    for count in range(4)
    for operands in product((_I32, _I64, _F32, _F64, _V128), repeat=count)
    if count < 3 or operands in ((_V128,) * 3, (_I32,) * 3, (_I32, _I64, _I64), (_I32, _I32, _I64))
]


class Prefixed(NamedTuple):
    """An instruction between the constants that it takes, with the type of its result."""

    before: bytes
    prefix: int
    number: int
    after: bytes
    result: bytes

    def body(self, extra: int = 0) -> bytes:
        """A function's code. The number is `extra` bytes longer than it has to be."""
        number = uleb(self.number)
        if extra:
            number = number[:-1] + bytes([number[-1] | 0x80]) + b"\x80" * (extra - 1) + b"\0"
        return b"\0" + self.before + bytes([self.prefix]) + number + self.after + b"\x0b"


def module(functions: Iterable[tuple[bytes, bytes]], *, shared: bool = False) -> bytes:
    """A module with a memory, a table, and these functions, each by its result and its body, as "0", "1", ..."""
    each = list(functions)
    bodies = [uleb(len(body)) + body for _, body in each]
    return b"".join(
        [
            HEADER,
            section(1, vector([b"\x60\0" + vector([result] if result else []) for result, _ in each])),
            section(3, vector([uleb(n) for n in range(len(each))])),
            section(4, vector([b"\x70\0\x04"])),
            section(5, b"\x01\x03\x01\x01" if shared else b"\x01\x01\x01\x01"),
            section(7, vector([name(str(n)) + b"\0" + uleb(n) for n in range(len(each))])),
            section(9, vector([b"\x01\0" + vector([])])),
            section(12, uleb(1)),
            section(10, vector(bodies)),
            section(11, vector([b"\x01" + name("data")])),
        ]
    )


@cache
def prefixed(prefix: int, validate: Callable[[bytes], str]) -> tuple[Prefixed, ...]:
    """Every instruction behind `prefix` in the table of opcodes. `validate` gives the reason against a module; it is
    asked which operands an instruction takes.
    """
    return tuple(_typed(prefix, number, validate) for number in PREFIXED[prefix] if number not in _UNUSED[prefix])


def _typed(prefix: int, number: int, validate: Callable[[bytes], str]) -> Prefixed:
    for after in _immediates(PREFIXED[prefix][number]):
        for operands in _OPERANDS:
            before = b"".join(_CONSTANTS[each] for each in operands)
            for result in _RESULTS:
                found = Prefixed(before, prefix, number, after, result)
                if not validate(module([(result, found.body())], shared=prefix == ATOMIC)):
                    return found
    raise AssertionError(f"no operands are known for 0x{prefix:02x} 0x{number:02x}")


def _immediates(kinds: tuple[str, ...]) -> list[bytes]:
    """What may follow: an atomic access must say its natural alignment."""
    choices = {
        "memarg": [bytes([alignment, 8]) for alignment in (3, 2, 1, 0)],
        "v128": [bytes(range(16, 0, -1))],
        "lane": [b"\x01"],
        "flags": [b"\0"],
        "index": [b"\0"],
    }
    return [b"".join(parts) for parts in product(*(choices[kind] for kind in kinds))]


# Those that take references, table.grow and table.fill; and wide arithmetic, which one engine has.
_UNUSED: dict[int, Iterable[int]] = {MISCELLANEOUS: (15, 17, 19, 20, 21, 22), VECTOR: (), ATOMIC: ()}

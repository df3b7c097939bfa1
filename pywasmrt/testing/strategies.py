"""Hypothesis strategies for WebAssembly: types, signatures, values, host functions, whole modules, and what must be
refused.

They need the `hypothesis` package (the extra `testing`). Values are drawn from the edges first: the signed and unsigned
limits, NaNs with payloads, subnormal numbers, both zeros, the infinities; and they shrink towards zero.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    missing = f"{__name__} needs Hypothesis: pip install 'pywasmrt[testing]' ({error})"
    raise ImportError(missing, name="hypothesis") from error

from ..types import FunctionType, ValueType, expect
from ..values import copied_buffer, shown
from ..wasm.module import Module
from ..wasm.reencoding import reencoded as _reencoded
from .edge_values import F32_EDGES, F64_EDGES, INTEGERS, V128_EDGES, float_from_bits
from .programs import write_program

__all__ = [
    "RecordingFunction",
    "arguments",
    "features_of",
    "function_types",
    "host_functions",
    "modules",
    "mutated",
    "reencoded",
    "results",
    "slots",
    "value_types",
    "values",
    "wrong_values",
]

_I32, _I64, _F32, _F64 = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64
_V128, _FUNCREF, _EXTERNREF = ValueType.V128, ValueType.FUNCREF, ValueType.EXTERNREF
_WIDTHS = {_I32: 32, _I64: 64, _F32: 32, _F64: 64}

_FEATURE_OF = {_V128: "simd", _FUNCREF: "reference-types", _EXTERNREF: "reference-types"}
_DEFAULT_FEATURES = frozenset({"multi-value", "reference-types", "simd"})


def _checked(owner: str, features: object, **bounds: int) -> None:
    """Raise `TypeError` or `ValueError` where features are no collection of names, or bounds no numbers from 0 on."""
    if isinstance(features, (str, bytes, bytearray, memoryview)) or not isinstance(features, Collection):
        raise TypeError(f"{owner} takes features as a collection of names, not {shown(features)}")
    for feature in features:
        if not isinstance(feature, str):
            raise TypeError(f"{owner} takes features as a collection of names, not with {shown(feature)} in it")
    for name, bound in bounds.items():
        expect(owner, "an int", int, **{name: bound})
        if bound < 0:
            raise ValueError(f"{name} of {owner} is 0 or more, not {bound}")


def _module_bytes(owner: str, module: object) -> bytes:
    if isinstance(module, Module):
        return module.encode()
    try:
        return copied_buffer(module)
    except TypeError:
        raise TypeError(f"{owner} takes bytes or a wasm.Module, not {shown(module)}") from None


def value_types(features: Collection[str] = _DEFAULT_FEATURES) -> SearchStrategy[ValueType]:
    """The value types that can cross into Python, as far as `features` (`RuntimeInfo.features`) have them."""
    _checked("value_types", features)
    return st.sampled_from(
        [type for type in ValueType if not type.judged and _FEATURE_OF.get(type) in (None, *features)]
    )


def features_of(types: Collection[object]) -> frozenset[str]:
    """The features that a runtime needs to let these types cross. Anything but a `ValueType` needs none."""
    return frozenset([_FEATURE_OF[type] for type in types if isinstance(type, ValueType) and type in _FEATURE_OF])


def function_types(
    features: Collection[str] = _DEFAULT_FEATURES,
    *,
    max_params: int = 6,
    max_results: int = 4,
    types: SearchStrategy[ValueType] | None = None,
) -> SearchStrategy[FunctionType]:
    """Signatures over `types`, by default `value_types(features)`; with one result at most without multi-value."""
    _checked("function_types", features, max_params=max_params, max_results=max_results)
    each = value_types(features) if types is None else types
    if "multi-value" not in features:
        max_results = min(max_results, 1)
    return st.builds(
        FunctionType,
        st.lists(each, max_size=max_params).map(tuple),
        st.lists(each, max_size=max_results).map(tuple),
    )


def _integers(bits: int) -> SearchStrategy[int]:
    edges = INTEGERS[_I32 if bits == 32 else _I64]
    return st.sampled_from(edges) | st.integers(-(1 << (bits - 1)), (1 << bits) - 1)


def _float_bits(bits: int) -> SearchStrategy[int]:
    edges = F32_EDGES if bits == 32 else F64_EDGES
    signed = [*edges, *(edge | 1 << (bits - 1) for edge in edges)]
    return st.sampled_from(signed) | st.integers(0, (1 << bits) - 1)


class _Opaque:
    """An object for an externref: it has an identity, and refuses to be asked for anything else."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("an externref was compared")

    def __bool__(self) -> bool:
        raise AssertionError("an externref was asked for its truth")

    def __repr__(self) -> str:
        return "<an object>"


def values(type: ValueType, *, functions: Sequence[Any] = ()) -> SearchStrategy[Any]:
    """Python values that a guest takes as `type`: every one is accepted, and none is rounded.

    Integers in the signed and the unsigned range; floats (and, for f32, only those it holds exactly); 16 bytes; for
    externref any object, unhashable ones and None too; for funcref None or one of `functions`.
    """
    if type in (_I32, _I64):
        return _integers(_WIDTHS[type])
    if type in (_F32, _F64):
        width = _WIDTHS[type]
        return _float_bits(width).map(lambda bits: float_from_bits(bits, width)) | st.integers(-1000, 1000)
    if type is _V128:
        return st.sampled_from(V128_EDGES) | st.binary(min_size=16, max_size=16)
    if type is _FUNCREF:
        return st.sampled_from([None, *functions])
    if type is _EXTERNREF:
        return st.one_of(
            st.none(),
            st.builds(_Opaque),
            st.builds(list),
            st.sampled_from([0, 1, "", "text", (), 1.5, True, NotImplemented, Ellipsis, int, BaseException()]),
        )
    raise ValueError(f"no Python value stands for a {type}")


def slots(type: ValueType) -> SearchStrategy[list[int]]:
    """The raw slots of one number: its bits as an unsigned integer; v128 has two, the low half first."""
    if type in (_I32, _I64):
        mask = (1 << _WIDTHS[type]) - 1
        return _integers(_WIDTHS[type]).map(lambda value: [value & mask])
    if type in (_F32, _F64):
        return _float_bits(_WIDTHS[type]).map(lambda bits: [bits])
    if type is _V128:
        half = slots(_I64) | slots(_F64)
        return st.tuples(half, half).map(lambda halves: halves[0] + halves[1])
    raise ValueError(f"a {type} has no raw slot")


def _each(types: Iterable[ValueType], functions: Sequence[Any]) -> SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(values(type, functions=functions) for type in types))


def arguments(type: FunctionType, *, functions: Sequence[Any] = ()) -> SearchStrategy[tuple[Any, ...]]:
    """Arguments for a function of that type."""
    expect("arguments", "a FunctionType", FunctionType, type=type)
    return _each(type.params, functions)


def results(type: FunctionType, *, functions: Sequence[Any] = ()) -> SearchStrategy[tuple[Any, ...]]:
    """The results of a function of that type, always as a tuple."""
    expect("results", "a FunctionType", FunctionType, type=type)
    return _each(type.results, functions)


class RecordingFunction:
    """A host function that remembers what it was called with, and returns given values.

    `calls` has the arguments of every call. `returned` has the results as a tuple; a call returns them as a host
    function does: None, the one value, or the tuple.
    """

    def __init__(self, type: FunctionType, returned: tuple[Any, ...]) -> None:
        self.type = type
        self.returned = returned
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        if not self.returned:
            return None
        return self.returned[0] if len(self.returned) == 1 else self.returned

    def __repr__(self) -> str:
        return f"RecordingFunction({self.type}, returned={self.returned!r})"


def host_functions(type: FunctionType, *, functions: Sequence[Any] = ()) -> SearchStrategy[RecordingFunction]:
    """Host functions of that type, each of which records its calls and returns the same valid results every time."""
    return results(type, functions=functions).map(lambda returned: RecordingFunction(type, returned))


def _beyond(bits: int) -> SearchStrategy[int]:
    lowest, highest = -(1 << (bits - 1)), (1 << bits) - 1
    edges = [highest + 1, lowest - 1, 1 << 64, -(1 << 64), 1 << 200, -(1 << 200)]
    if bits == 64:
        edges = [edge for edge in edges if not lowest <= edge <= highest]
    return st.sampled_from(edges) | st.integers(min_value=highest + 1) | st.integers(max_value=lowest - 1)


_NOT_NUMBERS: list[Any] = [None, "1", b"1", (), [1], {}, object(), int, 1j]
_NOT_INTEGERS = [*_NOT_NUMBERS, Decimal(1), Fraction(1, 2)]


def wrong_values(type: ValueType) -> SearchStrategy[tuple[Any, type[Exception]]]:
    """Python values that no guest takes as `type`, each with the exception class it must raise.

    `TypeError` for a value of the wrong kind, `OverflowError` for an integer out of range. externref takes any object,
    so there is none for it: `ValueError`.
    """

    def wrong(error: Callable[..., Any], candidates: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, Any]]:
        return candidates.map(lambda value: (value, error))

    if type in (_I32, _I64):
        floats = st.floats() | st.sampled_from([0.0, 1.0, float("nan")])
        kinds = wrong(TypeError, st.sampled_from(_NOT_INTEGERS) | floats)
        return kinds | wrong(OverflowError, _beyond(_WIDTHS[type]))
    if type in (_F32, _F64):
        huge = st.sampled_from([10**400, -(10**400)])
        return wrong(TypeError, st.sampled_from(_NOT_NUMBERS)) | wrong(OverflowError, huge)
    if type is _V128:
        sizes = st.binary(max_size=40).filter(lambda data: len(data) != 16)
        return wrong(TypeError, sizes | st.sampled_from([None, 0, 1.5, "x" * 16, [0] * 16, object()]))
    if type is _FUNCREF:
        return wrong(TypeError, st.sampled_from([0, 1.5, "f", b"", len, lambda: None, object()]))
    raise ValueError(f"every Python object is an {type}")


_MODULE_FEATURES = frozenset(
    {
        "multi-value",
        "multi-value-blocks",
        "sign-extension",
        "saturating-float-to-int",
        "bulk-memory",
        "reference-types",
        "simd",
        "tail-call",
    }
)


def modules(
    features: Collection[str] = _MODULE_FEATURES,
    *,
    max_functions: int = 3,
    max_statements: int = 4,
    max_imports: int = 2,
) -> SearchStrategy[Module]:
    """Valid guests that compute something: arithmetic, control flow, memory, globals, tables, calls, host functions.

    They use nothing beyond WebAssembly 1.0 and those of `features` (`RuntimeInfo.features`) that are listed here:
    multi-value, multi-value-blocks, sign-extension, saturating-float-to-int, bulk-memory, reference-types, simd,
    tail-call. Each has up to `max_functions` functions, `f0`, `f1`, …, of up to `max_statements` statements, and
    imports up to `max_imports` functions, `env.h0`, `env.h1`, …; its memory, table and globals are exported. Most have
    a function `same` too, which returns its one or two arguments.

    Every function ends for every argument, by returning or by a trap, soon: what may run is bounded by the way they are
    made (`pywasmrt.testing.programs`). Where an engine may choose a NaN's bits, the choice shows in floats only. A
    failing module shrinks by whole functions and statements, and prints as text.
    """
    _checked("modules", features, max_functions=max_functions, max_statements=max_statements, max_imports=max_imports)
    allowed = frozenset(features) & _MODULE_FEATURES
    statements = st.lists(st.binary(min_size=20, max_size=80), max_size=max_statements)
    function = st.tuples(st.binary(min_size=16, max_size=64), statements)
    parts = st.tuples(st.binary(min_size=8, max_size=24), st.lists(function, min_size=1, max_size=max_functions))
    return parts.map(lambda drawn: write_program(allowed, *drawn, imports=max_imports))


def reencoded(module: bytes | Module) -> SearchStrategy[bytes]:
    """The same module in other encodings, so that every engine must give the same answers for it.

    The binary format allows numbers to be written longer than needed, as linkers do. Here some of the numbers are, or
    all of them are as long as possible. Shrinks towards the shortest form of each. `module` must be valid.
    """
    data = _module_bytes("reencoded", module)

    def encoded(choices: bytes) -> bytes:
        asked = iter(range(1 << 62))
        return _reencoded(data, lambda room: choices[next(asked) % len(choices)] * (room + 1) >> 8)

    return st.one_of(st.binary(min_size=1, max_size=64), st.just(b"\xff")).map(encoded)


def mutated(module: bytes | Module) -> SearchStrategy[bytes]:
    """Damaged copies of a module, or of any other bytes; every one differs from the original.

    They are cut short, or have bits flipped, bytes replaced, or parts doubled, removed or inserted. Most are invalid
    or malformed; some are valid modules that do something else, and may then run for ever.
    """
    data = _module_bytes("mutated", module)
    if not data:
        raise ValueError("there is nothing to damage in an empty module")
    position = st.integers(0, len(data) - 1)
    byte = st.integers(0, 255) | st.sampled_from([0, 1, 0x0B, 0x7F, 0x80, 0xFF])

    def replaced(edits: list[tuple[int, int]]) -> bytes:
        damaged = bytearray(data)
        for where, value in edits:
            damaged[where] = value
        return bytes(damaged)

    def flipped(where: int, bit: int) -> bytes:
        return replaced([(where, data[where] ^ 1 << bit)])

    def spliced(first: int, second: int, inserted: bytes) -> bytes:
        """Any order of the two: before it, a part is removed; after it, a part is doubled."""
        return data[:first] + inserted + data[second:]

    return st.one_of(
        position.map(lambda size: data[:size]),
        st.builds(flipped, position, st.integers(0, 7)),
        st.lists(st.tuples(position, byte), min_size=1, max_size=8).map(replaced),
        st.builds(spliced, position, position, st.binary(max_size=8)),
    ).filter(lambda damaged: damaged != data)

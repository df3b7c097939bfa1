"""The number of an instruction behind a prefix may be padded: an engine runs what the specification says, and no more.

Our readers look after what guests do, and engines run it. Bytes that the two read in different ways could hide a loop
that never looks at its deadline, or a table that grows beyond its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from helpers.children import in_child
from helpers.prefixed import ATOMIC, MISCELLANEOUS, RELAXED, VECTOR, Prefixed, module, prefixed
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import (
    Limits,
    ModuleCompileError,
    Runtime,
    RuntimeConfig,
    Trap,
    UnsupportedFeatureError,
    list_runtimes,
    new_runtime,
)
from pywasmrt.testing import common_features, differential, strategies
from pywasmrt.wasm.primitives import name, section, uleb, vector
from pywasmrt.wasm.reading import HEADER

Validate = Callable[[bytes], str]

NEEDED = {MISCELLANEOUS: ("bulk-memory",), VECTOR: ("simd",), ATOMIC: ("threads",)}
AVAILABLE = {info.name: info.features for info in list_runtimes() if info.available}
MODES = [("wazero", mode) for mode in ("compiler", "interpreter")] if "wazero" in AVAILABLE else []
WAYS = [*((each, None) for each in AVAILABLE if each != "wazero"), *MODES]


def of(way: tuple[str, str | None]) -> Runtime:
    """A runtime by its name and its mode."""
    engine, mode = way
    return new_runtime(engine, RuntimeConfig(options={} if mode is None else {"mode": mode}))


@contextmanager
def with_features(*features: str) -> Iterator[list[Runtime]]:
    """Each runtime that has these features, in each of its modes."""
    with ExitStack() as stack:
        yield [stack.enter_context(of(way)) for way in WAYS if set(features) <= AVAILABLE[way[0]]]


def results(runtime: Runtime, binary: bytes, count: int) -> list[object]:
    """What each function gives in an instance where those before it have run: a value, or the code of a trap."""
    exports = runtime.instantiate(runtime.compile(binary)).exports

    def one(index: int) -> object:
        try:
            return exports[str(index)]()
        except Trap as trap:
            return trap.code

    return [one(index) for index in range(count)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(filter(None, way)))
@pytest.mark.parametrize("prefix", [MISCELLANEOUS, VECTOR, ATOMIC], ids=hex)
def test_each_instruction_may_be_padded(way: tuple[str, str | None], prefix: int, validate: Validate) -> None:
    if not set(NEEDED[prefix]) <= AVAILABLE[way[0]] or "wasmtime" not in AVAILABLE:
        pytest.skip("needs Wasmtime and " + ", ".join(NEEDED[prefix]))
    chosen = [each for each in prefixed(prefix, validate) if each.number not in RELAXED]
    with of(way) as runtime, new_runtime("wasmtime") as reference:
        shared = prefix == ATOMIC
        expected = results(
            reference, module(((each.result, each.body()) for each in chosen), shared=shared), len(chosen)
        )
        assert sum(value is not None for value in expected) > len(chosen) / 2
        for extra in range(4):
            binary = module(((each.result, each.body(extra)) for each in chosen), shared=shared)
            assert results(runtime, binary, len(chosen)) == expected


@pytest.mark.parametrize("prefix", [MISCELLANEOUS, VECTOR, ATOMIC], ids=hex)
def test_each_may_be_padded_in_code_that_is_not_reached(runtime: Runtime, prefix: int, validate: Validate) -> None:
    """There an engine passes over what it does not compile."""
    if not set(NEEDED[prefix]) <= runtime.info.features:
        pytest.skip(f"{runtime.info.name} lacks it")
    chosen = [each for each in prefixed(prefix, validate) if each.number not in RELAXED]
    for extra in range(4):
        binary = module(((each.result, _behind_return(each, extra)) for each in chosen), shared=prefix == ATOMIC)
        assert results(runtime, binary, len(chosen)) == [ZERO[each.result][1] for each in chosen]


ZERO: dict[bytes, tuple[bytes, object]] = {
    b"": (b"", None),
    b"\x7f": (b"\x41\0", 0),
    b"\x7e": (b"\x42\0", 0),
    b"\x7d": (b"\x43" + bytes(4), 0.0),
    b"\x7c": (b"\x44" + bytes(8), 0.0),
    b"\x7b": (b"\xfd\x0c" + bytes(16), bytes(16)),
}


def _behind_return(each: Prefixed, extra: int) -> bytes:
    """The function returns zero, or nothing, before it comes to the instruction."""
    return b"\0" + ZERO[each.result][0] + b"\x0f" + each.body(extra)[1:]


@pytest.mark.parametrize("extra", range(4))
@pytest.mark.parametrize("number", [0x9A, 0xEE, *RELAXED, 0x114, 0x180, 0x3FFF], ids=hex)
def test_vector_instructions_that_an_engine_lacks_are_refused(runtime: Runtime, number: int, extra: int) -> None:
    """An engine that read one byte of the number would take it for another instruction."""
    if "relaxed-simd" in runtime.info.features and number in RELAXED:
        pytest.skip(f"{runtime.info.name} has it")
    body = Prefixed(b"\0", VECTOR, number, b"", b"").body(extra)
    with pytest.raises((ModuleCompileError, UnsupportedFeatureError)):
        runtime.compile(module([(b"", body)]))


def _hiding(code: bytes) -> bytes:
    """A v128.const whose number is padded to two bytes. An engine that reads one of them takes it for i16x8.shr_s, and
    the constant for code: it ends the block, and runs what is hidden in the sixteen bytes.
    """
    hidden = b"\x0b" + code
    hidden += b"\x01" * (16 - len(hidden))
    body = b"\0\x02\x40\x41\x01\x0d\0\0" + b"\xfd\x8c\0" + hidden + b"\x1a\x0b\x0b"
    return HEADER + b"".join(
        [
            section(1, vector([b"\x60\0\0"])),
            section(3, vector([b"\0"])),
            section(4, vector([b"\x70\0\x02"])),
            section(7, vector([name("f") + b"\0\0", name("t") + b"\x01\0"])),
            section(10, vector([uleb(len(body)) + body])),
        ]
    )


HIDDEN_LOOP = _hiding(b"\x03\x40\x0c\0\x0b\x02\x40\0")
HIDDEN_GROWTH = _hiding(b"\xd0\x70\x41\xe4\0\xfc\x0f\0\x1a\x02\x40\x0c\0")  # of table 0, by 100

_DEADLINE = """
import sys, pywasmrt
options = {"mode": sys.argv[2]} if sys.argv[2] else {}
with pywasmrt.new_runtime(sys.argv[1], pywasmrt.RuntimeConfig(options=options)) as runtime:
    limits = pywasmrt.Limits(timeout=5)
    print(runtime.instantiate(runtime.compile(bytes.fromhex(sys.argv[3])), limits=limits).exports.f())
"""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(filter(None, way)))
def test_a_padded_number_hides_no_loop_from_a_deadline(way: tuple[str, str | None]) -> None:
    if not {"simd", "deadline"} <= AVAILABLE[way[0]]:
        pytest.skip("needs simd and deadline")
    done = in_child(_DEADLINE, way[0], way[1] or "", HIDDEN_LOOP.hex())
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "None", "")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(filter(None, way)))
def test_a_padded_number_hides_no_growth_from_a_limit(way: tuple[str, str | None]) -> None:
    if not {"simd", "table-limit"} <= AVAILABLE[way[0]]:
        pytest.skip("needs simd and table-limit")
    with of(way) as runtime:
        instance = runtime.instantiate(runtime.compile(HIDDEN_GROWTH), limits=Limits(table_elements=10))
        instance.exports.f()
        assert len(instance.table("t")) == 2


def single(body: bytes, *, result: bytes = b"\x7f", parts: bytes = b"") -> bytes:
    """A module with one function, "f", and a memory of a page. `parts` are sections between memories and exports."""
    return HEADER + b"".join(
        [
            section(1, vector([b"\x60\0" + vector([result]), b"\x60\x01\x7f\x01\x7f"])),
            section(3, vector([b"\0"])),
            section(5, b"\x01\x01\x01\x01"),
            parts,
            section(7, vector([name("f") + b"\0\0"])),
            section(10, vector([uleb(len(body)) + body])),
        ]
    )


NULL = b"\xd1\x0b"  # ref.is_null, and the function's end
FORMS = {
    "select": (b"\0\x41\x05\x41\x06\x41\1\x1c\x81\0\x7f\x0b", 5),
    "select, long": (b"\0\x41\x05\x41\x06\x41\0\x1c\x81\x80\x80\x80\0\x7f\x0b", 6),
    "select of references": (b"\0\xd0\x70\xd0\x70\x41\1\x1c\x81\0\x70" + NULL, 1),
    "block of a type": (b"\0\x41\x05\x02\x81\x80\0\x0b\x0b", 5),
    "block of a type, long": (b"\0\x41\x05\x02\x81\x80\x80\x80\0\x0b\x0b", 5),
    "block of a type, too long": (b"\0\x41\x05\x02\x81\x80\x80\x80\x80\0\x0b\x0b", None),
    "block of a type, without end": (b"\0\x02\x80\x80\x80\x80\x80\0\x41\x05\x0b\x0b", None),
    "block of nothing": (b"\0\x02\xc0\x7f\x0b\x41\x05\x0b", None),  # a byte, not a number
    "block of i32": (b"\0\x02\xff\x7f\x41\x05\x0b\x0b", None),
    "null": (b"\0\xd0\xf0\x7f" + NULL, None),
    "i32": (b"\0\x41\xff\xff\xff\xff\x7f\x0b", -1),
    "i32, too large": (b"\0\x41\xff\xff\xff\xff\x3f\x0b", None),
    "i32, too long": (b"\0\x41\x80\x80\x80\x80\x80\0\x0b", None),
    "i64": (b"\0\x42\x81\x80\x80\x80\x80\x80\x80\x80\x80\0\xa7\x0b", 1),
    "i64, too large": (b"\0\x42\xff\xff\xff\xff\xff\xff\xff\xff\xff\x3f\xa7\x0b", None),
    "branches": (b"\0\x41\x07\x02\x40\x41\0\x0e\x81\x80\0\x80\0\x80\x80\0\x0b\x0b", 7),
    "locals": (b"\x81\x80\0\x81\0\x7f\x20\x80\0\x0b", 0),
    "access": (b"\0\x41\0\x28\x82\0\x84\x80\0\x0b", 0),
    "access, alignment too long": (b"\0\x41\0\x28\x82\x80\x80\x80\x80\0\0\x0b", None),
    "memory.size": (b"\0\x3f\x80\x80\x80\x80\0\x0b", 1),
    "saturating": (b"\0\x43\0\0\xc0\x3f\xfc\x80\x80\x80\x80\0\x0b", 1),
    "saturating, too long": (b"\0\x43\0\0\xc0\x3f\xfc\x80\x80\x80\x80\x80\0\x0b", None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(filter(None, way)))
def test_other_numbers_may_be_padded(way: tuple[str, str | None], form: str) -> None:
    """They mean the same, or are refused where the specification refuses them."""
    code, expected = FORMS[form]
    with of(way) as runtime:
        if expected is None:
            with pytest.raises(ModuleCompileError):
                runtime.instantiate(runtime.compile(single(code)))
            return
        try:
            exports = runtime.instantiate(runtime.compile(single(code))).exports
        except UnsupportedFeatureError as error:
            pytest.skip(f"{runtime.info.name}: {error}")
        assert exports.f() == expected


def test_a_padded_vector_in_a_constant_expression(runtime: Runtime, needs: Callable[..., None]) -> None:
    needs("simd")
    value = bytes(range(16))
    definition = section(6, vector([b"\x7b\0\xfd\x8c\x80\0" + value + b"\x0b"]))
    exports = runtime.instantiate(
        runtime.compile(single(b"\0\x23\x80\0\x0b", result=b"\x7b", parts=definition))
    ).exports
    assert exports.f() == value


# A block that catches what is thrown in it, with its reference; then a choice between that and null.
THROWN = b"\0\x02\x69\x1f\x40%b\x41\x07\x08\x80\0\0\x0b\0\x0b\xd0\x69\x41\x01%b\xd1\x0b"


@pytest.mark.parametrize("clauses", [b"\x01\x03\0", b"\x81\0\x03\x80\x80\0"], ids=["short", "padded"])
@pytest.mark.parametrize(
    "select",
    [b"\x1c\x01\x69", b"\x1c\x81\0\x69", b"\x1c\x01\x63\x69", b"\x1c\x81\0\x63\x69"],
    ids=["exnref", "exnref, padded", "ref null exn", "ref null exn, padded"],
)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(filter(None, way)))
def test_a_choice_of_references_to_exceptions(way: tuple[str, str | None], select: bytes, clauses: bytes) -> None:
    """A type may take two bytes, the second of which is an instruction elsewhere."""
    if "exceptions" not in AVAILABLE[way[0]]:
        pytest.skip("needs exceptions")
    body = THROWN % (clauses, select)
    binary = HEADER + b"".join(
        [
            section(1, vector([b"\x60\0\x01\x7f", b"\x60\x01\x7f\0"])),
            section(3, vector([b"\0"])),
            section(13, vector([b"\0\x01"])),
            section(7, vector([name("f") + b"\0\0"])),
            section(10, vector([uleb(len(body)) + body])),
        ]
    )
    with of(way) as runtime:
        assert runtime.instantiate(runtime.compile(binary)).exports.f() == 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_engines_with_vectors_agree_on_any_encoding(data: st.DataObject) -> None:
    """As for what all engines have, and with typed selections."""
    with with_features("simd", "reference-types") as runtimes:
        if len(runtimes) < 2:
            pytest.skip("needs two runtimes with simd")
        drawn = data.draw(strategies.modules(common_features(runtimes)))
        differential([drawn.encode(), data.draw(strategies.reencoded(drawn))], runtimes, calls=1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_engines_agree_on_any_encoding_of_prefixed_instructions(validate: Validate, data: st.DataObject) -> None:
    known = [each for prefix in NEEDED for each in prefixed(prefix, validate) if each.number not in RELAXED]
    chosen = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=12))
    extras = data.draw(st.lists(st.integers(0, 3), min_size=len(chosen), max_size=len(chosen)))
    binary = module(((each.result, each.body(extra)) for each, extra in zip(chosen, extras, strict=True)), shared=True)
    encoded = data.draw(strategies.reencoded(binary))
    with with_features("simd", "threads", "bulk-memory") as runtimes:
        if len(runtimes) < 2:
            pytest.skip("needs two runtimes with simd and threads")
        for each in (binary, encoded):
            given_, *others = (results(runtime, each, len(chosen)) for runtime in runtimes)
            assert all(other == given_ for other in others)

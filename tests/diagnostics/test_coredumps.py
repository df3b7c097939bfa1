"""Coredumps: what a trapped guest held is written, reads back, is a valid module, and broken ones are refused."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import ModuleCompileError, Runtime, Trap, ValueType
from pywasmrt.cli.dispatch import main
from pywasmrt.diagnostics import Coredump, dumpable, read_coredump, write_coredump
from pywasmrt.types import MemoryType
from pywasmrt.wasm.coredump import CoreFrame, CoreInstance, CoreMemory, exporting_all, is_coredump, pieces

GUEST = """
(module $guest
  (memory $hidden 2)
  (memory (export "seen") 1 3)
  (global $g (mut i32) (i32.const -5))
  (global (export "f") f64 (f64.const 0.5))
  (global $v v128 (v128.const i64x2 1 2))
  (global $r externref (ref.null extern))
  (func $inner (export "inner")
    (i32.store $hidden (i32.const 70000) (i32.const 0x01020304))
    (i32.store8 (memory 1) (i32.const 0) (i32.const 7))
    (global.set $g (i32.const 99))
    unreachable)
  (func $outer (export "outer") (call $inner)))
""".replace("(memory 1) (i32.const 0)", "$seen (i32.const 0)").replace("(memory (export", "(memory $seen (export")


@pytest.fixture(autouse=True)
def _features(needs: Callable[..., None]) -> None:
    needs("multi-memory", "simd", "wat", "trap-offsets", "exception-values")


def binary(runtime: Runtime, text: str) -> bytes:
    data: bytes = runtime._binary(text)  # type: ignore[attr-defined]
    return data


def dumped(runtime: Runtime, data: bytes) -> tuple[Coredump, bytes, Trap]:
    instance: Any = runtime.instantiate(runtime.compile(data))
    out = io.BytesIO()
    with pytest.raises(Trap) as caught:
        instance.exports.outer()
    write_coredump(caught.value, instance, out, name="guest.wasm")
    return read_coredump(out.getvalue()), out.getvalue(), caught.value


def test_all_of_a_dumpable_module_is_in_the_dump(runtime: Runtime) -> None:
    dump, data, trap = dumped(runtime, dumpable(binary(runtime, GUEST)))
    assert dump.name == "guest.wasm"
    assert dump.modules == ("guest",)
    assert dump.instances == (CoreInstance(0, (0, 1), (0, 1, 2, 3)),)
    assert [each.size for each in dump.memories] == [2 << 16, 1 << 16]
    assert dump.memories[0].read(70000, 4) == bytes([4, 3, 2, 1])
    assert dump.memories[1].read(0, 3) == bytes([7, 0, 0])
    assert sum(len(part) for _, part in dump.memories[0].parts) == 4096
    assert dump.globals == (
        (ValueType.I32, True, 99),
        (ValueType.F64, False, 0.5),
        (ValueType.V128, False, bytes([1, *[0] * 7, 2, *[0] * 7])),
        (ValueType.EXTERNREF, False, None),
    )
    [(thread, frames)] = dump.threads
    assert thread == "main"
    assert [frame.function for frame in frames] == [frame.func_index for frame in trap.frames] == [0, 1]
    assert [frame.offset for frame in frames] == [frame.func_offset for frame in trap.frames]
    runtime.validate(data)


def test_without_that_it_has_what_is_exported(runtime: Runtime) -> None:
    dump, _, _ = dumped(runtime, binary(runtime, GUEST))
    assert ([each.size for each in dump.memories], [each[0] for each in dump.globals]) == ([1 << 16], [ValueType.F64])


def test_what_is_exported_twice_is_written_once(runtime: Runtime) -> None:
    text = '(module (memory (export "a") (export "b") 1) (func (export "outer") unreachable))'
    dump, _, _ = dumped(runtime, binary(runtime, text))
    assert len(dump.memories) == 1


def test_dumpable_modules_do_what_they_did(runtime: Runtime) -> None:
    for text in (
        "(module)",
        "(module (memory 1))",
        '(module (import "m" "g" (global i32)) (global i32 (i32.const 1)) (func (export "f")))',
        '(module (memory 1) (func $s (drop (i32.const 1))) (start $s) (data (i32.const 0) "x"))',
        "(module (tag) (memory 1) (table 1 funcref) (func $f) (elem (i32.const 0) $f))",
    ):
        data = binary(runtime, text)
        changed = exporting_all(data)
        runtime.validate(changed)
        before, after = runtime.compile(data), runtime.compile(changed)
        assert after.imports == before.imports
        assert after.exports[: len(before.exports)] == before.exports
    for broken in (b"", b"\0asm", b"\0asm\1\0\0\0\5"):
        with pytest.raises(ModuleCompileError):
            dumpable(broken)


def test_what_is_written_to_and_of(runtime: Runtime, tmp_path: Path) -> None:
    instance: Any = runtime.instantiate(runtime.compile(GUEST))
    with pytest.raises(Trap) as caught:
        instance.exports.outer()
    path = tmp_path / "core"
    write_coredump(caught.value, instance, path)
    write_coredump(caught.value, instance, str(path))
    assert is_coredump(path.read_bytes())
    with pytest.raises(TypeError, match="of a Trap, not of"):
        write_coredump(LookupError(), instance, path)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="core"):
        write_coredump(caught.value, instance, tmp_path / "nowhere" / "core")
    instance.close()
    with pytest.raises(pywasmrt.ClosedError):
        write_coredump(caught.value, instance, path)


def test_a_large_memory_costs_what_is_in_it(runtime: Runtime) -> None:
    text = """(module (memory (export "m") 1024) (func (export "outer")
      (i32.store8 (i32.const 67108863) (i32.const 1)) unreachable))"""
    dump, data, _ = dumped(runtime, binary(runtime, text))
    assert len(data) < 5000
    assert dump.memories[0].read((64 << 20) - 1, 1) == b"\1"
    with pytest.raises(IndexError):
        dump.memories[0].read(64 << 20, 1)


NUMBERS = st.integers(0, (1 << 32) - 1)
VALUES = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False))
FRAMES = st.builds(
    CoreFrame,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(VALUES, max_size=3).map(tuple),
    st.lists(VALUES, max_size=3).map(tuple),
)
GLOBALS = st.one_of(
    st.tuples(st.just(ValueType.I32), st.booleans(), st.integers(-(1 << 31), (1 << 31) - 1)),
    st.tuples(st.just(ValueType.I64), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.tuples(st.just(ValueType.F32), st.booleans(), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(ValueType.F64), st.booleans(), st.floats(allow_nan=False)),
    st.tuples(st.just(ValueType.FUNCREF), st.booleans(), st.none()),
)


@st.composite
def dumps(draw: st.DrawFn) -> tuple[Coredump, list[bytes]]:
    blocks = st.lists(st.sampled_from([bytes(4096), b"\1" * 4096, b"\0" * 4095 + b"x"]), max_size=6)
    drawn = [b"".join(each) for each in draw(st.lists(blocks, max_size=2))]
    contents = [each.ljust(-(-len(each) >> 16) << 16, b"\0") for each in drawn]
    types = [MemoryType(len(each) >> 16, draw(st.sampled_from([None, 9])), draw(st.booleans())) for each in contents]
    names = st.text(max_size=5)
    dump = Coredump(
        draw(names),
        tuple(draw(st.lists(names, max_size=3))),
        tuple(draw(st.lists(st.builds(CoreInstance, NUMBERS, st.just((1, 300)), st.just((0,))), max_size=2))),
        tuple([CoreMemory(each) for each in types]),
        tuple(draw(st.lists(GLOBALS, max_size=4))),
        tuple(draw(st.lists(st.tuples(names, st.lists(FRAMES, max_size=3).map(tuple)), min_size=1, max_size=2))),
    )
    return dump, contents


def written(dump: Coredump, contents: list[bytes]) -> bytes:
    def reader(data: bytes) -> Any:
        return lambda offset, size: data[offset : offset + size]

    return b"".join(pieces(dump, [reader(each) for each in contents]))


@given(dumps())
def test_what_is_written_reads_back(drawn: tuple[Coredump, list[bytes]]) -> None:
    dump, contents = drawn
    found = read_coredump(written(dump, contents))
    assert (found.name, found.modules, found.instances, found.globals, found.threads) == (
        *(dump.name, dump.modules, dump.instances),
        *(dump.globals, dump.threads),
    )
    assert [each.type for each in found.memories] == [each.type for each in dump.memories]
    assert [each.read(0, each.size) for each in found.memories] == contents


@given(dumps(), st.data())
def test_a_broken_coredump_is_refused_or_read(drawn: tuple[Coredump, list[bytes]], data: st.DataObject) -> None:
    whole = bytearray(written(*drawn))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(8, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for broken in (bytes(whole), bytes(whole[:cut])):
        with contextlib.suppress(ModuleCompileError):
            read_coredump(broken)
        is_coredump(broken)


def test_the_command_line_writes_and_reads_one(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest, core = tmp_path / "guest.wasm", tmp_path / "core.wasm"
    guest.write_bytes(binary(runtime, GUEST))
    code = main(["run", "--runtime", runtime.info.name, "--coredump", str(core), "--invoke", "outer", str(guest)])
    told = capsys.readouterr().err
    assert (code, f"coredump written to {core}" in told, "unreachable" in told) == (134, True, True)
    assert main(["inspect", str(core)]) == 0
    shown = capsys.readouterr().out
    for line in (
        "coredump: guest.wasm",
        "stack of main, innermost first:",
        "of instance 0 (guest)",
        "0 (guest): memories 0, 1; globals 0, 1, 2, 3",
        "0: memory 2, 131072 bytes, of which 4096 were written",
        "0: mut i32 99",
        "1: f64 0.5",
    ):
        assert line in shown
    nowhere = tmp_path / "nowhere" / "core"
    assert main(["run", "--coredump", str(nowhere), "--invoke", "outer", str(guest)]) == 134
    told = capsys.readouterr().err
    assert f"no coredump written to {nowhere}" in told
    assert "unreachable" in told
    code = main(["run", "--coredump", str(core.with_name("none")), "--invoke", "outer", str(tmp_path / "no.wasm")])
    assert code != 0
    assert not core.with_name("none").exists()

"""The same guest over Wasmtime's own WASI and over ours: the same output, exit code and file tree.

Generated sequences of file operations, carried out by a C program (guests/operations.c) through its libc.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import wasi

from .building import c_guest

wasmtime = pytest.importorskip("wasmtime")

PLAIN = ["a", "b", "dir", "dir/a", "dir/b", "dir/sub", "dir/sub/a", "link", "link/a", "dir/link", "dir/../a", "./b"]
PLAIN += ["..", "../outside", "dir/../../outside", "missing/a", "."]
PATHS = st.sampled_from([*PLAIN, "dir/", "a/"])
# In what order a trailing slash and other mistakes are found is nobody's promise, so these are not mixed.
UNSLASHED = st.sampled_from(PLAIN)
TARGETS = st.sampled_from(["a", "dir", "../a", "dir/sub", "link", "missing", "../../outside", "."])
TEXTS = st.sampled_from(["x", "some text", "0123456789"])
NUMBERS = st.sampled_from(["0", "1", "5", "100", "-1"])

OPERATIONS = st.one_of(
    st.tuples(st.sampled_from("wa"), UNSLASHED, TEXTS),
    st.tuples(st.sampled_from("rmutLDkofRW"), PATHS),
    st.tuples(st.sampled_from("de"), UNSLASHED),
    st.tuples(st.sampled_from("nl"), UNSLASHED, UNSLASHED),
    st.tuples(st.just("s"), TARGETS, UNSLASHED),
    st.tuples(st.just("p"), PATHS, NUMBERS, TEXTS),
    st.tuples(st.sampled_from("gT"), PATHS, NUMBERS),
    st.tuples(st.just("S"), PATHS, NUMBERS, st.sampled_from("012")),
)
SEQUENCES = st.lists(OPERATIONS, min_size=3, max_size=40)


def script(operations: list[tuple[str, ...]], code: int) -> bytes:
    lines = ["m\tdir", "m\tdir/sub", "w\ta\tstart", *("\t".join(each) for each in operations), f"x\t{code}"]
    return "\n".join(lines).encode() + b"\n"


def tree(root: Path) -> dict[str, Any]:
    """What is in a directory: content, link target, or None for a directory."""
    found: dict[str, Any] = {}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(folder) / name
            at = str(path.relative_to(root))
            found[at] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found


class Peer:
    """Wasmtime's own WASI, through its package."""

    def __init__(self, module: bytes) -> None:
        self.engine = wasmtime.Engine()
        self.module = wasmtime.Module(self.engine, module)
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()

    def run(self, stdin: bytes, root: Path, scratch: Path) -> tuple[int, bytes]:
        (scratch / "in").write_bytes(stdin)
        config = wasmtime.WasiConfig()
        config.argv = ["operations"]
        config.stdin_file = str(scratch / "in")
        config.stdout_file = str(scratch / "out")
        config.preopen_dir(str(root), "/")
        store = wasmtime.Store(self.engine)
        store.set_wasi(config)
        instance = self.linker.instantiate(store, self.module)
        try:
            instance.exports(store)["_start"](store)
            code = 0
        except wasmtime.ExitTrap as end:
            code = end.code
        return code, (scratch / "out").read_bytes()


@pytest.fixture(scope="module")
def peer() -> Peer:
    return Peer(c_guest("operations"))


@pytest.fixture(scope="module")
def ours(one_runtime: pywasmrt.Runtime) -> pywasmrt.CompiledModule:
    return one_runtime.compile(c_guest("operations"))


def run(runtime: pywasmrt.Runtime, module: pywasmrt.CompiledModule, stdin: bytes, place: Any) -> tuple[int, bytes]:
    out = bytearray()
    config = wasi.WasiConfig(args=["operations"], stdin=stdin, stdout=out, preopens={"/": place})
    with runtime.instantiate(module, wasi=config) as instance:
        code = instance.run()
    return code, bytes(out)


@given(operations=SEQUENCES, code=st.integers(0, 125))
@settings(max_examples=60)
def test_file_operations(
    peer: Peer,
    one_runtime: pywasmrt.Runtime,
    ours: pywasmrt.CompiledModule,
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, ...]],
    code: int,
) -> None:
    base = tmp_path_factory.mktemp("differential")
    for name in ("theirs", "ours"):
        (base / name / "root").mkdir(parents=True)
        (base / name / "outside").write_text("canary")
    stdin = script(operations, code)
    theirs = peer.run(stdin, base / "theirs" / "root", base)
    mine = run(one_runtime, ours, stdin, base / "ours" / "root")
    in_memory = wasi.MemoryTree()
    third = run(one_runtime, ours, stdin, in_memory)
    assert mine[1].decode().splitlines() == theirs[1].decode().splitlines()
    assert mine[0] == theirs[0] == third[0] == code
    assert tree(base / "ours") == tree(base / "theirs")
    assert third[1].decode().splitlines() == mine[1].decode().splitlines()
    files = {at: content for at, content in tree(base / "ours" / "root").items() if isinstance(content, bytes)}
    assert in_memory.files() == files
    shutil.rmtree(base)

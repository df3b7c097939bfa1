"""What belongs to an instance: descriptors, stores, reactors, configuration."""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.wasi_guests import Make

import pywasmrt
from pywasmrt import Exit, InvalidConfigurationError, wasi
from pywasmrt.wasi.errno import Errno

from .guest import Raw, clock


def open_descriptors() -> list[str]:
    """What each open descriptor of this process leads to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(found)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux tells")
@pytest.mark.parametrize("how", ["close", "drop", "store", "function"])
def test_descriptors_end_with_the_instance(runtime: pywasmrt.Runtime, tmp_path: Path, how: str) -> None:
    def use() -> Any:
        guest = Raw(runtime, wasi.WasiConfig(preopens={"/": tmp_path}, stdout=tmp_path / "out"))
        for n in range(5):
            guest.open(f"file{n}", oflags=1)
        guest.poll(clock(1, 1_000_000))
        if how == "close":
            guest.close()
        elif how == "store":
            guest.instance.store.close()
        elif how == "function":
            return guest.instance.function("fd_close")
        return None

    use()
    gc.collect()  # what earlier tests have left goes now, not between the counts
    before = open_descriptors()
    for _ in range(5):
        kept = use()
        if kept is not None:  # a function keeps what it stands on, and works
            assert kept(3) == 0
            del kept
    assert open_descriptors() == before


def test_each_instance_has_its_own(raw: Make, tmp_path: Path) -> None:
    config: dict[str, Any] = {"preopens": {"/": tmp_path}}
    one, two = raw(**config), raw(**config)
    fd = one.open("file", oflags=1)
    assert two.call("fd_close", fd) is Errno.BADF
    one.do("fd_close", 3)
    two.stat(3)


def test_a_common_store(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(reactor())
    with runtime.new_store() as store:
        outs = [bytearray(), bytearray()]
        instances = [runtime.instantiate(module, store=store, wasi=wasi.WasiConfig(stdout=out)) for out in outs]
        assert [instance.exports.initialized.value for instance in instances] == [1, 1]
        instances[0].close()
        assert instances[1].exports.initialized.value == 1


def reactor(start: bool = False, code: int | None = None) -> bytes:
    from pywasmrt.types import FunctionType, GlobalType, MemoryType, ValueType
    from pywasmrt.wasm.module import Module

    guest = Module()
    exit_ = guest.import_("wasi_snapshot_preview1", "proc_exit", FunctionType((ValueType.I32,)))
    guest.memory(MemoryType(1), export="memory")
    guest.global_(GlobalType(ValueType.I32, True), ("i32.const", 0), export="initialized")
    body: list[Any] = [("global.get", 0), ("i32.const", 1), ("i32.add",), ("global.set", 0)]
    if code is not None:
        body += [("i32.const", code), ("call", exit_)]
    guest.function(FunctionType(), body, export="_start" if start else "_initialize")
    if start:
        guest.function(FunctionType(), [("unreachable",)], export="_initialize")
    return guest.encode()


def test_reactors_and_commands(runtime: pywasmrt.Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(reactor()), wasi=wasi.WasiConfig())
    assert instance.exports.initialized.value == 1
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="no command"):
        instance.run()
    for code in (None, 0, 5):
        instance = runtime.instantiate(runtime.compile(reactor(True, code)), wasi=wasi.WasiConfig())
        assert instance.exports.initialized.value == 0
        assert instance.run() == (code or 0)
        assert instance.exports.initialized.value == 1
    with pytest.raises(Exit):
        runtime.instantiate(runtime.compile(reactor(code=3)), wasi=wasi.WasiConfig())


def test_a_start_function_may_call(runtime: pywasmrt.Runtime) -> None:
    """Before there is an instance to ask, the memory comes from the caller."""
    from pywasmrt.types import FunctionType, MemoryType, ValueType
    from pywasmrt.wasm.module import Module

    guest = Module()
    random = guest.import_("wasi_snapshot_preview1", "random_get", FunctionType((ValueType.I32,) * 2, (ValueType.I32,)))
    guest.memory(MemoryType(1), export="memory")
    body: list[Any] = [("i32.const", 8), ("i32.const", 4), ("call", random), ("drop",)]
    guest.start(guest.function(FunctionType(), body))
    config = wasi.WasiConfig(random=lambda size: b"r" * size)
    memory = runtime.instantiate(runtime.compile(guest.encode()), wasi=config).memory()
    assert memory is not None
    assert memory.read(6, 8) == b"\0\0rrrr\0\0"


def test_a_guest_without_memory(runtime: pywasmrt.Runtime) -> None:
    from pywasmrt.types import FunctionType, ValueType
    from pywasmrt.wasm.module import Module

    guest = Module()
    type_ = FunctionType((ValueType.I32,) * 2, (ValueType.I32,))
    random = guest.import_("wasi_snapshot_preview1", "random_get", type_)
    guest.function(type_, [("local.get", 0), ("local.get", 1), ("call", random)], export="random")
    instance = runtime.instantiate(runtime.compile(guest.encode()), wasi=wasi.WasiConfig())
    assert instance.exports.random(0, 1) == Errno.FAULT


def test_functions_of_ones_own_come_first(runtime: pywasmrt.Runtime) -> None:
    module = runtime.compile(reactor(True, 9))
    codes: list[int] = []
    instance = runtime.instantiate(
        module, {"wasi_snapshot_preview1": {"proc_exit": codes.append}}, wasi=wasi.WasiConfig()
    )
    assert instance.run() == 0
    assert codes == [9]


@pytest.mark.parametrize(
    "wrong",
    [
        {"args": "one string"},
        {"args": None},
        {"args": [1]},
        {"args": ["nul\0"]},
        {"args": ["\ud800"]},
        {"env": ["A=1"]},
        {"env": {"": "x"}},
        {"env": {"A=": "x"}},
        {"env": {"A": 1}},
        {"env": {"A": "\ud800"}},
        {"stdin": "text"},
        {"stdout": b"not writable"},
        {"stderr": 5},
        {"stdin": wasi.MemoryTree()},
        {"stdout": wasi.MemoryTree()},
        {"preopens": ["/"]},
        {"preopens": {"/": 5}},
        {"preopens": {"": "."}},
        {"preopens": {"\ud800": "."}},
        {"clock": 5},
        {"random": "x"},
        {"on_exit": 5},
        {"network": True},
        {"network": wasi.Network(connect=["nonsense"])},
        {"network": wasi.Network(listen=["1.2.3.4:99999"])},
        {"network": wasi.Network(connect="*")},
        {"network": wasi.Network(listen=None)},  # type: ignore[arg-type]
        {"sockets": [5]},
        {"sockets": None},
        {"max_descriptors": 2},
    ],
)
def test_wrong_configurations(raw: Make, wrong: dict[str, Any]) -> None:
    wasi.WasiConfig(**wrong)  # building one never fails
    before = open_descriptors()
    with pytest.raises(InvalidConfigurationError):
        raw(**wrong)
    assert open_descriptors() == before


def test_a_directory_that_is_missing(raw: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        raw(preopens={"/": tmp_path / "nowhere"})
    with pytest.raises(NotADirectoryError):
        raw(preopens={"/": __file__})

"""Modules that are copied, pickled and sent to other processes, alone and linked."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import pickled

import pywasmrt
from pywasmrt import (
    ClosedError,
    FunctionType,
    HostModule,
    Limits,
    ModuleCompileError,
    Runtime,
    RuntimeConfig,
    ValueType,
)
from pywasmrt.wasi import WasiConfig
from pywasmrt.wasm.module import Module

I32 = ValueType.I32
UNARY, BINARY = FunctionType((I32,), (I32,)), FunctionType((I32, I32), (I32,))


def adder(salt: str = "add") -> bytes:
    guest = Module()
    guest.function(BINARY, [("local.get", 0), ("local.get", 1), ("i32.add",)], export="add")
    guest.function(BINARY, [("local.get", 0)], export=f"other {salt}")
    return guest.encode()


def caller(name: str = "f0") -> bytes:
    guest = Module()
    guest.import_("env", name, UNARY)
    guest.function(UNARY, [("local.get", 0), ("call", 0)], export="run")
    return guest.encode()


def test_a_pickled_module_is_the_same_module_here(runtime: Runtime) -> None:
    module = runtime.compile(adder())
    again = pickle.loads(pickle.dumps(module))
    assert again is not None
    with again.runtime.instantiate(again) as instance:
        assert instance.exports.add(40, 2) == 42
    assert again.exports == module.exports
    assert again.runtime.info == runtime.info
    assert pickle.loads(pickle.dumps(again)) is again  # compiled once a process
    assert pickle.loads(pickle.dumps(module)) is again
    assert copy.copy(module) is module
    assert copy.deepcopy({"m": module})["m"] is module


def test_settings_go_along(runtime: Runtime) -> None:
    config = RuntimeConfig(
        runtime.info.name, frozenset({"multi-value"}), interruptible=False, trap_on_grow_failure=True
    )
    with pywasmrt.new_runtime(config) as made:
        data = pickle.dumps(made.compile(adder()))
        expected = made.info
    again = pickle.loads(data)
    assert again.runtime.info == expected
    assert again.runtime is not made
    with again.runtime.instantiate(again) as instance:
        assert instance.exports.add(1, 2) == 3


def test_what_was_loaded_goes_as_it_was_loaded(runtime: Runtime) -> None:
    if "serialize" not in runtime.info.features:
        pytest.skip("the runtime cannot serialise")
    loaded = runtime.deserialize(runtime.compile(adder("blob")).serialize())
    again = pickle.loads(pickle.dumps(loaded))
    with again.runtime.instantiate(again) as instance:
        assert instance.exports.add(40, 2) == 42


def test_closed_modules_cannot_be_pickled(fresh_runtime: Runtime) -> None:
    module = fresh_runtime.compile(adder())
    linked = fresh_runtime.link(module)
    data = pickle.dumps(linked)
    linked.close()
    with pytest.raises(ClosedError):
        pickle.dumps(linked)
    module.close()
    for closed in (module, linked):
        with pytest.raises(ClosedError):
            pickle.dumps(closed)
    with pickle.loads(data).instantiate() as instance:
        assert instance.exports.add(1, 1) == 2


def test_what_was_closed_is_compiled_again(runtime: Runtime) -> None:
    data = pickle.dumps(runtime.compile(adder("again")))
    for what in ("module", "runtime"):
        first = pickle.loads(data)
        (first if what == "module" else first.runtime).close()
        second = pickle.loads(data)
        assert second is not first
        with second.runtime.instantiate(second) as instance:
            assert instance.exports.add(1, 1) == 2


def test_pickles_of_another_version_say_so(runtime: Runtime) -> None:
    restore, arguments = runtime.compile(adder()).__reduce__()  # type: ignore[misc]
    form, version, engine, config, compiled, data = arguments
    with pytest.raises(ModuleCompileError, match=r"pickled by pywasmrt 9\.9, in a form that this version"):
        restore(form + 1, "9.9", engine, config, compiled, data)
    with pytest.raises(ModuleCompileError, match=r"pickled by pywasmrt .* for wasmtime 1\.0"):
        restore(form, version, "wasmtime 1.0", config, True, b"pywasmrt module 1\n" + bytes(16))
    with pytest.raises(pywasmrt.RuntimeNotFoundError, match="no runtime 'gone'"):
        restore(form, version, engine, RuntimeConfig("gone"), False, data)


def test_a_runtime_of_no_configuration_says_so() -> None:
    from pywasmrt.testing import FakeRuntime

    with pytest.raises(TypeError, match="made by new_runtime"):
        pickle.dumps(FakeRuntime().compile(adder()))


def test_linked_modules_take_their_imports_along(runtime: Runtime) -> None:
    for imports, result in (((pickled.env,), 42), (({"env": {"f0": pickled.f0}},), 42)):
        linked = runtime.link(runtime.compile(caller()), *imports, limits=Limits(memory_bytes=1 << 20))
        again = pickle.loads(pickle.dumps(linked))
        assert again.limits == linked.limits
        assert pickled.run_linked(again, 41) == result
        assert copy.deepcopy(linked) is linked
    bound = runtime.link(runtime.compile(caller("pay")), pickled.env.bind(pickled.Account))
    again = pickle.loads(pickle.dumps(bound))
    first, second = again.instantiate(), again.instantiate()
    assert (first.exports.run(1), first.exports.run(1), second.exports.run(5)) == (99, 98, 95)
    with_wasi = runtime.link(runtime.compile(adder()), wasi=WasiConfig(args=["a"]))
    with pickle.loads(pickle.dumps(with_wasi)).instantiate() as instance:
        assert instance.exports.add(2, 3) == 5


def test_imports_that_do_not_pickle_are_told(runtime: Runtime) -> None:
    linked = runtime.link(runtime.compile(caller()), {"env": {"f0": lambda x: x}})
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(linked)


def test_host_modules_pickle() -> None:
    again = pickle.loads(pickle.dumps(pickled.env))
    assert isinstance(again, HostModule)
    assert again.name == "env"
    assert dict(again.functions) == dict(pickled.env.functions)
    again.add_function("new", [I32], [], print)
    assert "new" not in pickled.env
    twin = copy.copy(again)
    twin.add_function("other", [I32], [], print)
    assert "other" not in again


def test_many_pickles_keep_little(runtime: Runtime) -> None:
    module = runtime.compile(adder("little"))
    data = pickle.dumps(module)
    for _ in range(50):
        assert pickle.loads(data) is pickle.loads(pickle.dumps(module))
    for n in range(70):  # other modules: the ones that were not used for the longest time go
        pickle.loads(pickle.dumps(runtime.compile(adder(str(n)))))
    gc.collect()
    from pywasmrt import registry

    assert len(registry._restored) <= registry._MOST_RESTORED


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_get_it_once(runtime: Runtime, method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    config = RuntimeConfig(runtime.info.name, cache=tmp_path / "cache")
    with pywasmrt.new_runtime(config) as made, ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        module = made.compile(adder())
        linked: Any = made.link(made.compile(caller()), pickled.env)
        found = list(pool.map(pickled.run, [module] * 3, range(3)))
        assert [result for result, _ in found] == [2, 3, 4]
        assert len({identity for _, identity in found}) == 1
        assert list(pool.map(pickled.run_linked, [linked] * 2, [1, 2])) == [2, 3]

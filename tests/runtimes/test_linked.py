"""Modules linked once: what is decided then, what each instance has of its own, and who may do what when."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from helpers.instances import I32, I64, UNARY, Needs
from helpers.linked import caller_of

import pywasmrt
from pywasmrt import (
    Caller,
    ClosedError,
    ExternKind,
    FunctionType,
    HostModule,
    InvalidConfigurationError,
    Limits,
    LinkedModule,
    MemoryType,
    ModuleInstantiateError,
    Runtime,
    Trap,
    i32,
)
from pywasmrt.wasi import WasiConfig
from pywasmrt.wasm.module import Module


def test_an_instance_is_made_as_often_as_wanted(runtime: Runtime) -> None:
    linked = runtime.link(runtime.compile(caller_of(1)), {"env": {"f0": lambda x: x + 1}})
    instances = [linked.instantiate() for _ in range(50)]
    assert [each.exports.run0(n) for n, each in enumerate(instances)] == list(range(1, 51))
    assert len({id(each.store) for each in instances}) == 50
    memory = instances[0].memory()
    other = instances[1].memory()
    assert memory is not None
    assert other is not None
    memory.write(0, b"x")
    assert other.read(0, 1) == b"\0"


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 40])
def test_each_import_is_served_by_its_own_function(runtime: Runtime, count: int) -> None:
    functions = {f"f{n}": lambda x, n=n: x + n for n in range(count)}
    linked = runtime.link(runtime.compile(caller_of(count)), {"env": functions})
    first, second = linked.instantiate(), linked.instantiate()
    for instance in (first, second):
        assert [instance.exports[f"run{n}"](100) for n in range(count)] == [100 + n for n in range(count)]


def test_one_name_may_be_imported_twice_with_two_types(runtime: Runtime) -> None:
    guest = Module()
    guest.import_("env", "f", UNARY)
    guest.import_("env", "f", FunctionType((I64,), (I64,)))
    guest.function(UNARY, [("local.get", 0), ("call", 0)], export="narrow")
    guest.function(FunctionType((I64,), (I64,)), [("local.get", 0), ("call", 1)], export="wide")
    linked = runtime.link(runtime.compile(guest.encode()), {"env": {"f": lambda x: x + 1}})
    for _ in range(2):
        exports = linked.instantiate().exports
        assert (exports.narrow(1), exports.wide(1 << 40)) == (2, (1 << 40) + 1)


def test_names_of_imports_may_be_anything(runtime: Runtime) -> None:
    guest = Module()
    names = ["", "a\0b", "\N{SNOWMAN}", "x" * 300, "wasi_snapshot_preview1"]
    for name in names:
        guest.import_(name, name, UNARY)
    for n in range(len(names)):
        guest.function(UNARY, [("local.get", 0), ("call", n)], export=str(n))
    imports = {name: {name: lambda x, n=n: x + n} for n, name in enumerate(names)}
    exports = runtime.link(runtime.compile(guest.encode()), imports).instantiate().exports
    assert [exports[str(n)](10) for n in range(len(names))] == [10 + n for n in range(len(names))]


def test_the_caller_is_the_instance_that_calls(runtime: Runtime) -> None:
    env = HostModule("env")

    @env.function
    def f0(caller: Caller, at: i32) -> i32:
        return caller.memory().read(at, 1)[0]

    linked = runtime.link(runtime.compile(caller_of(1)), env)
    instances = [linked.instantiate() for _ in range(3)]
    for n, each in enumerate(instances):
        memory = each.memory()
        assert memory is not None
        memory.write(5, bytes([n]))
    assert [each.exports.run0(5) for each in instances] == [0, 1, 2]


def test_what_a_host_function_raises_comes_out_of_its_instance(runtime: Runtime) -> None:
    error = KeyError("here")

    def f0(x: int) -> int:
        if x:
            raise error
        return 7

    linked = runtime.link(runtime.compile(caller_of(1)), {"env": {"f0": f0}})
    first, second = linked.instantiate(), linked.instantiate()
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            first.exports.run0(1)
        assert caught.value is error
        assert second.exports.run0(0) == 7
        assert first.exports.run0(0) == 7
    wrong = runtime.link(runtime.compile(caller_of(1)), {"env": {"f0": lambda x: "no number"}})
    with pytest.raises(TypeError, match=r"env\.f0"):
        wrong.instantiate().exports.run0(0)


def test_the_start_function_runs_in_each(runtime: Runtime) -> None:
    seen: list[int] = []

    def f0(x: int) -> int:
        seen.append(x)
        if len(seen) == 2:
            raise ValueError("the second")
        return x

    linked = runtime.link(runtime.compile(caller_of(1, start=True)), {"env": {"f0": f0}})
    assert seen == []
    linked.instantiate()
    with pytest.raises(ValueError, match="the second"):
        linked.instantiate()
    linked.instantiate()
    assert seen == [1, 1, 1]


def test_limits_come_from_the_link_or_from_each_instance(runtime: Runtime) -> None:
    guest = Module()
    guest.memory(MemoryType(1), export="memory")
    module = runtime.compile(guest.encode())
    linked = runtime.link(module, limits=Limits(memory_bytes=2 << 16))
    assert linked.limits == Limits(memory_bytes=2 << 16)

    def grows(instance: pywasmrt.ModuleInstance, pages: int) -> bool:
        memory = instance.memory()
        assert memory is not None
        try:
            memory.grow(pages)
        except pywasmrt.MemoryAccessError:
            return False
        return True

    assert grows(linked.instantiate(), 1)
    assert not grows(linked.instantiate(), 2)
    assert grows(linked.instantiate(limits=Limits(memory_bytes=4 << 16)), 3)
    assert grows(linked.instantiate(limits=Limits()), 5)
    with pytest.raises(ModuleInstantiateError):
        linked.instantiate(limits=Limits(memory_bytes=1))
    with pytest.raises(InvalidConfigurationError, match="memory_bytes"):
        linked.instantiate(limits=Limits(memory_bytes=-1))
    with pytest.raises(TypeError, match="limits is a Limits"):
        linked.instantiate(limits=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigurationError, match="instances"):
        runtime.link(module, limits=Limits(instances=-3))
    assert grows(linked.instantiate(), 1)


def test_a_timeout_of_the_link_ends_calls(runtime: Runtime, needs: Needs) -> None:
    needs("deadline")
    guest = Module()
    guest.function(FunctionType(), [("loop", FunctionType()), ("br", 0), ("end",)], export="spin")
    linked = runtime.link(runtime.compile(guest.encode()), limits=Limits(timeout=0.02))
    for _ in range(2):
        with pytest.raises(pywasmrt.DeadlineExceeded):
            linked.instantiate().exports.spin()


def test_what_belongs_to_one_store_cannot_be_linked(runtime: Runtime) -> None:
    store = runtime.new_store()
    instance = runtime.instantiate(runtime.compile(caller_of(1)), {"env": {"f0": lambda x: x}}, store=store)
    with pytest.raises(ModuleInstantiateError, match="another store; instantiate with store="):
        runtime.link(runtime.compile(caller_of(1)), {"env": {"f0": instance.exports.run0}})


def test_a_shared_memory_can_be_linked(runtime: Runtime, needs: Needs) -> None:
    needs("threads", "memory-sharing", "host-memory")
    store = runtime.new_store()
    try:
        memory = store.memory(1, 2, shared=True)
    except pywasmrt.UnsupportedFeatureError as error:
        pytest.skip(str(error))
    guest = Module()
    guest.import_("env", "memory", MemoryType(1, 2, shared=True))
    guest.function(UNARY, [("local.get", 0), ("i32.load8_u", 0, 0)], export="load")
    linked = runtime.link(runtime.compile(guest.encode()), {"env": {"memory": memory}})
    first, second = linked.instantiate(), linked.instantiate()
    memory.write(3, b"\x07")
    assert (first.exports.load(3), second.exports.load(3)) == (7, 7)
    store.close()
    memory = None
    gc.collect()
    assert linked.instantiate().exports.load(3) == 7  # the linked module holds it


def test_everything_missing_is_told_when_linking(runtime: Runtime) -> None:
    with pytest.raises(ModuleInstantiateError, match="3 imports do not fit") as caught:
        runtime.link(runtime.compile(caller_of(4)), {"env": {"f0": lambda x: x, "f1": 5, "f2": lambda: 1}})
    assert len(caught.value.problems) == 3


def test_only_modules_of_the_runtime_are_linked(runtime: Runtime, fresh_runtime: Runtime) -> None:
    with pytest.raises(TypeError, match="link takes a compiled module"):
        runtime.link(b"\0asm")  # type: ignore[arg-type]
    with pytest.raises(ModuleInstantiateError, match="another runtime"):
        runtime.link(fresh_runtime.compile(caller_of(0)))
    with pytest.raises(TypeError, match="wasi is a"):
        runtime.link(runtime.compile(caller_of(0)), wasi=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("close", ["linked module", "module", "runtime"])
def test_closing_ends_linked_modules(fresh_runtime: Runtime, close: str) -> None:
    module = fresh_runtime.compile(caller_of(1))
    linked = fresh_runtime.link(module, {"env": {"f0": lambda x: x + 1}})
    instance = linked.instantiate()
    assert isinstance(linked, LinkedModule)
    {"linked module": linked, "module": module, "runtime": fresh_runtime}[close].close()
    assert linked.closed
    assert "closed" in repr(linked)
    with pytest.raises(ClosedError, match=close):
        linked.instantiate()
    linked.close()
    if close != "runtime":
        assert instance.exports.run0(1) == 2


def test_a_linked_module_holds_its_module_and_its_imports_and_no_instance(runtime: Runtime) -> None:
    class Function:
        def __call__(self, x: int) -> int:
            return x + 1

    function = Function()
    held = weakref.ref(function)
    module = runtime.compile(caller_of(1))
    linked = runtime.link(module, {"env": {"f0": function}})
    del function, module
    gc.collect()
    instance = linked.instantiate()
    seen = weakref.ref(instance)
    assert instance.exports.run0(1) == 2
    del instance
    assert seen() is None  # without the collector
    assert held() is not None
    del linked
    assert held() is None


def test_threads_make_instances_at_the_same_time(runtime: Runtime) -> None:
    linked = runtime.link(runtime.compile(caller_of(2)), {"env": {"f0": lambda x: x + 1, "f1": lambda x: x + 2}})
    wrong: list[Any] = []

    def work() -> None:
        try:
            for n in range(200):
                with linked.instantiate() as instance:
                    if (instance.exports.run0(n), instance.exports.run1(n)) != (n + 1, n + 2):
                        wrong.append(n)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_closing_while_threads_instantiate(fresh_runtime: Runtime) -> None:
    linked = fresh_runtime.link(fresh_runtime.compile(caller_of(1)), {"env": {"f0": lambda x: x + 1}})
    wrong: list[BaseException] = []
    begun = threading.Event()

    def work() -> None:
        try:
            while True:
                linked.instantiate().exports.run0(1)
                begun.set()
        except ClosedError:
            pass
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    assert begun.wait(30)
    linked.close()
    for each in threads:
        each.join()
    assert wrong == []


# WASI

WRITER = Module()
WRITER.import_("wasi_snapshot_preview1", "fd_write", FunctionType((I32, I32, I32, I32), (I32,)))
WRITER.memory(MemoryType(1), export="memory")
WRITER.data(b"\x08\0\0\0\x02\0\0\0hi")
WRITER.function(
    FunctionType((), (I32,)),
    [("i32.const", 1), ("i32.const", 0), ("i32.const", 1), ("i32.const", 20), ("call", 0)],
    export="write",
)


def test_each_instance_has_files_of_its_own(runtime: Runtime, tmp_path: Any) -> None:
    out = tmp_path / "out"
    linked = runtime.link(runtime.compile(WRITER.encode()), wasi=WasiConfig(stdout=out))
    assert not out.exists()  # linking opens nothing
    with linked.instantiate() as instance:
        assert instance.exports.write() == 0
        assert instance.exports.write() == 0
    assert out.read_bytes() == b"hihi"
    with linked.instantiate() as instance:
        assert instance.exports.write() == 0
    assert out.read_bytes() == b"hi"
    with pytest.raises(InvalidConfigurationError):
        runtime.link(runtime.compile(WRITER.encode()), wasi=WasiConfig(args="no list"))


def test_own_imports_come_before_wasi(runtime: Runtime) -> None:
    mine = {"wasi_snapshot_preview1": {"fd_write": lambda *args: 42}}
    linked = runtime.link(runtime.compile(WRITER.encode()), mine, wasi=WasiConfig())
    assert linked.instantiate().exports.write() == 42


def test_kinds_of_exports_are_told(runtime: Runtime) -> None:
    linked = runtime.link(runtime.compile(WRITER.encode()), wasi=WasiConfig())
    kinds = {export.name: export.kind for export in linked.module.exports}
    assert kinds == {"memory": ExternKind.MEMORY, "write": ExternKind.FUNCTION}
    assert repr(linked).startswith("<LinkedModule imports=1")


def test_a_trap_in_a_start_function_leaves_the_linked_module_usable(runtime: Runtime) -> None:
    guest = Module()
    guest.import_("env", "f", UNARY)
    guest.start(
        guest.function(
            FunctionType(), [("i32.const", 0), ("call", 0), ("if", FunctionType()), ("unreachable",), ("end",)]
        )
    )
    fail = [True, False, True, False]
    linked = runtime.link(runtime.compile(guest.encode()), {"env": {"f": lambda x: int(fail.pop(0))}})
    for _ in range(2):
        with pytest.raises(Trap):
            linked.instantiate()
        linked.instantiate()

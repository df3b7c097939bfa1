"""The jobs that are measured and the contestants: each does the same jobs through its own API.

Every contestant keeps what it can outside of the loop: bound methods, compiled modules, and the store where it is an
argument.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from measuring import Loop

__all__ = ["CONTESTANTS", "JOBS", "NAMES", "add_module", "callback_module", "increment"]

JOBS = {
    "add": "call add(i32, i32)",
    "raw": "the same with raw slots",
    "callback": "guest calls Python, 1 int",
    "read": "memory.read(0, 64)",
    "write": "memory.write(0, 64 bytes)",
    "create": "store, host, instance",
    "first": "bytes to first result",
}

NAMES = (
    *("pywasmrt wasmtime", "pywasmrt wasm3", "pywasmrt wasmtime-py", "wasmtime-py", "pywasm3"),
    *("pywasmrt wazero", "wazero, uninterruptible"),
)

_WAT = """(module
  (import "env" "inc" (func $inc (param i32) (result i32)))
  (memory (export "memory") 1 2)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "loop") (param $n i32) (result i32) (local $x i32)
    (loop $again
      (local.set $x (call $inc (local.get $x)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))"""

_ADD_WAT = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'

_CALLBACKS = 1000  # in one run of the guest's loop
_DATA = bytes(range(64))


def _binary(text: str) -> bytes:
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))


def add_module() -> bytes:
    """A module that exports `add`, and imports nothing."""
    return _binary(_ADD_WAT)


def callback_module() -> bytes:
    """A module that exports `loop`, which calls the import `env.inc` as often as it is told."""
    return _binary(_WAT)


def increment(x: int) -> int:
    """The Python function that guests call."""
    return x + 1


def pywasmrt_jobs(name: str, **settings: Any) -> dict[str, Loop] | None:
    """The jobs through pywasmrt; None where the runtime is missing."""
    import pywasmrt
    from pywasmrt import HostModule, ValueType

    if not any(info.name == name and info.available for info in pywasmrt.list_runtimes()):
        return None
    runtime = pywasmrt.new_runtime(pywasmrt.RuntimeConfig(name, **settings))
    data, add_data = _binary(_WAT), _binary(_ADD_WAT)
    host = HostModule("env")
    host.add_function("inc", [ValueType.I32], [ValueType.I32], increment)
    module = runtime.compile(data)
    instance = runtime.instantiate(module, host)
    memory = instance.memory()
    add, loop = instance.function("add"), instance.function("loop")
    assert memory is not None
    assert add is not None
    assert loop is not None
    assert loop(_CALLBACKS) == _CALLBACKS
    assert add(1, 2) == 3
    return {
        "add": Loop("add(1, 2)", {"add": add}),
        "raw": Loop("call(1, 2)", {"call": add.call}),
        "callback": Loop(f"loop({_CALLBACKS})", {"loop": loop}, _CALLBACKS),
        "read": Loop("read(0, 64)", {"read": memory.read}),
        "write": Loop("write(0, data)", {"write": memory.write, "data": _DATA}),
        "create": Loop(
            "instantiate(module, host)", {"instantiate": runtime.instantiate, "module": module, "host": host}
        ),
        "first": Loop(
            "runtime.instantiate(runtime.compile(data)).function('add')(1, 2)", {"runtime": runtime, "data": add_data}
        ),
    }


def wasmtime_py_jobs() -> dict[str, Loop]:
    """The jobs through Wasmtime's own package."""
    import wasmtime
    from wasmtime import Func, FuncType, Instance, Module, Store, ValType

    engine = wasmtime.Engine()
    module = Module(engine, _binary(_WAT))
    type = FuncType([ValType.i32()], [ValType.i32()])

    def create() -> tuple[Any, Any]:
        store = Store(engine)
        return store, Instance(store, module, [Func(store, type, increment)])

    def first(data: bytes) -> Any:
        store = Store(engine)
        return Instance(store, Module(engine, data), []).exports(store)["add"](store, 1, 2)

    store, instance = create()
    exports = instance.exports(store)
    assert exports["add"](store, 1, 2) == 3
    return {
        "add": Loop("add(store, 1, 2)", {"add": exports["add"], "store": store}),
        "callback": Loop(f"loop(store, {_CALLBACKS})", {"loop": exports["loop"], "store": store}, _CALLBACKS),
        "read": Loop("read(store, 0, 64)", {"read": exports["memory"].read, "store": store}),
        "write": Loop(
            "write(store, data, 0)", {"write": exports["memory"].write, "store": store, "data": bytearray(_DATA)}
        ),
        "create": Loop("create()", {"create": create}),
        "first": Loop("first(data)", {"first": first, "data": _binary(_ADD_WAT)}),
    }


def pywasm3_jobs() -> dict[str, Loop] | None:
    """The jobs through pywasm3; None where it is not installed. Its memory is a memoryview."""
    if importlib.util.find_spec("wasm3") is None:
        return None
    import wasm3

    environment = wasm3.Environment()
    data, add_data = _binary(_WAT), _binary(_ADD_WAT)

    def create() -> Any:
        runtime = environment.new_runtime(64 * 1024)
        module = environment.parse_module(data)
        runtime.load(module)
        module.link_function("env", "inc", "i(i)", increment)
        return runtime

    def first(data: bytes) -> Any:
        runtime = environment.new_runtime(64 * 1024)
        runtime.load(environment.parse_module(data))
        return runtime.find_function("add")(1, 2)

    runtime = create()
    add, loop = runtime.find_function("add"), runtime.find_function("loop")
    assert add(1, 2) == 3
    return {
        "add": Loop("add(1, 2)", {"add": add}),
        "callback": Loop(f"loop({_CALLBACKS})", {"loop": loop}, _CALLBACKS),
        "read": Loop("bytes(memory[0:64])", {"memory": runtime.get_memory(0)}),
        "write": Loop("memory[0:64] = data", {"memory": runtime.get_memory(0), "data": _DATA}),
        "create": Loop("create()", {"create": create}),
        "first": Loop("first(data)", {"first": first, "data": add_data}),
    }


CONTESTANTS: dict[str, Callable[[], dict[str, Loop] | None]] = {
    NAMES[0]: lambda: pywasmrt_jobs("wasmtime"),
    NAMES[1]: lambda: pywasmrt_jobs("wasm3"),
    NAMES[2]: lambda: pywasmrt_jobs("wasmtime-py"),
    NAMES[3]: wasmtime_py_jobs,
    NAMES[4]: pywasm3_jobs,
    NAMES[5]: lambda: pywasmrt_jobs("wazero"),
    NAMES[6]: lambda: pywasmrt_jobs("wazero", interruptible=False),
}
"""By name: the function that makes a contestant's jobs, or returns None where it cannot take part."""

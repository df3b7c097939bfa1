"""What destructors use while the interpreter ends gives its result or an error of its own, never ImportError."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from pywasmrt import Runtime
from pywasmrt.testing import to_binary

# Every operation is done for the first time when the interpreter has emptied sys.modules. Each prints what it gave.
PROGRAM = '''
import array
import sys
import threading

import pywasmrt
from pywasmrt.testing import to_binary
from pywasmrt.wasi import WasiConfig

SOURCE = to_binary("""(module
  (import "env" "f" (func $f (param i32) (result i32)))
  (memory (export "memory") 1 3)
  (table (export "table") 2 4 funcref)
  (global (export "g") (mut i32) (i32.const 5))
  (func (export "close") (result i32) (i32.const 1))
  (func (export "host") (param i32) (result i32) (call $f (local.get 0)))
  (func (export "trap") unreachable)
  (func (export "spin") (loop (br 0)))
  (func (export "same") (param i32) (result i32) (local.get 0)))""")
NEEDS_GC = to_binary('(module (type (struct (field i32))) (func (export "f") (drop (struct.new_default 0))))')
PLAIN = to_binary('(module (func (export "close") (result i32) (i32.const 1)))')
MIXED = to_binary("""(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (import "env" "f" (func $f (param i32) (result i32)))
  (func (export "run") (result i32) (i32.add (call $yield) (call $f (i32.const 7)))))""")
COMPONENT = to_binary("""(component
  (import "log" (func $l (param "x" u32) (result u32)))
  (core func $l (canon lower (func $l)))
  (core module $m
    (import "e" "l" (func $l (param i32) (result i32)))
    (func (export "f") (param i32) (result i32) (call $l (local.get 0))))
  (core instance $i (instantiate $m (with "e" (instance (export "l" (func $l))))))
  (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))""")


NAMES = ["wasmtime", "wasmtime-py", "wasm3", "wazero"]


class Index:
    def __index__(self):
        return 3


class Plugin:
    def __init__(self, name, place):
        self.runtime = pywasmrt.new_runtime(name)
        self.module = self.runtime.compile(SOURCE)
        self.plain = self.runtime.compile(PLAIN)
        self.calls = lambda x: x
        self.instance = self.runtime.instantiate(self.module, {"env": {"f": lambda x: self.calls(x)}})
        self.config = WasiConfig  # the first is made while the interpreter ends
        self.mixed = self.runtime.compile(MIXED)
        self.component = self.inside = None
        if "component-model" in self.runtime.info.features:
            self.component = self.runtime.compile_component(COMPONENT)
            self.inside = self.runtime.instantiate_component(self.component, {"log": lambda x: x + 1})
        self.api = pywasmrt
        self.place = place
        if place == "cycle":
            self.me = self

    def spin(self):
        with self.instance.deadline(0.02):
            self.instance.exports.spin()

    def calls_back(self, function):
        self.calls = function
        self.instance.exports.host(1)

    def fail(self, x):
        raise LookupError("of its own")

    def caller(self):
        def f(caller: pywasmrt.Caller, x):
            return caller.memory().size

        return self.runtime.instantiate(self.module, {"env": {"f": f}}).exports.host(1)

    def host_module(self):
        env = pywasmrt.HostModule("env")
        env.add_function("f", [pywasmrt.ValueType.I32], [pywasmrt.ValueType.I32], lambda x: x)
        return self.runtime.instantiate(self.module, env).exports.host(4)

    def catch(self):
        try:
            self.instance.exports.trap()
        except pywasmrt.Trap as trap:
            return trap.code, len(trap.frames) >= 0

    def limited(self):
        store = self.runtime.new_store(pywasmrt.Limits(memory_bytes=1 << 20))
        return self.runtime.instantiate(self.plain, store=store).exports.close()

    def beside(self):
        wasi = self.config(args=["x"])
        return self.runtime.instantiate(self.mixed, {"env": {"f": lambda x: x}}, wasi=wasi).exports.run()

    def component_again(self):
        if self.component is None:
            return 5
        return self.runtime.instantiate_component(self.component, {"log": lambda x: x + 2}).exports.f(3)

    def closed(self):
        self.instance.close()
        self.instance.exports.close()

    def closed_runtime(self):
        self.runtime.close()
        self.runtime.compile(PLAIN)

    def coroutine(self):
        self.instance.exports.close.call_async().close()

    def answers(self):
        return [each.reason for each in self.api.list_runtimes() if each.reason]

    def __del__(self):
        if self.place != "generator":
            self.use()

    def use(self):
        i = self.instance
        actions = {
            "a call": lambda: i.exports.close(),
            "a call with a host function": lambda: i.exports.host(5),
            "a number that is no int": lambda: i.exports.same(Index()),
            "a wrong type": lambda: i.exports.same("x"),
            "a wrong number of arguments": lambda: i.exports.same(),
            "a raw call": lambda: i.exports.same.call(7),
            "a wrong slot": lambda: i.exports.same.call(-7),
            "a missing export": lambda: i.exports.missing,
            "the exports": lambda: list(i.exports),
            "memory": lambda: i.memory().read(0, 4),
            "beyond memory": lambda: i.memory().read(1 << 20, 4),
            "growth": lambda: i.memory().grow(1),
            "too much growth": lambda: i.memory().grow(100),
            "a global": lambda: i.global_("g").value,
            "a wrong global": lambda: setattr(i.global_("g"), "value", 1 << 40),
            "a table": lambda: i.table("table")[0],
            "beyond a table": lambda: i.table("table")[9],
            "columns": lambda: list(memoryview(i.exports.same.map(array.array("i", [1, 2])))),
            "a trap": lambda: i.exports.trap(),
            "a trap that is caught": self.catch,
            "a deadline": self.spin,
            "an exception": lambda: self.calls_back(self.fail),
            "a wrong result": lambda: self.calls_back(lambda x: "text"),
            "a Caller": self.caller,
            "a HostModule": self.host_module,
            "an instance": lambda: self.runtime.instantiate(self.plain, {"env": {"f": len}}).exports.close(),
            "a missing import": lambda: self.runtime.instantiate(self.module, {"env": {"g": len}}),
            "a store with limits": self.limited,
            "a linked module": lambda: self.runtime.link(self.plain).instantiate().exports.close(),
            "an instance with WASI": lambda: self.runtime.instantiate(self.plain, wasi=self.config()).exports.close(),
            "imports beside WASI": self.beside,
            "an instance as an import": lambda: self.runtime.instantiate(
                self.module, {"env": {"f": i.exports.same}}, store=i.store
            ).exports.host(6),
            "a component's function": lambda: 4 if self.inside is None else self.inside.exports.f(3),
            "a component's instance": self.component_again,
            "a compilation": lambda: len(self.runtime.compile(PLAIN).exports),
            "text": lambda: len(self.runtime.compile("(module)").exports),
            "wrong text": lambda: self.runtime.compile("(modul)"),
            "a broken module": lambda: self.runtime.validate(b"nothing"),
            "a module that needs gc": lambda: self.runtime.validate(NEEDS_GC),
            "a new runtime": lambda: self.api.new_runtime("auto").info.name,
            "the runtimes": lambda: len(self.api.list_runtimes()),
            "reasons of runtimes": self.answers,
            **{f"the runtime {name}": lambda name=name: self.api.new_runtime(name).info.name for name in NAMES},
            "a serialized module": lambda: len(self.module.serialize()) > 0,
            "a deserialized module": lambda: len(self.runtime.deserialize(self.module.serialize()).exports),
            "an awaited call": lambda: i.exports.close.call_async().send(None),
            "trace": lambda: self.api.trace,
            "profile": lambda: self.api.profile,
            "the repr": lambda: repr((self.runtime, self.module, i, i.exports.close)),
            "a coroutine": self.coroutine,
            "a closed instance": self.closed,
            "a closed runtime": self.closed_runtime,
        }
        for label, action in actions.items():
            try:
                print(label, "=>", action())
            except BaseException as error:
                print(label, "=>", "raised", *[each.__name__ for each in type(error).__mro__], "|", str(error)[:200])
        print(sys.meta_path is None, len(actions))


def waiting(plugin):
    try:
        yield
    finally:
        plugin.use()


if sys.argv[2] == "generator":
    generator = waiting(Plugin(*sys.argv[1:]))
    next(generator)
elif sys.argv[2] == "thread":
    local = threading.local()
    local.plugin = Plugin(*sys.argv[1:])
else:
    plugin = Plugin(*sys.argv[1:])
'''

WANTED = {
    "a call": "1",
    "a call with a host function": "5",
    "a number that is no int": "3",
    "a raw call": "[7]",
    "memory": r"b'\x00\x00\x00\x00'",
    "growth": "1",
    "a global": "5",
    "a table": "None",
    "columns": "[1, 2]",
    "a trap that is caught": "(TrapCode.UNREACHABLE, True)",
    "a Caller": "65536",
    "a HostModule": "4",
    "an instance": "1",
    "a store with limits": "1",
    "a linked module": "1",
    "an instance with WASI": "1",
    "imports beside WASI": "7",
    "an instance as an import": "6",
    "a component's function": "4",
    "a component's instance": "5",
    "a compilation": "1",
    "text": "0",
    "a coroutine": "None",
    "a serialized module": "True",
    "a deserialized module": "8",
}
RAISED = {
    "a wrong type": "TypeError",
    "a wrong number of arguments": "TypeError",
    "a wrong slot": "OverflowError",
    "a missing export": "FunctionNotExportedError",
    "beyond memory": "MemoryAccessError",
    "too much growth": "MemoryAccessError",
    "a wrong global": "OverflowError",
    "beyond a table": "IndexError",
    "a trap": "Trap",
    "a deadline": "WasmError",  # where nothing is left that would keep it, and else DeadlineExceeded under it
    "an exception": "LookupError",
    "a wrong result": "TypeError",
    "a missing import": "ModuleInstantiateError",
    "wrong text": "ModuleCompileError",
    "a broken module": "ModuleCompileError",
    "a closed instance": "ClosedError",
    "a closed runtime": "ClosedError",
    "an awaited call": "ClosedError",
    "trace": "ClosedError",
    "profile": "ClosedError",
}


@pytest.mark.parametrize("place", ["global", "cycle", "generator", "thread"])
def test_the_result_or_an_error_of_its_own(runtime: Runtime, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, runtime.info.name, place], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    finished, count = last.split()
    assert finished == "True", "sys.meta_path was still there: this does not test what it should"
    found = dict(line.split(" => ", 1) for line in lines if " => " in line)
    assert len(found) == int(count)
    for label, outcome in found.items():
        assert not outcome.startswith(("raised ImportError", "raised ModuleNotFoundError", "raised AttributeError"))
        assert not any(word in outcome for word in ("ImportError", "meta_path", "not installed")), (label, outcome)
        assert "NoneType" not in outcome, (label, outcome)
    assert {label: found[label] for label in WANTED if label not in lacking(runtime)} == {
        label: result for label, result in WANTED.items() if label not in lacking(runtime)
    }
    for label, error in RAISED.items():
        assert found[label].startswith("raised "), (label, found[label])
        assert error in found[label].split(" | ")[0].split(), (label, found[label])


def lacking(runtime: Runtime) -> set[str]:
    features = runtime.info.features
    serialized = set() if "serialize" in features else {"a serialized module", "a deserialized module"}
    return serialized | (set() if "wat" in features else {"text", "wrong text"})


# What was used before gives the same again, although the interpreter has forgotten its modules.
USED = """
import asyncio
import io
import sys

import pywasmrt


class Plugin:
    def __init__(self, name):
        self.runtime = pywasmrt.new_runtime(name)
        self.module = self.runtime.compile(bytes.fromhex(sys.argv[2]))
        self.instance = self.runtime.instantiate(self.module)
        self.api = pywasmrt
        self.loop = asyncio.new_event_loop()
        self.name = name

    def traced(self):
        with self.api.trace(self.instance, io.StringIO()):
            return self.instance.exports.close()

    def use(self):
        found = {}
        for label, action in {
            "a trace": self.traced,
            "a new runtime": lambda: self.api.new_runtime(self.name).info.name,
            "a serialized module": lambda: len(self.module.serialize()) > 0,
            "an awaited call": lambda: self.loop.run_until_complete(self.instance.exports.close.call_async()),
        }.items():
            try:
                found[label] = action()
            except Exception as error:
                found[label] = type(error).__name__
        return found

    def __del__(self):
        print(self.before)
        print(self.use())
        print(sys.meta_path is None)


plugin = Plugin(sys.argv[1])
plugin.before = plugin.use()
"""


def test_what_was_used_before(runtime: Runtime) -> None:
    module = to_binary('(module (func (export "close") (result i32) (i32.const 1)))')
    done = subprocess.run(
        [sys.executable, "-c", USED, runtime.info.name, module.hex()], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    before, after, ended = map(ast.literal_eval, done.stdout.splitlines())
    assert ended
    assert before["an awaited call"] == 1
    assert after == {**before, "an awaited call": "ClosedError"}  # no thread runs any more

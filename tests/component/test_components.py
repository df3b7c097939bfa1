"""Components as a whole: compiling, serialising, the world, closing, stopping, and guests that do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.long_calls import interrupting

import pywasmrt
from pywasmrt import ClosedError, Limits, ModuleCompileError, Trap, TrapCode, protocols
from pywasmrt.component import ComponentFunctionType, InterfaceType

from .guests import CALLS_HOST, COUNTERS, MISBEHAVING, RESULTS


def check(x: int) -> int:
    return x


@pytest.fixture
def misbehaving(components: pywasmrt.Runtime) -> Callable[..., Any]:
    component = components.compile_component(MISBEHAVING)

    def make(back: Callable[[], None] = lambda: None, limits: Limits | None = None) -> Any:
        return components.instantiate_component(component, {"call-back": back}, limits=limits)

    return make


def test_components_with_asynchronous_functions_of_their_own_are_refused() -> None:
    runtime = pywasmrt.new_runtime("wasmtime")
    for part in ('(type (stream u8)) (import "f" (func (param "x" $s)))', '(import "f" (func async))'):
        text = "(component " + part.replace("(type (stream", "(type $s (stream") + ")"
        with pytest.raises(pywasmrt.UnsupportedFeatureError, match=r"build the guest for WASI 0\.2") as caught:
            runtime.compile_component(text)
        assert caught.value.feature == "component-model-async"


def test_each_kind_says_which_method_to_use(components: pywasmrt.Runtime) -> None:
    with pytest.raises(ModuleCompileError, match="this is a component, not a module; use compile_component"):
        components.compile(RESULTS)
    with pytest.raises(ModuleCompileError, match="this is a module, not a component; use compile"):
        components.compile_component("(module)")
    with pytest.raises(ModuleCompileError, match="not a component: it begins with"):
        components.compile_component(b"nonsense")
    with pytest.raises(ModuleCompileError, match="pass the text format as a str"):
        components.compile_component(RESULTS.encode())
    with pytest.raises(ModuleCompileError):
        components.compile_component(b"\0asm\x0d\0\1\0\x07\x05\1\x72\0\0\0")
    with pytest.raises(TypeError):
        components.compile_component(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a compiled component"):
        components.instantiate_component(components.compile("(module)"))  # type: ignore[arg-type]


def test_without_the_feature_it_says_so(runtime: pywasmrt.Runtime) -> None:
    if "component-model" in runtime.info.features:
        pytest.skip("it has components")
    for use in (runtime.compile_component, runtime.deserialize_component, runtime.link_component):
        with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
            use(b"")  # type: ignore[operator]
        assert caught.value.feature == "component-model"


def test_the_world(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(CALLS_HOST)
    [host] = [item for item in component.imports if isinstance(item.type, InterfaceType)]
    assert host.name == "local:demo/host@1.2.0"
    assert isinstance(host.type, InterfaceType)
    assert list(host.type.functions) == ["inc", "swap", "join-all"]
    assert str(host.type.functions["join-all"]) == "func(texts: list<string>) -> string"
    functions = [item.name for item in component.exports if isinstance(item.type, ComponentFunctionType)]
    assert functions == ["twice", "loop", "swap", "join-all"]
    assert repr(component) == f"<Component imports=1 exports=5 ({components.info.name})>"
    text = component.wit()
    assert text.startswith("package root:component;\n\nworld root {\n")
    assert "  use local:demo/host@1.2.0.{pair};\n" in text
    assert "  export join-all: func(texts: list<string>) -> string;\n" in text
    assert "    record pair {\n      left: u32,\n      right: u32,\n    }\n" in text


def test_resources_in_the_world(components: pywasmrt.Runtime) -> None:
    text = components.compile_component(COUNTERS).wit()
    assert "export local:demo/counters;" in text
    resource = text[text.index("resource counter") :]
    assert resource.splitlines()[1:4] == [
        "      constructor(start: u32);",
        "      inc: func() -> u32;",
        "      live: static func() -> u32;",
    ]
    assert "sum: func(left: borrow<counter>, right: borrow<counter>) -> u32;" in text


def test_objects_are_what_their_protocols_say(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(RESULTS)
    linked = components.link_component(component, {"check": check})
    instance = linked.instantiate()
    for value, protocol in (
        (component, protocols.Component),
        (linked, protocols.LinkedComponent),
        (instance, protocols.ComponentInstance),
    ):
        assert isinstance(value, protocol)
        assert repr(value)[0] == "<"
        value.close()
        assert repr(value).endswith("closed>")
        with pytest.raises(ClosedError), value:
            pass


def test_a_file_in_text_form(components: pywasmrt.Runtime, tmp_path: Path) -> None:
    path = tmp_path / "results.wat"
    path.write_text(RESULTS)
    instance = components.instantiate_component(components.compile_component(path), {"check": check})
    assert instance.exports.check(5) == 5


def test_serialising(components: pywasmrt.Runtime) -> None:
    if "serialize" not in components.info.features:
        pytest.skip("it does not serialise")
    component = components.compile_component(CALLS_HOST)
    blob = component.serialize()
    again = components.deserialize_component(blob)
    assert again.wit() == component.wit()
    assert again.serialize() == blob
    with pytest.raises(ModuleCompileError, match="for another engine or other settings"):
        components.deserialize(blob)
    with pytest.raises(ModuleCompileError, match="damaged"):
        components.deserialize_component(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(ModuleCompileError):
        components.deserialize_component(components.compile("(module)").serialize())


def test_exports_by_name(components: pywasmrt.Runtime) -> None:
    instance = components.instantiate_component(components.compile_component(COUNTERS))
    exports = instance.exports
    assert list(exports) == ["local:demo/counters"]
    assert len(exports) == 1
    assert "local:demo/counters" in exports
    inside = exports["local:demo/counters"]
    assert inside is exports["local:demo/counters"]
    assert inside.sum is inside["sum"]
    assert {"sum", "consume", "Counter"} <= set(dir(inside))
    assert repr(inside.sum) == ("<ComponentFunction sum: func(left: borrow<counter>, right: borrow<counter>) -> u32>")
    with pytest.raises(pywasmrt.FunctionNotExportedError, match=r"does not export 'sums', but .*did you mean 'sum'"):
        inside.sums  # noqa: B018
    with pytest.raises(pywasmrt.FunctionNotExportedError, match="the component does not export 'sum'"):
        exports.sum  # noqa: B018
    with pytest.raises(AttributeError, match="cannot be set"):
        inside.sum = 5
    assert not hasattr(inside, "nothing")


DASHED = """(component
  (core module $module (func (export "f")))
  (core instance $main (instantiate $module))
  (func (export "two-words") (canon lift (core func $main "f"))))"""


def test_lookups_of_exports(components: pywasmrt.Runtime) -> None:
    """What is found by a name is in the exports by that name, and nothing else is."""
    exports = components.instantiate_component(components.compile_component(COUNTERS)).exports
    inside = exports["local:demo/counters"]
    dashed = components.instantiate_component(components.compile_component(DASHED)).exports
    for where, names in (
        (exports, ["local:demo/counters"]),
        (inside, ["sum", "consume", "Counter"]),
        (dashed, ["two-words", "two_words"]),
    ):
        for name in names:
            assert name in where
            assert where[name] is where[name]
        for name in ("_state", "_interface", "_made", "__dict__", "__iter__", "", "@", "nothing"):
            assert name not in where
            with pytest.raises(pywasmrt.FunctionNotExportedError, match="does not export"):
                where[name]
        for wrong in (0, None, b"sum", ["sum"], slice(1)):
            assert wrong not in where
            with pytest.raises(TypeError, match="an export is asked for by its name, a str, not"):
                where[wrong]  # type: ignore[index]


def test_closing(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(RESULTS)
    instance = components.instantiate_component(component, {"check": check})
    function = instance.exports.check
    component.close()
    assert function(1) == 1  # instances keep what they need
    instance.close()
    instance.close()
    assert instance.closed
    for use in (lambda: function(1), lambda: instance.exports, instance.run):
        with pytest.raises(ClosedError):
            use()
    with pytest.raises(ClosedError):
        components.instantiate_component(component, {"check": check})


def test_another_runtimes_component_is_refused(components: pywasmrt.Runtime) -> None:
    with pywasmrt.new_runtime(components.info.name) as other:
        component = other.compile_component(RESULTS)
        with pytest.raises(pywasmrt.ModuleInstantiateError, match="compiled by another runtime"):
            components.instantiate_component(component, {"check": check})


def test_traps(misbehaving: Callable[..., Any]) -> None:
    instance = misbehaving()
    with pytest.raises(Trap) as caught:
        instance.exports.trap()
    assert caught.value.code is TrapCode.UNREACHABLE
    if "trap-lines" in instance.component.runtime.info.features:  # the package tells no frames of components
        assert caught.value.frames
    with pytest.raises(Trap, match="cannot be entered again; make a new instance"):
        instance.exports.mode(1)


@pytest.mark.parametrize(("mode", "message"), [(1, "unreachable"), (2, "realloc"), (3, "realloc")])
def test_an_allocator_that_lies(misbehaving: Callable[..., Any], mode: int, message: str) -> None:
    instance = misbehaving()
    instance.exports.mode(mode)
    with pytest.raises(Trap, match=message):
        instance.exports.take([1, 2, 3])


def test_results_that_lie(misbehaving: Callable[..., Any]) -> None:
    with pytest.raises(Trap, match="out of bounds"):
        misbehaving().exports.give()
    with pytest.raises(Trap, match="utf-8"):
        misbehaving().exports.bad_text()


def test_a_deadline_ends_it(misbehaving: Callable[..., Any], needs: Callable[..., None]) -> None:
    needs("deadline")
    with pytest.raises(pywasmrt.DeadlineExceeded):
        misbehaving(limits=Limits(timeout=0.05)).exports.spin()
    instance = misbehaving()
    with instance.deadline(0.05), pytest.raises(pywasmrt.DeadlineExceeded):
        instance.exports.spin()


def test_an_interrupt_ends_it(misbehaving: Callable[..., Any], needs: Callable[..., None]) -> None:
    needs("interruption")
    instance = misbehaving()
    with interrupting(instance), pytest.raises(pywasmrt.Interrupted):
        instance.exports.spin()


def test_another_thread_is_refused_at_once(misbehaving: Callable[..., Any], needs: Callable[..., None]) -> None:
    needs("interruption")
    instance = misbehaving()
    seen: list[BaseException] = []

    def intrude() -> None:
        while not seen:
            try:
                instance.exports.mode(0)
            except pywasmrt.BusyError as error:
                seen.append(error)
            except Trap:
                return
        instance.interrupt()

    thread = threading.Thread(target=intrude)
    spin = instance.exports.spin
    instance.exports.mode  # noqa: B018 - found before the call
    thread.start()
    with pytest.raises((pywasmrt.Interrupted, pywasmrt.BusyError)):
        spin()
    thread.join()


def test_a_host_function_cannot_call_back(misbehaving: Callable[..., Any]) -> None:
    seen: list[BaseException] = []
    made: list[Any] = []

    def back() -> None:
        with pytest.raises(pywasmrt.BusyError, match="does not let a host function call back") as caught:
            made[0].exports.mode(1)
        seen.append(caught.value)

    made.append(misbehaving(back))
    made[0].exports.mode(0)
    made[0].exports.recurse()
    assert len(seen) == 1
    made[0].exports.mode(1)  # which did no harm


def test_a_host_function_may_call_another_instance(misbehaving: Callable[..., Any]) -> None:
    inner = misbehaving()
    outer = misbehaving(lambda: inner.exports.mode(2))
    outer.exports.recurse()
    with pytest.raises(Trap, match="realloc"):
        inner.exports.take([1])


def test_an_instance_closed_inside_of_its_call(misbehaving: Callable[..., Any]) -> None:
    made: list[Any] = []
    made.append(misbehaving(lambda: made[0].close()))
    with pytest.raises(ClosedError):
        made[0].exports.recurse()
    assert made[0].closed


def test_fuel(needs: Callable[..., None], components: pywasmrt.Runtime) -> None:
    with pywasmrt.new_runtime(components.info.name, {"options": {"consume_fuel": True}}) as runtime:
        component = runtime.compile_component(MISBEHAVING)
        limits = Limits(fuel=10_000)
        instance = runtime.instantiate_component(component, {"call-back": lambda: None}, limits=limits)
        with pytest.raises(pywasmrt.FuelExhausted):
            instance.exports.spin()


def test_the_cache_keeps_compiled_components(components: pywasmrt.Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for _ in range(2):
        with pywasmrt.new_runtime(components.info.name, {"cache": folder}) as runtime:
            component = runtime.compile_component(CALLS_HOST)
            assert component.wit() == components.compile_component(CALLS_HOST).wit()
            kept = [(path.name, path.stat().st_ino) for path in folder.glob("*.cwasm")]
    assert len(kept) == 1
    [(name, inode)] = kept
    assert (folder / name).stat().st_ino == inode


def test_instances_out_of_a_pool(components: pywasmrt.Runtime) -> None:
    if "pooling" not in components.info.features:
        pytest.skip("it has no pool")
    pool = pywasmrt.Pool(instances=20, memory_bytes=1 << 22)
    with pywasmrt.new_runtime(components.info.name, {"pool": pool}) as runtime:
        component = runtime.compile_component(COUNTERS)
        for _ in range(50):
            with runtime.instantiate_component(component) as instance:
                assert instance.exports["local:demo/counters"].Counter(1).inc() == 2

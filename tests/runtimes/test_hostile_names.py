"""Names that a guest chooses: none changes what the host's objects do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import Caller, FunctionNotExportedError, HostModule, Runtime

# Every name under which Python, or a method of ours, could be found on one of our objects.
OURS = sorted(
    {name for kind in (object, dict, int, list, type, pywasmrt.Caller) for name in dir(kind)}
    | {"__getattr__", "__copy__", "__deepcopy__", "__getstate__", "__array__", "__array_interface__", "__fspath__"}
    | {"_repr_html_", "_ipython_display_", "_Exports__state", "_Exports__store", "_Exports__found", "__wrapped__"}
    | {"function", "memory", "table", "global_", "exports", "close", "closed", "store", "module", "run", "fuel", "_"}
)


def guest_exporting(names: list[str]) -> str:
    functions = "".join(
        f'(func (export "{name}") (result i32) (i32.const {number}))' for number, name in enumerate(names, 1)
    )
    return f'(module {functions} (memory (export "a memory") 1))'


def look_up_everything(exports: Any, names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        assert exports[name]() == number
        assert exports[name] is exports[name]
        if name[0] == name[-1] == "_" and len(name) > 1:
            with pytest.raises(AttributeError):
                exports.__getattr__(name)
        elif not hasattr(type(exports), name):
            assert getattr(exports, name) is exports[name]


def test_no_exported_name_changes_how_exports_are_found(runtime: Runtime) -> None:
    instance = runtime.instantiate(runtime.compile(guest_exporting(OURS)))
    exports = instance.exports
    for _ in range(2):  # the second time each of them has been found before
        look_up_everything(exports, OURS)
        assert list(exports) == [*OURS, "a memory"]
        assert len(exports) == len(OURS) + 1
        assert instance.function("__getattr__")() == OURS.index("__getattr__") + 1  # type: ignore[misc]
        assert instance.memory("a memory").size == 65536  # type: ignore[union-attr]
        assert repr(instance.exports).startswith("<Exports {")
        assert type(exports).__name__ == "Exports"
        assert set(dir(exports)) >= {"close", "run"}
        for how in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="exports cannot be copied or pickled"):
                how(exports)
        with pytest.raises(AttributeError, match="exports cannot be set"):
            exports.run = 1
        with pytest.raises(FunctionNotExportedError):
            exports.missing  # noqa: B018
    instance.close()
    assert instance.closed


def test_a_special_name_is_found_by_subscript_alone(runtime: Runtime) -> None:
    exports = runtime.instantiate(runtime.compile(guest_exporting(["__reduce_ex__", "__len__", "_start"]))).exports
    with pytest.raises(AttributeError, match=r"no attribute '__deepcopy__'$"):
        exports.__deepcopy__  # noqa: B018
    assert exports["__len__"]() == 2
    assert len(exports) == 4
    assert exports._start() == 3


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=9)
        | st.sampled_from(OURS),
        unique=True,
        max_size=6,
    )
)
def test_whatever_the_names_are(runtimes: list[Runtime], names: list[str]) -> None:
    for runtime in runtimes:
        names = [name for name in names if name]
        exports = runtime.instantiate(runtime.compile(guest_exporting(names))).exports
        look_up_everything(exports, names)
        look_up_everything(exports, names)


def test_nor_what_callers_do(runtime: Runtime) -> None:
    found: list[object] = []
    env = HostModule("env")

    @env.function
    def look(caller: Caller) -> None:
        exports = caller.exports
        for name in OURS:
            assert exports[name]() == OURS.index(name) + 1
            assert caller.function(name)() == OURS.index(name) + 1  # type: ignore[misc]
        found.extend((len(exports), caller.memory("a memory").size))

    source = guest_exporting(OURS).replace(
        "(module ", '(module (import "env" "look" (func $look)) (func (export "calls") (call $look)) '
    )
    runtime.instantiate(runtime.compile(source), env).exports["calls"]()
    assert found == [len(OURS) + 2, 65536]


def test_nor_what_linking_does(runtime: Runtime) -> None:
    store = runtime.new_store()
    first = runtime.instantiate(runtime.compile(guest_exporting(OURS)), store=store)
    for name in OURS:
        assert first.exports[name] is not None
    imports = "".join(f'(import "first" "{name}" (func $f{n} (result i32)))' for n, name in enumerate(OURS))
    calls = "".join(f"(i32.add (call $f{n}))" for n in range(1, len(OURS)))
    second = runtime.compile(f'(module {imports} (func (export "sum") (result i32) (call $f0) {calls}))')
    assert runtime.instantiate(second, {"first": first}, store=store).exports.sum() == sum(range(1, len(OURS) + 1))

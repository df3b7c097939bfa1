"""What components import: found, checked and called."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ComponentError, ModuleInstantiateError
from pywasmrt.component.semver import find

from .guests import CALLS_HOST, RESULTS


class Host:
    def inc(self, x: int) -> int:
        return x + 1

    def swap(self, pair: Any) -> Any:
        return type(pair)(pair.right, pair.left)

    def join_all(self, texts: list[str]) -> str:
        return "-".join(texts)


def made(runtime: pywasmrt.Runtime, host: Any) -> Any:
    component = runtime.compile_component(CALLS_HOST)
    return runtime.instantiate_component(component, {"local:demo/host": host}).exports


def test_an_object_serves_an_interface(components: pywasmrt.Runtime) -> None:
    exports = made(components, Host())
    assert exports.twice(5) == 7
    assert exports.loop(1000) == 1000
    pair = exports.swap({"left": 1, "right": 2})
    assert (pair.left, pair.right) == (2, 1)
    assert exports.join_all(["a", "ö", ""]) == "a-ö-"


def test_a_mapping_and_a_module_serve_as_well(components: pywasmrt.Runtime) -> None:
    host = Host()
    functions = {"inc": host.inc, "swap": host.swap, "join-all": host.join_all}
    assert made(components, functions).join_all(["a", "b"]) == "a-b"
    module = types.ModuleType("host")
    module.__dict__.update(inc=host.inc, swap=host.swap, join_all=host.join_all)
    assert made(components, module).twice(1) == 3


def test_keywords_name_the_parameters(components: pywasmrt.Runtime) -> None:
    exports = made(components, Host())
    assert exports.twice(x=5) == 7
    with pytest.raises(TypeError, match=r"twice\(\) got two values for its argument 'x'"):
        exports.twice(5, x=5)
    with pytest.raises(TypeError, match=r"twice\(\) has no argument 'y'; it is twice: func\(x: u32\) -> u32"):
        exports.twice(5, y=5)
    with pytest.raises(TypeError, match=r"twice\(\) takes 1 argument, not 2"):
        exports.twice(5, 6)
    with pytest.raises(TypeError, match=r"twice\(\) takes 1 argument, not 0"):
        exports.twice()


def test_everything_that_is_missing_is_named_at_once(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(CALLS_HOST)
    with pytest.raises(ModuleInstantiateError) as caught:
        components.instantiate_component(component)
    [problem] = caught.value.problems
    assert "local:demo/host@1.2.0" in problem
    assert "inc: func(x: u32) -> u32" in problem
    with pytest.raises(ModuleInstantiateError) as caught:
        components.instantiate_component(component, {"local:demo/host": {"inc": lambda: 1, "swap": 3}, "other": 1})
    one, two, three = caught.value.problems
    assert one == "local:demo/host@1.2.0 inc: func(x: u32) -> u32 was given a function that takes ()"
    assert two.endswith("swap: func(pair: pair) -> pair was given 3 (int), which is no function")
    assert three.endswith("join-all: func(texts: list<string>) -> string is missing: the mapping has no 'join_all'")
    assert "'other' is not asked for" in str(caught.value)


def test_a_misspelt_name_gets_a_hint(components: pywasmrt.Runtime) -> None:
    class Misspelt:
        inc, swap = Host.inc, Host.swap

        def joinall(self, texts: list[str]) -> str:
            return ""

    with pytest.raises(ModuleInstantiateError, match="the Misspelt object has no 'join_all'; did you mean 'joinall'"):
        made(components, Misspelt())


def test_what_can_be_no_imports(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(CALLS_HOST)
    for wrong in (5, "x", [Host()], Host()):
        with pytest.raises(TypeError, match="mapping of interface names"):
            components.instantiate_component(component, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="given twice"):
        components.instantiate_component(component, {"a": 1}, {"a": 1})
    with pytest.raises(TypeError, match="named by a str"):
        components.instantiate_component(component, {1: 2})  # type: ignore[dict-item]

    async def inc(x: int) -> int:
        return x

    with pytest.raises(ModuleInstantiateError, match="async function"):
        made(components, {"inc": inc, "swap": len, "join_all": len})


@pytest.mark.parametrize(
    ("wanted", "offered", "found"),
    [
        ("a:b/c@1.2.0", ["a:b/c@1.2.0", "a:b/c@1.3.0"], "a:b/c@1.2.0"),
        ("a:b/c@1.2.0", ["a:b/c@1.3.0", "a:b/c@1.10.0"], "a:b/c@1.10.0"),
        ("a:b/c@1.2.0", ["a:b/c@1.1.0", "a:b/c@2.0.0", "a:b/d@1.2.0"], None),
        ("a:b/c@0.2.3", ["a:b/c@0.2.6"], "a:b/c@0.2.6"),
        ("a:b/c@0.2.3", ["a:b/c@0.3.0", "a:b/c@0.2.1"], None),
        ("a:b/c@0.0.1", ["a:b/c@0.0.2"], None),
        ("a:b/c@1.2.0", ["a:b/c"], "a:b/c"),
        ("a:b/c", ["a:b/c@1.0.0", "a:b/c@2.0.0"], "a:b/c@2.0.0"),
        ("a:b/c@1.0.0-rc.1", ["a:b/c@1.0.0"], None),
        ("a:b/c@1.0.0-rc.1", ["a:b/c@1.0.0-rc.1"], "a:b/c@1.0.0-rc.1"),
        ("a:b/c@nonsense", ["a:b/c@1.0.0"], None),
        ("a:b/c@1." + "1" * 5000 + ".0", ["a:b/c@1.0.0"], None),
    ],
)
def test_versions_match_by_semver(wanted: str, offered: list[str], found: str | None) -> None:
    assert find(wanted, offered) == found


def test_an_older_version_is_told(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(CALLS_HOST)
    with pytest.raises(ModuleInstantiateError, match=r"local:demo/host@1\.1\.0 is of no compatible version"):
        components.instantiate_component(component, {"local:demo/host@1.1.0": Host()})


def test_a_wrong_result_names_the_host_function(components: pywasmrt.Runtime) -> None:
    class Wrong(Host):
        def inc(self, x: int) -> Any:
            return "no"

        def swap(self, pair: Any) -> Any:
            return {"left": 1, "right": "x"}

    with pytest.raises(TypeError, match=r"the result of host function local:demo/host@1\.2\.0 inc: u32 takes an int"):
        made(components, Wrong()).twice(1)
    with pytest.raises(TypeError, match='swap, field "right": u32 takes an int'):
        made(components, Wrong()).swap({"left": 1, "right": 2})


class Unusual(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyError("k"), Unusual("u"), StopIteration(), ComponentError("no result<> there")])
def test_exceptions_come_out_unchanged(components: pywasmrt.Runtime, error: BaseException) -> None:
    def inc(x: int) -> int:
        raise error

    exports = made(components, {"inc": inc, "swap": len, "join_all": len})
    with pytest.raises(type(error)) as caught:
        exports.twice(1)
    assert caught.value is error
    with pytest.raises(pywasmrt.Trap, match=r"cannot be entered again|cannot enter"):
        exports.twice(1)


def test_results_return_or_raise(components: pywasmrt.Runtime) -> None:
    component = components.compile_component(RESULTS)

    def check(x: int) -> int:
        if x > 5:
            raise ComponentError(f"{x} is too much")
        return x * 2

    exports = components.instantiate_component(component, {"check": check}).exports
    assert exports.check(3) == 6
    with pytest.raises(ComponentError, match="9 is too much") as caught:
        exports.check(9)
    assert caught.value.payload == "9 is too much"
    assert exports.check(1) == 2  # an error of a result ends nothing


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda x: "no", 'result of host function check, case "ok": u32 takes an int'),
        (lambda x: -1, 'case "ok": u32 takes 0 to'),
        (lambda x: None, 'case "ok": u32 takes an int, not None'),
    ],
)
def test_a_wrong_outcome_is_told(components: pywasmrt.Runtime, check: Callable[[int], Any], message: str) -> None:
    component = components.compile_component(RESULTS)
    with pytest.raises((TypeError, OverflowError), match=message):
        components.instantiate_component(component, {"check": check}).exports.check(1)


def test_a_wrong_error_is_told(components: pywasmrt.Runtime) -> None:
    def check(x: int) -> int:
        raise ComponentError(5)

    component = components.compile_component(RESULTS)
    with pytest.raises(TypeError, match='the error of host function check, case "err": string takes a str, not 5'):
        components.instantiate_component(component, {"check": check}).exports.check(1)


def test_linking_once_serves_many_instances(components: pywasmrt.Runtime) -> None:
    calls: list[int] = []

    def check(x: int) -> int:
        calls.append(x)
        return x

    component = components.compile_component(RESULTS)
    linked = components.link_component(component, {"check": check})
    first, second = linked.instantiate(), linked.instantiate()
    assert first.exports.check(1) == 1
    first.close()
    assert second.exports.check(2) == 2
    linked.close()
    assert second.exports.check(3) == 3
    assert calls == [1, 2, 3]
    with pytest.raises(pywasmrt.ClosedError):
        linked.instantiate()

"""Finding, making and registering runtimes."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pywasmrt
from pywasmrt import (
    InvalidConfigurationError,
    Runtime,
    RuntimeConfig,
    RuntimeInfo,
    RuntimeNotFoundError,
    UnsupportedRuntimeTypeError,
    registry,
)
from pywasmrt.runtimes.base.features import API_FEATURES, PROPOSALS, allowed_proposals


class Fake:
    """The least that is a runtime."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self.closed = False

    info = RuntimeInfo("fake", True)

    def nothing(self, *args: Any, **kwargs: Any) -> Any: ...

    validate = compile = deserialize = new_store = link = nothing
    instantiate = instantiate_async = instantiate_with_host = nothing
    close = __enter__ = __exit__ = nothing


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers for itself alone."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_plugins", {})


class Point:
    """An entry point."""

    def __init__(self, name: str, target: Any, value: str = "somewhere:factory") -> None:
        self.name = name
        self.value = value
        self._target = target

    def load(self) -> Any:
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pretend that packages with these entry points are installed."""

    def install(*points: Point) -> None:
        def entry_points(*, group: str) -> list[Point]:
            assert group == "pywasmrt.runtimes"
            return list(points)

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
        monkeypatch.setattr(registry, "_plugins", None)

    return install


def names() -> list[str]:
    return [info.name for info in pywasmrt.list_runtimes()]


def test_the_built_in_runtimes_are_listed_first() -> None:
    infos = pywasmrt.list_runtimes()
    assert names()[:3] == ["wasmtime", "wasm3", "wasmtime-py"]
    for info in infos:
        assert info.available == (info.reason is None)
        assert info.features <= PROPOSALS | API_FEATURES


def test_a_runtime_tells_what_the_list_tells(runtime: Runtime) -> None:
    (listed,) = [info for info in pywasmrt.list_runtimes() if info.name == runtime.info.name]
    assert runtime.info == listed
    assert isinstance(runtime, Runtime)


def test_auto_takes_an_available_one() -> None:
    with pywasmrt.new_runtime() as runtime:
        assert runtime.info.name == next(info.name for info in pywasmrt.list_runtimes() if info.available)


def test_configurations_of_every_form(runtime: Runtime) -> None:
    name = runtime.info.name
    options = {"max_wasm_stack": 1 << 19} if "stack-limit" in runtime.info.features else {}
    for args in (
        (name,),
        (name, None),
        (name, RuntimeConfig()),
        (name, RuntimeConfig(name)),
        (name, {}),
        (name, {"options": {}}),
        (name, {"type": name, "features": ["sign-extension", "multi-value"], name: {}}),
        (RuntimeConfig(name),),
        ({"type": name},),
        ({"type": name, name: options},),
        ("auto", {"type": name, "options": options, name: {}}),
    ):
        with pywasmrt.new_runtime(*args) as made:
            assert made.info.name == name


def test_options_reach_the_factory() -> None:
    pywasmrt.register_runtime("fake", Fake)
    made = pywasmrt.new_runtime({"type": "fake", "features": ["simd"], "options": {"a": 1}, "fake": {"b": 2}})
    assert made.config == RuntimeConfig("fake", frozenset({"simd"}), {"a": 1, "b": 2})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("fake", {"otpions": {}}),
            (
                "a configuration has no 'otpions' (str), only type, features, options, interruptible,"
                " trap_on_grow_failure, cache, pool, fake"
            ),
        ),
        (
            ({"fake": {}},),
            (
                "a configuration has no 'fake' (str), only type, features, options, interruptible,"
                " trap_on_grow_failure, cache, pool; options of a runtime need its name as the type"
            ),
        ),
        (
            ("fake", {"wasmtime": {}}),
            (
                "a configuration has no 'wasmtime' (str), only type, features, options, interruptible,"
                " trap_on_grow_failure, cache, pool, fake; options of a runtime need its name as the type"
            ),
        ),
        (("fake", {"options": 5}), "'options' is a mapping of options, not 5 (int)"),
        (("fake", {"fake": 5}), "'fake' is a mapping of options, not 5 (int)"),
        (
            ("fake", {"options": {"a": 1}, "fake": {"a": 1}}),
            "the option 'a' is given twice, under 'options' and under 'fake'",
        ),
        (("fake", {"features": "simd"}), "features is a set of names, not 'simd' (str)"),
        (("fake", {"features": 5}), "features is a set of names, not 5 (int)"),
        (("fake", {"features": [["simd"]]}), "features is a set of names, not [['simd']] (list)"),
        (("fake", {"features": {"simd": False}}), "features is a set of names, not {'simd': False} (dict)"),
        (("fake", RuntimeConfig(features=5)), "features is a set of names, not 5 (int)"),  # type: ignore[arg-type]
        (("fake", {"type": "wasmtime"}), "the runtime 'fake' was asked for with a configuration for 'wasmtime'"),
        (("fake", 5), "a configuration is a RuntimeConfig or a mapping, not 5 (int)"),
        (({"type": 5},), "the type of a runtime is its name, not 5 (int)"),
        (("fake", RuntimeConfig(options=5)), "options is a mapping of names to values, not 5 (int)"),  # type: ignore[arg-type]
        (("fake", {"options": {5: 5}}), "options is a mapping of names to values, not {5: 5} (dict)"),
        (({"type": "fake"}, {}), "the configuration was given twice: pass new_runtime(name, config)"),
    ],
)
def test_wrong_configurations_say_what_is_right(args: tuple[Any, ...], message: str) -> None:
    pywasmrt.register_runtime("fake", Fake)
    with pytest.raises(InvalidConfigurationError, match=f"^{re.escape(message)}$"):
        pywasmrt.new_runtime(*args)


@pytest.mark.parametrize("make", [frozenset, list, iter, lambda names: (name for name in names)])
def test_features_may_be_any_iterable_of_names(make: Any) -> None:
    pywasmrt.register_runtime("fake", Fake)
    for config in ({"features": make(["simd", "gc"])}, RuntimeConfig(features=make(["simd", "gc"]))):
        made: Any = pywasmrt.new_runtime("fake", config)
        assert made.config.features == frozenset({"simd", "gc"})


def test_features_given_by_an_iterator_are_in_force(runtime: Runtime) -> None:
    names = runtime.info.features & PROPOSALS
    with pywasmrt.new_runtime(runtime.info.name, RuntimeConfig(features=iter(names))) as made:  # type: ignore[arg-type]
        assert made.info.features & PROPOSALS == names


def test_unknown_options_and_features_list_the_known(runtime: Runtime) -> None:
    name = runtime.info.name
    with pytest.raises(InvalidConfigurationError, match=rf"^{name} has no option 'sratgey'; it has \w+, \w+"):
        pywasmrt.new_runtime(name, {"options": {"sratgey": 1}})
    with pytest.raises(InvalidConfigurationError, match=f"{name} has no feature 'smid'.*multi-value"):
        pywasmrt.new_runtime(name, {"features": ["smid"]})


@pytest.mark.parametrize("value", [True, 0, 1 << 40, 65536.0, "65536", None, [65536]])
def test_options_are_of_their_type_exactly(runtime: Runtime, needs: Callable[..., None], value: Any) -> None:
    needs("stack-limit")
    name = runtime.info.name
    message = (
        rf"^the option 'max_wasm_stack' of {name} is an int of bytes from 16384 to \S+, not {re.escape(repr(value))}"
    )
    with pytest.raises(InvalidConfigurationError, match=message):
        pywasmrt.new_runtime(name, {"options": {"max_wasm_stack": value}})


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(
        RuntimeNotFoundError,
        match=r"^there is no runtime 'wasmtme', only wasmtime, wasm3, wasmtime-py.*; did you mean 'wasmtime",
    ):
        pywasmrt.new_runtime("wasmtme")
    with pytest.raises(
        UnsupportedRuntimeTypeError, match=r"^a runtime is asked for by name or by a configuration, not by 5 \(int\)$"
    ):
        pywasmrt.new_runtime(5)  # type: ignore[arg-type]


def test_nothing_available_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(registry._BUILT_IN):
        monkeypatch.setitem(registry._BUILT_IN, name, registry._BuiltIn(name, "missing"))
    infos = pywasmrt.list_runtimes()
    assert [info.available for info in infos] == [False] * len(registry._BUILT_IN)
    assert all("ModuleNotFoundError" in str(info.reason) for info in infos)
    with pytest.raises(
        RuntimeNotFoundError, match=r"^no runtime is available; pip install wasmtime gives one\n  wasmtime: "
    ):
        pywasmrt.new_runtime()
    with pytest.raises(RuntimeNotFoundError, match=r"^the runtime 'wasmtime' is not available: ModuleNotFoundError"):
        pywasmrt.new_runtime("wasmtime")


def test_registering() -> None:
    pywasmrt.register_runtime("fake", Fake)
    assert names()[-1] == "fake"
    assert isinstance(pywasmrt.new_runtime("fake"), Fake)
    for taken in ("fake", "wasmtime", "auto"):
        with pytest.raises(
            ValueError, match=f"^the runtime '{taken}' is there already; choose another name$"
        ) as caught:
            pywasmrt.register_runtime(taken, Fake)
        assert isinstance(caught.value, pywasmrt.WasmError)
    with pytest.raises(
        UnsupportedRuntimeTypeError, match=r"^a runtime is registered by a callable that takes a RuntimeConfig"
    ):
        pywasmrt.register_runtime("five", 5)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedRuntimeTypeError, match=r"^the name of a runtime is a str"):
        pywasmrt.register_runtime("", Fake)


def test_a_factory_that_gives_no_runtime() -> None:
    pywasmrt.register_runtime("five", lambda config: 5)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        UnsupportedRuntimeTypeError, match=r"^the factory of 'five' gave 5 \(int\), which is no Runtime$"
    ):
        pywasmrt.new_runtime("five")


def test_describe_is_asked_where_there_is_one() -> None:
    def factory(config: RuntimeConfig) -> Any:
        raise ImportError("no engine")

    factory.describe = lambda: RuntimeInfo("other", False, "1.0", reason="no engine")  # type: ignore[attr-defined]
    pywasmrt.register_runtime("mine", factory)
    assert pywasmrt.list_runtimes()[-1] == RuntimeInfo("mine", False, "1.0", reason="no engine")
    with pytest.raises(RuntimeNotFoundError, match=r"^the runtime 'mine' is not available: no engine$"):
        pywasmrt.new_runtime("mine")

    def wrong(config: RuntimeConfig) -> Any: ...

    wrong.describe = lambda: 5  # type: ignore[attr-defined]
    pywasmrt.register_runtime("wrong", wrong)
    assert "its describe() gave 5" in str(pywasmrt.list_runtimes()[-1].reason)


def test_a_factorys_own_errors_pass() -> None:
    def factory(config: RuntimeConfig) -> Any:
        raise ZeroDivisionError

    pywasmrt.register_runtime("broken", factory)
    with pytest.raises(ZeroDivisionError):
        pywasmrt.new_runtime("broken")


def test_entry_points(plug: Any) -> None:
    plug(Point("good", Fake), Point("broken", ImportError("boom")), Point("five", 5), Point("wasmtime", Fake))
    infos = {info.name: info for info in pywasmrt.list_runtimes()}
    assert infos["good"].available
    assert infos["broken"].reason == "ImportError: boom"
    assert "is 5 (int), not a factory of runtimes" in str(infos["five"].reason)
    assert isinstance(pywasmrt.new_runtime("good"), Fake)
    with pytest.raises(RuntimeNotFoundError, match=r"^the runtime 'broken' is not available: ImportError: boom$"):
        pywasmrt.new_runtime("broken")
    with pytest.raises(UnsupportedRuntimeTypeError, match=r"^the entry point 'five'"):
        pywasmrt.new_runtime("five")
    with pytest.raises(ValueError, match="is there already"):
        pywasmrt.register_runtime("good", Fake)


def test_a_name_that_two_packages_offer_is_an_error_where_it_is_asked_for(plug: Any) -> None:
    plug(Point("mine", Fake, "b:create"), Point("twice", Fake), Point("mine", Fake, "a:create"), Point("twice", Fake))
    said = "several packages offer a runtime 'mine': a:create, b:create; uninstall all but one of them"
    with pytest.raises(InvalidConfigurationError, match=f"^{said}$"):
        pywasmrt.new_runtime("mine")
    infos = {info.name: info for info in pywasmrt.list_runtimes()}
    assert not infos["mine"].available
    assert said in str(infos["mine"].reason)
    assert isinstance(pywasmrt.new_runtime("twice"), Fake)  # one package, found at two places of the path


@pytest.mark.parametrize("name", ["auto", "wasmtime"])
def test_an_entry_point_cannot_take_a_name_of_ours(plug: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    plug(Point(name, Fake, "theirs:create"))
    with pywasmrt.new_runtime() as runtime:
        assert not isinstance(runtime, Fake)
    assert caplog.messages == [f"the entry point {name} = theirs:create is passed over: the name is taken"]


def test_entry_points_can_be_switched_off(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWASMRT_NO_PLUGINS", "1")
    plug(Point("good", Fake))
    assert "good" not in names()


def test_registering_from_many_threads_lets_one_win() -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def register() -> None:
        start.wait()
        try:
            pywasmrt.register_runtime("fake", Fake)
        except ValueError:
            outcomes.append("taken")
        else:
            outcomes.append("mine")

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["mine"] + ["taken"] * 7


def test_allowed_proposals() -> None:
    known, default, fixed = frozenset({"simd", "relaxed-simd", "gc", "x"}), frozenset({"simd", "gc"}), frozenset({"x"})

    def allowed(asked: Any) -> frozenset[str]:
        return allowed_proposals(asked, known, default, fixed, "engine")

    assert allowed(None) == {"simd", "gc", "x"}
    assert allowed([]) == {"x"}
    assert allowed({"gc", "wat"}) == {"gc", "x"}
    for asked, message in (
        ({"nope"}, "^engine has no feature 'nope'; it has gc, relaxed-simd, simd, x$"),
        ({"relaxed-simd"}, "^the feature 'relaxed-simd' needs 'simd' too$"),
        ("simd", "^features is a set of names, not 'simd'"),
        ([5], "^features is a set of names, not "),
    ):
        with pytest.raises(InvalidConfigurationError, match=message):
            allowed(asked)


def test_features_restrict_what_modules_may_use(runtime: Runtime, needs: Any) -> None:
    needs("wat", "multi-memory")
    text = "(module (memory 1) (memory 1))"
    runtime.validate(text)
    with pywasmrt.new_runtime(runtime.info.name, {"features": runtime.info.features - {"multi-memory"}}) as restricted:
        assert "multi-memory" not in restricted.info.features
        with pytest.raises(pywasmrt.UnsupportedFeatureError) as caught:
            restricted.validate(text)
        assert caught.value.feature == "multi-memory"


def test_importing_and_listing_load_no_engine() -> None:
    code = (
        "import sys, pywasmrt\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('wasmtime', 'cffi', 'ctypes') or '.runtimes' in m]\n"
        "pywasmrt.list_runtimes()\n"
        "assert 'wasmtime' not in sys.modules\n"
    )
    root = str(Path(pywasmrt.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": root})

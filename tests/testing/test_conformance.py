"""The conformance kit: every runtime passes, and bugs that were planted do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.planted import BUGS

import pywasmrt
from pywasmrt import Runtime, RuntimeConfig, i32, i64
from pywasmrt.testing import ConformanceError, check_runtime
from pywasmrt.testing.conformance import PARTS

PLAIN = [part for part in PARTS if part != "properties"]


def test_runtimes_conform(runtime: Runtime) -> None:
    report = check_runtime(runtime.info.name, parts=PLAIN)
    assert report.runtime == runtime.info.name
    assert len(report.passed) > 50
    assert not report.failed
    assert all(result.reason for result in report.skipped)


@pytest.mark.slow
def test_runtimes_conform_for_drawn_values_too(runtime: Runtime) -> None:
    pytest.importorskip("hypothesis")
    assert len(check_runtime(runtime.info.name, parts=["properties"]).passed) >= 2


@pytest.fixture
def planted(request: pytest.FixtureRequest) -> Iterator[Any]:
    if not any(info.name == "wasmtime-py" and info.available for info in pywasmrt.list_runtimes()):
        pytest.skip("the fallback adapter is not available")
    with BUGS[request.param](RuntimeConfig()) as runtime:
        yield runtime


@pytest.mark.parametrize("bug", BUGS)
def test_conformance_finds_planted_bugs(bug: str) -> None:
    parts = [part for part in PARTS if part != "waiting"]  # whose functions are of classes without the bug
    with pytest.raises(ConformanceError) as caught:
        check_runtime(BUGS[bug], parts=parts)
    assert "failed" in str(caught.value)
    assert len(caught.value.report.passed) > 35  # it is one bug
    assert all(result.error is not None for result in caught.value.report.failed)


@pytest.mark.parametrize(
    "planted",
    [
        "an i64 cut to 32 bits",
        "a swapped order of results",
        "an i32 without its sign",
        "bools for zero and one",
        "several results in a list",
        "an off-by-one in the bounds of memory",
    ],
    indirect=True,
)
def test_differential_finds_planted_bugs(planted: Any) -> None:
    pytest.importorskip("hypothesis")
    from pywasmrt.testing import Disagreement, differential
    from pywasmrt.testing.strategies import modules

    with pywasmrt.new_runtime("wasmtime-py") as right, pytest.raises(Disagreement) as caught:
        differential(modules(planted.info.features), [right, planted])
    assert len(caught.value.module.functions) <= 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "planted",
    [
        "an i64 cut to 32 bits",
        "an i32 without its sign",
        "a swallowed exception",
        "an off-by-one in the bounds of memory",
    ],
    indirect=True,
)
def test_differential_finds_planted_bugs_whatever_is_drawn(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not found by luck: each of some seeds finds them within the examples that are the default."""
    hypothesis = pytest.importorskip("hypothesis")
    from pywasmrt.testing import Disagreement, differential
    from pywasmrt.testing.strategies import modules

    once = hypothesis.settings(
        max_examples=200,
        deadline=None,
        derandomize=False,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    with pywasmrt.new_runtime("wasmtime-py") as right:
        for seed in range(3):
            monkeypatch.setattr("hypothesis.core.global_force_seed", seed)
            with pytest.raises(Disagreement):
                differential(modules(planted.info.features), [right, planted], settings=once)


@pytest.mark.parametrize("planted", ["a stale global"], indirect=True)
def test_differential_looks_at_what_is_imported(planted: Any) -> None:
    from pywasmrt.testing import Disagreement, differential

    guest = """(module (import "env" "g" (global $g (mut i32)))
      (func (export "f") (global.set $g (i32.add (global.get $g) (i32.const 1)))))"""
    with (
        pywasmrt.new_runtime("wasmtime-py") as right,
        pytest.raises(Disagreement, match=r"the global env\.g"),
    ):
        differential(guest, [right, planted])


@pytest.mark.parametrize(
    "planted",
    [
        "an i64 cut to 32 bits",
        "a swapped order of results",
        "a swallowed exception",
        "bools for zero and one",
        "several results in a list",
    ],
    indirect=True,
)
def test_checking_a_host_function_finds_planted_bugs(planted: Any) -> None:
    pytest.importorskip("hypothesis")
    from pywasmrt.testing import HostFunctionFailure, check_host_function

    def subject(x: i64, y: i32) -> i64:
        return x // y

    def two(x: i64, y: i32) -> tuple[i64, i32]:
        return x, y

    def check_both() -> None:
        check_host_function(subject, raises=(ZeroDivisionError, OverflowError), runtimes=[planted])
        check_host_function(two, runtimes=[planted])

    with pytest.raises(HostFunctionFailure, match="This program shows it") as caught:
        check_both()
    assert "instance.exports." in str(caught.value)


def test_parts_can_be_chosen() -> None:
    report = check_runtime("auto", parts=["memory"])
    assert {result.part for result in report.results} == {"memory"}
    with pytest.raises(ValueError, match=r"no part 'memmory'.*did you mean 'memory'"):
        check_runtime("auto", parts=["memmory"])


def test_a_factory_that_fails_is_no_finding() -> None:
    def broken(config: RuntimeConfig) -> Any:
        raise pywasmrt.RuntimeNotFoundError("no engine")

    with pytest.raises(pywasmrt.RuntimeNotFoundError):
        check_runtime(broken)


class Refusing:
    """A runtime that refuses to compile, for want of a feature."""

    def __init__(self, runtime: Runtime, feature: str | None) -> None:
        self._runtime = runtime
        self._feature = feature

    def compile(self, source: Any) -> Any:
        raise pywasmrt.UnsupportedFeatureError("not here", self._feature)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._runtime.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


def test_what_is_claimed_must_be_kept() -> None:
    report = check_runtime(lambda config: Refusing(pywasmrt.new_runtime(), "unheard-of"), parts=["traps"])  # type: ignore[arg-type,return-value]
    assert not report.passed
    with pytest.raises(ConformanceError, match="not here"):
        check_runtime(lambda config: Refusing(pywasmrt.new_runtime(), "multi-value"), parts=["traps"])  # type: ignore[arg-type,return-value]

"""The testing kit for components: values of types, and hosts that are checked before a guest meets them."""

from __future__ import annotations

from typing import Any

import pytest

import pywasmrt
from pywasmrt import ComponentError
from pywasmrt.component import ListType, OtherType, OwnType, ResourceType
from pywasmrt.testing.component_strategies import check_component_host
from pywasmrt.testing.components import echo_component

from .guests import CALLS_HOST, HOST_RESOURCE
from .test_imports import Host
from .test_resources import Things

NAME = "local:demo/host@1.2.0"


@pytest.fixture(scope="module")
def component() -> Any:
    for info in pywasmrt.list_runtimes():
        if info.available and "component-model" in info.features:
            return pywasmrt.new_runtime(info.name).compile_component(CALLS_HOST)
    return pytest.skip("no runtime has components")


class Overflows(Host):
    def inc(self, x: int) -> int:
        return x + 1


class Bounded(Host):
    def inc(self, x: int) -> int:
        return (x + 1) & 0xFFFF_FFFF


def test_a_good_host_passes(component: Any) -> None:
    check_component_host(Bounded(), component, NAME, max_examples=30)


def test_a_result_that_does_not_fit_is_found(component: Any) -> None:
    with pytest.raises(AssertionError, match=r"inc\(4294967295\): the result of host function .* not 4294967296"):
        check_component_host(Overflows(), component, NAME)


def test_what_a_host_raises_is_found(component: Any) -> None:
    class Raises(Bounded):
        def join_all(self, texts: list[str]) -> str:
            if texts and not texts[0]:
                raise LookupError("nothing there")
            return ""

    with pytest.raises(AssertionError, match="raised LookupError: nothing there"):
        check_component_host(Raises(), component, NAME)

    class Errs(Bounded):
        def join_all(self, texts: list[str]) -> str:
            raise ComponentError("no")

    with pytest.raises(AssertionError, match="raised ComponentError, but its result is no result"):
        check_component_host(Errs(), component, NAME, max_examples=5)


def test_what_is_missing_is_told(component: Any) -> None:
    with pytest.raises(AssertionError, match=r"join-all: .* is missing"):
        check_component_host({"inc": len, "swap": len}, component, NAME)
    with pytest.raises(ValueError, match="imports no interface 'other', but local:demo/host"):
        check_component_host(Host(), component, "other")


def test_functions_with_resources_are_only_looked_for() -> None:
    runtime = pywasmrt.new_runtime()
    if "component-model" not in runtime.info.features:
        pytest.skip("it has no components")
    check_component_host(Things(), runtime.compile_component(HOST_RESOURCE), "local:demo/things", max_examples=3)


def test_an_echo_of_what_cannot_cross_is_refused() -> None:
    for type in (OtherType("stream<u8>"), ListType(OwnType(ResourceType("r")))):
        with pytest.raises(ValueError, match=r"stream<u8> cannot cross|is a resource"):
            echo_component(type)

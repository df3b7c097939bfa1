"""Every constructor of the public API is fed with values of every kind. What it cannot use it refuses in its own words,
which name the parameter. Configurations are checked where they are used, which counts as their constructor here.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis")
from helpers.constructors import CONSTRUCTORS, VALUES
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import WasmError


def suits(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


CASES = [(name, parameter) for name, (_, _, kinds) in CONSTRUCTORS.items() for parameter in kinds]
# Where the words are about the value, of a kind that is right, and not about the parameter.
OTHER_WORDS = {
    ("RuntimeConfig", "type"): "no runtime",
    ("RuntimeConfig", "options"): "option",
    ("Preopen", "host"): "preopens",
    ("Network", "connect"): "address pattern",
    ("Network", "listen"): "address pattern",
    ("OtlpHttpSender", "endpoint"): "OTLP endpoint",
    # The configuration that stands beside these is none.
    ("WasmPlugin", "config"): "path is required",
    ("WasmPlugin", "required_functions"): "path is required",
    ("WasmPlugin", "role"): "path is required",
}


def judge(case: tuple[str, str], value: Any) -> None:
    name, parameter = case
    make, besides, kinds = CONSTRUCTORS[name]
    words = None
    try:
        make(**{**besides, parameter: value})
    except (TypeError, ValueError, WasmError) as error:
        words = str(error).replace("_", " ")
    if words is None:
        assert suits(value, kinds[parameter]), f"{name} takes {type(value).__name__} for {parameter}"
    else:
        named = parameter.replace("_", " ") in words or OTHER_WORDS.get(case, "\0") in words
        assert named, f"{name}({parameter}={type(value).__name__}): {words}"


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
ANYTHING = (
    st.sampled_from(VALUES)
    | SIMPLE
    | st.lists(SIMPLE, max_size=3)
    | st.lists(SIMPLE, max_size=3).map(tuple)
    | st.dictionaries(SIMPLE, SIMPLE, max_size=3)
)


@pytest.mark.parametrize("case", CASES, ids=".".join)
def test_a_constructor_refuses_what_it_cannot_use_and_names_the_parameter(case: tuple[str, str]) -> None:
    failed = []
    for value in VALUES:
        try:
            judge(case, value)
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, failed


@given(case=st.sampled_from(CASES), value=ANYTHING)
@settings(max_examples=400)
def test_whatever_a_constructor_is_fed_with_it_answers_in_its_own_words(case: tuple[str, str], value: Any) -> None:
    judge(case, value)

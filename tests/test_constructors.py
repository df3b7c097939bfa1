"""Every constructor of the public API is fed with values of every kind. What it cannot use it refuses in its own words,
which name the parameter. Configurations are checked where they are used, which counts as their constructor here.

The table of constructors is complete: a public class that is not in it fails a test, unless it is named there with the
reason. What takes a mapping or a sequence is also fed with ones that hold such values where they belong.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from typing import Any, get_origin

import pytest

pytest.importorskip("hypothesis")
from helpers.constructors import CONSTRUCTORS, EXPORTERS, HOLDING, INSIDES, MODULES, OTHERS, VALUES
from hypothesis import given, settings
from hypothesis import strategies as st

from pywasmrt import WasmError
from pywasmrt.values import shown


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
    ("WasmExporter", "config"): "path is required",
    ("WasmProcessor", "config"): "path is required",
    ("WasmProcessor", "next"): "path is required",
    ("WasmReceiver", "config"): "path is required",
    (
        "MemoryTree",
        "files",
    ): "made of a mapping|name in a MemoryTree|the content of|for a file of a guest",
    ("BoundHostModule", "factory"): "bind takes",
    **{(name, "processors"): "PROCESSORS|the guest's module|/nowhere" for name in EXPORTERS},
    **{(name, "endpoint"): "OTLP endpoint" for name in EXPORTERS},
    **{(name, "runtime"): "type" for name in EXPORTERS},
}


def refusal(case: tuple[str, str], value: Any) -> str | None:
    """The words that refuse a value for a parameter; None where it is taken."""
    name, parameter = case
    make, besides, _ = CONSTRUCTORS[name]
    try:
        make(**{**besides, parameter: value})
    except (TypeError, ValueError, WasmError) as error:
        return str(error)
    return None


def judge(case: tuple[str, str], value: Any) -> None:
    name, parameter = case
    words = refusal(case, value)
    if words is None:
        assert suits(value, CONSTRUCTORS[name][2][parameter]), f"{name} takes {type(value).__name__} for {parameter}"
    else:
        judge_words(case, value, words)


def judge_words(case: tuple[str, str], value: Any, words: str) -> None:
    name, parameter = case
    plain = words.replace("_", " ")
    named = parameter.replace("_", " ") in plain or re.search(OTHER_WORDS.get(case, "\0"), plain)
    assert named, f"{name}({parameter}={type(value).__name__}): {words}"
    assert not INSIDES.search(words.replace(shown(value), "")), f"{name}({parameter}={type(value).__name__}): {words}"


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
ANYTHING = (
    st.sampled_from(range(len(VALUES))).map(VALUES.__getitem__)  # not all of them have a hash, which Hypothesis asks
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


@pytest.mark.parametrize("case", [case for case in HOLDING if case[0] in CONSTRUCTORS], ids=".".join)
def test_what_a_constructor_is_given_in_a_mapping_or_a_sequence_is_judged_as_well(case: tuple[str, str]) -> None:
    failed = []
    for value in VALUES:
        try:
            words = refusal(case, HOLDING[case](value))
            if words is not None:
                judge_words(case, value, words)
        except Exception as error:
            failed.append(f"{type(value).__name__}: {type(error).__name__}: {error}")
    assert not failed, failed


@pytest.mark.parametrize("module", MODULES)
def test_every_public_class_is_among_the_constructors(module: str) -> None:
    try:
        named = importlib.import_module(f"pywasmrt{module}")
    except ImportError:
        pytest.skip("needs an extra that is not there")
    classes = {name: getattr(named, name) for name in named.__all__}
    missing = {name for name, each in classes.items() if is_class(each) and takes_arguments(each)}
    assert not missing - CONSTRUCTORS.keys() - OTHERS.keys()


def is_class(value: object) -> bool:
    """Whether it is a class; not `tuple[int]`, which Python 3.10 takes for one."""
    return inspect.isclass(value) and get_origin(value) is None


def takes_arguments(kind: type) -> bool:
    """Whether a class has a constructor of its own that takes something."""
    if issubclass(kind, enum.Enum) or getattr(kind, "_is_protocol", False):
        return False
    try:
        return bool(inspect.signature(kind).parameters)
    except ValueError:  # an exception, which takes what every exception takes
        return False


@given(case=st.sampled_from(CASES), value=ANYTHING)
@settings(max_examples=400)
def test_whatever_a_constructor_is_fed_with_it_answers_in_its_own_words(case: tuple[str, str], value: Any) -> None:
    judge(case, value)

"""Every option, feature and limit, alone and in pairs, at its ends and beyond: it works or is refused in words."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pywasmrt

# Run in a process of its own, as a wrong value may end it. Prints each attempt before it is made.
ATTEMPTS = """
import importlib, itertools, sys
import pywasmrt
from pywasmrt import Limits, RuntimeConfig

name = sys.argv[1]
modules = {"wasmtime": "native.wasmtime", "wasm3": "native.wasm3", "wasmtime-py": "wasmtime_py.facts"}
adapter = vars(importlib.import_module("pywasmrt.runtimes." + modules[name]))
known = adapter.get("_OPTIONS") or adapter["OPTIONS"]
features = next(info.features for info in pywasmrt.list_runtimes() if info.name == name)
source = '(module (memory (export "memory") 1) (table 1 funcref) (func $f (export "f") (param i32) (result i32)'
source += ' (if (result i32) (local.get 0)'
source += ' (then (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))'
source += ' (else (i32.const 1)))) (elem (i32.const 0) $f) (func $r (export "r") (call $r)))'
tried = refused = 0


def attempt(what, limits=None, **config):
    global tried, refused
    print(what, file=sys.stderr, flush=True)
    tried += 1
    try:
        runtime = pywasmrt.new_runtime(RuntimeConfig(name, **config))
        if any(isinstance(value, dict) and value.get("trust_modules") for value in config.values()):
            assert runtime.info.name == "wasm3"
        instance = runtime.instantiate(runtime.compile(source), limits=limits)
        if limits is None or limits.fuel is None:
            assert instance.exports.f(9) == 10
        try:
            instance.exports.r()
        except (pywasmrt.Trap, pywasmrt.FuelExhausted, pywasmrt.DeadlineExceeded):
            pass
        try:
            instance.memory().grow(3)
        except pywasmrt.MemoryAccessError:
            pass
        runtime.close()
    except (pywasmrt.WasmError, TypeError) as error:
        assert len(str(error)) > 20, error
        refused += 1


def ends(option):
    if option.type is int:
        least, most = option.allowed[0], option.allowed[-1]
        bad = [least - 1, most + 1, 0, -1, 1 << 63, 1 << 64, -(1 << 63), True, 1.5, "1", None]
        return [least, least + 1, most - 1, most], bad
    return list(option.allowed), [1, None, "", "no such thing", b"speed", 2.0]


for option in known:
    good, bad = ends(known[option])
    for value in [*good, *bad]:
        before = refused
        attempt((option, value), options={option: value})
        assert value in good or refused > before, (option, value)
for one, other in itertools.combinations(known, 2):
    for values in itertools.product(ends(known[one])[0][::3] or [], ends(known[other])[0][::3] or []):
        attempt((one, other, values), options=dict(zip((one, other), values)))

proposals = sorted(features)
for feature in proposals:
    attempt(feature, features=features - {feature})
    attempt(feature, features={feature})
numbers = [0, 1, 65535, 65536, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, -1, True, 1.0, "1"]
bounds = {
    "memory_bytes": numbers, "table_elements": numbers, "instances": [0, 1, 2, (1 << 63) - 1, -1], "fuel": numbers,
    "timeout": [1e-9, 0.001, 1, 1e9 - 1, 1e9, 0, -1, float("nan"), float("inf"), "1"],
}
for bound in bounds:
    for value in bounds[bound]:
        for options in ({}, {"consume_fuel": True}) if "consume_fuel" in known else ({},):
            attempt((bound, value, options), Limits(**{bound: value}), options=options)
for one, other in itertools.combinations(bounds, 2):
    for values in itertools.product(bounds[one][:7:3], bounds[other][:7:3]):
        attempt((one, other, values), Limits(**dict(zip((one, other), values))))
for switch in ("interruptible", "trap_on_grow_failure"):
    for value in (True, False, 0, 1, None, "yes"):
        attempt((switch, value), **{switch: value})
print(tried, refused)
"""


def test_none_ends_the_process(runtime: pywasmrt.Runtime) -> None:
    name = runtime.info.name
    if name not in ("wasmtime", "wasm3", "wasmtime-py"):
        pytest.skip(f"the options of {name} are not known here")
    command = [sys.executable, "-X", "faulthandler", "-c", ATTEMPTS, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    tried, refused = map(int, done.stdout.split())
    assert tried > 100
    assert 0 < refused < tried


@pytest.mark.parametrize(("name", "most"), [("wasmtime", 1 << 22), ("wasmtime-py", 1 << 21)])
def test_the_largest_stack_option_is_what_the_engine_takes(name: str, most: int) -> None:
    if not next(info.available for info in pywasmrt.list_runtimes() if info.name == name):
        pytest.skip(f"{name} is not available")
    pywasmrt.new_runtime(name, {"options": {"max_wasm_stack": most}}).close()
    with pytest.raises(pywasmrt.InvalidConfigurationError, match=f"from 16384 to {most}, not {most + 1}"):
        pywasmrt.new_runtime(name, {"options": {"max_wasm_stack": most + 1}})

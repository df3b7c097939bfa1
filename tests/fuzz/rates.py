"""Measures what the testing kit's figures are: `python tests/fuzz/rates.py [MODULES]`."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hypothesis import HealthCheck, Phase, given, settings

import pywasmrt
from pywasmrt import FunctionType, Trap, i32
from pywasmrt.testing import Module, check_host_function
from pywasmrt.testing.edge_values import sample_arguments
from pywasmrt.testing.strategies import modules


def generated(count: int) -> list[Module]:
    found: list[Module] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(modules())
    def collect(module: Module) -> None:
        found.append(module)

    collect()
    return found


def ends(runtime: pywasmrt.Runtime, module: Module) -> tuple[float, float]:
    """How long compiling took, and the longest call, in seconds; a call ends by returning or by a trap."""
    began = time.perf_counter()
    compiled = runtime.compile(module.encode())
    compiling = time.perf_counter() - began
    imports: dict[str, dict[str, object]] = {"env": {}}
    for wanted in compiled.imports:
        assert isinstance(wanted.type, FunctionType)
        given_back = sample_arguments(FunctionType(wanted.type.results), wanted.name)
        imports["env"][wanted.name] = lambda *args, r=given_back: None if not r else r[0] if len(r) == 1 else r
    instance = runtime.instantiate(compiled, imports)
    longest = 0.0
    for export in compiled.exports:
        if isinstance(export.type, FunctionType):
            function, args = instance.exports[export.name], sample_arguments(export.type, export.name)
            began = time.perf_counter()
            with contextlib.suppress(Trap):
                function(*args)
            longest = max(longest, time.perf_counter() - began)
    instance.close()
    compiled.close()
    return compiling, longest


def both(x: i32, y: i32) -> i32:
    return x ^ y


def main(count: int) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    found = generated(count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"modules(): {len(found)} modules, {len(found) / wall:.0f} a second ({len(found) / cpu:.0f} of CPU time)")
    with pywasmrt.new_runtime("wasmtime") as runtime:
        times = [ends(runtime, module) for module in found]
    quick = sum(call < 0.01 for _, call in times) / len(times)
    longest = max(call for _, call in times) * 1e3
    print(f"on wasmtime: {quick:.1%} of the modules end every call within 10 ms; the longest takes {longest:.1f} ms")
    with_compiling = sum(sum(each) < 0.01 for each in times) / len(times)
    print(f"  with compiling: {with_compiling:.1%}")
    wall, cpu = time.perf_counter(), time.process_time()
    check_host_function(both)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    names = ", ".join(info.name for info in pywasmrt.list_runtimes() if info.available)
    print(f"check_host_function, two arguments, 200 examples, {names}: {wall:.2f} s ({cpu:.2f} s of CPU time)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

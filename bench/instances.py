"""What an instance costs: made by `linked.instantiate` and by `rt.instantiate`, beside a C program that does the same.

python bench/instances.py [--quick] [--json FILE]

All take turns in one process, and the best of many short rounds counts; the ratios are what compares. Then: two threads
at a time, a module of a megabyte from the cache in a second process, and ten thousand live instances.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from measuring import Loop, Timer, best_of_rounds, write_json

import pywasmrt
from pywasmrt import HostModule, Pool, RuntimeConfig, i32
from pywasmrt._shim import wasmtime_library as library
from pywasmrt.wasm.module import Module

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "instances.c"
TARGET = HERE.parent / "build" / "bench" / "libinstances.so"
LIVE = 10_000
GUEST = """(module (import "env" "inc" (func (param i32) (result i32))) (memory (export "memory") 1 2)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"""

env = HostModule("env")


@env.function
def inc(x: i32) -> i32:
    return x + 1


def c_program() -> Any:
    """The C program, built and with its engines made."""
    if not TARGET.exists() or TARGET.stat().st_mtime < SOURCE.stat().st_mtime:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-shared", "-fPIC", "-pthread"]
        subprocess.run([*command, str(SOURCE), "-o", str(TARGET), "-ldl"], check=True)
    found = ctypes.PyDLL(str(TARGET))
    for name in ("instances_run", "instances_run_twice"):
        getattr(found, name).restype = ctypes.c_double
    found.instances_open.restype = ctypes.c_char_p
    problem = found.instances_open(os.fsencode(library.find().path), LIVE)
    if problem:
        raise SystemExit(problem.decode())
    return found


def runtimes() -> dict[str, pywasmrt.Runtime]:
    pool = Pool(instances=LIVE)
    return {"on demand": pywasmrt.new_runtime("wasmtime"), "pooled": pywasmrt.new_runtime(RuntimeConfig(pool=pool))}


def measure(c: Any, made: dict[str, pywasmrt.Runtime], rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds for an instance, made and ended."""
    entrants: dict[Any, Loop | Timer] = {}
    for number, (kind, runtime) in enumerate(made.items()):
        module = runtime.compile(GUEST)
        linked = runtime.link(module, env)
        entrants[kind, "C"] = Timer(lambda n, number=number: float(c.instances_run(number, n)))
        entrants[kind, "linked"] = Loop("make()", {"make": linked.instantiate})
        entrants[kind, "instantiate"] = Loop(
            "make(module, env)", {"make": runtime.instantiate, "module": module, "env": env}
        )
    figures: dict[str, dict[str, float]] = {kind: {} for kind in made}
    for (kind, what), nanoseconds in best_of_rounds(entrants, rounds).items():
        figures[kind][what] = nanoseconds
    return figures


def twice(work: Any) -> float:
    """How long `work` takes on two threads at a time."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    begun = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return time.perf_counter() - begun


def threads(c: Any, made: dict[str, pywasmrt.Runtime], count: int) -> dict[str, float]:
    """The number of instances that two threads make, as a multiple of one thread's, for C and for us; the best of a
    few.
    """
    found = {}
    for number, (kind, runtime) in enumerate(made.items()):
        linked = runtime.link(runtime.compile(GUEST), env)

        def work(linked: Any = linked) -> None:
            make = linked.instantiate
            for _ in range(count):
                make()

        ours, theirs = [], []
        for _ in range(5):
            begun = time.perf_counter()
            work()
            one = time.perf_counter() - begun
            ours.append(2 * one / twice(work))
            theirs.append(c.instances_run(number, count) / c.instances_run_twice(number, count))
        found[f"{kind}: linked"] = max(ours)
        found[f"{kind}: C"] = max(theirs)
    return found


def memory_now() -> tuple[int, int]:
    """Address space and resident memory of this process, in KiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    size, resident = (int(fields[name].split()[0]) for name in ("VmSize", "VmRSS"))
    return size, resident


def live(c: Any, made: dict[str, pywasmrt.Runtime]) -> dict[str, dict[str, float]]:
    """What each of ten thousand live instances takes: address space and resident memory in KiB."""
    found: dict[str, dict[str, float]] = {}

    def difference(name: str, make: Any, end: Any) -> None:
        gc.collect()
        before = memory_now()
        begun = time.perf_counter()
        held = make()
        seconds = time.perf_counter() - begun
        after = memory_now()
        end(held)
        found[name] = {
            "address space": (after[0] - before[0]) / LIVE,
            "resident": (after[1] - before[1]) / LIVE,
            "microseconds": seconds / LIVE * 1e6,
        }

    for number, (kind, runtime) in enumerate(made.items()):
        linked = runtime.link(runtime.compile(GUEST), env)

        def keep(number: int = number) -> Any:
            stores = (ctypes.c_void_p * LIVE)()
            c.instances_keep(number, LIVE, stores)
            return stores

        difference(
            f"{kind}: linked",
            lambda linked=linked: [linked.instantiate() for _ in range(LIVE)],
            lambda held: held.clear(),
        )
        difference(f"{kind}: C", keep, lambda stores: c.instances_end(LIVE, stores))
    return found


CACHED = """
import sys, time
import pywasmrt
data = open(sys.argv[1], "rb").read()
with pywasmrt.new_runtime(pywasmrt.RuntimeConfig("wasmtime", cache=sys.argv[2])) as runtime:
    begun = time.perf_counter()
    runtime.compile(data)
    print(time.perf_counter() - begun)
"""


def big_module(size: int) -> bytes:
    """A module of functions that compute, of at least `size` bytes."""
    i64 = pywasmrt.ValueType.I64
    type = pywasmrt.FunctionType((i64, i64), (i64,))
    guest = Module()
    body: list[Any] = [("local.get", 0)]
    for n in range(200):
        body += [
            ("local.get", 1),
            ("i64.const", n * 977 + 12345),
            ("i64.xor",),
            ("i64.add",),
            ("local.get", 0),
            ("i64.mul",),
        ]
    one = len(body) * 2
    for n in range(size // one + 1):
        guest.function(type, body, export=f"f{n}")
    return guest.encode()


def cached() -> dict[str, float]:
    """Seconds that a first and a second process take to have a module of a megabyte compiled."""
    with tempfile.TemporaryDirectory() as folder:
        data = big_module(1 << 20)
        path = Path(folder, "big.wasm")
        path.write_bytes(data)
        command = [sys.executable, "-c", CACHED, str(path), str(Path(folder, "cache"))]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        times = [
            float(subprocess.run(command, check=True, capture_output=True, env=environment).stdout) for _ in range(4)
        ]
    return {"bytes": len(data), "compiled": times[0], "from the cache": min(times[1:])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    c, made = c_program(), runtimes()
    figures = measure(c, made, 60 if options.quick else 400)
    for kind, row in figures.items():
        shown = "  ".join(f"{what} {value:,.0f} ns ({value / row['C']:.2f})" for what, value in row.items())
        print(f"{kind}: {shown}")
    limits = [("on demand", "linked", 1.6), ("pooled", "linked", 2.0), ("on demand", "instantiate", 2.5)]
    for kind, what, limit in limits:
        ratio = figures[kind][what] / figures[kind]["C"]
        print(f"{'ok  ' if ratio <= limit else 'MISS'} {what}, {kind}: times C {ratio:.2f} <= {limit}")
    scaling = threads(c, made, 3000)
    print("two threads, times one: " + ", ".join(f"{name} {value:.2f}" for name, value in scaling.items()))
    kept = cached()
    ratio = kept["compiled"] / kept["from the cache"]
    print(
        f"{'ok  ' if ratio >= 20 else 'MISS'} a module of {kept['bytes']:,} bytes: {kept['compiled']:.2f} s compiled, "
        f"{kept['from the cache'] * 1e3:.1f} ms from the cache, {ratio:.0f} times sooner >= 20"
    )
    alive = live(c, made)
    for name, row in alive.items():
        print(
            f"{LIVE:,} live, {name}: "
            + ", ".join(f"{what} {value:,.1f}" for what, value in row.items())
            + " (KiB, KiB, us each)"
        )
    write_json({"nanoseconds": figures, "threads": scaling, "cache": kept, "live": alive}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

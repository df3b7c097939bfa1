"""What long calls cost the rest of the program, and how soon a guest can be stopped. `make bench-long` runs it.

Per runtime that can be interrupted: the speed that a pure-Python counter keeps beside a guest on another thread; the
throughput of two threads with a guest each; what interruptibility costs three kinds of loops; and the longest stall of
an event loop. Per runtime that has them: how late interrupts, deadlines and Ctrl-C come, over many tries. Two free
cores are assumed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernels import SIZES, kernels_module
from measuring import Loop, best_of_rounds, write_json

import pywasmrt
from pywasmrt import DeadlineExceeded, Interrupted, Runtime, RuntimeConfig
from pywasmrt.testing import guests

SECOND = 1.0
SOON = 0.02  # seconds until a guest is stopped


def loops(runtime: Runtime) -> Any:
    return runtime.instantiate(runtime.compile(guests.loops().encode()), {"env": {"f": lambda: None}})


def kernels(runtime: Runtime, binary: bytes) -> Any:
    return runtime.instantiate(runtime.compile(binary)).exports


def count_for(seconds: float) -> int:
    """How far pure Python counts in that time."""
    n, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        n += 1
    return n


def beside(call: Callable[[], object], stop: Callable[[], object], work: Callable[[], Any]) -> Any:
    """What `work` gives while `call` runs on another thread."""

    def run() -> None:
        with suppress(Interrupted):
            call()

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(SOON)
    result = work()
    while thread.is_alive():
        stop()
        thread.join(0.001)
    return result


def counter_kept(runtime: Runtime) -> float:
    """The share of its speed that the counter keeps beside a guest: the median of pairs, one with and one without."""
    instance = loops(runtime)
    shares = []
    for _ in range(5):
        alone = count_for(SECOND / 2)
        shares.append(beside(instance.exports.forever, instance.interrupt, lambda: count_for(SECOND / 2)) / alone)
    return statistics.median(shares)


def two_threads(runtime: Runtime, binary: bytes) -> float:
    """The throughput of two threads, times that of one: the best of several pairs."""

    def throughput(threads: int) -> float:
        ready = threading.Barrier(threads + 1)

        def work() -> None:
            hashing = kernels(runtime, binary).hashing
            ready.wait()
            for _ in range(5):
                hashing(SIZES["hashing"] * 60)

        started = [threading.Thread(target=work) for _ in range(threads)]
        for thread in started:
            thread.start()
        ready.wait()
        begun = time.perf_counter()
        for thread in started:
            thread.join()
        return threads / (time.perf_counter() - begun)

    return max(throughput(2) / throughput(1) for _ in range(3))


def interruptible_cost(name: str, binary: bytes) -> dict[str, float]:
    """The time of a loop that can be interrupted, as a multiple of its time without that."""
    with (
        pywasmrt.new_runtime(name) as polling,
        pywasmrt.new_runtime(name, RuntimeConfig(interruptible=False)) as plain,
    ):
        entrants = {
            (job, which): Loop(f"f({SIZES[job]})", {"f": getattr(kernels(runtime, binary), job)})
            for job in SIZES
            for which, runtime in (("polling", polling), ("plain", plain))
        }
        best = best_of_rounds(entrants, 40)
    return {job: best[job, "polling"] / best[job, "plain"] for job in SIZES}


def longest_stall(runtime: Runtime) -> float:
    """The longest time, in ms, that an event loop is held up while it awaits a guest of one second."""
    instance = loops(runtime)

    async def main() -> float:
        call = asyncio.create_task(instance.exports.forever.call_async())
        longest, last, until = 0.0, time.perf_counter(), time.perf_counter() + SECOND
        while last < until:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.001), now
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        return longest * 1e3

    return asyncio.run(main())


def lateness(runtime: Runtime, tries: int) -> dict[str, list[float]]:
    """How late each of the runtime's means of stopping a guest takes effect, in ms, sorted."""
    instance = loops(runtime)
    main = threading.main_thread().ident
    assert main is not None
    at = 0.0

    def act(action: Callable[[], object]) -> Callable[[], None]:
        def late() -> None:
            nonlocal at
            at = time.perf_counter()
            action()

        return late

    def tried(expected: type[BaseException], action: Callable[[], object] | None) -> Iterator[float]:
        nonlocal at
        for _ in range(tries):
            timer = threading.Timer(SOON, act(action)) if action is not None else None
            if timer is not None:
                timer.start()
            begun = time.perf_counter()
            try:
                if timer is None:
                    at = begun + SOON
                    with instance.deadline(SOON):
                        instance.exports.forever()
                else:
                    instance.exports.forever()
            except expected:
                yield (time.perf_counter() - at) * 1e3
            if timer is not None:
                timer.join()

    late = {}
    if "interruption" in runtime.info.features:
        late["interrupt"] = sorted(tried(Interrupted, instance.interrupt))
        late["Ctrl-C"] = sorted(tried(KeyboardInterrupt, lambda: signal.pthread_kill(main, signal.SIGINT)))
    if "deadline" in runtime.info.features:
        late["deadline"] = sorted(tried(DeadlineExceeded, None))
    return late


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tries", type=int, default=100, help="tries of each means of stopping (default 100)")
    options.add_argument("--json", type=Path, help="write the figures there too")
    chosen = options.parse_args()
    binary = kernels_module()
    figures: dict[str, Any] = {}
    for info in pywasmrt.list_runtimes():
        if not info.available:
            continue
        with pywasmrt.new_runtime(info.name) as runtime:
            found: dict[str, Any] = {"late, ms": lateness(runtime, chosen.tries)}
            if "interruption" in info.features:
                found |= {
                    "counter kept": counter_kept(runtime),
                    "two threads": two_threads(runtime, binary),
                    "with interruption": interruptible_cost(info.name, binary),
                    "longest stall, ms": longest_stall(runtime),
                }
            figures[info.name] = found
        show(info.name, figures[info.name])
    write_json(figures, chosen.json)


def show(name: str, figures: dict[str, Any]) -> None:
    print(name)
    if "counter kept" in figures:
        print(f"  a Python counter beside a guest keeps  {figures['counter kept']:.0%} of its speed")
        print(f"  two threads do  {figures['two threads']:.2f} times what one does")
        for job, ratio in figures["with interruption"].items():
            print(f"  {job} with interruption takes  {ratio:.2f} times as long as without")
        print(f"  the longest stall of an event loop  {figures['longest stall, ms']:.1f} ms")
    for means, late in figures["late, ms"].items():
        shares = {"half": 0.5, "90 %": 0.9, "99 %": 0.99, "all": 1.0}
        within = ", ".join(f"{share} {late[max(0, round(len(late) * part) - 1)]:.1f}" for share, part in shares.items())
        print(f"  {means} late by at most, ms:  {within} of {len(late)}")


if __name__ == "__main__":
    main()

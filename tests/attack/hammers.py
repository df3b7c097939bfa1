"""Signals, threads and forks while guests run."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pywasmrt import BusyError, Limits, Runtime, WasmError
from pywasmrt.testing import guests

from .attack import Attack, Found, outcome_of_child

__all__ = ["forks", "signals", "threads"]

LIMITS = Limits(memory_bytes=1 << 22, timeout=0.02)


class Boom(Exception):
    """What a signal handler raises."""


def _instance(runtime: Runtime, function: Callable[[], None] = lambda: None, limits: Limits | None = LIMITS) -> Any:
    return runtime.instantiate(runtime.compile(guests.loops().encode()), {"env": {"f": function}}, limits=limits)


def signals(attack: Attack) -> None:
    """A signal every few microseconds, whose handler raises, calls guests, compiles, collects, closes."""
    for runtime in attack.shares(attack.runtimes("interruption", "deadline")):
        _signals(attack, runtime)


def _signals(attack: Attack, runtime: Runtime) -> None:
    drawn, counts = attack.random, attack.counts
    armed = False
    nested = 0
    held = [_instance(runtime)]
    other = _instance(runtime)
    calculator = guests.arithmetic().encode()

    def handle(number: int, frame: object) -> None:
        nonlocal armed, nested
        counts["signals"] += 1
        if not armed:
            return
        what = drawn.randrange(9)
        nested += 1
        try:
            if nested < 3:
                arm()
            respond(what)
        finally:
            nested -= 1
            if nested == 0:
                arm()
        if what >= 7:
            counts["exceptions of handlers"] += 1
            armed = False  # it ends the action: another one could come where nothing catches it
            raise Boom

    def arm() -> None:
        signal.setitimer(signal.ITIMER_REAL, 10 ** drawn.uniform(-6, -2.7))

    def respond(what: int) -> None:
        with suppress(WasmError):
            if what == 0:
                held[0].exports.count(100)
            elif what == 1:
                other.exports.count(100)
            elif what == 2:
                runtime.compile(calculator)
            elif what == 3:
                gc.collect(0)
            elif what == 4:
                held[0].close()
            elif what == 5:
                held[0].interrupt()

    def act() -> None:
        instance = held[0]
        what = drawn.randrange(8)
        if what == 0:
            instance.exports.count(drawn.choice((1, 1000, 300_000)))
        elif what == 1:
            instance.exports.call_forever()
        elif what == 2:
            instance.exports.call()
        elif what == 3:
            instance.memory().write(0, instance.memory().read(5, 100))
        elif what == 4:
            held[0] = _instance(runtime, held[0].memory if drawn.randrange(3) == 0 else lambda: None)
        elif what == 5:
            runtime.compile(calculator).close()
        elif what == 6:
            view = memoryview(instance.memory())
            instance.memory().grow(1)
            view.release()
        else:
            instance.close()

    def unraisable(info: Any) -> None:
        counts["exceptions lost in destructors"] += 1

    hooks = sys.unraisablehook, signal.signal(signal.SIGALRM, handle)
    sys.unraisablehook = unraisable
    try:
        while attack.going():
            counts["actions under signals"] += 1
            try:
                try:
                    if held[0].closed:
                        held[0] = _instance(runtime)
                    armed = True
                    arm()
                    act()
                finally:
                    armed = False
            except (Boom, WasmError, TypeError):  # a closed memory has no buffer, a host function gave no number
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one may be on its way
        sys.unraisablehook, before = hooks
        signal.signal(signal.SIGALRM, before)
    if _instance(runtime, limits=None).exports.count(1000) != 1000:
        raise Found(f"{runtime.info.name} does not count any more")


def threads(attack: Attack) -> None:
    """Threads that do everything at once, in stores of their own and in one."""
    for runtime in attack.shares(attack.runtimes("deadline")):
        _threads(attack, runtime)


def _threads(attack: Attack, runtime: Runtime) -> None:
    failures: list[BaseException] = []
    module = runtime.compile(guests.loops().encode())
    lock = threading.Lock()
    shared = {"store": runtime.new_store(LIMITS)}
    held: list[Any] = [_instance(runtime)]

    def instantiate(**where: Any) -> None:
        held.append(runtime.instantiate(module, {"env": {"f": lambda: held[-1].memory()}}, **where))
        del held[:-12]

    def renew() -> None:
        old = shared["store"]
        shared["store"] = runtime.new_store(LIMITS)
        old.close()

    def look(instance: Any) -> None:
        memory = instance.memory()
        with suppress(TypeError), memoryview(memory) as view:
            bytes(view[:10])
        memory.grow(1)
        memory.write(0, memory.read(0, 65536))

    def act(drawn: Any) -> None:
        instance = held[drawn.randrange(-1, 0)] if drawn.randrange(2) else held[drawn.randrange(len(held))]
        what = drawn.randrange(12)
        if what < 3:
            instance.exports.count(drawn.choice((1, 1000, 100_000)))
        elif what == 3:
            instance.exports.call()
        elif what == 4:
            instance.exports.call_forever()
        elif what == 5:
            look(instance)
        elif what == 6:
            instantiate(limits=LIMITS)
        elif what == 7:
            instantiate(store=shared["store"])
        elif what == 8:
            instance.close()
        elif what == 9 and drawn.randrange(20) == 0:
            renew()
        elif what == 10:
            instance.interrupt() if "interruption" in runtime.info.features else None
        elif drawn.randrange(10) == 0:
            gc.collect()

    def work(seed: int) -> None:
        import random

        drawn, done = random.Random(seed), 0
        while attack.going() and not failures:
            done += 1
            try:
                act(drawn)
            except (WasmError, TypeError, IndexError):
                pass
            except BaseException as error:
                failures.append(error)
        with lock:
            attack.counts["actions of threads"] += done

    workers = [threading.Thread(target=work, args=(attack.random.random(),)) for _ in range(6)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    if failures:
        raise failures[0]
    if _instance(runtime, limits=None).exports.count(1000) != 1000:
        raise Found(f"{runtime.info.name} does not count any more")


def forks(attack: Attack) -> None:
    """Forks while threads run guests: the child goes on with what it has, or gets a clear error."""
    if not hasattr(os, "fork"):
        return
    for runtime in attack.shares(attack.runtimes("deadline", "fork")):
        _forks(attack, runtime)


def _forks(attack: Attack, runtime: Runtime) -> None:
    mine, busy = _instance(runtime, limits=None), [_instance(runtime, lambda: time.sleep(0)) for _ in range(3)]
    module = runtime.compile(guests.loops().encode())
    ended = threading.Event()

    def run(instance: Any) -> None:
        while not ended.is_set():
            with suppress(WasmError):
                instance.exports.call_forever()
            runtime.compile(guests.arithmetic().encode()).close()

    workers = [threading.Thread(target=run, args=(each,)) for each in busy]
    for each in workers:
        each.start()

    def child() -> None:
        if mine.exports.count(1000) != 1000:
            raise Found("an instance does not count in the child")
        for each in busy:
            with suppress(BusyError, WasmError):
                each.exports.count(10)
            with suppress(WasmError):
                each.close()
        made = runtime.instantiate(module, {"env": {"f": lambda: None}}, limits=LIMITS)
        with suppress(WasmError):
            made.exports.forever()
        if _instance(runtime, limits=None).exports.count(9) != 9:
            raise Found("what the child compiles does not count")

    try:
        while attack.going():
            attack.counts["forks"] += 1
            failed = outcome_of_child(child)
            if failed:
                raise Found(f"{runtime.info.name}, in the child of a fork: {failed}")
    finally:
        ended.set()
        for each in workers:
            each.join()

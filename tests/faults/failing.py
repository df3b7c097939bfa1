"""A pytest plugin: in each test one operation of the engine table fails, as a plan says; `python tests/faults` runs it.

PYWASMRT_FAULT_PLAN is a file with the plan: for each test that is to run, the operation and which of its calls fails.
Without one all tests run, and nothing fails. PYWASMRT_FAULT_TOLD is the file that is written at the end: for each test
how often it called each operation, how often one failed, and what was wrong. A test may fail, since it sees errors that
it did not expect. Wrong is only what no failure of an engine may lead to: that the process ends or hangs, that the
interpreter complains, that the library stumbles over what it took for granted, or that nobody hears of the failure.

Operations fail while the test itself runs, not while what tests share is made.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import inspect
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from helpers.faulty import MISSING, arm, install, operations

import pywasmrt

ASKED = "this failure was asked for"
LATE = 10  # seconds for a signal of a test that has ended
SECONDS = 300  # for one test; after that the process ends, and says where it was
LIBRARY = Path(pywasmrt.__file__).resolve().parent
# What the interpreter says where C code broke its rules, or where an exception was lost.
COMPLAINTS = (SystemError, MemoryError, pytest.PytestUnraisableExceptionWarning)
# Where a failure ends in the library because its contract says so: it is printed, logged, or only costs time.
DEALT_WITH = {
    "cli/inspect.py, _tried",  # a runtime that refuses a module is one of the verdicts that are printed
    "cli/dispatch.py, main",
    "otel/chain.py, export",
    "otel/chain.py, shutdown",
    "otel/component.py, _call",  # raised again as a TelemetryError
    "columns/udf.py, __call__",  # DuckDB tells of it in an error of its own
    "otel/receiver.py, _run",
    "otel/receiver.py, handle",
    "runtimes/base/runtime.py, _kept",  # a compiled module that cannot be kept, or used, is compiled
    "plugin/plugin.py, _tell_shutdown",
}
# What the library's own code raises where it took for granted what was not so.
SURPRISES = (AssertionError, AttributeError, NameError)


def everything_in(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, with its causes and all that it was raised after or groups."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]


def place_of(traceback: TracebackType) -> str | None:
    """Where a traceback begins, if that is in the library; its testing kit stands on the other side."""
    path = Path(traceback.tb_frame.f_code.co_filename).resolve()
    if LIBRARY not in path.parents or LIBRARY / "testing" in path.parents:
        return None
    return f"{path.relative_to(LIBRARY)}, {traceback.tb_frame.f_code.co_name}"


def caught_by(error: BaseException) -> str | None:
    """The place in the library where an exception came to rest, if it is one; a coroutine hands it to its task."""
    if error.__traceback__ is None:
        return "nobody: it was not raised"
    waited_for = error.__traceback__.tb_frame.f_code.co_flags & inspect.CO_COROUTINE
    return None if waited_for else place_of(error.__traceback__)


def held_by_a_task(error: BaseException) -> bool:
    """Whether an asyncio task keeps it, for whoever awaits that. A task calls a coroutine in C without any frame."""
    # Tasks do not show the collector what they keep.
    tasks = (each for each in gc.get_objects() if isinstance(each, asyncio.Future))
    return any(each._exception is error for each in tasks)


def raised_by(error: BaseException) -> str | None:
    """The place in the library where an exception was raised, if it is one."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else place_of(traceback)


class Failing:
    """The plugin in a process that runs tests."""

    def __init__(self, plan: dict[str, tuple[str, int]] | None) -> None:
        self.plan = plan
        self.lib = install()
        self.operations = operations(self.lib)
        self.errors: list[pywasmrt.WasmError] = []
        self.stderr = os.dup(2)  # pytest takes the usual one
        self.running = False
        self.ended = -math.inf  # when a test did in which something failed
        self._remember_errors()
        self.told_by_loops: list[object] = []
        self._hear_event_loops()
        # Tests send signals to guests that, since something failed, do not run. They are not for whoever comes next.
        for number in (signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        if self.running or time.monotonic() - self.ended > LATE:
            raise KeyboardInterrupt

    def _remember_errors(self) -> None:
        """Have every error be kept that tells of a failure, for a look at what became of it."""
        original: Callable[..., None] = pywasmrt.WasmError.__init__
        errors = self.errors

        def remembering(error: pywasmrt.WasmError, *args: Any, **kwargs: Any) -> None:
            original(error, *args, **kwargs)
            if ASKED in str(args):
                errors.append(error)

        pywasmrt.WasmError.__init__ = remembering  # type: ignore[method-assign]

    def _hear_event_loops(self) -> None:
        """Keep what event loops tell of, such as the exception of a task for which nobody waited."""
        original, told = asyncio.BaseEventLoop.call_exception_handler, self.told_by_loops

        def hearing(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
            told.append(context.get("exception"))
            original(loop, context)

        asyncio.BaseEventLoop.call_exception_handler = hearing  # type: ignore[method-assign]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self.plan is not None:
            config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self.plan])
            items[:] = [item for item in items if item.nodeid in self.plan]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        item.user_properties.append(("faults", {"calls": {}, "failed": 0, "wrong": []}))
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=self.stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        told = dict(item.user_properties)["faults"]
        operation, first = self.plan[item.nodeid] if self.plan is not None else (None, 1)
        interrupted = False
        self.running = True
        arm(self.lib, operation, first)
        try:
            return (yield)
        except KeyboardInterrupt as error:
            if operation is None:
                raise
            interrupted = True  # perhaps in the middle of telling
            raise pytest.fail.Exception("interrupted") from error
        finally:
            self.running = False
            told["failed"] = self.lib.wrt_fault_fired()
            called = {name: self.lib.wrt_fault_calls(name.encode()) for name in self.operations}
            told["calls"] = {name: count for name, count in called.items() if count}
            arm(self.lib, None)
            if told["failed"]:
                self._await_signals()
            if told["failed"] and operation not in MISSING and not self.errors and not interrupted:
                told["wrong"].append("nobody heard of it: no error was made")
            told["wrong"] += [f"caught by {place}" for place in self._caught()]
            self.errors.clear()
            self.told_by_loops.clear()

    def _await_signals(self) -> None:
        """Let what was to stop a guest find nobody, rather than the guest of the next test."""
        self.ended = time.monotonic()
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join(LATE)

    def _caught(self) -> list[str]:
        """Where in the library errors ended of which the caller heard nothing."""
        found = [(error, place) for error in self.errors if (place := caught_by(error)) and place not in DEALT_WITH]
        if not found:
            return []
        gc.collect()  # an event loop tells of a task that nobody waits for when it is freed
        heard = {id(error) for error in self.told_by_loops}
        return sorted({place for error, place in found if id(error) not in heard and not held_by_a_task(error)})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, object, object]:
        told = dict(item.user_properties)["faults"]
        for error in everything_in(call.excinfo and call.excinfo.value):
            surprised = told["failed"] and isinstance(error, SURPRISES) and not isinstance(error, pywasmrt.WasmError)
            place = raised_by(error)
            if isinstance(error, COMPLAINTS) or (surprised and place is not None):
                told["wrong"].append(f"{type(error).__name__}{f' in {place}' if place else ''}: {error}")
        return (yield)


class Telling:
    """The plugin in the process that hears of all tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: dict[str, Any] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = dict(report.user_properties).get("faults")
        if found is None:  # pytest-xdist's word for a worker that ended
            found = {"calls": {}, "failed": 1, "wrong": ["the process ended"]}
        self.told[report.nodeid] = found

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.told), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests:
        path = os.environ.get("PYWASMRT_FAULT_PLAN")
        config.pluginmanager.register(Failing(json.loads(Path(path).read_text(encoding="utf-8")) if path else None))
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Telling(Path(os.environ["PYWASMRT_FAULT_TOLD"])))

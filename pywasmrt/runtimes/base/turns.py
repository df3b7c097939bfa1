"""Asynchronous stores of engines that cannot suspend a guest: the guest runs on a worker thread, its host functions on
the event loop's.

The round trip of a host function:
  1. a coroutine awaits `Turns.call`, which hands the call to a thread of the runtime's pool and waits for its word;
  2. the guest calls its import; what `Turns.function` made sends the word that the callable is wanted, and blocks;
  3. the coroutine calls the callable, on the loop's thread and in its own context, and awaits what that returns;
  4. the outcome goes back to the worker, which returns it, or raises it, into the guest.
So all Python code of the host runs on the event loop's thread, and cancelling is the exception that the loop throws
into the coroutine. While the worker is blocked, only the loop's thread may use the store (`lend`).

A call that such a host function awaits in turn, into the same store, runs on the blocked worker, on top of the call
that waits. Any other call is refused meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from inspect import iscoroutine
from queue import SimpleQueue
from types import coroutine
from typing import Any, NamedTuple, Protocol

from ..._shim.waiting import Wait
from ...errors import BusyError, ClosedError, DeadlineExceeded, Interrupted
from ...values import shown
from .workers import is_worker

__all__ = ["LendableLock", "Lender", "Turns"]

_SOON = 1.0  # seconds that another thread may take to look at something in a store
_RETRY = 0.01  # seconds between two attempts to stop a call that is just beginning


class Lender(Protocol):
    """What `Turns` asks of its store. The store owns the `Turns`, so implementations hold the store weakly."""

    @property
    def closed(self) -> bool: ...

    def until(self) -> int:
        """As `BaseStore.until`; called on the worker."""

    def this_thread(self) -> int:
        """The running thread, in the form that `lend` takes."""

    def lend(self, thread: int | None) -> None:
        """Let that thread use the store while the worker, which calls this, waits. None takes the store back."""

    def stop_guest(self) -> bool | None:
        """Stop the guest that runs. Returns whether one was running, or None where guests cannot be stopped."""


class _Wanted(NamedTuple):
    """The message that a guest has called an import."""

    callable: Callable[..., Any]
    args: tuple[Any, ...]
    awaits: bool
    until: int


class _Outcome(NamedTuple):
    """How a call, or a host function, has ended."""

    value: Any
    error: BaseException | None


class _Call:
    """One call into the store: the messages between the coroutine that awaits it and the worker that runs it."""

    def __init__(self, turns: Turns, run: Callable[[], Any], outer: _Call | None) -> None:
        self.turns = turns
        self.run: Callable[[], Any] | None = run
        self.outer = outer
        self.inbox: SimpleQueue[_Call | _Outcome] = SimpleQueue() if outer is None else outer.inbox
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.lent_to = turns.lender.this_thread()
        self.lock = threading.RLock()  # guards `begun`, until the call has begun
        self.begun: bool | None = False  # None if it never will
        self.said: deque[_Wanted | _Outcome] = deque()  # by the worker, which keeps no reference of its own to a word
        self.words: deque[_Wanted | _Outcome] = deque()  # heard on the loop's thread
        self.arrived: asyncio.Future[None] | None = None
        self.abandoned: BaseException | None = None  # why nobody awaits it any more
        self.wait: Wait | None = None
        self.ending = False  # the wait was told to end
        self.until = 0

    # On the worker

    def work(self) -> None:
        if self.finish():
            self.tell()

    def finish(self) -> bool:
        """Run the call, and leave its outcome for `tell`. Returns False where the call never begins.

        The worker lets the arguments go before `tell`: what they refer to lives no longer than the caller wants it.
        """
        with self.lock:
            if self.begun is None:
                return False
            self.begun = True
        run, self.run = self.run, None
        assert run is not None, "a call is run once"
        try:
            if self.abandoned is not None:
                raise self.abandoned
            self.said.append(_Outcome(run(), None))
        except BaseException as error:
            self.said.append(_Outcome(None, error))
        self.turns._ended(self)
        return True

    def tell(self) -> None:
        """Have the loop's thread hear what was said."""
        with suppress(RuntimeError):  # the loop is closed, so nobody awaits the call
            self.loop.call_soon_threadsafe(self._hear)

    def ask(self, wanted: _Wanted) -> Any:
        if self.abandoned is not None:
            raise self.abandoned
        lend = self.turns.lender.lend
        lend(self.lent_to)
        self.said.append(wanted)
        self.tell()
        if self.loop.is_closed():
            self.inbox.put(_Outcome(None, asyncio.CancelledError("the event loop was closed")))
        while True:
            message = self.inbox.get()
            lend(None)
            if isinstance(message, _Outcome):
                if message.error is not None:
                    raise message.error
                return message.value
            told = message.finish()
            lend(self.lent_to)
            if told:
                message.tell()

    # On the loop

    def _hear(self) -> None:
        word = self.said.popleft()
        if self.abandoned is not None and isinstance(word, _Wanted):
            self.inbox.put(_Outcome(None, self.abandoned))
            return
        self.words.append(word)
        if self.arrived is not None and not self.arrived.done():
            self.arrived.set_result(None)

    async def word(self) -> _Wanted | _Outcome:
        while not self.words:
            self.arrived = self.loop.create_future()
            try:
                await self.arrived
            finally:
                self.arrived = None
        return self.words.popleft()

    def _expire(self) -> bool:
        if self.wait is None or self.ending:
            return True
        if self.reason() is None:
            return False
        self.ending = self.wait.end()
        return True

    def reason(self) -> Exception | None:
        """Why the wait has to end; None if it need not."""
        if self.turns.lender.closed:
            return ClosedError("the store was closed during this call")
        if self.turns._stopped:
            return Interrupted("the call was stopped by interrupt()")
        if self.until and time.monotonic_ns() >= self.until:
            return DeadlineExceeded("the call reached its deadline")
        return None


class Turns:
    """Whose turn it is in an asynchronous store: there is at most one chain of calls, and one call of it runs."""

    patience: float | None = None  # seconds that a stopped guest gets to end, where it may wait inside the engine

    def __init__(self, lender: Lender, run: Callable[[Callable[[], None]], None]) -> None:
        """`run` has a worker thread run what it is given."""
        self.lender = lender
        self._run = run
        self._top: _Call | None = None
        self._serving: _Call | None = None
        self._stopped = False

    def function(self, callable: Callable[..., Any], awaits: bool) -> Callable[..., Any]:
        """What the engine calls in place of `callable`. `awaits` says that the results of `callable` are awaited."""

        def ask(*args: Any) -> Any:
            return self.ask(callable, args, awaits)

        return ask

    def ask(self, callable: Callable[..., Any], args: tuple[Any, ...], awaits: bool) -> Any:
        """Have the loop's thread call `callable(*args)`, and wait for the outcome; on the worker, inside the guest."""
        call = self._top
        assert call is not None, "guests run in calls"
        return call.ask(_Wanted(callable, args, awaits, self.lender.until()))

    async def call(self, run: Callable[[], Any]) -> Any:
        """Have `run()`, which enters the store, done on a worker, and serve what its guest calls.

        Raises `BusyError` where another call runs or waits, unless this one is made by its host function.
        """
        top = self._top
        if top is not None and (self._serving is not top or top.thread != threading.get_ident()):
            raise BusyError("the store has a guest that is running or waiting; give each task a store of its own")
        call = self._top = _Call(self, run, top)
        try:
            if top is not None:
                top.inbox.put(call)
            else:
                self._run(call.work)
        except BaseException:
            self._ended(call)
            raise
        while True:
            try:
                word = await call.word()
            except BaseException as error:
                await self._give_up(call, error)
                raise
            if isinstance(word, _Outcome):
                return _unpack(word)
            call.inbox.put(await self._serve(call, word))

    def stop(self) -> None:
        """Have a wait end because the store was closed or its call interrupted; from any thread."""
        top = self._top
        if top is not None:
            self._stopped = True
            if top.wait is not None:
                top.wait.soon()

    def _ended(self, call: _Call) -> None:
        self._top = call.outer
        if self._top is None:
            self._stopped = False

    async def _serve(self, call: _Call, wanted: _Wanted) -> _Outcome:
        """Call what the guest has called. When the coroutine is closed, its exception goes on, and to the guest as
        well.
        """
        call.until = wanted.until
        try:
            with _serving(self, call):
                value = wanted.callable(*wanted.args)
            if wanted.awaits or iscoroutine(value):
                value = await _driven(self, call, value)
            found = _Outcome(value, call.reason())
        except GeneratorExit as error:
            self._cut_off(call)
            call.inbox.put(_Outcome(None, error))
            raise
        except BaseException as error:
            found = _Outcome(None, error)
        if call.wait is not None:
            if call.ending and call.wait.ended(found.error or asyncio.CancelledError()):
                found = _Outcome(None, call.reason() or found.error)
            call.wait.over()
            call.wait, call.ending = None, False
        self._cut_off(call)
        return found

    def _cut_off(self, call: _Call) -> None:
        """End the calls that the host function of `call` has made and not awaited."""
        above = self._top
        while above is not None and above is not call:
            above.abandoned = Interrupted("the host function that made this call has ended before it")
            above.inbox.put(_Outcome(None, above.abandoned))
            above = above.outer

    async def _give_up(self, call: _Call, error: BaseException) -> None:
        """Stop a running guest that nobody awaits any more, and wait for its end, where that can be done.

        Otherwise the guest keeps its store busy until it ends.
        """
        call.abandoned = error
        with call.lock:
            if not call.begun:
                call.begun = None
                self._ended(call)
                return
        if any(isinstance(word, _Wanted) for word in call.words):
            call.inbox.put(_Outcome(None, error))
            call.words.clear()
        stopped = self.lender.stop_guest()
        if not isinstance(error, asyncio.CancelledError):
            return  # the coroutine is being closed, and must not wait
        until = None if self.patience is None else time.monotonic() + self.patience
        while stopped is not None and (until is None or time.monotonic() < until):
            with suppress(
                asyncio.CancelledError, asyncio.TimeoutError
            ):  # cancelled again, while the first cancelling is under way
                await asyncio.wait_for(call.word(), _RETRY)
                return
            stopped = self.lender.stop_guest()


def _unpack(found: _Outcome) -> Any:
    if found.error is not None:
        raise found.error
    return found.value


@coroutine
def _driven(turns: Turns, call: _Call, value: Any) -> Generator[Any, Any, Any]:
    """Await `value`, and distinguish the calls that it makes into the store from those of other coroutines."""
    if not hasattr(type(value), "__await__"):
        raise TypeError(f"a host function that is to be awaited returned what cannot be: {shown(value)}")
    steps = value if iscoroutine(value) else value.__await__()
    thrown: BaseException | None = None
    sent: Any = None
    while True:
        try:
            with _serving(turns, call):
                if thrown is not None and hasattr(steps, "throw"):
                    yielded = steps.throw(thrown)
                elif thrown is not None:
                    raise thrown
                else:
                    yielded = next(steps) if sent is None and hasattr(steps, "__next__") else steps.send(sent)
        except StopIteration as stop:
            return stop.value
        if call.wait is None:
            call.wait = Wait(call, (call.until - time.monotonic_ns()) * 1e-9 if call.until else None)
        call._expire()
        thrown = None
        try:
            sent = yield yielded
        except GeneratorExit:
            with _serving(turns, call):
                if hasattr(steps, "close"):
                    steps.close()
            raise
        except BaseException as error:
            thrown = error


class _serving:
    def __init__(self, turns: Turns, call: _Call) -> None:
        self._turns, self._call = turns, call

    def __enter__(self) -> None:
        self._before, self._turns._serving = self._turns._serving, self._call

    def __exit__(self, *error: object) -> None:
        self._turns._serving = self._before


class LendableLock:
    """A store's re-entrant lock, taken without waiting. The worker that holds it can lend it to another thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.lent: int | None = None

    def acquire(self, blocking: bool = False) -> bool:
        """Take the lock if no other thread has it. Only a worker waits, such as for a thread that reads a memory."""
        if self.lent is not None:
            return self.lent == threading.get_ident()
        return self._lock.acquire(True, _SOON) if is_worker() else self._lock.acquire(False)

    def release(self) -> None:
        """Give the lock back."""
        if self.lent is None:
            self._lock.release()

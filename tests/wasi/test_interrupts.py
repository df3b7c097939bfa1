"""A guest that sleeps, or is blocked in a read, an accept or a connection, ends when it is to end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import pywasmrt
from pywasmrt import ClosedError, DeadlineExceeded, Interrupted, wasi
from pywasmrt.wasi.waiting import POLL_IN, Stopped, Waiter

from .guest import Raw, clock, readable

Make = Callable[..., Raw]
FOREVER = 3600 * 10**9
ALLOW = wasi.Network(connect=["127.0.0.1:*"], listen=["127.0.0.1:*"], resolve=True)


class Blocked:
    """Ways for a guest to be blocked for ever."""

    def __init__(self, raw: Make) -> None:
        self.reading, self.writing = os.pipe()
        self.file = open(self.reading, "rb")  # noqa: SIM115 - closed by `close`
        self.guest = raw(stdin=self.file, network=ALLOW)

    def close(self) -> None:
        self.file.close()
        os.close(self.writing)

    def sleep(self) -> None:
        self.guest.poll(clock(1, FOREVER))

    def wait_for_input(self) -> None:
        self.guest.poll(readable(1, 0), clock(2, FOREVER))

    def read(self) -> None:
        self.guest.read(0)

    def accept(self) -> None:
        sock = self.listening()
        self.guest.call("sock_accept", sock, 0, self.guest.alloc(4))

    def receive(self) -> None:
        guest = self.guest
        out = guest.alloc(4)
        guest.do("sock_open", 1, 1, out)
        sock = guest.u32(out)
        guest.do("sock_bind", sock, self.loopback(), 0)
        guest.try_read(sock, 10)

    def look_up(self) -> None:
        guest = self.guest
        name, service = guest.text("nowhere.example"), guest.text("80")
        guest.call("sock_getaddrinfo", *name, *service, guest.alloc(32), guest.alloc(4), 2, guest.alloc(4))

    def listening(self) -> int:
        guest = self.guest
        out = guest.alloc(4)
        guest.do("sock_open", 1, 2, out)
        sock = guest.u32(out)
        guest.do("sock_bind", sock, self.loopback(), 0)
        guest.do("sock_listen", sock, 5)
        return sock

    def loopback(self) -> int:
        at = self.guest.put(socket.inet_aton("127.0.0.1"))
        return self.guest.put(at.to_bytes(4, "little") + (4).to_bytes(4, "little"))


WAYS = ["sleep", "wait_for_input", "read", "accept", "receive", "look_up"]


@pytest.fixture
def blocked(raw: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    answered = threading.Event()

    def getaddrinfo(*asked: object) -> list[Any]:
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)  # as where no name server answers
    made = Blocked(raw)
    yield made
    made.close()
    answered.set()


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline(blocked: Blocked, way: str, needs: Callable[..., None]) -> None:
    needs("deadline")
    with pytest.raises(DeadlineExceeded), blocked.guest.instance.deadline(0.05):
        getattr(blocked, way)()
    blocked.guest.poll(clock(1, 1_000_000))


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt(blocked: Blocked, way: str, needs: Callable[..., None]) -> None:
    needs("interruption")
    ended = threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.005):
            blocked.guest.instance.interrupt()

    def until_interrupted() -> None:
        while True:
            getattr(blocked, way)()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            until_interrupted()
    finally:
        ended.set()
        thread.join()
    blocked.guest.poll(clock(1, 1_000_000))
    assert blocked.guest.poll(clock(1, 1_000_000))[0][1] == 0


@pytest.mark.parametrize("way", WAYS)
def test_closing_from_another_thread(blocked: Blocked, way: str) -> None:
    timer = threading.Timer(0.03, blocked.guest.instance.close)
    timer.start()
    with pytest.raises(ClosedError):
        getattr(blocked, way)()
    timer.join()


@pytest.mark.parametrize("way", WAYS)
def test_control_c(blocked: Blocked, way: str) -> None:
    timer = threading.Timer(0.03, _signal_main)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come before the call
        timer.start()
        getattr(blocked, way)()
    timer.join()


def _signal_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_an_interrupt_between_waits_is_not_carried_over(blocked: Blocked, needs: Callable[..., None]) -> None:
    needs("interruption")
    blocked.guest.poll(clock(1, 1_000_000))
    assert blocked.guest.instance.interrupt() is False
    assert blocked.guest.poll(clock(1, 1_000_000))[0][1] == 0


def test_a_signal_handler_that_returns_lets_the_guest_sleep_on(blocked: Blocked) -> None:
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        began = time.monotonic()
        blocked.guest.poll(clock(1, 40_000_000))
        assert time.monotonic() - began >= 0.04
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [1]


def test_a_time_limit(runtime: pywasmrt.Runtime, needs: Callable[..., None]) -> None:
    needs("deadline")
    from .guest import forwarding

    module = runtime.compile(forwarding())
    limits = pywasmrt.Limits(timeout=0.05)
    with runtime.instantiate(module, wasi=wasi.WasiConfig(), limits=limits) as instance:
        memory = instance.memory()
        assert memory is not None
        memory.write(64, clock(1, FOREVER))
        with pytest.raises(DeadlineExceeded):
            instance.exports.poll_oneoff(64, 256, 1, 512)


class Other:
    """A store of another package's, which cannot stop its guests."""

    closed = False


def test_guests_of_stores_that_stop_nothing_wait_nevertheless() -> None:
    waiter, store = Waiter(), Other()
    waiter.attach(store)
    waiter.check()
    assert waiter.wait({}, 1_000_000) == {}
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x")
        assert waiter.wait({reading: POLL_IN}, None) == {reading: POLL_IN}
    finally:
        os.close(reading)
        os.close(writing)
    waiter.close()
    with pytest.raises(Stopped):
        waiter.wait({}, None)

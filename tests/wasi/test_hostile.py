"""What a hostile guest tries on what the host shares with it: standard streams, sockets, directories that others change
at the same moment; and what a signal handler's exception leaves behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.sockets import DGRAM, UNIX, Net

import pywasmrt
from pywasmrt import wasi
from pywasmrt.wasi import handles, resolve
from pywasmrt.wasi.abi import Rights
from pywasmrt.wasi.errno import Errno
from pywasmrt.wasi.host_files import HostStream
from pywasmrt.wasi.waiting import Stopped

from .guest import Raw

Make = Callable[..., Raw]

# Standard streams


@contextlib.contextmanager
def standard_output(path: Path) -> Iterator[None]:
    """Let this process's descriptor 1 be a file that is appended to, as a shell's `>> log` does."""
    kept = os.dup(1)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.close(log)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_an_inherited_log_can_be_added_to_and_nothing_else(raw: Make, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with standard_output(log):
        guest = raw(stdout=wasi.INHERIT)
        for flags in (1, 0, 4, 0):
            guest.call("fd_fdstat_set_flags", 1, flags)
        for call in (
            ("fd_filestat_set_size", 1, 0),
            ("fd_allocate", 1, 0, 1000),
            ("fd_filestat_set_times", 1, 5, 5, 5),
            ("fd_seek", 1, 0, 0, 64),
            ("fd_tell", 1, 64),
            ("fd_pwrite", 1, 0, 0, 0, 64),
            ("fd_advise", 1, 0, 0, 0),
        ):
            assert guest.call(*call) is not Errno.SUCCESS, call
        guest.write(1, b"after\n")
        assert fcntl.fcntl(1, fcntl.F_GETFL) & os.O_APPEND
        assert guest.stat(1).size == 0
    assert log.read_text() == "before\nafter\n"
    assert log.stat().st_mtime > 1e9


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_a_standard_stream_from_a_path_is_a_stream(raw: Make, tmp_path: Path, fd: int) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    guest = raw(**{("stdin", "stdout", "stderr")[fd]: path})
    before = path.stat().st_mtime_ns
    assert guest.call("fd_filestat_set_times", fd, 5, 5, 5) is Errno.NOTCAPABLE
    assert guest.call("fd_filestat_set_size", fd, 1 << 40) is Errno.NOTCAPABLE
    assert guest.call("fd_seek", fd, 0, 0, 64) is Errno.SPIPE
    assert guest.fdstat(fd)[2] & (Rights.FD_SEEK | Rights.FD_FILESTAT_SET_TIMES | Rights.FD_FILESTAT_SET_SIZE) == 0
    assert path.stat().st_mtime_ns == before
    if fd:
        data = b"x" * 10_000  # more than a pipe takes at a time
        assert guest.write(fd, data) == len(data)
        assert path.read_bytes() == data


class Misled:
    """A waiter that says of everything that it is ready, a few times: somebody else was quicker."""

    def __init__(self) -> None:
        self.asked = 0

    def ready(self, fd: int, mask: int, flags: int) -> None:
        self.asked += 1
        if self.asked > 3:
            raise Stopped


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs preadv2")
def test_a_pipe_that_others_emptied_or_filled_is_waited_for_again() -> None:
    reading, writing = os.pipe()
    try:
        waiter: Any = Misled()
        with pytest.raises(Stopped):
            HostStream(reading, 0, waiter).read(10)
        assert waiter.asked == 4
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        waiter = Misled()
        with pytest.raises(Stopped):
            HostStream(writing, 0, waiter).write(b"x" * 4096)
        assert waiter.asked == 4
        waiter = Misled()
        assert HostStream(reading, 0, waiter).read(10) == b"x" * 10
        assert len(HostStream(reading, 0, waiter).read(1 << 20)) > 10
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_that_is_not_in_memory_is_read_as_a_stream(raw: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 20))
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    guest = raw(stdin=path)
    total = 0
    while data := guest.read(0, 100_000):
        total += len(data)
    assert total == 1 << 20


# Sockets that the host lends


def test_a_guest_cannot_change_the_listener_that_it_was_lent(raw: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        net = Net(raw(sockets=[server], network=wasi.Network(connect=["*"], listen=["*"])))
        guest = net.guest
        size = server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        value = guest.put((1 << 20).to_bytes(4, "little"))
        for how in (1, 2, 3):
            assert guest.call("sock_shutdown", 3, how) is Errno.NOTCAPABLE
        assert guest.call("sock_setsockopt", 3, 0, 6, value, 4) is Errno.NOTCAPABLE
        assert guest.call("sock_bind", 3, net.address("127.0.0.1"), 0) is Errno.NOTCAPABLE
        assert guest.call("sock_connect", 3, net.address("127.0.0.1"), 9) is Errno.NOTCAPABLE
        assert guest.call("sock_listen", 3, 0) is Errno.SUCCESS  # which it does already
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == size
        for _ in range(3):
            with socket.create_connection(server.getsockname()):
                accepted = net.accept(3)
                guest.do("sock_shutdown", accepted, 3)  # a connection is the guest's own
        guest.close()
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()


def test_a_guest_cannot_connect_a_socket_of_datagrams_that_it_was_lent(raw: Make) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lent:
        lent.bind(("127.0.0.1", 0))
        net = Net(raw(sockets=[lent], network=wasi.Network(connect=["*"])))
        assert net.guest.call("sock_connect", 3, net.address("127.0.0.1"), 9) is Errno.NOTCAPABLE
        with pytest.raises(OSError, match="not connected"):
            lent.getpeername()


# Directories that others change


def test_a_unix_socket_is_bound_where_it_is_listed_while_links_are_swapped(
    one_runtime: pywasmrt.Runtime, tmp_path: Path
) -> None:
    """One guest turns the directory into a link to the outside and back, while another binds there."""
    box, outside = tmp_path / "box", tmp_path / "outside"
    (box / "app").mkdir(parents=True)
    outside.mkdir()
    network = wasi.Network(listen=[f"unix:{box}/app/*"])
    done = threading.Event()

    def swap() -> None:
        with Raw(one_runtime, wasi.WasiConfig(preopens={"/": box})) as guest:
            while not done.is_set():
                guest.rename("app", "away")
                guest.symlink("../outside", "app")
                guest.unlink("app")
                guest.rename("away", "app")

    interval = sys.getswitchinterval()
    swapper = threading.Thread(target=swap)
    with Raw(one_runtime, wasi.WasiConfig(network=network)) as guest:
        net = Net(guest)
        sys.setswitchinterval(1e-5)
        swapper.start()
        try:
            end = time.monotonic() + 1.5
            answers = set()
            n = 0
            while time.monotonic() < end or (Errno.SUCCESS not in answers and n < 100_000):
                n += 1
                fd = net.open(UNIX, DGRAM)
                answers.add(guest.call("sock_bind", fd, net.address(f"{box}/app/s{n % 50}"), 0))
                guest.do("fd_close", fd)
                for folder in ("app", "away"):
                    with contextlib.suppress(OSError):
                        os.unlink(box / folder / f"s{n % 50}")
                assert os.listdir(outside) == []
        finally:
            done.set()
            swapper.join()
            sys.setswitchinterval(interval)
    assert Errno.SUCCESS in answers
    assert os.listdir(outside) == []


def test_a_bound_unix_socket_has_the_name_that_the_guest_gave(raw: Make, tmp_path: Path) -> None:
    """It is bound through the open directory, which is the host's business."""
    net = Net(raw(network=wasi.Network(listen=[f"unix:{tmp_path}/*"], connect=[f"unix:{tmp_path}/*"])))
    guest = net.guest
    fd = net.open(UNIX)
    guest.do("sock_bind", fd, net.address(f"{tmp_path}/s"), 0)
    guest.do("sock_listen", fd, 1)
    buffer = guest.alloc(128)
    guest.do(
        "sock_getlocaladdr", fd, guest.put(buffer.to_bytes(4, "little") + (128).to_bytes(4, "little")), guest.alloc(4)
    )
    assert guest.memory.read(buffer, 128)[2:].rstrip(b"\0") == os.fsencode(f"{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")


# Exceptions of signal handlers


@pytest.mark.skipif(not handles.native, reason="needs the native part, which owns descriptors from their first moment")
@pytest.mark.parametrize("kernel", [True, False])
def test_a_signal_handlers_exception_leaves_no_descriptor_open(
    one_runtime: pywasmrt.Runtime, tmp_path: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel and not resolve.kernel_resolves:
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(resolve, "kernel_resolves", kernel)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    os.symlink("a/b", tmp_path / "link")
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: unraisable.append(about.exc_value))

    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    with Raw(one_runtime, wasi.WasiConfig(preopens={"/": tmp_path})) as guest:
        net = Net(guest)

        def everything() -> None:
            errno, fd = guest.try_open("link/file", follow=True)
            if errno is Errno.SUCCESS:
                guest.call("fd_close", fd)
            errno, fd = guest.try_open("a/b/../b", oflags=2)
            if errno is Errno.SUCCESS:
                guest.call("fd_close", fd)
            guest.stat_at("link/../b/file", follow=True)
            guest.rename("a/b/file", "a/b/other")
            guest.rename("a/b/other", "a/b/file")
            guest.mkdir("link/new")
            guest.rmdir("link/new")

        everything()
        del net
        before = len(os.listdir("/proc/self/fd"))
        old = signal.signal(signal.SIGALRM, ring)
        rung = 0
        end = time.monotonic() + 20
        try:
            while rung < 400 and time.monotonic() < end:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-4)
                    for _ in range(20):
                        everything()
                except Alarm:
                    rung += 1
                finally:
                    # An alarm that is under way may still raise here.
                    with contextlib.suppress(Alarm):
                        signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            with contextlib.suppress(Alarm):
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert rung > 20
        for fd in range(4, 1024):  # what was opened for the guest before it could learn the number
            guest.call("fd_close", fd)
        # An error and the frame that caught it stay in a circle where the handler raises while that lets go of it.
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before
    assert [each for each in unraisable if isinstance(each, Alarm)] == []


def test_a_half_made_descriptor_is_dropped_in_silence(tmp_path: Path) -> None:
    """Destructors of what failed to open are run in a process of their own, where their complaints can be seen."""
    code = f"""
        import gc, os, pathlib
        from pywasmrt import wasi
        for config in (
            wasi.WasiConfig(stdin=pathlib.Path({str(tmp_path / "missing")!r})),
            wasi.WasiConfig(stdout=pathlib.Path({str(tmp_path)!r})),
            wasi.WasiConfig(preopens={{"/": {str(tmp_path / "missing")!r}}}),
        ):
            try:
                config.new_context()
            except OSError as error:
                assert {str(tmp_path)!r} in str(error), error
            else:
                raise AssertionError(config)
        for kind in (wasi.memory_files.MemoryFile, wasi.host_files.HostFile, wasi.host_files.HostDirectory):
            kind.__new__(kind)
        gc.collect()
        print(len(os.listdir("/proc/self/fd")))
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_handles() -> None:
    with tempfile.TemporaryFile() as file:
        copy = handles.duplicate(file.fileno())
        assert copy.fileno() == copy.fd == int(copy) > 2
        assert os.fstat(copy.fd).st_ino == os.fstat(file.fileno()).st_ino
        assert not os.get_inheritable(copy.fd)
        number = copy.fd
        copy.close()
        copy.close()
        assert copy.fd == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    reading, writing = handles.pipe()
    os.write(writing.fd, b"x")
    assert os.read(reading.fd, 2) == b"x"
    with pytest.raises(BlockingIOError):
        os.read(reading.fd, 1)
    number = writing.fd
    del writing
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    with pytest.raises(FileNotFoundError) as raised:
        handles.open_at(handles.HERE, b"/nothing/there", os.O_RDONLY, 0)
    assert os.fsencode(raised.value.filename) == b"/nothing/there"
    with pytest.raises(OSError, match="Bad file descriptor"):
        handles.duplicate(1 << 20)
    with pytest.raises(OSError, match="Bad file descriptor"):
        handles.accept(1 << 20)
    if resolve.kernel_resolves:
        with pytest.raises(OSError, match="cross-device"):
            handles.open_beneath(handles.HERE, b"..", os.O_RDONLY, 0)

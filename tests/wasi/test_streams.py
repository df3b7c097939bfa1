"""Standard streams, arguments and environment, clocks, randomness, the end, polling."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.wasi_guests import Make
from hypothesis import given
from hypothesis import strategies as st

import pywasmrt
from pywasmrt import Exit, wasi
from pywasmrt.wasi.abi import FileType, Rights
from pywasmrt.wasi.errno import Errno

from .guest import Raw, clock, readable, writable


def everything(guest: Raw, size: int = 7) -> bytes:
    pieces = []
    while piece := guest.read(0, size):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, b""),
        (b"some bytes, read in pieces", b"some bytes, read in pieces"),
        (bytearray(b"some"), b"some"),
        (lambda: io.BytesIO(b"a file"), b"a file"),
        (lambda: io.StringIO("täxt"), "täxt".encode()),
        (lambda: io.BufferedReader(io.BytesIO(b"buffered")), b"buffered"),
    ],
)
def test_input(raw: Make, source: Any, expected: bytes) -> None:
    guest = raw(stdin=source() if callable(source) else source)
    assert everything(guest) == expected
    assert guest.read(0, 1) == b""


def test_input_from_a_path_a_pipe_and_a_callable(raw: Make, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a path")
    guest = raw(stdin=tmp_path / "input")
    assert everything(guest) == b"from a path"
    pieces = [b"one", b"two", b"", b"never"]
    asked = []

    def source(size: int) -> bytes:
        asked.append(size)
        return pieces.pop(0)

    guest = raw(stdin=source)
    assert (guest.read(0, 5), guest.read(0, 2), guest.read(0, 5)) == (b"one", b"tw", b"o")
    assert guest.read(0) == b""
    assert asked == [5, 2, 4096]
    reading, writing = os.pipe()
    with open(reading, "rb") as file:
        guest = raw(stdin=file)
        os.write(writing, b"through a pipe")
        assert guest.poll(readable(1, 0), clock(2, 10**10))[0][:3] == (1, Errno.SUCCESS, 1)
        assert guest.read(0, 7) == b"through"
        os.close(writing)
        assert everything(guest) == b" a pipe"


def test_input_that_is_there_is_not_waited_for(raw: Make) -> None:
    for mode in ("r", "rb"):
        reading, writing = os.pipe()
        with open(reading, mode) as file, open(writing, "wb", buffering=0) as other:
            guest = raw(stdin=file)
            other.write(b"a line\nand another\n")
            assert (guest.read(0, 7), guest.read(0, 100)) == (b"a line\n", b"and another\n")
            other.write(b"more")
            assert guest.read(0, 100) == b"more"
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as file:
        ours.sendall(b"header\nbody")
        assert file.readline() == b"header\n"  # and the rest is in the file's buffer
        guest = raw(stdin=file)
        assert guest.poll(readable(1, 0), clock(2, 10**10)) == [(1, Errno.SUCCESS, 1, 4, 0)]
        assert (guest.read(0, 3), guest.read(0, 100)) == (b"bod", b"y")
        assert theirs.getblocking()
        assert os.get_blocking(theirs.fileno())
        ours.sendall(b"more")
        assert guest.read(0, 100) == b"more"


def test_a_raw_file_that_is_full_takes_nothing(raw: Make) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(reading, "rb", buffering=0) as other, open(writing, "wb", buffering=0) as file:
        guest = raw(stdout=file)
        written = 0
        while True:
            errno, count = guest.try_write(1, b"x" * 50_000)
            if errno is not Errno.SUCCESS:
                break
            written += count
        assert errno is Errno.AGAIN
        assert len(other.read(1 << 20)) == written


class Raws(io.RawIOBase):
    answer: Any = None

    def write(self, data: Any) -> Any:
        return self.answer


class Buffers(io.BytesIO):
    answer: Any = None

    def write(self, data: Any) -> Any:
        return self.answer


class Writers(io.BufferedWriter):
    answer: Any = None

    def __init__(self) -> None:
        super().__init__(io.BytesIO())  # type: ignore[arg-type]

    def write(self, data: Any) -> Any:
        return self.answer


class Others:
    answer: Any = None

    def write(self, data: Any) -> Any:
        return self.answer


@pytest.mark.parametrize("kind", [Raws, Buffers, Writers, Others])
def test_a_guest_is_told_no_more_than_it_wrote_whatever_a_file_returns(raw: Make, kind: Callable[[], Any]) -> None:
    out, err = kind(), kind()
    guest = raw(stdout=out, stderr=err)
    for fd, file in ((1, out), (2, err)):
        for count in (0, 3, 5):
            file.answer = count
            assert guest.try_write(fd, b"hello") == (Errno.SUCCESS, count)
        for answer in ("x", 2.5, [], object(), b"", -1, 6, 10**30, True):
            file.answer = answer
            assert guest.try_write(fd, b"hello") == (Errno.SUCCESS, 5)
        file.answer = None
        errno, count = guest.try_write(fd, b"hello")
        assert (errno, count) == (Errno.SUCCESS, 5) if kind is not Raws else errno is Errno.AGAIN


@pytest.mark.parametrize("make", [bytearray, io.BytesIO, io.StringIO, list])
def test_output(raw: Make, make: Callable[[], Any]) -> None:
    out, err = make(), make()
    given = [each.append if isinstance(each, list) else each for each in (out, err)]
    guest = raw(stdout=given[0], stderr=given[1])
    for data in ("line\n", "", "wörd", "x" * 5000):
        guest.write(1, data.encode())
        guest.write(2, data.encode())
    for each in (out, err):
        got = b"".join(each) if isinstance(each, list) else each if isinstance(each, bytearray) else each.getvalue()
        expected = "line\nwörd" + "x" * 5000
        assert got == expected if isinstance(got, str) else got == expected.encode()


def test_output_to_a_path_and_to_nowhere(raw: Make, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("replaced")
    guest = raw(stdout=tmp_path / "out")
    guest.write(1, b"new")
    guest.write(2, b"discarded")
    assert (tmp_path / "out").read_text() == "new"


def test_output_and_errors_may_go_to_one_file(raw: Make, tmp_path: Path) -> None:
    (tmp_path / "both").write_text("replaced")
    (tmp_path / "link").symlink_to("both")
    for other in ("both", "link"):
        guest = raw(stdout=tmp_path / "both", stderr=tmp_path / other)
        for fd, data in ((1, b"out 1, "), (2, b"err, "), (1, b"out 2")):
            guest.write(fd, data)
        assert (tmp_path / "both").read_text() == "out 1, err, out 2"


def test_text_is_decoded_across_writes(raw: Make) -> None:
    out = io.StringIO()
    guest = raw(stdout=out)
    for byte in "ä€😀".encode():
        guest.write(1, bytes([byte]))
    assert out.getvalue() == "ä€😀"
    guest.write(1, b"\xff!")
    assert out.getvalue() == "ä€😀\N{REPLACEMENT CHARACTER}!"


def test_standard_streams_of_the_process(raw: Make, capfd: pytest.CaptureFixture[str]) -> None:
    guest = raw(stdin=wasi.INHERIT, stdout=wasi.INHERIT, stderr=wasi.INHERIT)
    guest.write(1, b"to stdout")
    guest.write(2, b"to stderr")
    assert capfd.readouterr() == ("to stdout", "to stderr")
    guest.close()
    os.fstat(1)  # only borrowed


def test_kinds_and_rights_of_streams(raw: Make) -> None:
    guest = raw(stdin=b"x", stdout=bytearray())
    for fd, lacking in ((0, Rights.FD_WRITE), (1, Rights.FD_READ), (2, Rights.FD_READ)):
        kind, _, rights, _ = guest.fdstat(fd)
        assert kind == FileType.UNKNOWN
        assert rights & (lacking | Rights.FD_SEEK | Rights.FD_TELL) == 0
    assert guest.try_write(0, b"x")[0] is Errno.NOTCAPABLE
    assert guest.try_read(1, 1)[0] is Errno.NOTCAPABLE
    assert guest.call("fd_seek", 1, 0, 0, 8) is Errno.SPIPE
    assert guest.call("fd_tell", 1, 8) is Errno.SPIPE
    guest.do("fd_sync", 1)


def test_what_streams_raise(raw: Make) -> None:
    def fails(_: object) -> bytes:
        raise error

    guest = raw(stdin=fails, stdout=fails)
    error: Exception = ZeroDivisionError("mine")
    for call in (lambda: guest.read(0), lambda: guest.write(1, b"x")):
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        assert caught.value is error
    error = BrokenPipeError(32, "gone")
    assert guest.try_read(0, 1)[0] is Errno.PIPE
    assert guest.try_write(1, b"x")[0] is Errno.PIPE


def test_a_write_of_many_buffers_is_one(raw: Make) -> None:
    out: list[bytes] = []
    guest = raw(stdout=out.append)
    iovs, count, buffers = guest.iovs(2, 3)
    guest.memory.write(buffers[0], b"ab")
    guest.memory.write(buffers[1], b"cde")
    written = guest.alloc(4)
    guest.do("fd_write", 1, iovs, count, written)
    assert out == [b"abcde"]
    assert guest.u32(written) == 5


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    args=st.lists(texts, max_size=5), env=st.dictionaries(texts.filter(lambda t: t and "=" not in t), texts, max_size=5)
)
def test_arguments_and_environment(one_runtime: pywasmrt.Runtime, args: list[str], env: dict[str, str]) -> None:
    with Raw(one_runtime, wasi.WasiConfig(args=args, env=env)) as guest:
        for name, expected in (("args", args), ("environ", [f"{k}={v}" for k, v in env.items()])):
            count, size = guest.alloc(4), guest.alloc(4)
            guest.do(f"{name}_sizes_get", count, size)
            assert guest.u32(count) == len(expected)
            pointers, buffer = guest.alloc(4 * len(expected)), guest.alloc(guest.u32(size))
            guest.do(f"{name}_get", pointers, buffer)
            data = guest.memory.read(buffer, guest.u32(size))
            assert data == b"".join(each.encode() + b"\0" for each in expected)
            starts = [guest.u32(pointers + 4 * n) - buffer for n in range(len(expected))]
            assert starts == [len(b"\0".join(e.encode() for e in expected[:n])) + bool(n) for n in range(len(expected))]


def test_nothing_is_inherited(raw: Make) -> None:
    guest = raw()
    count, size = guest.alloc(4), guest.alloc(4)
    for name in ("args_sizes_get", "environ_sizes_get"):
        guest.do(name, count, size)
        assert guest.u32(count) == guest.u32(size) == 0
    assert guest.read(0) == b""
    assert guest.call("fd_prestat_get", 3, count) is Errno.BADF
    assert guest.call("sock_open", 1, 2, count) is Errno.ACCES


def now(guest: Raw, clock_id: int) -> int:
    out = guest.alloc(8)
    guest.do("clock_time_get", clock_id, 0, out)
    return guest.u64(out)


def test_clocks(raw: Make) -> None:
    import time

    guest = raw()
    assert abs(now(guest, 0) - time.time_ns()) < 60 * 10**9
    for clock_id in range(1, 4):
        assert now(guest, clock_id) <= now(guest, clock_id)
    out = guest.alloc(8)
    for clock_id in range(4):
        guest.do("clock_res_get", clock_id, out)
        assert guest.u64(out) >= 1
    for clock_id in (4, -1, 1 << 30):
        assert guest.call("clock_time_get", clock_id, 0, out) is Errno.INVAL
        assert guest.call("clock_res_get", clock_id, out) is Errno.INVAL


def test_virtual_clocks(raw: Make) -> None:
    guest = raw(clock=wasi.FixedClock(realtime=1000, monotonic=5))
    assert (now(guest, 0), now(guest, 0), now(guest, 1), now(guest, 2)) == (1000, 1000, 5, 5)
    assert guest.poll(clock(7, 3600 * 10**9)) == [(7, Errno.SUCCESS, 0, 0, 0)]  # an hour, at once
    assert (now(guest, 0), now(guest, 1)) == (1000 + 3600 * 10**9, 5 + 3600 * 10**9)
    guest = raw(clock=wasi.SteppingClock(realtime=0, step=10))
    assert [now(guest, 0) for _ in range(3)] == [0, 10, 20]
    guest = raw(clock=wasi.FixedClock(realtime=1000))
    last = (1 << 64) - 1
    for _ in range(2):
        guest.poll(clock(7, last))
    assert (now(guest, 0), now(guest, 1)) == (last, last)
    guest = raw(clock=wasi.SteppingClock(realtime=last - 10, step=last))
    assert [now(guest, 0) for _ in range(3)] == [last - 10, last, last]


def test_times_have_64_bits(raw: Make) -> None:
    for make, name in (
        (wasi.FixedClock, "realtime"),
        (wasi.FixedClock, "monotonic"),
        (wasi.SteppingClock, "realtime"),
        (wasi.SteppingClock, "step"),
    ):
        for wrong in (-1, 1 << 64, 10**5000):
            with pytest.raises(ValueError, match=rf"{name} of {make.__name__} is 0 to 2\*\*64 - 1 nanoseconds"):
                make(**{name: wrong})
    standing = wasi.FixedClock(realtime=5)
    with pytest.raises(ValueError, match="nanoseconds of advance"):
        standing.advance(-6)
    assert standing.realtime() == 5


def test_a_clock_of_ones_own_is_checked(raw: Make) -> None:
    class Own(wasi.Clock):
        def __init__(self, time: Any) -> None:
            self.time = time

        def realtime(self) -> int:
            return self.time  # type: ignore[no-any-return]

        monotonic = realtime

    assert now(raw(clock=Own(7)), 1) == 7
    for wrong in (-1, 1 << 64, 10**5000, 1.5, None):
        guest = raw(clock=Own(wrong))
        for clock_id, name in enumerate(("realtime", "monotonic", "cpu_time")):
            with pytest.raises(ValueError, match=rf"Own\.{name}\(\) is 0 to 2\*\*64 - 1 nanoseconds"):
                now(guest, clock_id)
        guest = raw(clock=Own(wrong), preopens={"/": wasi.MemoryTree()})
        with pytest.raises(ValueError, match=r"Own\.realtime\(\)"):
            guest.do("path_create_directory", 3, *guest.text("d"))


def test_randomness(raw: Make) -> None:
    def some(guest: Raw, size: int = 100) -> bytes:
        at = guest.alloc(size)
        guest.do("random_get", at, size)
        return guest.memory.read(at, size)

    assert some(raw(random=7)) == some(raw(random=7)) != some(raw(random=8))
    assert len({some(raw()) for _ in range(3)}) == 3
    assert some(raw(random=lambda size: b"r" * size)) == b"r" * 100
    guest = raw(random=1)
    guest.do("random_get", 0, 4 * 65536)
    assert guest.call("random_get", 0, -1) is Errno.FAULT
    for size in (3, 5):
        with pytest.raises(ValueError, match=f"random gave {size} bytes where 4"):
            some(raw(random=lambda _, size=size: b"r" * size), 4)
    guest.do("random_get", 4 * 65536, 0)


def test_the_end(raw: Make) -> None:
    guest = raw()
    for code in (0, 7, 255, 256, -1):
        with pytest.raises(Exit) as caught:
            guest.instance.exports.proc_exit(code)
        assert caught.value.code == code % 2**32
    assert guest.call("sched_yield") is Errno.SUCCESS
    codes: list[int] = []
    guest = raw(on_exit=codes.append)
    with pytest.raises(Exit):
        guest.instance.exports.proc_exit(3)
    assert codes == [3]

    def other(code: int) -> None:
        raise LookupError(code)

    with pytest.raises(LookupError, match="4"):
        raw(on_exit=other).instance.exports.proc_exit(4)


def test_signals(raw: Make) -> None:
    guest = raw()
    for signal in (0, 16, 27):
        assert guest.call("proc_raise", signal) is Errno.SUCCESS
    assert guest.call("proc_raise", 18) is Errno.NOTSUP
    assert guest.call("proc_raise", 31) is Errno.INVAL
    with pytest.raises(Exit) as caught:
        guest.call("proc_raise", 6)
    assert caught.value.code == 134


def test_sleeping(raw: Make) -> None:
    guest = raw()
    before = now(guest, 1)
    assert guest.poll(clock(1, 3_000_000), clock(2, 10**12)) == [(1, Errno.SUCCESS, 0, 0, 0)]
    assert now(guest, 1) - before >= 3_000_000
    assert guest.poll(clock(1, 300_000)) == [(1, Errno.SUCCESS, 0, 0, 0)]
    assert guest.poll(clock(1, 0), clock(2, 0)) == [(1, Errno.SUCCESS, 0, 0, 0), (2, Errno.SUCCESS, 0, 0, 0)]
    for clock_id in (0, 1):
        assert guest.poll(clock(1, now(guest, clock_id) + 2_000_000, clock_id=clock_id, absolute=True))
        assert guest.poll(clock(1, 5, clock_id=clock_id, absolute=True))


def test_what_is_wrong_with_one_subscription_is_an_event(raw: Make) -> None:
    guest = raw(stdout=bytearray())
    assert guest.poll(readable(1, 77), clock(2, 10**12)) == [(1, Errno.BADF, 1, 0, 0)]
    assert guest.poll(clock(5, 1, clock_id=9, absolute=True)) == [(5, Errno.INVAL, 0, 0, 0)]
    assert guest.poll(writable(3, 1), readable(1, 77), clock(2, 10**12)) == [
        (1, Errno.BADF, 1, 0, 0),
        (3, Errno.SUCCESS, 2, 1, 0),
    ]
    kinds = bytearray(readable(1, 0))
    kinds[8] = 9
    assert guest.poll(bytes(kinds)) == [(1, Errno.INVAL, 9, 0, 0)]
    assert guest.call("poll_oneoff", 0, 0, 0, 0) is Errno.INVAL
    assert guest.call("poll_oneoff", 0, 0, -1, 0) is Errno.INVAL
    assert guest.call("poll_oneoff", 0, 4 * 65536 - 8, 1, 0) is Errno.FAULT


def test_files_are_always_ready(raw: Make) -> None:
    guest = raw(preopens={"/": wasi.MemoryTree({"file": b"12345"})})
    fd = guest.open("file", rights=Rights.FD_READ | Rights.POLL_FD_READWRITE)
    assert guest.poll(readable(1, fd), clock(2, 10**12)) == [(1, Errno.SUCCESS, 1, 5, 0)]
    guest.read(fd, 2)
    assert guest.poll(readable(1, fd)) == [(1, Errno.SUCCESS, 1, 3, 0)]
    unfit = guest.open("file", rights=Rights.FD_READ)
    assert guest.poll(readable(1, unfit)) == [(1, Errno.NOTCAPABLE, 1, 0, 0)]


def test_a_pipe_of_the_host(raw: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    guest = raw(preopens={"/": tmp_path})
    rights = Rights.FD_READ | Rights.POLL_FD_READWRITE | Rights.FD_FDSTAT_SET_FLAGS
    fd = guest.open("pipe", rights=rights)
    guest.do("fd_fdstat_set_flags", fd, 4)
    assert guest.try_read(fd, 10)[1] == b""  # nobody has it open for writing
    writer = guest.open("pipe", rights=Rights.FD_WRITE)
    assert guest.try_read(fd, 10)[0] is Errno.AGAIN
    assert guest.poll(readable(1, fd), clock(2, 1_000_000)) == [(2, Errno.SUCCESS, 0, 0, 0)]
    guest.write(writer, b"data")
    assert guest.poll(readable(1, fd))[0][:3] == (1, Errno.SUCCESS, 1)
    assert guest.read(fd) == b"data"
    guest.do("fd_close", writer)
    guest.do("fd_fdstat_set_flags", fd, 0)
    assert guest.read(fd) == b""

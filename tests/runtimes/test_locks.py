"""Signal handlers and destructors come at any moment: none waits for what its own thread holds."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pywasmrt

PACKAGE = Path(pywasmrt.__file__).parent
# Plain locks that nothing takes in which a handler's or a destructor's code can be. Each with the reason.
PLAIN = {
    "_shim/asynchronous.py": "of one call's own: the handler of another moment has another one",
}

HANDLER = """
import faulthandler, signal, sys, time
import pywasmrt
config = pywasmrt.RuntimeConfig(sys.argv[1])

def make():
    pywasmrt.new_runtime(config).close()
    pywasmrt.list_runtimes()

made = 0
def handler(*unused):
    global made
    made += 1
    make()

make()
faulthandler.dump_traceback_later(40, exit=True)
signal.signal(signal.SIGALRM, handler)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    signal.setitimer(signal.ITIMER_REAL, 1e-6 + (made * 37 % 5000) * 1e-6)
    make()
signal.setitimer(signal.ITIMER_REAL, 0)
print("made in handlers:", made > 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs interval timers")
def test_a_handler_may_make_a_runtime_while_its_thread_makes_one(runtime: pywasmrt.Runtime) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", HANDLER, runtime.info.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "made in handlers: True\n")


def plain_locks(source: str) -> list[int]:
    """The lines where a lock is made that its own thread cannot take twice."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", None) or getattr(node.func, "id", None))
        in ("Lock", "Semaphore", "allocate_lock")
    ]


def test_every_lock_is_reentrant_or_has_a_reason() -> None:
    assert plain_locks("import threading\nx = threading.Lock()") == [2]
    found = {
        str(path.relative_to(PACKAGE)): plain_locks(path.read_text())
        for path in PACKAGE.rglob("*.py")
        if "testing" not in path.parts
    }
    assert {name for name, lines in found.items() if lines} == set(PLAIN)


def test_an_exporter_that_sends_is_not_entered_by_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from pywasmrt.otel.errors import TelemetryError
    from pywasmrt.otel.http import OtlpHttpSender

    sender = OtlpHttpSender("http://127.0.0.1:9")
    errors: list[str] = []

    def attempt(*unused: object) -> tuple[int, str, None, bytes]:
        with pytest.raises(TelemetryError, match="a batch is being sent on this very thread") as caught:
            sender.send("traces", b"")  # as a handler does that comes now
        errors.append(str(caught.value))
        return 200, "OK", None, b""

    monkeypatch.setattr(sender, "_attempt", attempt)
    sender.send("traces", b"")
    sender.send("traces", b"")
    assert len(errors) == 2
    worker = threading.Thread(target=sender.send, args=("traces", b""))
    worker.start()
    worker.join(10)
    assert len(errors) == 3

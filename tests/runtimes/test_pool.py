"""Instances in a pool: how many there may be, what each may have, and what is said where there is no more."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.sanitizers import ADDRESS_SANITIZER

import pywasmrt
from pywasmrt import (
    InvalidConfigurationError,
    MemoryAccessError,
    ModuleCompileError,
    ModuleInstantiateError,
    Pool,
    RuntimeConfig,
    UnsupportedFeatureError,
)

POOLING = [each.name for each in pywasmrt.list_runtimes() if each.available and "pooling" in each.features]
MEMORY = '(module (memory (export "memory") 1 100) (func (export "add") (param i32) (result i32) (local.get 0)))'

needs_pool = pytest.mark.skipif(not POOLING, reason="needs a runtime with a pool")


def pooled(**bounds: Any) -> pywasmrt.Runtime:
    return pywasmrt.new_runtime(RuntimeConfig(POOLING[0], pool=Pool(**bounds)))


@pytest.fixture
def small() -> Iterator[pywasmrt.Runtime]:
    with pooled(instances=5, memory_bytes=3 << 16) as runtime:
        yield runtime


@needs_pool
def test_instances_are_used_up_and_come_back(small: pywasmrt.Runtime) -> None:
    linked = small.link(small.compile(MEMORY))
    for _ in range(3):
        instances = [linked.instantiate() for _ in range(5)]
        for _ in range(2):
            with pytest.raises(ModuleInstantiateError, match=r"room for 5 .* at a time; .*larger Pool\(instances="):
                linked.instantiate()
        assert [each.exports.add(n) for n, each in enumerate(instances)] == list(range(5))
        instances[2].close()
        linked.instantiate().close()
        del instances
        gc.collect()


@needs_pool
def test_a_memory_comes_back_empty(small: pywasmrt.Runtime) -> None:
    linked = small.link(small.compile(MEMORY))
    for _ in range(20):
        with linked.instantiate() as instance:
            memory: Any = instance.memory()
            memory.grow(2)
            assert bytes(memory.read(0, memory.size)) == bytes(3 << 16)
            memory.write(0, b"x" * memory.size)


@needs_pool
def test_memories_are_bounded(small: pywasmrt.Runtime) -> None:
    with small.instantiate(small.compile(MEMORY)) as instance:
        memory: Any = instance.memory()
        with pytest.raises(MemoryAccessError):
            memory.grow(3)
        memory.grow(2)
    with pytest.raises(ModuleCompileError, match="minimum byte size"):
        small.compile("(module (memory 4))")


@needs_pool
def test_tables_and_memories_have_bounds_of_their_own() -> None:
    with pooled(instances=5, memories=2, tables=3, table_elements=10) as runtime:
        plain, two = runtime.compile(MEMORY), runtime.compile("(module (table 1 funcref) (table 1 funcref))")
        held = [runtime.instantiate(plain) for _ in range(2)]
        with pytest.raises(ModuleInstantiateError, match=r"room for 2 .*larger Pool\(memories="):
            runtime.instantiate(plain)
        held.append(runtime.instantiate(two))
        with pytest.raises(ModuleInstantiateError, match=r"room for 3 tables at a time; .*larger Pool\(tables="):
            runtime.instantiate(two)
        with pytest.raises(ModuleCompileError, match="table"):
            runtime.compile("(module (table 11 funcref))")
        del held


@needs_pool
@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"instances": 0}, "Pool.instances is 1 to"),
        ({"instances": -1}, "Pool.instances is 1 to"),
        ({"instances": 1 << 200}, "Pool.instances is 1 to"),
        ({"instances": 2.5}, "Pool.instances is an int"),
        ({"instances": True}, "Pool.instances is an int"),
        ({"instances": None}, "Pool.instances is an int"),
        ({"instances": 1 << 20}, "no address space for the pool: 1048576 memories"),
        ({"memory_bytes": (4 << 30) + 1}, "at most 4294967296"),
        ({"memory_bytes": -1}, "Pool.memory_bytes is 0 to"),
        ({"tables": -1}, "Pool.tables is 0 to"),
        ({"table_elements": 1 << 60}, "Pool.table_elements is 0 to"),
        ({"keep_resident": -5}, "Pool.keep_resident is 0 to"),
        ({"memories": "many"}, "Pool.memories is an int"),
    ],
)
def test_bounds_that_cannot_be(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=message):
        pooled(**bounds)


@needs_pool
def test_the_ends_of_the_bounds_work() -> None:
    with pooled(instances=1, memory_bytes=0, tables=0, table_elements=0, keep_resident=0) as runtime:
        add = runtime.compile('(module (func (export "f") (result i32) (i32.const 7)))')
        for _ in range(3):
            with runtime.instantiate(add) as instance:
                assert instance.exports.f() == 7
    with pooled(instances=2, memory_bytes=1 << 32, keep_resident=1 << 32) as runtime:
        assert runtime.instantiate(runtime.compile(MEMORY)).exports.add(7) == 7


LIMITED = """
import resource
import pywasmrt
resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))
try:
    pywasmrt.new_runtime(pywasmrt.RuntimeConfig("wasmtime", pool=pywasmrt.Pool(instances=100)))
except pywasmrt.InvalidConfigurationError as error:
    print(error)
"""


@needs_pool
def test_too_little_address_space_is_told() -> None:
    """Where the engine itself would end the process."""
    if ADDRESS_SANITIZER:
        pytest.skip("the sanitizer needs more address space than that itself")
    environment = {**os.environ, "PYTHONPATH": str(Path(pywasmrt.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert "no address space for the pool: 100 memories" in done.stdout


def test_pools_of_the_wrong_kind() -> None:
    with pytest.raises(InvalidConfigurationError, match="pool is a Pool or None"):
        pywasmrt.new_runtime(RuntimeConfig(pool=100))  # type: ignore[arg-type]
    for info in pywasmrt.list_runtimes():
        if info.available and "pooling" not in info.features:
            with pytest.raises(UnsupportedFeatureError, match="no pool for instances") as caught:
                pywasmrt.new_runtime(RuntimeConfig(info.name, pool=Pool()))
            assert caught.value.feature == "pooling"


@needs_pool
def test_compiled_code_is_for_a_pool_or_not(tmp_path: Path) -> None:
    with pooled(instances=3) as one, pooled(instances=7) as other, pywasmrt.new_runtime(POOLING[0]) as plain:
        blob = one.compile(MEMORY).serialize()
        other.deserialize(blob)
        with pytest.raises(ModuleCompileError, match="other settings"):
            plain.deserialize(blob)


@needs_pool
def test_threads_share_the_pool() -> None:
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(300):
                with linked.instantiate() as instance:
                    assert instance.exports.add(n) == n
        except BaseException as error:
            wrong.append(error)

    with pooled(instances=4) as runtime:
        linked = runtime.link(runtime.compile(MEMORY))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert wrong == []


@needs_pool
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_uses_the_pool_and_compiles() -> None:
    with pooled(instances=3) as runtime:
        linked = runtime.link(runtime.compile(MEMORY))
        linked.instantiate().close()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                again = runtime.compile(MEMORY.replace("add", "same"))
                ok = linked.instantiate().exports.add(3) == 3 and runtime.instantiate(again).exports.same(4) == 4
                code = 0 if ok else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert linked.instantiate().exports.add(5) == 5

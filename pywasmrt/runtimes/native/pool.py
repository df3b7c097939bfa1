"""The pool that `RuntimeConfig.pool` asks Wasmtime for: its settings, its bounds, and the errors beyond them.

Where Wasmtime cannot reserve the pool, its C API ends the process. So everything that it would refuse is refused here,
and reserving the address space is tried first.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping

from ...errors import InvalidConfigurationError
from ...types import Pool
from ...values import shown, shown_int

__all__ = ["compiling_settings", "exhausted_text", "pool_settings"]

_RESERVATION = 4 << 30  # address space for each memory, unless an option says otherwise
_GUARD = 32 << 20  # guard before and after each memory
_BOUNDS = {
    "instances": (1, 1 << 20),
    "memory_bytes": (0, 1 << 40),
    "memories": (1, 1 << 20),
    "tables": (0, 1 << 20),
    "table_elements": (0, 1 << 24),
    "keep_resident": (0, 1 << 40),
}
_EXHAUSTED = re.compile(r"maximum concurrent (?:\w+ )*?limit of (\d+)(?: for (.+?))? reached")


def pool_settings(pool: Pool, reservation: int | None) -> dict[str, int]:
    """The engine's settings. `reservation` is the option `memory_reservation`. Raises `InvalidConfigurationError` for a
    pool that it would not take, or for which there is no address space.
    """
    for name, (least, most) in _BOUNDS.items():
        value = getattr(pool, name)
        if value is None and name in ("memories", "tables"):
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidConfigurationError(f"Pool.{name} is an int from {least} to {most}, not {shown(value)}")
        if not least <= value <= most:
            raise InvalidConfigurationError(f"Pool.{name} is {least} to {most}, not {shown_int(value)}")
    each = _RESERVATION if reservation is None else reservation
    if pool.memory_bytes > each:
        raise InvalidConfigurationError(
            f"Pool.memory_bytes is at most {each}, the address space for each memory (the option "
            f"'memory_reservation'); not {pool.memory_bytes}"
        )
    memories = pool.instances if pool.memories is None else pool.memories
    tables = pool.instances if pool.tables is None else pool.tables
    # Each memory with guards on both sides, each table in pages of its own, and a fifth more for everything else.
    _try_space(memories * (each + 2 * _GUARD) * 6 // 5 + tables * (pool.table_elements * 8 + (1 << 16)), memories, pool)
    return {
        "pool_total_core_instances": pool.instances,
        "pool_total_component_instances": pool.instances,
        "pool_total_stacks": pool.instances,
        "pool_total_memories": memories,
        "pool_total_gc_heaps": memories,
        "pool_total_tables": tables,
        "pool_max_memories_per_module": min(memories, 64),
        "pool_max_tables_per_module": min(tables, 64),
        "pool_max_memory_size": pool.memory_bytes,
        "pool_table_elements": pool.table_elements,
        "pool_linear_memory_keep_resident": pool.keep_resident,
        "pool_table_keep_resident": pool.keep_resident,
    }


def compiling_settings(settings: Mapping[str, int]) -> dict[str, int]:
    """The settings of an engine that only compiles for one with `settings`: the smallest pool for the same modules."""
    least = {name: 1 for name in settings if name.startswith("pool_total_")}
    for name in ("memories", "tables"):
        if least:
            least[f"pool_total_{name}"] = settings[f"pool_max_{name}_per_module"]
    return least


def _try_space(size: int, memories: int, pool: Pool) -> None:
    """Reserve as much address space as the pool may take, and give it back."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except (OSError, OverflowError, ValueError) as error:
        raise InvalidConfigurationError(
            f"there is no address space for the pool: {memories} memories take up to {size >> 30:,} GiB of it "
            f"({error}); use fewer instances than {pool.instances}, or give each memory less by the option "
            "'memory_reservation'"
        ) from None


def exhausted_text(text: str) -> str:
    """The engine's message. If a bound of the pool was reached, the bound is named."""
    found = _EXHAUSTED.search(text)
    if found is None:
        return text
    limit, kind = found[1], found[2] or "instances"
    bound = next((name for name in ("memories", "tables") if name.rstrip("s")[:5] in kind), "instances")
    return (
        f"the pool is used up: it has room for {limit} {kind} at a time; close some, or make the runtime with a larger "
        f"Pool({bound}=...)"
    )

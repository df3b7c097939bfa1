"""wazero's library with faults put into it, and work on it: `python go_panics.py FOLDER`.

`build` copies the sources and puts a site at the beginning of each Go function, where it can panic, and at each
allocation of the C half, which can fail. An exported function has its site behind its first statement, if that is a
`defer`, so a panic leaves Go where a function does not recover first.

The program has each site fail, in a few works each (those of `faulty`). The process must live, only errors of the
library's own may come of it, and the same work must succeed afterwards. Prints as JSON, for each site, how often it
failed and what was wrong.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pywasmrt
from pywasmrt._shim import build_wazero, wazero_library

ASKED = "this failure was asked for"
SOURCES = Path("csrc")
FIRST_TIMES = (1, 3)
MOST_WORKS = 2  # for one site
_ALLOCATION = re.compile(r"\b(calloc|malloc|strdup|mmap|mprotect)\(")
# `recovered` is where panics end; the others are run by Go itself, or only tell a text.
WITHOUT = {"init", "main", "recovered", "Error"}
MADE_FOR_GO = {f"{each} of wz_{what}_make" for each in ("calloc", "mmap") for what in ("memory", "function", "other")}
EXPECTS_ERRORS = {"failed_instances"}  # the works that hide the errors of the library, as they have guests fail
HEARD_BY_GUESTS = {"mprotect of wz_memory_resize"}
# What runs where a call has failed. One that was cancelled fails too, at a time of its own, and nobody hears why.
HEARD_BY_NOBODY = {(site, "waiting") for site in ("failed", "overflowed", "fail")}
# The Go functions that C calls and that tell of no failure: what they were to give is missing, or zero.
SILENT = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)

_FUNCTION = re.compile(r"^func (?:\([^)]*\) )?(\w+)\(|\b(\w+) := func\(", re.MULTILINE)
_C_HALF = """#pragma once
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
bool wz_due(int site);
static inline void *no_calloc(size_t count, size_t size) { return (void)count, (void)size, NULL; }
static inline void *no_malloc(size_t size) { return (void)size, NULL; }
static inline char *no_strdup(const char *text) { return (void)text, NULL; }
static inline void *no_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  return (void)address, (void)size, (void)protection, (void)flags, (void)file, (void)offset, MAP_FAILED;
}
static inline int no_mprotect(void *address, size_t size, int protection) {
  return (void)address, (void)size, (void)protection, -1;
}
"""
_SITES_IN_C = """
#include <stdbool.h>
#define SHOWN __attribute__((visibility("default")))
static long armed = -1, first, fired, inside, times[1000];
static bool exported[1000];
static _Thread_local long entered;
bool wz_due(int site) {
  if (exported[site]) entered = site;
  long now = __atomic_add_fetch(&times[site], 1, __ATOMIC_SEQ_CST);
  bool due = site == armed && now == first;
  if (due) inside = entered, __atomic_add_fetch(&fired, 1, __ATOMIC_SEQ_CST);
  return due;
}
SHOWN void wz_arm(long site, long at) {
  for (int i = 0; i < 1000; i++) times[i] = 0;
  fired = 0, first = at, armed = site;
}
SHOWN void wz_export(long site) { exported[site] = true; }
SHOWN long wz_inside(void) { return inside; }
SHOWN long wz_fired(void) { return fired; }
SHOWN long wz_times(long site) { return times[site]; }
"""
_SITES_IN_GO = f"""package main

// #include <stdbool.h>
// bool wz_due(int site);
import "C"

func fault(site C.int) {{
\tif C.wz_due(site) {{
\t\tpanic("{ASKED}")
\t}}
}}
"""


def with_sites(source: str, sites: list[str], exported: set[str]) -> str:
    """Go source with a call of `fault` in each function; the functions' names are added to `sites`."""
    parts, end = [], 0
    for found in _FUNCTION.finditer(source):
        name = found[1] or found[2]
        line_end = source.index("\n", found.start())
        opening = source.find(" {", found.start(), line_end) + 2
        if name in WITHOUT:
            continue
        call = f"fault({len(sites)})"
        sites.append(name)
        if name in exported and source.startswith("\n\tdefer ", opening):
            opening = source.index("\n", opening + 1)
            if source[opening - 1] == "{":  # a function literal; it ends where nothing is indented further
                opening = source.index("\n\t}()", opening) + len("\n\t}()")
        parts += [source[end:opening], f"\n\t{call}" if source[opening] == "\n" else f" {call};"]
        end = opening
    return "".join(parts) + source[end:]


def with_failures(source: str, sites: list[str]) -> str:
    """C source in which each allocation can fail; the functions' names are added to `sites`."""

    def replaced(found: re.Match[str]) -> str:
        function = re.findall(r"^\w.*?(\w+)\(", source[: found.start()], re.MULTILINE)[-1]
        sites.append(f"{found[1]} of {function}")
        return f"(wz_due({len(sites) - 1}) ? no_{found[1]} : {found[1]})("

    return '#include "sites.h"\n' + _ALLOCATION.sub(replaced, source)


def exports_of(source: str) -> set[str]:
    """The names of the functions that C can call."""
    return set(re.findall(r"^//export (\w+)", source, re.MULTILINE))


def build(folder: Path) -> None:
    """Build the library with faults in `folder`, from the sources in the current one."""
    target = folder / build_wazero.FOLDER
    shutil.copytree(SOURCES, folder / SOURCES)
    sites: list[str] = []
    exported: set[str] = set()
    telling: set[str] = set()
    table = target / "table.c"
    table.write_text(with_failures(table.read_text(encoding="utf-8"), sites), encoding="utf-8")
    for path in sorted(target.glob("*.go")):
        source = path.read_text(encoding="utf-8")
        exported |= exports_of(source)
        telling |= set(re.findall(r"^func (wz\w+)\(.* failure \*C\.wrt_failure\)", source, re.MULTILINE))
        path.write_text(with_sites(source, sites, exports_of(source)), encoding="utf-8")
    (target / "sites.go").write_text(_SITES_IN_GO, encoding="utf-8")
    (target / "sites.c").write_text(_SITES_IN_C, encoding="utf-8")
    (target / "sites.h").write_text(_C_HALF, encoding="utf-8")
    here = Path.cwd()
    os.chdir(folder)
    try:
        build_wazero.build(folder / build_wazero.LIBRARY)
    finally:
        os.chdir(here)
    (folder / "sites.json").write_text(json.dumps([sites, sorted(exported), sorted(telling)]), encoding="utf-8")


GUEST = """(module
  (type $adds (func (param i32) (result i32)))
  (import "env" "table" (table $theirs 3 funcref)) (import "env" "chosen" (global $chosen funcref))
  (import "env" "vector" (global $vector (mut v128)))
  (memory (export "memory") 2 4 shared)
  (table $table (export "table") 2 10 funcref)
  (global (export "global") (mut funcref) (ref.null func))
  (func $inner (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (elem declare func $inner)
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)))
  (func (export "give") (result funcref) (ref.func $inner))
  (func (export "grow") (result i32) (table.grow $table (ref.func $inner) (i32.const 2)))
  (func (export "add") (result i32) (i32.atomic.rmw.add (i32.const 8) (i32.const 1)))
  (func (export "loop") (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""


def rare_work(runtime: pywasmrt.Runtime) -> None:
    """What wazero does by helpers of ours."""
    own = runtime.instantiate(runtime.compile('(module (func (export "f") (param i32) (result i32) local.get 0))'))
    store = own.store
    assert store is not None
    function = own.exports.f
    table = store.table(3, init=function)
    constant = store.global_(pywasmrt.ValueType.FUNCREF, function)
    vector = store.global_(pywasmrt.ValueType.V128, bytes(range(16)), mutable=True)
    imports = {"env": {"table": table, "chosen": constant, "vector": vector}}
    guest = runtime.instantiate(runtime.compile(GUEST), imports, store=store, limits=None)
    exports = guest.exports
    exports.fill()
    assert exports.give()(2) == 3
    assert exports.grow() == 2
    assert guest.table("table")[3](5) == 6
    assert table[1](4) == 4
    assert constant.value(8) == 8
    vector.value = bytes(16)
    assert vector.value == bytes(16)
    with store.deadline(60):
        exports.loop(10_000)
    wazero_library.open_table.__wrapped__()


class Faults:
    """The library in `folder`, in place of the installed one."""

    def __init__(self, folder: Path) -> None:
        path = folder / build_wazero.LIBRARY
        wazero_library._PATH = path
        wazero_library.open_table()
        self.library = ctypes.CDLL(str(path))
        for name in ("wz_fired", "wz_inside", "wz_times"):
            getattr(self.library, name).restype = ctypes.c_long
        self.sites, self.exported, self.telling = json.loads((folder / "sites.json").read_text(encoding="utf-8"))
        for site, name in enumerate(self.sites):
            if name in self.exported:
                self.library.wz_export(ctypes.c_long(site))

    def arm(self, site: int, first: int = 1) -> None:
        self.library.wz_arm(ctypes.c_long(site), ctypes.c_long(first))

    def fired(self) -> int:
        return int(self.library.wz_fired())

    def quiet(self, site: int) -> bool:
        """Whether what failed last may be heard of by nobody: where it happened in a call from C that cannot fail, or
        where the guest hears of it."""
        if self.sites[site] in HEARD_BY_GUESTS:
            return True
        if " of " in self.sites[site] and self.sites[site] not in MADE_FOR_GO:
            return False
        return self.sites[int(self.library.wz_inside())] not in self.telling

    def times(self, site: int) -> int:
        return int(self.library.wz_times(ctypes.c_long(site)))


def attempt(work: Any, mode: str) -> BaseException | None:
    """What the work raised on a runtime of its own."""
    try:
        with pywasmrt.new_runtime("wazero", {"options": {"mode": mode}}) as runtime:
            work(runtime)
    except BaseException as error:
        return error
    return None


def main(folder: str, mode: str = "compiler") -> None:
    from helpers.faulty import works

    faults = Faults(Path(folder))
    told = [{"name": name, "failed": 0, "wrong": []} for name in faults.sites]
    plan: dict[int, list[tuple[str, int]]] = {}
    all_work = {**works(), "rare": rare_work}
    for name, work in list(all_work.items()):
        faults.arm(-1)
        error = attempt(work, mode)
        if isinstance(error, pywasmrt.UnsupportedFeatureError):
            del all_work[name]
            continue
        if error is not None:
            raise error
        for site in range(len(faults.sites)):
            if times := faults.times(site):
                plan.setdefault(site, []).append((name, times))
    for site, uses in plan.items():
        each: dict[str, Any] = told[site]
        # Those that come to it often come to it in more ways.
        for name, times in sorted(uses, key=lambda use: -use[1])[:MOST_WORKS]:
            for first in FIRST_TIMES:
                if first > times:
                    continue
                what = f"{each['name']} failing at time {first} in {name}"
                print(what, file=sys.stderr, flush=True)  # if the process crashes, the last line says where
                faults.arm(site, first)
                error = attempt(all_work[name], mode)
                fired = faults.fired()
                unheard = name in EXPECTS_ERRORS or (each["name"], name) in HEARD_BY_NOBODY
                quiet = unheard or faults.quiet(site)
                each["failed"] += fired
                faults.arm(-1)
                expected = isinstance(error, pywasmrt.WasmError) or (quiet and isinstance(error, (type(None), *SILENT)))
                if fired and not expected:
                    each["wrong"].append(f"{what}: {error!r}")
            after = attempt(all_work[name], mode)
            if after is not None:
                each["wrong"].append(f"{each['name']} having failed in {name}: {after!r}")
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])

/* scan.h: what engine.c must know of a module before wasm3 sees it.
 *
 * wasm3 accepts modules that it cannot run (a second table, a 64-bit memory, an imported memory) and forgets much of what it
 * read (the table's size, most names). So the sections are read here first: what wasm3 cannot do is refused by name, and what
 * it forgets is kept.
 */
#ifndef WRT_WASM3_SCAN_H
#define WRT_WASM3_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wrt.h"

#pragma GCC visibility push(hidden)

/* What the wasm3 at hand can do. */
typedef struct wasm3_abilities {
  bool bulk_memory;    /* passive segments, and more than one table of functions */
  bool import_globals; /* immutable ones, by value */
} wasm3_abilities;

typedef struct wasm3_limits {
  uint64_t minimum;
  uint64_t maximum; /* where has_maximum */
  bool has_maximum;
} wasm3_limits;

typedef struct wasm3_import {
  wrt_kind kind; /* WRT_FUNCTION or WRT_GLOBAL */
} wasm3_import;

typedef struct wasm3_export {
  const char *name; /* borrowed from `bytes`, not NUL-terminated */
  size_t size;
  wrt_kind kind;
  uint32_t index;
} wasm3_export;

/* A module, read. Everything in it is its own; released by wasm3_scan_clear. */
typedef struct wasm3_scan {
  uint8_t *bytes; /* the module without its custom sections, which could only make wasm3 fail */
  size_t size;
  wasm3_import *imports;
  size_t import_count;
  size_t function_imports;
  size_t global_imports;
  wasm3_export *exports;
  size_t export_count;
  wasm3_limits *tables; /* all of functions */
  size_t table_count;
  bool has_memory;
  wasm3_limits memory; /* in pages */
  bool has_start;
  uint32_t start;
} wasm3_scan;

/* Frees what a scan holds and leaves it empty. */
void wasm3_scan_clear(wasm3_scan *scan);

/* Reads a module. On failure `scan` is empty and the reason is in `reason` (`room` bytes): WRT_INVALID where the module is
 * malformed, WRT_UNSUPPORTED (with the feature's name in front, as wrt.h says) where wasm3 cannot run it, WRT_ERROR. */
int wasm3_scan_read(wasm3_scan *scan, const uint8_t *bytes, size_t size, const wasm3_abilities *can,
                    char *reason, size_t room);

#pragma GCC visibility pop

#endif

/* scan.c: reads a module for the facts of scan.h. */
#include "scan.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WRT_WASM3

void wasm3_scan_clear(wasm3_scan *scan) {
  free(scan->bytes);
  free(scan->imports);
  free(scan->exports);
  free(scan->tables);
  *scan = (wasm3_scan){0};
}

/* ---- reading: every read is checked, since a module need not have been validated ---- */

typedef struct reader {
  const uint8_t *at;
  const uint8_t *end;
  const wasm3_abilities *can;
  wasm3_scan *scan;
  char *reason;
  size_t room;
  jmp_buf failed; /* the target of longjmp, with a wrt_result; the frames that it leaves own nothing */
} reader;

enum { SECTION_CUSTOM, SECTION_TYPE, SECTION_IMPORT, SECTION_TABLE = 4, SECTION_MEMORY, SECTION_GLOBAL, SECTION_EXPORT,
       SECTION_START, SECTION_ELEMENT, SECTION_DATA = 11 };

static _Noreturn void stop(reader *in, int result, const char *reason) {
  snprintf(in->reason, in->room, "%s", reason);
  longjmp(in->failed, result);
}

static _Noreturn void malformed(reader *in) { stop(in, WRT_INVALID, "the module is malformed"); }

static uint8_t read_byte(reader *in) {
  if (in->at == in->end) malformed(in);
  return *in->at++;
}

static uint32_t read_index(reader *in) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    uint8_t byte = read_byte(in);
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80 && value <= UINT32_MAX) return (uint32_t)value;
  }
  malformed(in);
}

/* Reads a count of items, each of which takes at least one byte. */
static size_t read_count(reader *in) {
  uint32_t count = read_index(in);
  if (count > (size_t)(in->end - in->at)) malformed(in);
  return count;
}

static void skip(reader *in, uint64_t size) {
  if (size > (uint64_t)(in->end - in->at)) malformed(in);
  in->at += size;
}

static void *allocate(reader *in, size_t count, size_t size) {
  void *memory = calloc(count + 1, size);
  if (memory == NULL) stop(in, WRT_ERROR, "out of memory");
  return memory;
}

/* ---- types ---- */

static wrt_type read_type(reader *in) {
  uint8_t byte = read_byte(in);
  switch (byte) {
    case 0x7f: return WRT_I32;
    case 0x7e: return WRT_I64;
    case 0x7d: return WRT_F32;
    case 0x7c: return WRT_F64;
    case 0x7b: stop(in, WRT_UNSUPPORTED, "simd: the module uses the type v128, which wasm3 has not");
    case 0x70:
    case 0x6f:
      stop(in, WRT_UNSUPPORTED, "reference-types: the module uses references as values, which cannot be had on wasm3");
    default: stop(in, WRT_UNSUPPORTED, "gc: the module uses a type that wasm3 has not");
  }
}

static wasm3_limits read_limits(reader *in) {
  uint8_t flags = read_byte(in);
  if (flags & 2) stop(in, WRT_UNSUPPORTED, "threads: the module has a shared memory, which wasm3 has not");
  if (flags & 4) stop(in, WRT_UNSUPPORTED, "memory64: the module has a 64-bit memory or table, which wasm3 has not");
  if (flags & 8) stop(in, WRT_UNSUPPORTED, "custom-page-sizes: the module has a memory of other pages than of 64 KiB");
  if (flags > 1) malformed(in);
  wasm3_limits limits = {.minimum = read_index(in), .has_maximum = flags == 1};
  if (limits.has_maximum) limits.maximum = read_index(in);
  return limits;
}

static void read_types(reader *in) {
  for (size_t count = read_count(in); count > 0; count--) {
    if (read_byte(in) != 0x60) stop(in, WRT_UNSUPPORTED, "gc: the module has a type that is no function's");
    for (size_t params = read_count(in); params > 0; params--) read_type(in);
    for (size_t results = read_count(in); results > 0; results--) read_type(in);
  }
}

/* ---- constant expressions ---- */

static void skip_number(reader *in) {
  while (read_byte(in) >= 0x80) continue;
}

static void skip_expression(reader *in) {
  for (;;) {
    switch (read_byte(in)) {
      case 0x0b: return;             /* end */
      case 0x23:                     /* global.get */
      case 0x41:                     /* i32.const */
      case 0x42:                     /* i64.const */
      case 0xd0:                     /* ref.null */
      case 0xd2: skip_number(in); break; /* ref.func */
      case 0x43: skip(in, 4); break; /* f32.const */
      case 0x44: skip(in, 8); break; /* f64.const */
      case 0x6a: case 0x6b: case 0x6c: case 0x7c: case 0x7d: case 0x7e: break; /* add sub mul */
      default: stop(in, WRT_UNSUPPORTED, "gc: the module has a constant expression that wasm3 cannot compute");
    }
  }
}

/* ---- sections ---- */

static void read_imports(reader *in) {
  wasm3_scan *scan = in->scan;
  size_t count = read_count(in);
  scan->imports = allocate(in, count, sizeof *scan->imports);
  for (size_t i = 0; i < count; i++) {
    skip(in, read_index(in)); /* module */
    skip(in, read_index(in)); /* name */
    switch (read_byte(in)) {
      case 0:
        read_index(in);
        scan->imports[i].kind = WRT_FUNCTION;
        scan->function_imports++;
        break;
      case 1: stop(in, WRT_UNSUPPORTED, "import-table: the module imports a table, which wasm3 cannot link");
      case 2: stop(in, WRT_UNSUPPORTED, "import-memory: the module imports a memory, which wasm3 cannot link");
      case 3:
        read_type(in);
        if (read_byte(in) != 0)
          stop(in, WRT_UNSUPPORTED, "import-mutable-global: the module imports a mutable global, which wasm3 cannot link");
        if (!in->can->import_globals)
          stop(in, WRT_UNSUPPORTED, "import-global: the module imports a global, which this wasm3 cannot link");
        scan->imports[i].kind = WRT_GLOBAL;
        scan->global_imports++;
        break;
      case 4: stop(in, WRT_UNSUPPORTED, "exceptions: the module imports a tag, which wasm3 has not");
      default: malformed(in);
    }
    scan->import_count = i + 1;
  }
}

static void read_tables(reader *in) {
  wasm3_scan *scan = in->scan;
  size_t count = read_count(in);
  if (count > 1 && !in->can->bulk_memory)
    stop(in, WRT_UNSUPPORTED, "reference-types: the module has more than one table, and this wasm3 runs one");
  scan->tables = allocate(in, count, sizeof *scan->tables);
  for (size_t i = 0; i < count; i++) {
    uint8_t element = read_byte(in);
    if (element == 0x40)
      stop(in, WRT_UNSUPPORTED, "function-references: the module has a table with an initial value, which wasm3 has not");
    if (element == 0x6f)
      stop(in, WRT_UNSUPPORTED, "reference-types: the module has a table of externref, which cannot be had on wasm3");
    if (element != 0x70) stop(in, WRT_UNSUPPORTED, "gc: the module has a table of a type that wasm3 has not");
    scan->tables[i] = read_limits(in);
    scan->table_count = i + 1;
  }
}

static void read_memory(reader *in) {
  size_t count = read_count(in);
  if (count > 1) stop(in, WRT_UNSUPPORTED, "multi-memory: the module has more than one memory, and wasm3 runs one");
  if (count == 0) return;
  in->scan->memory = read_limits(in);
  in->scan->has_memory = true;
}

static void read_globals(reader *in) {
  for (size_t count = read_count(in); count > 0; count--) {
    read_type(in);
    read_byte(in);
    skip_expression(in);
  }
}

static void read_exports(reader *in) {
  static const wrt_kind kinds[] = {WRT_FUNCTION, WRT_TABLE, WRT_MEMORY, WRT_GLOBAL, WRT_TAG};
  wasm3_scan *scan = in->scan;
  size_t count = read_count(in);
  scan->exports = allocate(in, count, sizeof *scan->exports);
  for (size_t i = 0; i < count; i++) {
    size_t size = read_index(in);
    const char *name = (const char *)in->at;
    skip(in, size);
    uint8_t kind = read_byte(in);
    if (kind >= sizeof kinds / sizeof *kinds) malformed(in);
    scan->exports[i] = (wasm3_export){.name = name, .size = size, .kind = kinds[kind], .index = read_index(in)};
    scan->export_count = i + 1;
  }
}

/* ---- segments, for a wasm3 that knows only their first kind ----
 *
 * 0.5.0 takes the kind of a segment for the index of a table or memory; for data it even runs the bytes as an expression. So
 * active segments of the other kinds are rewritten as the first kind, which is never longer.
 */

static void put(reader *in, const uint8_t *bytes, size_t size) {
  memmove(in->scan->bytes + in->scan->size, bytes, size);
  in->scan->size += size;
}

/* Writes a number in five bytes, the longest form, so that it can be put in front of content that is not written yet. */
static void number_at(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 5; i++) at[i] = (uint8_t)((value >> 7 * i & 0x7f) | (i < 4 ? 0x80 : 0));
}

static void put_number(reader *in, uint32_t value) {
  uint8_t bytes[5];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
  bytes[size++] = (uint8_t)value;
  put(in, bytes, size);
}

static void put_from(reader *in, const uint8_t *start) { put(in, start, (size_t)(in->at - start)); }

static void rewrite_data(reader *in) {
  uint32_t count = (uint32_t)read_count(in);
  put_number(in, count);
  for (; count > 0; count--) {
    uint32_t kind = read_index(in);
    if (kind == 1)
      stop(in, WRT_UNSUPPORTED, "bulk-memory: the module has a passive data segment, which this wasm3 cannot do");
    if (kind == 2 && read_index(in) != 0) stop(in, WRT_UNSUPPORTED, "multi-memory: the module has data for a second memory");
    if (kind > 2) malformed(in);
    put_number(in, 0);
    const uint8_t *start = in->at;
    skip_expression(in);
    skip(in, read_index(in));
    put_from(in, start);
  }
}

/* The functions of a segment; `expressions` says whether each is given by an expression. */
static void rewrite_elements(reader *in, bool expressions, bool keep) {
  uint32_t count = (uint32_t)read_count(in);
  if (keep) put_number(in, count);
  for (; count > 0; count--) {
    if (expressions && read_byte(in) != 0xd2)
      stop(in, WRT_UNSUPPORTED, "reference-types: the module has a null in a table, which this wasm3 cannot put there");
    uint32_t index = read_index(in);
    if (keep) put_number(in, index);
    if (expressions && read_byte(in) != 0x0b) malformed(in);
  }
}

static void rewrite_segments(reader *in) {
  uint32_t count = (uint32_t)read_count(in), kept = 0;
  size_t head = in->scan->size;
  in->scan->size += 5;
  for (; count > 0; count--) {
    uint32_t kind = read_index(in);
    bool active = (kind & 1) == 0, explicit_ = (kind & 2) != 0, expressions = (kind & 4) != 0;
    if (kind > 7) malformed(in);
    if (!active && !explicit_)
      stop(in, WRT_UNSUPPORTED, "bulk-memory: the module has a passive element segment, which this wasm3 cannot do");
    if (active && explicit_ && read_index(in) != 0)
      stop(in, WRT_UNSUPPORTED, "reference-types: the module has elements for a second table");
    if (active) {
      put_number(in, 0);
      const uint8_t *start = in->at;
      skip_expression(in);
      put_from(in, start);
      kept++;
    }
    if (kind % 4 != 0) {
      uint8_t element = read_byte(in);
      if (element != (expressions ? 0x70 : 0))
        stop(in, WRT_UNSUPPORTED, "reference-types: the module has elements that are no functions");
    }
    rewrite_elements(in, expressions, active); /* a declarative segment declares, and does nothing */
  }
  number_at(in->scan->bytes + head, kept);
}

static void read_section(reader *in, uint8_t id) {
  switch (id) {
    case SECTION_TYPE: read_types(in); break;
    case SECTION_IMPORT: read_imports(in); break;
    case SECTION_TABLE: read_tables(in); break;
    case SECTION_MEMORY: read_memory(in); break;
    case SECTION_GLOBAL: read_globals(in); break;
    case SECTION_EXPORT: read_exports(in); break;
    case SECTION_START:
      in->scan->has_start = true;
      in->scan->start = read_index(in);
      break;
    default: break;
  }
}

/* Whether the vector that makes up a section has no items. */
static bool is_empty(reader *in, const uint8_t *content, const uint8_t *after) {
  in->at = content;
  in->end = after;
  return read_count(in) == 0;
}

static void read_module(reader *in, const uint8_t *bytes, size_t size) {
  static const uint8_t header[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};
  wasm3_scan *scan = in->scan;
  if (size < sizeof header || memcmp(bytes, header, sizeof header) != 0) malformed(in);
  if (size > UINT32_MAX) stop(in, WRT_UNSUPPORTED, "implementation-limit: wasm3 takes modules of less than 4 GiB");
  scan->bytes = allocate(in, size + 16, 1); /* two numbers may be written longer than they were */
  memcpy(scan->bytes, header, sizeof header);
  scan->size = sizeof header;
  const uint8_t *end = bytes + size;
  unsigned seen = 0;
  in->at = bytes + sizeof header;
  while (in->at < end) {
    const uint8_t *start = in->at;
    in->end = end;
    uint8_t id = read_byte(in);
    size_t length = read_index(in);
    const uint8_t *content = in->at;
    skip(in, length);
    const uint8_t *after = in->at;
    if (id == SECTION_CUSTOM) continue;
    if (id >= 32 || (seen & 1u << id) != 0) malformed(in);
    seen |= 1u << id;
    if (id == SECTION_MEMORY && is_empty(in, content, after)) continue; /* wasm3 wants one memory in it, not none */
    if (!in->can->bulk_memory && (id == SECTION_ELEMENT || id == SECTION_DATA)) {
      uint8_t *head = scan->bytes + scan->size;
      *head = id;
      scan->size += 6;
      in->at = content;
      in->end = after;
      (id == SECTION_DATA ? rewrite_data : rewrite_segments)(in);
      if (in->at != after) malformed(in);
      number_at(head + 1, (uint32_t)(scan->bytes + scan->size - head - 6));
      continue;
    }
    /* Names of exports are borrowed, so the copy is what is read. */
    uint8_t *copy = scan->bytes + scan->size;
    memcpy(copy, start, (size_t)(after - start));
    scan->size += (size_t)(after - start);
    in->at = copy + (content - start);
    in->end = scan->bytes + scan->size;
    read_section(in, id);
    in->at = after;
  }
}

/* Reads a module. On failure `scan` is empty and the reason is in `reason` (`room` bytes): WRT_INVALID where the module is
 * malformed, WRT_UNSUPPORTED (with the feature's name in front, as wrt.h says) where wasm3 cannot run it, WRT_ERROR. */
int wasm3_scan_read(wasm3_scan *scan, const uint8_t *bytes, size_t size, const wasm3_abilities *can,
                    char *reason, size_t room) {
  reader in = {.can = can, .scan = scan, .reason = reason, .room = room};
  *scan = (wasm3_scan){0};
  int result = setjmp(in.failed);
  if (result != 0) {
    wasm3_scan_clear(scan);
    return result;
  }
  read_module(&in, bytes, size);
  return WRT_OK;
}

#endif

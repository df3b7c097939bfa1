/* internals.h: the one place that knows wasm3's own structs, and where its versions differ. For this folder only.
 *
 * The API of wasm3.h is not enough: it finds exports by name alone, of which wasm3 keeps three per function and one per global;
 * it links imports by name, though two may share one; it cannot reach tables or grow memory; and a call costs twice as much.
 * The sources were changed in a few places, listed in pywasmrt/_shim/wasm3_changes.py.
 */
#ifndef WRT_WASM3_INTERNALS_H
#define WRT_WASM3_INTERNALS_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <m3_env.h>
#include <m3_exec_defs.h>

#include "scan.h"

#if M3_VERSION_MAJOR == 0 && M3_VERSION_MINOR == 5
#define WASM3_OLD 1 /* one table, no passive segments, no imported globals */
#elif M3_VERSION_MAJOR == 0 && M3_VERSION_MINOR == 9
#define WASM3_OLD 0
#else
#error "this version of wasm3 has not been checked"
#endif

#if !WASM3_OLD && d_m3CanTailCall
#define WASM3_TAIL_CALL "tail-call,"
#else
#define WASM3_TAIL_CALL ""
#endif
#if WASM3_OLD
#define WASM3_PROPOSALS "multi-value,sign-extension,saturating-float-to-int,mutable-globals"
#else
#define WASM3_PROPOSALS                                                                                       \
  WASM3_TAIL_CALL "multi-value,sign-extension,saturating-float-to-int,mutable-globals,bulk-memory,extended-const"
#endif

static const wasm3_abilities wasm3_can = {.bulk_memory = !WASM3_OLD, .import_globals = !WASM3_OLD};

enum {
  WASM3_PAGE = 65536,
  WASM3_MOST_ELEMENTS = 1 << 26, /* entries of a table; each takes a pointer, whether it is used or not */
  /* Of wasm3's own stack, which serves constant expressions only. */
  EXPRESSION_STACK_BYTES = 16 << 10
};

/* A function that is not guest code: an operation in wasm3's form, and what it works on. */
typedef struct wasm3_code {
  code_t operation;
  const void *data;
  const void *target;
} wasm3_code;

/* One module loaded into wasm3, with the environment and runtime that it has to itself. */
typedef struct wasm3_guest {
  IM3Environment environment; /* owned, as the next two */
  IM3Runtime runtime;
  IM3Module module;
  void *own_stack;    /* the runtime's own stack, while it uses that of a store */
  wasm3_code *codes;  /* owned: one for each imported function */
  uint8_t *base;      /* owned: the address space of the memory, which begins with wasm3's header */
  size_t reserved;    /* bytes of it, 0 before it is needed */
  size_t committed;   /* bytes of it that can be used */
  uint64_t most;      /* bytes the memory may grow to */
  size_t frame_words; /* no frame of its functions is larger, in words of 8 bytes */
} wasm3_guest;

static inline M3MemoryHeader *wasm3_header(const wasm3_guest *guest) { return guest->runtime->memory.mallocated; }

/* ---- memory ---- */

static inline uint8_t *wasm3_memory_data(const wasm3_guest *guest, size_t *size) {
  M3MemoryHeader *header = wasm3_header(guest);
  *size = header->length;
  return (uint8_t *)(header + 1);
}

static inline uint32_t wasm3_memory_pages(const wasm3_guest *guest) { return guest->runtime->memory.numPages; }

static inline bool wasm3_memory_grow(wasm3_guest *guest, uint64_t delta) {
  uint64_t pages = guest->runtime->memory.numPages + delta;
  if (pages < delta || pages > d_m3MaxLinearMemoryPages) return false;
  return delta == 0 || ResizeMemory(guest->runtime, (u32)pages) == NULL;
}

/* ---- tables of functions, where NULL means none ---- */

#if WASM3_OLD
static inline IM3Function *wasm3_table(const wasm3_guest *guest, uint32_t index, size_t *size) {
  (void)index;
  *size = guest->module->table0Size;
  return guest->module->table0;
}

static inline void wasm3_table_put(wasm3_guest *guest, uint32_t index, IM3Function *elements, size_t size) {
  (void)index;
  guest->module->table0 = elements;
  guest->module->table0Size = (u32)size;
}
#else
static inline IM3Function *wasm3_table(const wasm3_guest *guest, uint32_t index, size_t *size) {
  *size = guest->module->tables[index].size;
  return (IM3Function *)guest->module->tables[index].elements;
}

static inline void wasm3_table_put(wasm3_guest *guest, uint32_t index, IM3Function *elements, size_t size) {
  guest->module->tables[index].elements = (void **)elements;
  guest->module->tables[index].size = (u32)size;
}
#endif

/* ---- globals ---- */

static inline M3Global *wasm3_global(const wasm3_guest *guest, uint32_t index) { return &guest->module->globals[index]; }

static inline wrt_type wasm3_type(unsigned type) {
  return (wrt_type)(type - c_m3Type_i32); /* the orders agree for i32 i64 f32 f64, and no other type is let in */
}

static inline void wasm3_global_get(const M3Global *global, wrt_slot *out) {
  wrt_type type = wasm3_type(global->type);
  memcpy(out, &global->f64Value, sizeof *out);
  if (type == WRT_I32 || type == WRT_F32) out->u64 = out->u32;
}

static inline void wasm3_global_set(M3Global *global, const wrt_slot *value) {
  memcpy(&global->f64Value, value, sizeof *value);
}

/* ---- functions ---- */

static inline IM3Function wasm3_function(const wasm3_guest *guest, uint32_t index) {
  return &guest->module->functions[index];
}

/* Runs a function on the stack at `sp`: results, then arguments, each in 8 bytes. NULL, or why it ended. */
static inline const void *wasm3_run(const wasm3_guest *guest, const M3Function *function, uint64_t *sp) {
  pc_t _pc = function->compiled;
  m3stack_t _sp = (m3stack_t)sp;
  M3MemoryHeader *_mem = wasm3_header(guest);
  m3reg_t _r0 = 0;
  f64 _fp0 = 0;
  return nextOpImpl();
}

/* The function type `like`, as `guest` knows it; NULL for lack of memory. */
static inline IM3FuncType wasm3_own_type(wasm3_guest *guest, IM3FuncType like) {
  unsigned count = like->numArgs + (unsigned)like->numRets;
  IM3FuncType type;
  if (AllocFuncType(&type, count) != NULL) return NULL;
  type->numRets = like->numRets;
  type->numArgs = like->numArgs;
  memcpy(type->types, like->types, count * sizeof *type->types);
  Environment_AddFuncType(guest->environment, &type); /* takes `type`, or replaces it by an equal one that was there */
  return type;
}

/* ---- opening and closing ---- */

#pragma GCC visibility push(hidden)

/* Frees all that a guest holds; a guest that was never opened must be zero. */
void wasm3_close(wasm3_guest *guest);

/* Does everything that comes before linking: parses the module, fills its memory, globals and tables, and compiles every
 * function. `globals` holds the values of imported globals. On failure `guest` is closed and `reason` says why: WRT_UNSUPPORTED
 * as wrt.h has it, WRT_TRAP with `trap`, WRT_LINK where memory cannot be had, WRT_ERROR. `scan` must outlive the guest. */
int wasm3_open(wasm3_guest *guest, const wasm3_scan *scan, uint64_t memory_limit, const wrt_slot *globals,
               wrt_trap *trap, char *reason, size_t room);

/* Gives the guest the stack that it runs on, of `slots` slots, with room beyond them for what wasm3 writes unchecked. */
void wasm3_attach(wasm3_guest *guest, void *stack, size_t slots);

#pragma GCC visibility pop

#endif

/* internals.h: the one place that knows wasm3's own structs, and where its versions differ. For this folder only.
 *
 * wasm3.h would not do: by it an export is found by name alone, of which wasm3 keeps three per function and one per global; an
 * import is linked by name, though two may share one; tables cannot be reached, nor memory grown; and a call costs twice.
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
  WASM3_MOST_ELEMENTS = 1 << 26, /* of a table; each takes a pointer, whether it is used or not */
  /* Of wasm3's own stack, which serves constant expressions only. */
  EXPRESSION_STACK_BYTES = 16 << 10
};

/* A function that is no guest code: an operation in wasm3's form, and what it works on. */
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
  void *own_stack;    /* the runtime's, while it uses that of a store */
  wasm3_code *codes;  /* owned: one for each imported function */
  uint8_t *base;      /* owned: the address space of the memory, which begins with wasm3's header */
  size_t reserved;    /* bytes of it, 0 before it is needed */
  size_t committed;   /* bytes of it that can be used */
  uint64_t most;      /* bytes the memory may grow to */
  size_t frame_words; /* no frame of its functions is larger, in words of 8 bytes */
} wasm3_guest;

static inline M3MemoryHeader *wasm3_header(const wasm3_guest *guest) { return guest->runtime->memory.mallocated; }

/* ---- memory ---- */

static bool wasm3_reserve(wasm3_guest *guest, size_t needed) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t size = (sizeof(M3MemoryHeader) + (size_t)guest->most + page - 1) / page * page;
  while (size >= needed) {
    void *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base != MAP_FAILED) {
      guest->base = base;
      guest->reserved = size;
      return true;
    }
    size = size / 2 / page * page; /* where address space is short, memory grows less */
  }
  return false;
}

/* In place of wasm3's realloc: room for `size` bytes, header included, at the address where the memory has been from the
 * start. NULL where there is none, or where 0.5.0 computed a size that overflowed. */
void *wrt_wasm3_memory(struct M3Runtime *runtime, size_t size) {
  wasm3_guest *guest = runtime->userdata;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (size < sizeof(M3MemoryHeader) || size - sizeof(M3MemoryHeader) > guest->most) return NULL;
  if (guest->base == NULL && !wasm3_reserve(guest, size)) return NULL;
  size_t rounded = (size + page - 1) / page * page;
  if (rounded > guest->reserved || rounded < guest->committed) return NULL;
  if (rounded > guest->committed) {
    if (mprotect(guest->base + guest->committed, rounded - guest->committed, PROT_READ | PROT_WRITE) != 0) return NULL;
    guest->committed = rounded;
  }
  return guest->base;
}

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

/* ---- tables: of functions, of which NULL is none ---- */

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
  Environment_AddFuncType(guest->environment, &type); /* takes it, or gives the one that was there */
  return type;
}

/* ---- opening and closing ---- */

static size_t wasm3_frame_words(const M3Module *module) {
  size_t slots = 0;
  for (u32 i = 0; i < module->numFunctions; i++) {
    if (module->functions[i].maxStackSlots > slots) slots = module->functions[i].maxStackSlots;
  }
  return (slots * sizeof(m3slot_t) + 7) / 8;
}

static void wasm3_close(wasm3_guest *guest) {
  if (guest->runtime != NULL) {
    guest->runtime->memory.mallocated = NULL;
    if (guest->own_stack != NULL) guest->runtime->stack = guest->own_stack;
  }
  m3_FreeRuntime(guest->runtime);
  m3_FreeEnvironment(guest->environment);
  free(guest->codes);
  if (guest->base != NULL) munmap(guest->base, guest->reserved);
  *guest = (wasm3_guest){0};
}

/* Room for tables of the declared size: 0.5.0 knows only how far the elements reach. */
static bool wasm3_make_tables(wasm3_guest *guest, const wasm3_scan *scan) {
#if WASM3_OLD
  if (scan->table_count == 0) return true;
  /* One more than is counted: an empty table must not look like a failed allocation. */
  guest->module->table0 = m3_AllocArray(IM3Function, scan->tables[0].minimum + 1);
  guest->module->table0Size = (u32)scan->tables[0].minimum;
  return guest->module->table0 != NULL;
#else
  (void)guest, (void)scan;
  return true;
#endif
}

static bool wasm3_tables_fit(const wasm3_guest *guest, const wasm3_scan *scan) {
  for (uint32_t i = 0; i < scan->table_count; i++) {
    size_t size;
    wasm3_table(guest, i, &size);
    if (size != scan->tables[i].minimum) return false;
  }
#if WASM3_OLD
  return scan->table_count > 0 || guest->module->table0Size == 0;
#else
  return true;
#endif
}

/* Why loading failed that did not for lack of anything but for the guest's own data; WRT_TRAP_OTHER for other reasons. */
static wrt_trap wasm3_load_trap(M3Result result) {
  static const struct {
    const char *text;
    wrt_trap trap;
  } known[] = {{"data segment out of bounds", WRT_TRAP_MEMORY_OUT_OF_BOUNDS},
               {"unallocated linear memory", WRT_TRAP_MEMORY_OUT_OF_BOUNDS},
               {"table underflow", WRT_TRAP_TABLE_OUT_OF_BOUNDS},
               {"table overflow", WRT_TRAP_TABLE_OUT_OF_BOUNDS},
               {"out of bounds table access", WRT_TRAP_TABLE_OUT_OF_BOUNDS}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(result, known[i].text) == 0) return known[i].trap;
  }
  return WRT_TRAP_OTHER;
}

/* The proposal whose lack made the compiler fail. It names the operation that it does not know in its message. */
static const char *wasm3_lacking(M3Result result, const char *message) {
  static const unsigned references[] = {0x1c, 0x25, 0x26, 0xd0, 0xd1, 0xd2, 0xfc0f, 0xfc10, 0xfc11};
  if (strcmp(result, "restricted opcode") == 0) return "extended-const"; /* spelt differently in each version */
  const char *text = strstr(message, "opcode") == NULL ? result : message;
  if (strstr(text, "opcode") == NULL) return "implementation-limit";
  const char *colon = strrchr(text, ':');
  unsigned opcode = 0;
  if (colon != NULL) sscanf(colon + 1, "%x", &opcode);
  for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
    if (opcode == references[i]) return "reference-types";
  }
  return WASM3_OLD ? "bulk-memory" : "implementation-limit";
}

static int wasm3_refusal(const wasm3_guest *guest, M3Result result, char *reason, size_t room) {
  if (result == m3Err_mallocFailed || result == m3Err_mallocFailedCodePage) {
    snprintf(reason, room, "out of memory");
    return WRT_ERROR;
  }
  M3ErrorInfo info = {0};
  if (guest->runtime != NULL) m3_GetErrorInfo(guest->runtime, &info);
  bool more = info.message != NULL && info.message[0] != '\0';
  const char *feature = wasm3_lacking(result, more ? info.message : "");
  snprintf(reason, room, "%s: wasm3 cannot run this module: %s%s%s", feature, result, more ? ": " : "",
           more ? info.message : "");
  return WRT_UNSUPPORTED;
}

/* Brings a module as far as it gets before it is linked: parsed, its memory, globals and tables filled, every function
 * compiled. `globals` holds the values of imported globals. On failure `guest` is closed and `reason` says why: WRT_UNSUPPORTED
 * as wrt.h has it, WRT_TRAP with `trap`, WRT_LINK where memory cannot be had, WRT_ERROR. `scan` must outlive the guest. */
static int wasm3_open(wasm3_guest *guest, const wasm3_scan *scan, uint64_t memory_limit, const wrt_slot *globals,
                      wrt_trap *trap, char *reason, size_t room) {
  uint64_t pages = scan->has_memory ? (scan->memory.has_maximum ? scan->memory.maximum : WASM3_PAGE) : 0;
  *guest = (wasm3_guest){.most = pages * WASM3_PAGE < memory_limit ? pages * WASM3_PAGE : memory_limit};
  guest->environment = m3_NewEnvironment();
  if (guest->environment != NULL) guest->runtime = m3_NewRuntime(guest->environment, EXPRESSION_STACK_BYTES, guest);
  guest->codes = calloc(scan->function_imports + 1, sizeof *guest->codes);
  int result = WRT_ERROR;
  snprintf(reason, room, "out of memory");
  if (guest->runtime == NULL || guest->codes == NULL) goto fail;

  IM3Module module;
  M3Result error = m3_ParseModule(guest->environment, &module, scan->bytes, (uint32_t)scan->size);
  if (error != NULL) {
    result = wasm3_refusal(guest, error, reason, room);
    goto fail;
  }
  guest->module = module;
  module->startFunction = -1; /* run by engine.c, once */
  for (size_t i = 0; i < scan->global_imports; i++) wasm3_global_set(&module->globals[i], &globals[i]);
  uint64_t elements = 0;
  for (size_t i = 0; i < scan->table_count; i++) elements += scan->tables[i].minimum;
  if (elements > WASM3_MOST_ELEMENTS || !wasm3_make_tables(guest, scan)) {
    m3_FreeModule(module);
    snprintf(reason, room, "there is no memory for tables of %llu elements", (unsigned long long)elements);
    result = WRT_LINK;
    goto fail;
  }
  if (scan->memory.minimum > d_m3MaxLinearMemoryPages || scan->memory.minimum * WASM3_PAGE > guest->most) {
    m3_FreeModule(module);
    snprintf(reason, room, "the memory of %llu pages cannot be had: a limit forbids it",
             (unsigned long long)scan->memory.minimum);
    result = WRT_LINK;
    goto fail;
  }
  error = m3_LoadModule(guest->runtime, module);
  if (error != NULL) {
    m3_FreeModule(module);
    *trap = wasm3_load_trap(error);
    if (*trap != WRT_TRAP_OTHER) {
      result = WRT_TRAP;
    } else if (guest->runtime->memory.mallocated == NULL) {
      snprintf(reason, room, "the memory of %llu pages cannot be had: a limit or the system forbids it",
               (unsigned long long)scan->memory.minimum);
      result = WRT_LINK;
    } else {
      result = wasm3_refusal(guest, error, reason, room);
    }
    goto fail;
  }
  if (!wasm3_tables_fit(guest, scan)) {
    *trap = WRT_TRAP_TABLE_OUT_OF_BOUNDS;
    result = WRT_TRAP;
    goto fail;
  }
  for (size_t i = 0; i < scan->function_imports; i++) {
    IM3Function function = wasm3_function(guest, (uint32_t)i);
    function->module = module;
    function->compiled = (pc_t)&guest->codes[i];
  }
  error = m3_CompileModule(module);
  if (error != NULL) {
    result = wasm3_refusal(guest, error, reason, room);
    goto fail;
  }
  guest->frame_words = wasm3_frame_words(module);
  return WRT_OK;

fail:
  wasm3_close(guest);
  return result;
}

/* Gives the guest its place to run: a stack of `slots` slots, with room beyond for what wasm3 writes there unchecked. */
static void wasm3_attach(wasm3_guest *guest, void *stack, size_t slots) {
  guest->own_stack = guest->runtime->stack;
  guest->runtime->stack = stack;
  guest->runtime->numStackSlots = (u32)slots;
  wasm3_header(guest)->maxStack = (m3slot_t *)stack + slots;
}

#endif

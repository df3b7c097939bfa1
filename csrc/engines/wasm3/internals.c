/* internals.c: opening, linking and closing a guest of wasm3's, see internals.h. */
#ifdef WRT_WASM3

#include "internals.h"

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
    size = size / 2 / page * page; /* where address space is short, memory cannot grow as far */
  }
  return false;
}

/* In place of wasm3's realloc: room for `size` bytes, header included, at the address that the memory has had from the start.
 * NULL where there is no room, or where 0.5.0 computed a size that overflowed. */
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

static size_t wasm3_frame_words(const M3Module *module) {
  size_t slots = 0;
  for (u32 i = 0; i < module->numFunctions; i++) {
    if (module->functions[i].maxStackSlots > slots) slots = module->functions[i].maxStackSlots;
  }
  return (slots * sizeof(m3slot_t) + 7) / 8;
}

void wasm3_close(wasm3_guest *guest) {
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
  /* One more than the table's size: an empty table must not look like a failed allocation. */
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

/* The trap, where loading failed because of the guest's own data; WRT_TRAP_OTHER for other reasons, such as lack of memory. */
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

/* The proposal whose absence made the compiler fail. The compiler's message names the operation that it does not know. */
static const char *wasm3_lacking(M3Result result, const char *message) {
  static const unsigned references[] = {0x1c, 0x25, 0x26, 0xd0, 0xd1, 0xd2, 0xfc0f, 0xfc10, 0xfc11};
  if (strcmp(result, "restricted opcode") == 0) return "extended-const"; /* opcodes, spelt differently in each version */
  if (strstr(result, "opcode") == NULL && strstr(message, "opcode") == NULL) return "implementation-limit";
  const char *colon = strrchr(message, ':'); /* the number stands alone in the message, or after a colon */
  unsigned opcode = 0;
  sscanf(colon == NULL ? message : colon + 1, "%x", &opcode);
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

int wasm3_open(wasm3_guest *guest, const wasm3_scan *scan, uint64_t memory_limit, const wrt_slot *globals,
               wrt_trap *trap, char *reason, size_t room) {
  uint64_t pages = scan->has_memory ? (scan->memory.has_maximum ? scan->memory.maximum : WASM3_PAGE) : 0;
  *guest = (wasm3_guest){.most = pages * WASM3_PAGE < memory_limit ? pages * WASM3_PAGE : memory_limit};
  guest->environment = m3_NewEnvironment();
  if (guest->environment != NULL) guest->runtime = m3_NewRuntime(guest->environment, EXPRESSION_STACK_BYTES, guest);
  guest->codes = calloc(scan->function_imports + 1, sizeof *guest->codes);
  int result = WRT_ERROR;
  snprintf(reason, room, "out of memory");
  if (guest->runtime == NULL || guest->codes == NULL) goto w3_fail;

  IM3Module module;
  M3Result error = m3_ParseModule(guest->environment, &module, scan->bytes, (uint32_t)scan->size);
  if (error != NULL) {
    result = wasm3_refusal(guest, error, reason, room);
    goto w3_fail;
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
    goto w3_fail;
  }
  if (scan->memory.minimum > d_m3MaxLinearMemoryPages || scan->memory.minimum * WASM3_PAGE > guest->most) {
    m3_FreeModule(module);
    snprintf(reason, room, "the memory of %llu pages cannot be had: a limit forbids it",
             (unsigned long long)scan->memory.minimum);
    result = WRT_LINK;
    goto w3_fail;
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
    goto w3_fail;
  }
  if (!wasm3_tables_fit(guest, scan)) {
    *trap = WRT_TRAP_TABLE_OUT_OF_BOUNDS;
    result = WRT_TRAP;
    goto w3_fail;
  }
  for (size_t i = 0; i < scan->function_imports; i++) {
    IM3Function function = wasm3_function(guest, (uint32_t)i);
    function->module = module;
    function->compiled = (pc_t)&guest->codes[i];
  }
  error = m3_CompileModule(module);
  if (error != NULL) {
    result = wasm3_refusal(guest, error, reason, room);
    goto w3_fail;
  }
  guest->frame_words = wasm3_frame_words(module);
  return WRT_OK;

w3_fail:
  wasm3_close(guest);
  return result;
}

void wasm3_attach(wasm3_guest *guest, void *stack, size_t slots) {
  guest->own_stack = guest->runtime->stack;
  guest->runtime->stack = stack;
  guest->runtime->numStackSlots = (u32)slots;
  wasm3_header(guest)->maxStack = (m3slot_t *)stack + slots;
}

#endif

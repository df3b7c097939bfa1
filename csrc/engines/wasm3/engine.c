/* engine.c: the engine table over wasm3, compiled into this extension; without wasm3 at hand there is no table. Here are
 * engines, modules, stores and instances; how guests run stands in run.h, what the host does with externs in externs.h, and
 * everything that depends on wasm3's internals in internals.h.
 *
 * Who owns what. A module keeps the bytes, which wasm3 reads for as long as an instance lives, and one instance made ahead:
 * compiling creates an instance here, so the first instantiation finds the work done. An instance is a wasm3 runtime of its
 * own, with one module in it; it counts the module. A store owns its instances, its host functions, and one stack, on which all
 * of its instances run: so a call from one instance into another is a jump.
 *
 * Guests poll by two words in the header of each memory: where the engine's ticks are counted, and how many of them the memory
 * has seen. Calls and iterations of loops compare the two, and calls check the native stack too (see wasm3_changes.py). So a
 * tick, from any thread, is an addition, and no thread looks into the stores of another.
 */
#include "wrt.h"

#ifndef WRT_WASM3

const wrt_engine_ops *wrt_wasm3_ops(void) { return NULL; }
const char *wrt_wasm3_version(void) { return NULL; }
const char *wrt_wasm3_proposals(void) { return NULL; }

#else

#include "externs.h"
#include "run.h"

/* ---- engine and module ---- */

static int engine_new(const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure) {
  int64_t stack = DEFAULT_STACK;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(options[i].name, "max_wasm_stack") != 0) return w3_fail(failure, WRT_INVALID, options[i].name);
    stack = options[i].value;
    if (stack < 4096 || stack > 1 << 30) return w3_fail(failure, WRT_INVALID, "max_wasm_stack is 4096 to 2**30 bytes");
  }
  wrt_engine *engine = malloc(sizeof *engine);
  if (engine == NULL) return w3_fail_memory(failure);
  atomic_init(&engine->holders, 1);
  engine->ticks = 0;
  engine->stack_slots = (size_t)stack / sizeof(m3slot_t);
  size_t bytes = (size_t)stack + STACK_HEADROOM + STACK_OFFSET;
  engine->stack_size = (bytes + STACK_GUARD - 1) / STACK_GUARD * STACK_GUARD + 2 * STACK_GUARD;
  atomic_init(&engine->spare, NULL);
  *out = engine;
  return WRT_OK;
}

static void engine_delete(wrt_engine *engine) {
  if (atomic_fetch_sub(&engine->holders, 1) != 1) return;
  void *spare = atomic_load(&engine->spare);
  if (spare != NULL) munmap(spare, engine->stack_size);
  free(engine);
}

/* Reads the sections only: wasm3 does not validate. */
static int validate(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure) {
  (void)engine;
  char reason[512];
  wasm3_scan scan;
  int result = wasm3_scan_read(&scan, bytes, size, &wasm3_can, reason, sizeof reason);
  wasm3_scan_clear(&scan);
  return result == WRT_OK ? WRT_OK : w3_fail(failure, result, reason);
}

/* Frees all that an instance owns. */
static void instance_empty(instance *self) {
  wasm3_close(&self->guest);
  while (self->thunks != NULL) {
    thunk *each = self->thunks;
    self->thunks = each->next;
    free(each);
  }
  free(self->functions);
  self->functions = NULL;
}

static void instance_free(instance *self) {
  instance_empty(self);
  free(self);
}

static void module_release(wrt_module *module) {
  if (atomic_fetch_sub(&module->holders, 1) != 1) return;
  instance *ready = atomic_load(&module->ready);
  if (ready != NULL) instance_free(ready);
  wasm3_scan_clear(&module->scan);
  free(module);
}

/* A new instance of the module, not linked. `globals` holds the values of those it imports. */
static int open_instance(wrt_module *module, uint64_t memory_limit, const wrt_slot *globals, instance **out,
                         wrt_failure *failure) {
  char reason[512];
  wrt_trap trap = WRT_TRAP_OTHER;
  if ((uintptr_t)__builtin_frame_address(0) < w3_compiler_floor() + FLAT_COMPILER_STACK)
    return w3_fail(failure, WRT_ERROR, "this thread has too little stack left to compile a module");
  instance *self = calloc(1, sizeof *self);
  if (self == NULL) return w3_fail_memory(failure);
  self->functions = calloc(module->scan.function_imports + 1, sizeof *self->functions);
  int result = self->functions == NULL
                   ? WRT_ERROR
                   : wasm3_open(&self->guest, &module->scan, memory_limit, globals, &trap, reason, sizeof reason);
  if (result == WRT_OK) {
    *out = self;
    return WRT_OK;
  }
  bool out_of_memory = self->functions == NULL;
  free(self->functions);
  free(self);
  if (out_of_memory) return w3_fail_memory(failure);
  return result == WRT_TRAP ? w3_fail_trap(failure, trap) : w3_fail(failure, result, reason);
}

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  (void)engine;
  char reason[512];
  wrt_module *module = calloc(1, sizeof *module);
  if (module == NULL) return w3_fail_memory(failure);
  atomic_init(&module->holders, 1);
  int result = wasm3_scan_read(&module->scan, bytes, size, &wasm3_can, reason, sizeof reason);
  if (result != WRT_OK) {
    free(module);
    return w3_fail(failure, result, reason);
  }
  wrt_slot *zeros = calloc(module->scan.global_imports + 1, sizeof *zeros);
  instance *ready = NULL;
  result = zeros == NULL ? w3_fail_memory(failure) : open_instance(module, UINT64_MAX, zeros, &ready, failure);
  free(zeros);
  if (result == WRT_TRAP || result == WRT_LINK) {
    w3_failure_clear(failure); /* it cannot be instantiated; the attempt will report that */
  } else if (result != WRT_OK) {
    module_release(module);
    return result;
  }
  if (ready != NULL && module->scan.global_imports > 0) {
    instance_free(ready); /* it only served to try the compiler: the values of its globals are not known yet */
    ready = NULL;
  }
  atomic_store(&module->ready, ready);
  *out = module;
  return WRT_OK;
}

static int text_to_binary(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure) {
  (void)text, (void)size, (void)out;
  return w3_not_supported(failure, "wat: wasm3 has no reader of the text format");
}

static int serialize(wrt_module *module, wrt_bytes *out, wrt_failure *failure) {
  (void)module, (void)out;
  return w3_not_supported(failure, "serialize: wasm3 has no compiled form to keep");
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  (void)engine, (void)bytes, (void)size, (void)out;
  return w3_not_supported(failure, "serialize: wasm3 has no compiled form to keep");
}

static void module_delete(wrt_module *module) { module_release(module); }

/* ---- store ---- */

static uint64_t limit_of(int64_t limit) { return limit < 0 ? UINT64_MAX : (uint64_t)limit; }

/* A stack between two guards; NULL where there is no memory. No guest can read what an earlier store left on it. */
static void *take_stack(wrt_engine *engine) {
  void *stack = atomic_exchange(&engine->spare, NULL);
  if (stack != NULL) return stack;
  stack = mmap(NULL, engine->stack_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) return NULL;
  if (mprotect((uint8_t *)stack + STACK_GUARD, engine->stack_size - 2 * STACK_GUARD, PROT_READ | PROT_WRITE) == 0)
    return stack;
  munmap(stack, engine->stack_size);
  return NULL;
}

static void give_stack(wrt_engine *engine, void *stack) {
  stack = atomic_exchange(&engine->spare, stack);
  if (stack != NULL) munmap(stack, engine->stack_size);
}

static int store_new(wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances,
                     wrt_store **out, wrt_failure *failure) {
  wrt_store *store = calloc(1, sizeof *store);
  if (store == NULL) return w3_fail_memory(failure);
  store->stack = take_stack(engine);
  if (store->stack == NULL) {
    free(store);
    return w3_fail_memory(failure);
  }
  uint8_t *base = (uint8_t *)store->stack + STACK_GUARD;
  atomic_fetch_add(&engine->holders, 1);
  store->engine = engine;
  store->stack_slots = engine->stack_slots;
  store->bottom = store->top = (uint64_t *)(void *)(base + STACK_OFFSET);
  store->limit = store->top + engine->stack_slots * sizeof(m3slot_t) / sizeof *store->top;
  store->floor = w3_thread_floor();
  store->memory_limit = limit_of(memory_bytes);
  store->table_limit = limit_of(table_elements);
  store->instances_left = limit_of(instances);
  *out = store;
  return WRT_OK;
}

static void free_gone(wrt_store *store) {
  while (store->gone != NULL) {
    instance *each = store->gone;
    store->gone = each->next;
    free(each);
  }
}

static void store_delete(wrt_store *store) {
  while (store->instances != NULL) {
    instance *each = store->instances;
    wrt_module *module = each->module;
    store->instances = each->next;
    instance_free(each);
    module_release(module);
  }
  free_gone(store);
  while (store->records != NULL) {
    host_record *each = store->records;
    store->records = each->next;
    free(each);
  }
  while (store->globals != NULL) {
    host_global *each = store->globals;
    store->globals = each->next;
    free(each);
  }
  give_stack(store->engine, store->stack);
  engine_delete(store->engine);
  free(store);
}

/* ---- instances ---- */

/* Moves an instance from the list of live ones to the list of those that nobody needs. */
static void put_aside(instance *self, instance **idle) {
  *self->link = self->next;
  if (self->next != NULL) self->next->link = self->link;
  self->next = *idle;
  *idle = self;
}

static void leave(instance *self, const wrt_extern *item, instance **idle) {
  instance *owner = function_owner(item);
  if (owner != NULL && owner != self && --owner->users == 0 && owner->closed) put_aside(owner, idle);
}

/* Gives up the functions of other instances that this one uses; instances that are no longer needed go to `idle`. */
static void leave_others(instance *self, instance **idle) {
  for (size_t i = 0; i < self->module->scan.function_imports; i++) leave(self, &self->functions[i], idle);
  for (const thunk *each = self->thunks; each != NULL; each = each->next) leave(self, &each->item, idle);
}

static void instance_close(wrt_store *store, const wrt_instance *handle) {
  instance *self = (instance *)(uintptr_t)handle->opaque[0], *idle = NULL;
  if (self->closed) return;
  self->closed = true;
  if (self->users == 0) put_aside(self, &idle);
  while (idle != NULL) {
    self = idle;
    idle = self->next;
    leave_others(self, &idle);
    instance_empty(self);
    module_release(self->module);
    self->module = NULL;
    self->next = store->gone;
    store->gone = self;
  }
}

static int link_imports(instance *self, const wrt_extern *imports, wrt_failure *failure) {
  const wasm3_scan *scan = &self->module->scan;
  size_t next = 0;
  for (size_t i = 0; i < scan->import_count; i++) {
    if (scan->imports[i].kind != WRT_FUNCTION) continue;
    wrt_extern item = imports[i];
    if (item.opaque[0] != GUEST_FUNCTION && item.opaque[0] != HOST_FUNCTION)
      return w3_fail(failure, WRT_LINK, "an import is no function");
    /* A function that another instance itself imported is linked directly, so that a host function sees its real caller. */
    if (item.opaque[0] == GUEST_FUNCTION) {
      instance *other = owner_of(&item);
      if (is_gone(other)) return w3_fail(failure, WRT_LINK, w3_closed);
      size_t index = (size_t)((IM3Function)(uintptr_t)item.opaque[2] - other->guest.module->functions);
      if (index < other->module->scan.function_imports) item = other->functions[index];
    }
    instance *owner = function_owner(&item);
    if (owner != NULL) owner->users++;
    self->functions[next] = item;
    self->guest.codes[next++] = w3_code_for(&item);
  }
  return WRT_OK;
}

/* Reads the values of the globals that `module` imports; *out is the caller's. */
static int global_values(const wrt_module *module, const wrt_extern *imports, wrt_slot **out, wrt_failure *failure) {
  wrt_slot *values = calloc(module->scan.global_imports + 1, sizeof *values);
  if (values == NULL) return w3_fail_memory(failure);
  size_t next = 0;
  for (size_t i = 0; i < module->scan.import_count; i++) {
    if (module->scan.imports[i].kind != WRT_GLOBAL) continue;
    const wrt_extern *item = &imports[i];
    w3_global_get(NULL, item, &values[next++]);
  }
  *out = values;
  return WRT_OK;
}

static const char *beyond_limits(wrt_store *store, instance *self) {
  size_t size;
  wasm3_memory_data(&self->guest, &size);
  if (size > store->memory_limit) return "the memory is larger than the limit of the store";
  if (self->guest.most > store->memory_limit) self->guest.most = store->memory_limit;
  for (uint32_t i = 0; i < self->module->scan.table_count; i++) {
    wasm3_table(&self->guest, i, &size);
    if (size > store->table_limit) return "a table is larger than the limit of the store";
#if !WASM3_OLD
    M3Table *table = &self->guest.module->tables[i];
    if (store->table_limit < UINT32_MAX && (table->maxSize == 0 || table->maxSize > store->table_limit))
      table->maxSize = (u32)store->table_limit;
#endif
  }
  return NULL;
}

static int instantiate(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count,
                       wrt_instance *out, wrt_failure *failure) {
  if (count != module->scan.import_count) return w3_fail(failure, WRT_LINK, "a wrong number of imports");
  if (store->instances_left == 0) return w3_fail(failure, WRT_LINK, "the store has as many instances as its limit allows");
  instance *self = atomic_exchange(&module->ready, NULL);
  if (self == NULL) {
    wrt_slot *globals = NULL;
    int result = global_values(module, imports, &globals, failure);
    if (result != WRT_OK) return result;
    result = open_instance(module, store->memory_limit, globals, &self, failure);
    free(globals);
    if (result != WRT_OK) return result;
  }
  self->module = module;
  const char *problem = beyond_limits(store, self);
  int result = problem == NULL ? link_imports(self, imports, failure) : w3_fail(failure, WRT_LINK, problem);
  if (result != WRT_OK) {
    instance *none = NULL; /* stays empty, as only live instances were linked */
    leave_others(self, &none);
    instance_free(self);
    return result;
  }
  atomic_fetch_add(&module->holders, 1);
  self->store = store;
  wasm3_attach(&self->guest, (uint8_t *)store->stack + STACK_GUARD + STACK_OFFSET, store->stack_slots);
  store->instances_left--;
  M3MemoryHeader *header = wasm3_header(&self->guest);
  header->wrt_floor = store->floor;
  header->wrt_ticks = &store->engine->ticks;
  header->wrt_seen = ticks_of(store->engine);
  self->next = store->instances;
  self->link = &store->instances;
  if (self->next != NULL) self->next->link = &self->next;
  store->instances = self;
  if (module->scan.has_start) {
    wrt_extern start = pack(GUEST_FUNCTION, self, (uintptr_t)wasm3_function(&self->guest, module->scan.start));
    result = w3_call(store, &start, NULL, 0, failure);
    if (result != WRT_OK) return result; /* the instance stays, as something may refer to it */
  }
  out->opaque[0] = (uintptr_t)self;
  out->opaque[1] = 0;
  return WRT_OK;
}

static bool find_export(instance *self, const char *name, size_t size, wrt_extern *out) {
  if (is_gone(self)) return false;
  const wasm3_scan *scan = &self->module->scan;
  for (size_t i = 0; i < scan->export_count; i++) {
    const wasm3_export *each = &scan->exports[i];
    if (each->size != size || memcmp(each->name, name, size) != 0) continue;
    switch (each->kind) {
      case WRT_FUNCTION: *out = w3_function_extern(self, wasm3_function(&self->guest, each->index)); return true;
      case WRT_MEMORY: *out = pack(GUEST_MEMORY, self, 0); return true;
      case WRT_TABLE: *out = pack(GUEST_TABLE, self, each->index); return true;
      case WRT_GLOBAL: *out = pack(GUEST_GLOBAL, self, each->index); return true;
      default: return false;
    }
  }
  return false;
}

static bool instance_export(wrt_store *store, const wrt_instance *handle, const char *name, size_t size,
                            wrt_extern *out) {
  (void)store;
  return find_export((instance *)(uintptr_t)handle->opaque[0], name, size, out);
}

static bool caller_export(wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out) {
  (void)store;
  return caller->instance != NULL && find_export(caller->instance, name, size, out);
}

/* ---- references to host objects: no module that uses them gets this far ---- */

static int ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure) {
  (void)store, (void)data, (void)finalizer, (void)out;
  return w3_not_supported(failure, "reference-types: wasm3 cannot hold references to host objects");
}

static void ref_to_slot(wrt_store *store, const wrt_ref *ref, wrt_slot *out) {
  (void)store, (void)ref;
  out->u64 = 0;
}

static void ref_delete(wrt_ref *ref) { (void)ref; }

static void *ref_data(wrt_store *store, const wrt_slot *slot) {
  (void)store, (void)slot;
  return NULL;
}

static void collect(wrt_store *store) { (void)store; }

/* ---- fuel: wasm3 counts none ---- */

static int fuel_set(wrt_store *store, uint64_t fuel, wrt_failure *failure) {
  (void)store, (void)fuel;
  return w3_not_supported(failure, "fuel: wasm3 does not count what a guest uses");
}

static int fuel_get(wrt_store *store, uint64_t *fuel, wrt_failure *failure) {
  (void)store, (void)fuel;
  return w3_not_supported(failure, "fuel: wasm3 does not count what a guest uses");
}

/* ---- the table ---- */

static const wrt_engine_ops ops = {
    .version = WRT_VERSION,
    .slot_words = 1,
    .name = "wasm3",
    .engine_new = engine_new,
    .engine_delete = engine_delete,
    .validate = validate,
    .compile = compile,
    .text_to_binary = text_to_binary,
    .serialize = serialize,
    .deserialize = deserialize,
    .module_delete = module_delete,
    .store_new = store_new,
    .store_delete = store_delete,
    .function_new = w3_function_new,
    .memory_new = w3_memory_new,
    .table_new = w3_table_new,
    .global_new = w3_global_new,
    .instantiate = instantiate,
    .instance_export = instance_export,
    .caller_export = caller_export,
    .extern_type = w3_extern_type,
    .call = w3_call,
    .memory_data = w3_memory_data,
    .memory_grow = w3_memory_grow,
    .global_get = w3_global_get,
    .global_set = w3_global_set,
    .table_size = w3_table_size,
    .table_get = w3_table_get,
    .table_set = w3_table_set,
    .table_grow = w3_table_grow,
    .function_to_slot = w3_function_to_slot,
    .function_from_slot = w3_function_from_slot,
    .ref_new = ref_new,
    .ref_to_slot = ref_to_slot,
    .ref_delete = ref_delete,
    .ref_data = ref_data,
    .collect = collect,
    .failure_clear = w3_failure_clear,
    .bytes_clear = w3_bytes_clear,
    .type_clear = w3_type_clear,
    .store_poll = w3_store_poll,
    .engine_tick = w3_engine_tick,
    .fuel_set = fuel_set,
    .fuel_get = fuel_get,
    .instance_close = instance_close,
};

const wrt_engine_ops *wrt_wasm3_ops(void) { return &ops; }
const char *wrt_wasm3_version(void) { return M3_VERSION; }
const char *wrt_wasm3_proposals(void) { return WASM3_PROPOSALS; }

#endif

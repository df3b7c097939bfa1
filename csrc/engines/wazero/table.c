/* table.c: the engine table over wazero: what C does itself, and the calls into Go for everything else. */
#include "wazero.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "_cgo_export.h"
#include "stack.h"

#define PAGE ((size_t)65536)
#define GUARD ((size_t)65536)

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define STACK_NEEDED ((size_t)192 << 10) /* bytes of the native stack that a host function and a call from it may use */

enum { INLINE_WORDS = 64 };

/* A thread-local variable that is read in one load. */
#ifdef __GLIBC__
#define PER_THREAD __attribute__((tls_model("initial-exec"))) _Thread_local
#else
#define PER_THREAD _Thread_local
#endif

/* ---- forks: Go's runtime has threads of its own, which a child lacks ---- */

static bool forked;
static bool watched; /* `forked` is kept; false in a child too that was forked before the constructor below */

static void note_fork(void) { forked = true; }

/* Go's threads start while the library is opened, by a constructor of Go's. This one comes before it, as it has a priority: so
 * no child lacks the threads without a note. */
static __attribute__((constructor(101))) void watch_forks(void) { watched = pthread_atfork(NULL, NULL, note_fork) == 0; }

static int fail(wrt_failure *failure, int result, const char *message) {
  char *copy = strdup(message);
  if (copy == NULL) result = WRT_ERROR; /* reported without a message */
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy};
  return result;
}

const char *const wz_forked =
    "wazero does not work in a process that was forked after it was opened, since its threads are missing; start "
    "the process by spawn or forkserver, or open wazero in the child only";

static int fail_forked(wrt_failure *failure) { return fail(failure, WRT_ERROR, wz_forked); }

static int fail_memory(wrt_failure *failure) { return fail(failure, WRT_ERROR, "out of memory"); }

#define REFUSE_IN_CHILD(failure) \
  if (UNLIKELY(forked)) return fail_forked(failure)

/* ---- memories ---- */

wz_memory *wz_memory_make(wrt_store *store, uint64_t maximum) {
  wz_memory *memory = calloc(1, sizeof *memory);
  if (memory == NULL) return NULL;
  memory->limit = maximum < store->memory_limit ? maximum : store->memory_limit;
  size_t rounded = (memory->limit + PAGE - 1) / PAGE * PAGE;
  memory->reserved = rounded + GUARD;
  memory->base = mmap(NULL, memory->reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory->base == MAP_FAILED) {
    free(memory);
    return NULL;
  }
  memory->next = store->memories;
  store->memories = memory;
  return memory;
}

bool wz_memory_resize(wz_memory *memory, uint64_t size) {
  size_t old = memory->size;
  if (size > memory->limit || size < old) return false;
  if (size > old && mprotect(memory->base + old, size - old, PROT_READ | PROT_WRITE) != 0) return false;
  __atomic_store_n(&memory->size, size, __ATOMIC_RELEASE);
  return true;
}

static uint8_t *memory_data(wrt_store *store, const wrt_extern *item, size_t *size) {
  (void)store;
  const wz_memory *memory = (const wz_memory *)(uintptr_t)item->opaque[1];
  *size = __atomic_load_n(&memory->size, __ATOMIC_ACQUIRE);
  return memory->base;
}

/* ---- functions ---- */

static wz_function *function_of(const wrt_extern *item) { return (wz_function *)(uintptr_t)item->opaque[1]; }

wz_function *wz_function_make(wrt_store *store, uintptr_t go, const uint8_t *types, uint32_t params, uint32_t results) {
  size_t count = (size_t)params + results;
  wz_function *function = calloc(1, sizeof *function + count);
  if (function == NULL) return NULL;
  function->store = store;
  function->number = go;
  function->params = params;
  function->results = results;
  memcpy(function->types, types, count);
  function->dense = memchr(types, WRT_V128, count) == NULL;
  function->next = store->functions;
  store->functions = function;
  return function;
}

wz_other *wz_other_make(wrt_store *store, uintptr_t go) {
  wz_other *other = calloc(1, sizeof *other);
  if (other == NULL) return NULL;
  other->number = go;
  other->next = store->others;
  store->others = other;
  return other;
}

static int function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                        wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  wz_function *made = wz_function_make(store, 0, types, (uint32_t)param_count, (uint32_t)result_count);
  if (made == NULL) return fail_memory(failure);
  made->host = function;
  made->env = env;
  *out = (wrt_extern){{WZ_FUNCTION, (uintptr_t)made, 0, 0}};
  return WRT_OK;
}

static inline bool narrow(uint8_t type) { return type == WRT_I32 || type == WRT_F32; }

/* Packs values, in place, from two words each into as many words as each needs. */
static void pack(wrt_slot *slots, const uint8_t *types, size_t count) {
  uint64_t *to = &slots->u64;
  for (size_t i = 0; i < count; i++) {
    *to++ = slots[2 * i].u64;
    if (types[i] == WRT_V128) *to++ = slots[2 * i + 1].u64;
  }
}

/* The reverse. `words` is how many words the packed values take. */
static void unpack(wrt_slot *slots, const uint8_t *types, size_t count, size_t words) {
  const uint64_t *from = &slots->u64 + words;
  for (size_t i = count; i-- > 0;) {
    if (types[i] == WRT_V128) slots[2 * i + 1].u64 = *--from;
    uint64_t value = *--from;
    slots[2 * i].u64 = narrow(types[i]) ? (uint32_t)value : value;
  }
}

static size_t words_of(const uint8_t *types, size_t count) {
  size_t words = count;
  for (size_t i = 0; i < count; i++) words += types[i] == WRT_V128;
  return words;
}

/* Guests have stacks of their own, which Go keeps, but host functions run on the native stack: it is checked here, as it grows
 * deeper only here within a call. */
static bool stack_is_short(void) {
  static PER_THREAD uintptr_t bottom = UINTPTR_MAX;
  if (bottom == UINTPTR_MAX) bottom = find_stack_bottom();
  return (uintptr_t)__builtin_frame_address(0) - STACK_NEEDED < bottom;
}

/* A host function's arguments from as many words as each needs into two words each. */
static void spread(const wz_function *function, const uint64_t *words, wrt_slot *slots) {
  size_t params = function->params;
  if (LIKELY(function->dense)) {
    for (size_t i = 0; i < params; i++) slots[2 * i].u64 = narrow(function->types[i]) ? (uint32_t)words[i] : words[i];
    return;
  }
  size_t count = words_of(function->types, params);
  memcpy(slots, words, count * sizeof *slots);
  unpack(slots, function->types, params, count);
}

/* The reverse, for its results. */
static void gather(const wz_function *function, wrt_slot *slots, uint64_t *words) {
  const uint8_t *types = function->types + function->params;
  if (LIKELY(function->dense)) {
    for (size_t i = 0; i < function->results; i++) words[i] = slots[2 * i].u64;
    return;
  }
  pack(slots, types, function->results);
  memcpy(words, slots, words_of(types, function->results) * sizeof *slots);
}

static int host_call(const wz_function *function, size_t level, uint64_t *words) {
  size_t params = function->params, results = function->results, most = params > results ? params : results;
  wrt_slot few[INLINE_WORDS], *slots = few;
  if (UNLIKELY(stack_is_short())) return WRT_TRAP;
  if (UNLIKELY(2 * most > INLINE_WORDS) && (slots = malloc(2 * most * sizeof *slots)) == NULL) return WRT_ERROR;
  spread(function, words, slots);
  wrt_caller caller = {.store = function->store, .level = level};
  int result = function->host(function->env, &caller, slots);
  if (UNLIKELY(forked) && result == WRT_OK) result = WRT_UNSUPPORTED; /* the host forked: leave Go at once */
  if (LIKELY(result == WRT_OK)) gather(function, slots, words);
  if (UNLIKELY(slots != few)) free(slots);
  return result;
}

void wz_host_call(uintptr_t function, size_t level, uintptr_t words) {
  const wz_function *host = (const wz_function *)function;
  host->store->host_result = host_call(host, level, (uint64_t *)words);
}

static int call(wrt_store *store, const wrt_extern *item, wrt_slot *slots, size_t slot_count, wrt_failure *failure) {
  (void)slot_count;
  REFUSE_IN_CHILD(failure);
  wz_function *function = function_of(item);
  size_t params = function->params, results = function->results;
  if (UNLIKELY(function->host != NULL)) {
    wrt_caller caller = {.store = store, .level = SIZE_MAX};
    if (function->host(function->env, &caller, slots) == WRT_OK) return WRT_OK;
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
    return WRT_HOST;
  }
  if (UNLIKELY(function->number == 0))
    return fail(failure, WRT_UNSUPPORTED, "reference-types: wazero does not tell the type of this function reference");
  int result = wz_poll(store); /* as short calls do not poll, and one loop may make very many */
  if (UNLIKELY(result != WRT_OK)) {
    if (result == WRT_UNSUPPORTED) return fail_forked(failure);
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
    return result;
  }
  pack(slots, function->types, params);
  result = wzCall(function->number, (uintptr_t)slots, failure);
  if (UNLIKELY(result != WRT_OK)) return result;
  const uint8_t *types = function->types + params;
  unpack(slots, types, results, function->dense ? results : words_of(types, results));
  return WRT_OK;
}

static int call_rows(wrt_store *store, const wrt_extern *item, wrt_slot *slots, size_t slot_count, size_t rows,
                     const bool *stop, size_t *done, wrt_failure *failure) {
  const wz_function *function = function_of(item);
  if (function->dense && function->number != 0) {
    REFUSE_IN_CHILD(failure);
    return wzCallRows(function->number, (uintptr_t)slots, slot_count, rows, (bool *)stop, done, failure);
  }
  while (*done < rows) {
    int result = call(store, item, slots + *done * slot_count, slot_count, failure);
    if (result != WRT_OK) return result;
    ++*done;
    if (__atomic_load_n(stop, __ATOMIC_RELAXED)) break;
  }
  return WRT_OK;
}

static bool call_is_short(wrt_store *store, const wrt_extern *item) {
  (void)store;
  return function_of(item)->is_short;
}

int wz_poll(wrt_store *store) {
  size_t ticks = __atomic_load_n(&store->engine->ticks, __ATOMIC_RELAXED);
  if (ticks == store->seen) return WRT_OK;
  store->seen = ticks;
  int result = store->poll == NULL ? WRT_OK : store->poll(store->poll_env);
  return forked && result == WRT_OK ? WRT_UNSUPPORTED : result;
}

static void store_poll(wrt_store *store, int (*poll)(void *env), void *env) {
  store->poll = poll;
  store->poll_env = env;
}

static void engine_tick(wrt_engine *engine) { __atomic_fetch_add(&engine->ticks, 1, __ATOMIC_RELAXED); }

/* ---- engine and module ---- */

static int engine_new(const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  if (!watched)
    return fail(failure, WRT_ERROR,
                "wazero cannot tell whether this process was forked: there was no memory for that when it was opened, or the "
                "process was forked at that moment");
  wrt_engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) return fail_memory(failure);
  int64_t values[4] = {0}; /* interpreter, features, polls, long_indexes */
  for (size_t i = 0; i < count; i++) {
    static const char *const names[] = {"interpreter", "features", "polls", "long_indexes"};
    size_t at = 0;
    while (at < 4 && strcmp(options[i].name, names[at]) != 0) at++;
    if (at == 4) {
      free(engine);
      return fail(failure, WRT_INVALID, options[i].name);
    }
    values[at] = options[i].value;
  }
  int result = wzEngineNew(values[0] != 0, (uint64_t)values[1], values[2] != 0, values[3] != 0, &engine->number, failure);
  if (result != WRT_OK) {
    free(engine);
    return result;
  }
  *out = engine;
  return WRT_OK;
}

static void engine_delete(wrt_engine *engine) {
  if (!forked) wzEngineDelete(engine->number);
  free(engine);
}

static int validate(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzValidate(engine->number, (uintptr_t)bytes, size, failure);
}

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  wrt_module *module = calloc(1, sizeof *module);
  if (module == NULL) return fail_memory(failure);
  int result = wzCompile(engine->number, (uintptr_t)bytes, size, &module->number, failure);
  if (result == WRT_OK)
    *out = module;
  else
    free(module);
  return result;
}

static int text_to_binary(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure) {
  (void)text, (void)size, (void)out;
  return fail(failure, WRT_UNSUPPORTED, "wat: wazero reads the binary form only");
}

static int serialize(wrt_module *module, wrt_bytes *out, wrt_failure *failure) {
  (void)module, (void)out;
  return fail(failure, WRT_UNSUPPORTED, "serialize: wazero hands out no compiled modules");
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  (void)engine, (void)bytes, (void)size, (void)out;
  return fail(failure, WRT_UNSUPPORTED, "serialize: wazero takes no compiled modules");
}

static void module_delete(wrt_module *module) {
  if (!forked) wzModuleDelete(module->number);
  free(module);
}

/* ---- stores and instances ---- */

static int store_new(wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances,
                     wrt_store **out, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  wrt_store *store = calloc(1, sizeof *store);
  if (store == NULL) return fail_memory(failure);
  store->engine = engine;
  store->memory_limit = memory_bytes < 0 ? UINT64_MAX : (uint64_t)memory_bytes;
  int result = wzStoreNew(engine->number, store, table_elements, instances, &store->number, failure);
  if (result == WRT_OK)
    *out = store;
  else
    free(store);
  return result;
}

typedef struct wz_reference {
  struct wz_reference *next;
  void *data;
  void (*finalizer)(void *data);
} wz_reference;

static void store_delete(wrt_store *store) {
  if (!forked) wzStoreDelete(store->number);
  while (store->references != NULL) {
    wz_reference *each = store->references;
    store->references = each->next;
    if (each->finalizer != NULL) each->finalizer(each->data);
    free(each);
  }
  while (store->memories != NULL) {
    wz_memory *each = store->memories;
    store->memories = each->next;
    munmap(each->base, each->reserved);
    free(each);
  }
  while (store->functions != NULL) {
    wz_function *each = store->functions;
    store->functions = each->next;
    free(each);
  }
  while (store->others != NULL) {
    wz_other *each = store->others;
    store->others = each->next;
    free(each);
  }
  free(store);
}

static int instantiate(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count, wrt_instance *out,
                       wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  uintptr_t instance;
  int result = wzInstantiate(store->number, module->number, (uintptr_t)imports, count, &instance, failure);
  if (result == WRT_OK) *out = (wrt_instance){{instance, 0}};
  return result;
}

static bool instance_export(wrt_store *store, const wrt_instance *instance, const char *name, size_t size,
                            wrt_extern *out) {
  return !forked && wzExport(store->number, instance->opaque[0], (uintptr_t)name, size, out);
}

static bool caller_export(wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out) {
  return !forked && wzCallerExport(store->number, caller->level, (uintptr_t)name, size, out);
}

static int memory_type(const wz_memory *memory, wrt_extern_type *out) {
  *out = (wrt_extern_type){.kind = WRT_MEMORY,
                           .shared = memory->shared,
                           .has_maximum = memory->has_maximum,
                           .minimum = memory->minimum,
                           .maximum = memory->maximum,
                           .page_size = PAGE};
  return WRT_OK;
}

static int extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  if (item->opaque[0] == WZ_MEMORY) return memory_type((const wz_memory *)(uintptr_t)item->opaque[1], out);
  if (item->opaque[0] != WZ_FUNCTION) {
    REFUSE_IN_CHILD(failure);
    return wzExternType(store->number, ((wz_other *)(uintptr_t)item->opaque[1])->number, out, failure);
  }
  const wz_function *function = function_of(item);
  size_t count = (size_t)function->params + function->results;
  uint8_t *types = malloc(count + 1);
  if (types == NULL) return fail_memory(failure);
  memcpy(types, function->types, count);
  *out = (wrt_extern_type){
      .kind = WRT_FUNCTION, .param_count = function->params, .result_count = function->results, .types = types};
  return WRT_OK;
}

static void type_clear(wrt_extern_type *type) {
  free(type->types);
  type->types = NULL;
}

/* ---- externs that the host makes, reads and sets ---- */

static uintptr_t go_of(const wrt_extern *item) { return ((wz_other *)(uintptr_t)item->opaque[1])->number; }

static int memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzMemoryNew(store->number, (wrt_extern_type *)type, out, failure);
}

static int table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                     wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzTableNew(store->number, (wrt_extern_type *)type, init->u64, out, failure);
}

static int global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out,
                      wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  uint64_t high = type->content == WRT_V128 ? value[1].u64 : 0;
  return wzGlobalNew(store->number, (wrt_extern_type *)type, value->u64, high, out, failure);
}

static int memory_grow(wrt_store *store, const wrt_extern *item, uint64_t delta, uint64_t *previous,
                       wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzMemoryGrow(store->number, (wz_memory *)(uintptr_t)item->opaque[1], delta, previous, failure);
}

static void global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out) {
  *out = (wrt_slot){0};
  if (!forked) wzGlobalGet(store->number, go_of(global), (uintptr_t)out);
}

static int global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzGlobalSet(store->number, go_of(global), (uintptr_t)value, failure);
}

static uint64_t table_size(wrt_store *store, const wrt_extern *table) {
  return forked ? 0 : wzTableSize(store->number, go_of(table));
}

static bool table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out) {
  return !forked && wzTableGet(store->number, go_of(table), index, (uintptr_t)out);
}

static int table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value,
                     wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzTableSet(store->number, go_of(table), index, value->u64, failure);
}

static int table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                      uint64_t *previous, wrt_failure *failure) {
  REFUSE_IN_CHILD(failure);
  return wzTableGrow(store->number, go_of(table), delta, init->u64, previous, failure);
}

/* ---- references ---- */

static void function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out) {
  out->u64 = forked ? 0 : wzFunctionToSlot(store->number, (wrt_extern *)function);
}

static void function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out) {
  *out = (wrt_extern){{0}};
  if (!forked) wzFunctionFromSlot(store->number, slot->u64, out);
  if (out->opaque[1] != 0) return;
  static wz_function unknown; /* calling it is refused: wazero does not tell its type, and no module of the store names that */
  *out = (wrt_extern){{WZ_FUNCTION, (uintptr_t)&unknown, 0, 0}};
}

/* wazero does not tell when a guest drops a reference, so each is kept until its store ends. A guest has the address plus one,
 * because a slot with zeros in its low half is read as null. */
static int ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure) {
  wz_reference *reference = malloc(sizeof *reference);
  if (reference == NULL) return fail_memory(failure);
  *reference = (wz_reference){.next = store->references, .data = data, .finalizer = finalizer};
  store->references = reference;
  *out = (wrt_ref){{(uintptr_t)reference + 1, 0, 0}};
  return WRT_OK;
}

static void ref_to_slot(wrt_store *store, const wrt_ref *ref, wrt_slot *out) {
  (void)store;
  out->u64 = ref->opaque[0];
}

static void ref_delete(wrt_ref *ref) { (void)ref; }

static void *ref_data(wrt_store *store, const wrt_slot *slot) {
  (void)store;
  return ((const wz_reference *)(uintptr_t)(slot->u64 - 1))->data;
}

static void collect(wrt_store *store) { (void)store; }

/* ---- what is handed out ---- */

static void failure_clear(wrt_failure *failure) {
  for (size_t i = 0; i < failure->frame_count; i++) {
    free(failure->frames[i].func_name);
    free(failure->frames[i].module_name);
  }
  free(failure->frames);
  free(failure->message);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
}

static void bytes_clear(wrt_bytes *bytes) { *bytes = (wrt_bytes){0}; } /* none are handed out */

static int fuel_set(wrt_store *store, uint64_t fuel, wrt_failure *failure) {
  (void)store, (void)fuel;
  return fail(failure, WRT_UNSUPPORTED, "fuel: wazero counts no fuel");
}

static int fuel_get(wrt_store *store, uint64_t *fuel, wrt_failure *failure) {
  (void)store, (void)fuel;
  return fail(failure, WRT_UNSUPPORTED, "fuel: wazero counts no fuel");
}

static const wrt_engine_ops ops = {
    .version = WRT_VERSION,
    .slot_words = 2,
    .name = "wazero",
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
    .function_new = function_new,
    .memory_new = memory_new,
    .table_new = table_new,
    .global_new = global_new,
    .instantiate = instantiate,
    .instance_export = instance_export,
    .caller_export = caller_export,
    .extern_type = extern_type,
    .call = call,
    .memory_data = memory_data,
    .memory_grow = memory_grow,
    .global_get = global_get,
    .global_set = global_set,
    .table_size = table_size,
    .table_get = table_get,
    .table_set = table_set,
    .table_grow = table_grow,
    .function_to_slot = function_to_slot,
    .function_from_slot = function_from_slot,
    .ref_new = ref_new,
    .ref_to_slot = ref_to_slot,
    .ref_delete = ref_delete,
    .ref_data = ref_data,
    .collect = collect,
    .failure_clear = failure_clear,
    .bytes_clear = bytes_clear,
    .type_clear = type_clear,
    .store_poll = store_poll,
    .engine_tick = engine_tick,
    .fuel_set = fuel_set,
    .fuel_get = fuel_get,
    .call_rows = call_rows,
    .call_is_short = call_is_short,
};

/* Go's runtime opens two descriptors of its own when it first sets a timer, which its collector does at any moment, and ends
 * the process where there are none. So it sets one here, while there are two. */
const wrt_engine_ops *wrt_wazero_ops(void) {
  if (!forked) wzSetTimer();
  return &ops; /* which tells a child of its fork */
}

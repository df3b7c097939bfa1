/* wrt_wasm3.c: the engine table over wasm3, compiled into this extension. What it knows of wasm3's insides stands in
 * wrt_wasm3_inside.h; without wasm3 at hand there is no table.
 *
 * Who owns what. A module keeps the bytes, which wasm3 reads for as long as an instance lives, and one instance made ahead:
 * compiling is what makes an instance here, so the first instantiation finds the work done. An instance is a wasm3 runtime of
 * its own, with one module in it; it counts the module. A store owns its instances, its host functions, and one stack, on which
 * all of its instances run: so a call from one instance into another is a jump.
 *
 * Guests poll by two words in the header of each memory: where the engine's ticks are counted, and how many of them the memory
 * has seen. Calls and turns of loops compare them, and calls the native stack too (see wasm3_changes.py). So a tick, from any
 * thread, is an addition, and no thread looks into the stores of another.
 */
#include "wrt.h"

#ifndef WRT_WASM3

const wrt_engine_ops *wrt_wasm3_ops(void) { return NULL; }
const char *wrt_wasm3_version(void) { return NULL; }
const char *wrt_wasm3_proposals(void) { return NULL; }

#else

#include <stdatomic.h>
#include <stdlib.h>

#include "wrt_stack.h"
#include "wrt_wasm3_inside.h"
#include "wrt_wasm3_skip.h"

enum {
  /* What wasm3 may write above the limit of the stack before a call is checked: a slot's number has 16 bits. */
  STACK_HEADROOM = (1 << 16) * (int)sizeof(m3slot_t) + (64 << 10),
  STACK_GUARD = 64 << 10,
  /* From a page's start: a slot must not agree in its low 12 bits with the header of a memory, which begins a page too, or the
   * processor takes each load of the one to wait for stores to the other. */
  STACK_OFFSET = 2112,
  DEFAULT_STACK = 1 << 20,
  /* Native stack that guests leave to the host functions they call. */
  HOST_STACK = 128 << 10,
  /* Native stack for compiling a module without nested blocks. */
  COMPILER_STACK = 128 << 10,
  LENT_EXTERNS = 64
};

/* ---- our objects ---- */

struct wrt_engine {
  atomic_uint holders; /* whoever made it, and the stores */
  size_t ticks;        /* read and written atomically */
  size_t stack_slots;
  size_t stack_size;     /* of each store's stack, with the guards around it */
  _Atomic(void *) spare; /* owned: the stack of a store that is gone, for the next one; or NULL */
};

typedef struct instance instance;

struct wrt_module {
  atomic_uint holders;
  wasm3_scan scan;
  _Atomic(instance *) ready; /* owned: the instance made ahead, or NULL */
};

/* A function of another instance or of the host in a table: a function of wasm3's that is no guest code. */
typedef struct thunk {
  struct thunk *next;
  M3Function function; /* what the table points to */
  wasm3_code code;
  wrt_extern item;
} thunk;

struct instance {
  wasm3_guest guest;     /* first: the runtime's user data points here */
  wrt_store *store;      /* borrowed; NULL until it is linked */
  wrt_module *module;    /* counted once it is linked */
  wrt_extern *functions; /* owned: what the imported functions are linked to */
  thunk *thunks;         /* owned */
  instance *next;
};

typedef struct host_record {
  struct host_record *next;
  wrt_host_function function;
  void *env;
  wasm3_code code;
  wrt_store *store;
  size_t param_count;
  size_t result_count;
  uint8_t types[];
} host_record;

/* A global made by the host, to be copied by who imports it. */
typedef struct host_global {
  struct host_global *next;
  wrt_type type;
  bool mutable_;
  wrt_slot value;
} host_global;

struct wrt_store {
  uint64_t *top;   /* where on the stack the next call begins: at `bottom`, unless a host function runs, or a poll */
  uint64_t *bottom;
  uint64_t *limit; /* where a call must end */
  void *stack;     /* owned: the stack between two guards */
  size_t stack_slots;
  wrt_engine *engine; /* held */
  uintptr_t floor;    /* of the native stack, as the headers of the memories have it */
  int (*poll)(void *env);
  void *poll_env;
  const void *stopped; /* why a guest must end that polled or ran out of stack, until it has */
  bool host_failed;
  uint64_t memory_limit;
  uint64_t table_limit;
  uint64_t instances_left;
  instance *instances;
  host_record *records;
  host_global *globals;
  wrt_extern lent[LENT_EXTERNS]; /* behind the slots that were handed out last */
  unsigned lent_count;
};

struct wrt_caller {
  instance *instance; /* NULL where the host itself called */
};

/* An extern: what it is, whose it is, and which. */
typedef enum extern_tag { GUEST_FUNCTION = 1, HOST_FUNCTION, GUEST_MEMORY, GUEST_TABLE, GUEST_GLOBAL, HOST_GLOBAL } extern_tag;

static inline wrt_extern pack(extern_tag tag, void *owner, uint64_t which) {
  return (wrt_extern){{tag, (uintptr_t)owner, which, 0}};
}

static inline instance *owner_of(const wrt_extern *item) { return (instance *)(uintptr_t)item->opaque[1]; }

static inline instance *instance_of(const M3MemoryHeader *header) { return header->runtime->userdata; }

/* ---- failures ---- */

static const char host_unwound[] = "the host unwound the guest";

static char *copy_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = malloc(size);
  if (copy != NULL) memcpy(copy, text, size); /* or else the message is lost, but not the result */
  return copy;
}

static int fail(wrt_failure *failure, int result, const char *message) {
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(message)};
  return result;
}

static int fail_memory(wrt_failure *failure) { return fail(failure, WRT_ERROR, "out of memory"); }

static int fail_trap(wrt_failure *failure, wrt_trap trap) {
  static const char *const texts[] = {
      [WRT_TRAP_STACK_OVERFLOW] = "call stack exhausted",
      [WRT_TRAP_MEMORY_OUT_OF_BOUNDS] = "out of bounds memory access",
      [WRT_TRAP_TABLE_OUT_OF_BOUNDS] = "undefined element: out of bounds table access",
      [WRT_TRAP_INDIRECT_CALL_TO_NULL] = "uninitialized element",
      [WRT_TRAP_BAD_SIGNATURE] = "indirect call type mismatch",
      [WRT_TRAP_INTEGER_OVERFLOW] = "integer overflow",
      [WRT_TRAP_INTEGER_DIVISION_BY_ZERO] = "integer divide by zero",
      [WRT_TRAP_BAD_CONVERSION_TO_INTEGER] = "invalid conversion to integer",
      [WRT_TRAP_UNREACHABLE] = "wasm `unreachable` instruction executed",
      [WRT_TRAP_NULL_REFERENCE] = "null reference",
      [WRT_TRAP_OTHER] = "the guest trapped",
  };
  *failure = (wrt_failure){.trap = trap, .message = texts[trap] == NULL ? NULL : copy_text(texts[trap])};
  return WRT_TRAP;
}

/* How guest code ended that did not end well. The reasons are constants of wasm3's, told by their address. */
static int fail_guest(wrt_store *store, wrt_failure *failure, const void *reason) {
  const struct {
    const void *reason;
    wrt_trap trap;
  } known[] = {
      {m3Err_trapStackOverflow, WRT_TRAP_STACK_OVERFLOW},
      {m3Err_trapOutOfBoundsMemoryAccess, WRT_TRAP_MEMORY_OUT_OF_BOUNDS},
      {m3Err_trapTableIndexOutOfRange, WRT_TRAP_TABLE_OUT_OF_BOUNDS},
      {m3Err_trapTableElementIsNull, WRT_TRAP_INDIRECT_CALL_TO_NULL},
      {m3Err_trapIndirectCallTypeMismatch, WRT_TRAP_BAD_SIGNATURE},
      {m3Err_trapIntegerOverflow, WRT_TRAP_INTEGER_OVERFLOW},
      {m3Err_trapDivisionByZero, WRT_TRAP_INTEGER_DIVISION_BY_ZERO},
      {m3Err_trapIntegerConversion, WRT_TRAP_BAD_CONVERSION_TO_INTEGER},
      {m3Err_trapUnreachable, WRT_TRAP_UNREACHABLE},
#if !WASM3_OLD
      {m3Err_trapTableOutOfBounds, WRT_TRAP_TABLE_OUT_OF_BOUNDS},
      {m3Err_trapNullReference, WRT_TRAP_NULL_REFERENCE},
      {m3Err_trapNullFunctionRef, WRT_TRAP_NULL_REFERENCE},
#endif
  };
  if (reason == host_unwound && store->host_failed) {
    store->host_failed = false;
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
    return WRT_HOST;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (reason == known[i].reason) return fail_trap(failure, known[i].trap);
  }
  return fail(failure, WRT_ERROR, reason);
}

static void failure_clear(wrt_failure *failure) {
  free(failure->message);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
}

static void bytes_clear(wrt_bytes *bytes) { *bytes = (wrt_bytes){0}; } /* none are handed out */

static void type_clear(wrt_extern_type *type) {
  free(type->types);
  type->types = NULL;
}

/* ---- the native stack, and polling ---- */

/* The lowest address of this thread's stack that guests and the compiler may reach. */
static uintptr_t find_floor(void) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0), bottom = find_stack_bottom();
  if (bottom == 0 || bottom > here) return here - HOST_STACK; /* a stack that the system does not know */
  uintptr_t quarter = (here - bottom) / 4;
  return bottom + (quarter < HOST_STACK ? quarter : HOST_STACK);
}

static inline uintptr_t thread_floor(void) {
  static _Thread_local uintptr_t floor;
  if (__builtin_expect(floor == 0, 0)) floor = find_floor();
  return floor;
}

const uint8_t *wrt_wasm3_skip(const uint8_t *at, const uint8_t *end) { return pass_unreachable(at, end); }

int wrt_wasm3_no_stack(void) { return (uintptr_t)__builtin_frame_address(0) < thread_floor(); }

static __attribute__((noinline)) void set_floor(wrt_store *store, uintptr_t floor) {
  store->floor = floor;
  for (instance *each = store->instances; each != NULL; each = each->next) wasm3_header(&each->guest)->wrt_floor = floor;
}

static inline size_t ticks_of(const wrt_engine *engine) { return __atomic_load_n(&engine->ticks, __ATOMIC_RELAXED); }

static void store_poll(wrt_store *store, int (*poll)(void *env), void *env) {
  store->poll = poll;
  store->poll_env = env;
}

static void engine_tick(wrt_engine *engine) { __atomic_fetch_add(&engine->ticks, 1, __ATOMIC_RELAXED); }

/* The engine ticked since this memory's guest looked last: whether it may go on. What the host calls from here must leave
 * the guest's frame alone, which begins at `frame`. */
int wrt_wasm3_poll(M3MemoryHeader *header, void *frame) {
  const instance *self = instance_of(header);
  wrt_store *store = self->store;
  uint64_t *top = store->top;
  header->wrt_seen = ticks_of(store->engine);
  store->top = (uint64_t *)frame + self->guest.frame_words;
  bool goes_on = store->poll == NULL || store->poll(store->poll_env) == WRT_OK;
  store->top = top;
  if (goes_on) return true;
  store->host_failed = true;
  store->stopped = host_unwound;
  return false;
}

/* A call or a loop found that it must not go on: why. */
const void *wrt_wasm3_stop(M3MemoryHeader *header) {
  wrt_store *store = instance_of(header)->store;
  const void *reason = store->stopped;
  store->stopped = NULL;
  return reason == NULL ? m3Err_trapStackOverflow : reason;
}

/* ---- host functions ---- */

static inline bool narrow(uint8_t type) { return type == WRT_I32 || type == WRT_F32; }

/* Calls the host with the arguments that lie after the place of the results at `sp`, as wasm3 has them. */
static const void *call_host(const host_record *record, instance *self, uint64_t *sp) {
  wrt_store *store = record->store;
  size_t params = record->param_count, results = record->result_count;
  uint64_t *args = sp + results, *end = args + (params > results ? params : results), *top = store->top;
  if (__builtin_expect(end > store->limit, 0)) return m3Err_trapStackOverflow;
  for (size_t i = 0; i < params; i++) {
    if (narrow(record->types[i])) args[i] = (uint32_t)args[i];
  }
  wrt_caller caller = {.instance = self};
  store->top = end;
  int result = record->function(record->env, &caller, (wrt_slot *)args);
  store->top = top;
  if (__builtin_expect(result != WRT_OK, 0)) {
    store->host_failed = true;
    return host_unwound;
  }
  for (size_t i = 0; i < results; i++) sp[i] = args[i];
  return NULL;
}

/* Operations in wasm3's form: the words after the operation are `data` and `target` of a wasm3_code. */
static m3ret_t op_call_host(d_m3OpSig) {
  (void)_r0, (void)_fp0;
  return call_host((const host_record *)_pc[0], instance_of(_mem), (uint64_t *)_sp);
}

static m3ret_t op_call_guest(d_m3OpSig) {
  const M3Function *function = (const M3Function *)_pc[0];
  _mem = wasm3_header(&((instance *)_pc[1])->guest);
  return jumpOpImpl(function->compiled);
}

static wasm3_code code_for(const wrt_extern *item) {
  if (item->opaque[0] == HOST_FUNCTION)
    return (wasm3_code){.operation = (code_t)op_call_host, .data = (void *)(uintptr_t)item->opaque[1]};
  return (wasm3_code){.operation = (code_t)op_call_guest,
                      .data = (void *)(uintptr_t)item->opaque[2],
                      .target = (void *)(uintptr_t)item->opaque[1]};
}

/* ---- engine and module ---- */

static int engine_new(const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure) {
  int64_t stack = DEFAULT_STACK;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(options[i].name, "max_wasm_stack") != 0) return fail(failure, WRT_INVALID, options[i].name);
    stack = options[i].value;
    if (stack < 4096 || stack > 1 << 30) return fail(failure, WRT_INVALID, "max_wasm_stack is 4096 to 2**30 bytes");
  }
  wrt_engine *engine = malloc(sizeof *engine);
  if (engine == NULL) return fail_memory(failure);
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
  return result == WRT_OK ? WRT_OK : fail(failure, result, reason);
}

static void instance_free(instance *self) {
  wasm3_close(&self->guest);
  while (self->thunks != NULL) {
    thunk *each = self->thunks;
    self->thunks = each->next;
    free(each);
  }
  free(self->functions);
  free(self);
}

static void module_release(wrt_module *module) {
  if (atomic_fetch_sub(&module->holders, 1) != 1) return;
  instance *ready = atomic_load(&module->ready);
  if (ready != NULL) instance_free(ready);
  wasm3_scan_clear(&module->scan);
  free(module);
}

static int not_supported(wrt_failure *failure, const char *message) { return fail(failure, WRT_UNSUPPORTED, message); }

/* A new instance of the module, not linked. `globals` holds the values of those it imports. */
static int open_instance(wrt_module *module, uint64_t memory_limit, const wrt_slot *globals, instance **out,
                         wrt_failure *failure) {
  char reason[512];
  wrt_trap trap = WRT_TRAP_OTHER;
  if ((uintptr_t)__builtin_frame_address(0) < thread_floor() + COMPILER_STACK)
    return fail(failure, WRT_ERROR, "this thread has too little stack left to compile a module");
  instance *self = calloc(1, sizeof *self);
  if (self == NULL) return fail_memory(failure);
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
  if (out_of_memory) return fail_memory(failure);
  return result == WRT_TRAP ? fail_trap(failure, trap) : fail(failure, result, reason);
}

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  (void)engine;
  char reason[512];
  wrt_module *module = calloc(1, sizeof *module);
  if (module == NULL) return fail_memory(failure);
  atomic_init(&module->holders, 1);
  int result = wasm3_scan_read(&module->scan, bytes, size, &wasm3_can, reason, sizeof reason);
  if (result != WRT_OK) {
    free(module);
    return fail(failure, result, reason);
  }
  wrt_slot *zeros = calloc(module->scan.global_imports + 1, sizeof *zeros);
  instance *ready = NULL;
  result = zeros == NULL ? fail_memory(failure) : open_instance(module, UINT64_MAX, zeros, &ready, failure);
  free(zeros);
  if (result == WRT_TRAP || result == WRT_LINK) {
    failure_clear(failure); /* it cannot be instantiated; that is said when it is tried */
  } else if (result != WRT_OK) {
    module_release(module);
    return result;
  }
  if (ready != NULL && module->scan.global_imports > 0) {
    instance_free(ready); /* served to try the compiler only: what its globals are is not known yet */
    ready = NULL;
  }
  atomic_store(&module->ready, ready);
  *out = module;
  return WRT_OK;
}

static int text_to_binary(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure) {
  (void)text, (void)size, (void)out;
  return not_supported(failure, "wat: wasm3 has no reader of the text format");
}

static int serialize(wrt_module *module, wrt_bytes *out, wrt_failure *failure) {
  (void)module, (void)out;
  return not_supported(failure, "serialize: wasm3 has no compiled form to keep");
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  (void)engine, (void)bytes, (void)size, (void)out;
  return not_supported(failure, "serialize: wasm3 has no compiled form to keep");
}

static void module_delete(wrt_module *module) { module_release(module); }

/* ---- store ---- */

static uint64_t limit_of(int64_t limit) { return limit < 0 ? UINT64_MAX : (uint64_t)limit; }

/* A stack between two guards; NULL where there is no memory. What a store left on it, no guest can read. */
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
  if (store == NULL) return fail_memory(failure);
  store->stack = take_stack(engine);
  if (store->stack == NULL) {
    free(store);
    return fail_memory(failure);
  }
  uint8_t *base = (uint8_t *)store->stack + STACK_GUARD;
  atomic_fetch_add(&engine->holders, 1);
  store->engine = engine;
  store->stack_slots = engine->stack_slots;
  store->bottom = store->top = (uint64_t *)(void *)(base + STACK_OFFSET);
  store->limit = store->top + engine->stack_slots * sizeof(m3slot_t) / sizeof *store->top;
  store->floor = thread_floor();
  store->memory_limit = limit_of(memory_bytes);
  store->table_limit = limit_of(table_elements);
  store->instances_left = limit_of(instances);
  *out = store;
  return WRT_OK;
}

static void store_delete(wrt_store *store) {
  while (store->instances != NULL) {
    instance *each = store->instances;
    wrt_module *module = each->module;
    store->instances = each->next;
    instance_free(each);
    module_release(module);
  }
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

/* ---- what the host makes ---- */

static int function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                        wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  host_record *record = malloc(sizeof *record + param_count + result_count);
  if (record == NULL) return fail_memory(failure);
  *record = (host_record){.next = store->records, .function = function, .env = env, .store = store,
                          .param_count = param_count, .result_count = result_count};
  memcpy(record->types, types, param_count + result_count);
  store->records = record;
  *out = pack(HOST_FUNCTION, record, 0);
  return WRT_OK;
}

static int memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure) {
  (void)store, (void)type, (void)out;
  return not_supported(failure, "host-memory: wasm3 cannot make memories outside of a module");
}

static int table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                     wrt_failure *failure) {
  (void)store, (void)type, (void)init, (void)out;
  return not_supported(failure, "host-table: wasm3 cannot make tables outside of a module");
}

static int global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out,
                      wrt_failure *failure) {
  if (type->content > WRT_F64) return not_supported(failure, "host-global: wasm3 has globals of numbers only");
  host_global *global = malloc(sizeof *global);
  if (global == NULL) return fail_memory(failure);
  *global = (host_global){.next = store->globals, .type = type->content, .mutable_ = type->mutable_, .value = *value};
  store->globals = global;
  *out = pack(HOST_GLOBAL, global, 0);
  return WRT_OK;
}

/* ---- functions in slots and tables ---- */

/* A slot holds a function as the address of an extern. */
static void lend(wrt_store *store, const wrt_extern *item, wrt_slot *out) {
  wrt_extern *place = &store->lent[store->lent_count++ % LENT_EXTERNS];
  *place = *item;
  out->u64 = (uintptr_t)place;
}

static void function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out) { lend(store, function, out); }

static void function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out) {
  (void)store;
  *out = *(const wrt_extern *)(uintptr_t)slot->u64;
}

/* The extern of a function in a table of `self`. */
static wrt_extern function_extern(instance *self, IM3Function function) {
  const wasm3_guest *guest = &self->guest;
  uintptr_t at = (uintptr_t)function, first = (uintptr_t)guest->module->functions;
  if (at < first || at >= (uintptr_t)(guest->module->functions + guest->module->numFunctions))
    return ((thunk *)(at - offsetof(thunk, function)))->item;
  size_t index = (at - first) / sizeof *function;
  if (index < self->module->scan.function_imports && self->functions[index].opaque[0] == GUEST_FUNCTION)
    return self->functions[index];
  return pack(GUEST_FUNCTION, self, at);
}

/* The function type of a host function, as `self` knows it; NULL for lack of memory. */
static IM3FuncType host_type(instance *self, const host_record *record) {
  union {
    M3FuncType type;
    uint8_t room[sizeof(M3FuncType) + 2000 * sizeof *((M3FuncType *)NULL)->types];
  } like = {.type = {.numRets = (u16)record->result_count, .numArgs = (u16)record->param_count}};
  if (record->param_count + record->result_count > 1000) return NULL;
  for (size_t i = 0; i < record->result_count; i++)
    like.type.types[i] = (uint8_t)(record->types[record->param_count + i] + c_m3Type_i32);
  for (size_t i = 0; i < record->param_count; i++)
    like.type.types[record->result_count + i] = (uint8_t)(record->types[i] + c_m3Type_i32);
  return wasm3_own_type(&self->guest, &like.type);
}

/* What a table of `self` must hold for the function in a slot to be called; false for lack of memory. */
static bool table_function(instance *self, const wrt_slot *slot, IM3Function *out) {
  *out = NULL;
  if (slot->u64 == 0) return true;
  wrt_extern item = *(const wrt_extern *)(uintptr_t)slot->u64;
  if (item.opaque[0] == GUEST_FUNCTION && owner_of(&item) == self) {
    *out = (IM3Function)(uintptr_t)item.opaque[2];
    return true;
  }
  for (thunk *each = self->thunks; each != NULL; each = each->next) {
    if (memcmp(&each->item, &item, sizeof item) == 0) {
      *out = &each->function;
      return true;
    }
  }
  thunk *made = calloc(1, sizeof *made);
  if (made == NULL) return false;
  made->item = item;
  made->code = code_for(&item);
  made->function.module = self->guest.module;
  made->function.compiled = (pc_t)&made->code;
  made->function.funcType =
      item.opaque[0] == HOST_FUNCTION
          ? host_type(self, (const host_record *)(uintptr_t)item.opaque[1])
          : wasm3_own_type(&self->guest, ((IM3Function)(uintptr_t)item.opaque[2])->funcType);
  if (made->function.funcType == NULL) {
    free(made);
    return false;
  }
  made->next = self->thunks;
  self->thunks = made;
  *out = &made->function;
  return true;
}

/* ---- the call ---- */

static int call(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count,
                wrt_failure *failure) {
  (void)slot_count;
  if (__builtin_expect(function->opaque[0] != GUEST_FUNCTION, 0)) {
    const host_record *record = (const host_record *)(uintptr_t)function->opaque[1];
    wrt_caller caller = {.instance = NULL};
    if (record->function(record->env, &caller, slots) == WRT_OK) return WRT_OK;
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
    return WRT_HOST;
  }
  const M3Function *callee = (const M3Function *)(uintptr_t)function->opaque[2];
  const M3FuncType *type = callee->funcType;
  size_t params = type->numArgs, results = type->numRets;
  uint64_t *sp = store->top, *args = sp + results;
  uintptr_t floor = thread_floor();
  if (__builtin_expect(store->floor != floor, 0)) set_floor(store, floor);
  if (__builtin_expect(args + params > store->limit, 0)) return fail_trap(failure, WRT_TRAP_STACK_OVERFLOW);
  for (size_t i = 0; i < params; i++) args[i] = slots[i].u64;
  /* A call from within a host function leaves a tick to be seen by the calls around it. */
  if (sp == store->bottom) wasm3_header(&owner_of(function)->guest)->wrt_seen = ticks_of(store->engine);
  const void *reason = wasm3_run(&owner_of(function)->guest, callee, sp);
  if (__builtin_expect(reason != NULL, 0)) return fail_guest(store, failure, reason);
  for (size_t i = 0; i < results; i++)
    slots[i].u64 = narrow((uint8_t)wasm3_type(type->types[i])) ? (uint32_t)sp[i] : sp[i];
  return WRT_OK;
}

/* ---- instances ---- */

static int link_imports(instance *self, const wrt_extern *imports, wrt_failure *failure) {
  const wasm3_scan *scan = &self->module->scan;
  size_t next = 0;
  for (size_t i = 0; i < scan->import_count; i++) {
    if (scan->imports[i].kind != WRT_FUNCTION) continue;
    wrt_extern item = imports[i];
    if (item.opaque[0] != GUEST_FUNCTION && item.opaque[0] != HOST_FUNCTION)
      return fail(failure, WRT_LINK, "an import is no function");
    /* What another instance imported itself is linked to directly, so that a host function sees who really calls. */
    if (item.opaque[0] == GUEST_FUNCTION) {
      instance *other = owner_of(&item);
      size_t index = (size_t)((IM3Function)(uintptr_t)item.opaque[2] - other->guest.module->functions);
      if (index < other->module->scan.function_imports) item = other->functions[index];
    }
    self->functions[next] = item;
    self->guest.codes[next++] = code_for(&item);
  }
  return WRT_OK;
}

/* The values of the globals that `module` imports; *out is the caller's. */
static int global_values(const wrt_module *module, const wrt_extern *imports, wrt_slot **out, wrt_failure *failure) {
  wrt_slot *values = calloc(module->scan.global_imports + 1, sizeof *values);
  if (values == NULL) return fail_memory(failure);
  size_t next = 0;
  for (size_t i = 0; i < module->scan.import_count; i++) {
    if (module->scan.imports[i].kind != WRT_GLOBAL) continue;
    const wrt_extern *item = &imports[i];
    if (item->opaque[0] == HOST_GLOBAL)
      values[next++] = ((const host_global *)(uintptr_t)item->opaque[1])->value;
    else
      wasm3_global_get(wasm3_global(&owner_of(item)->guest, (uint32_t)item->opaque[2]), &values[next++]);
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
  if (count != module->scan.import_count) return fail(failure, WRT_LINK, "a wrong number of imports");
  if (store->instances_left == 0) return fail(failure, WRT_LINK, "the store has as many instances as its limit allows");
  instance *self = atomic_exchange(&module->ready, NULL);
  if (self == NULL) {
    wrt_slot *globals;
    int result = global_values(module, imports, &globals, failure);
    if (result != WRT_OK) return result;
    result = open_instance(module, store->memory_limit, globals, &self, failure);
    free(globals);
    if (result != WRT_OK) return result;
  }
  self->module = module;
  const char *problem = beyond_limits(store, self);
  int result = problem == NULL ? link_imports(self, imports, failure) : fail(failure, WRT_LINK, problem);
  if (result != WRT_OK) {
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
  store->instances = self;
  if (module->scan.has_start) {
    wrt_extern start = pack(GUEST_FUNCTION, self, (uintptr_t)wasm3_function(&self->guest, module->scan.start));
    result = call(store, &start, NULL, 0, failure);
    if (result != WRT_OK) return result; /* the instance stays, as something may hold on to it */
  }
  out->opaque[0] = (uintptr_t)self;
  out->opaque[1] = 0;
  return WRT_OK;
}

static bool find_export(instance *self, const char *name, size_t size, wrt_extern *out) {
  const wasm3_scan *scan = &self->module->scan;
  for (size_t i = 0; i < scan->export_count; i++) {
    const wasm3_export *each = &scan->exports[i];
    if (each->size != size || memcmp(each->name, name, size) != 0) continue;
    switch (each->kind) {
      case WRT_FUNCTION: *out = function_extern(self, wasm3_function(&self->guest, each->index)); return true;
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

/* ---- what externs are ---- */

static int function_type(const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  size_t params, results;
  const host_record *record = NULL;
  const M3FuncType *type = NULL;
  if (item->opaque[0] == HOST_FUNCTION) {
    record = (const host_record *)(uintptr_t)item->opaque[1];
    params = record->param_count;
    results = record->result_count;
  } else {
    type = ((const M3Function *)(uintptr_t)item->opaque[2])->funcType;
    params = type->numArgs;
    results = type->numRets;
  }
  uint8_t *types = malloc(params + results + 1);
  if (types == NULL) return fail_memory(failure);
  *out = (wrt_extern_type){.kind = WRT_FUNCTION, .param_count = params, .result_count = results, .types = types};
  if (record != NULL) {
    memcpy(types, record->types, params + results);
    return WRT_OK;
  }
  for (size_t i = 0; i < params; i++) *types++ = (uint8_t)wasm3_type(type->types[results + i]);
  for (size_t i = 0; i < results; i++) *types++ = (uint8_t)wasm3_type(type->types[i]);
  return WRT_OK;
}

static int extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  (void)store;
  instance *self = owner_of(item);
  switch (item->opaque[0]) {
    case GUEST_MEMORY: {
      const wasm3_limits *limits = &self->module->scan.memory;
      *out = (wrt_extern_type){.kind = WRT_MEMORY, .minimum = limits->minimum, .maximum = limits->maximum,
                               .has_maximum = limits->has_maximum, .page_size = WASM3_PAGE};
      return WRT_OK;
    }
    case GUEST_TABLE: {
      const wasm3_limits *limits = &self->module->scan.tables[item->opaque[2]];
      *out = (wrt_extern_type){.kind = WRT_TABLE, .content = WRT_FUNCREF, .minimum = limits->minimum,
                               .maximum = limits->maximum, .has_maximum = limits->has_maximum};
      return WRT_OK;
    }
    case GUEST_GLOBAL: {
      const M3Global *global = wasm3_global(&self->guest, (uint32_t)item->opaque[2]);
      *out = (wrt_extern_type){.kind = WRT_GLOBAL, .content = wasm3_type(global->type), .mutable_ = global->isMutable};
      return WRT_OK;
    }
    case HOST_GLOBAL: {
      const host_global *global = (const host_global *)(uintptr_t)item->opaque[1];
      *out = (wrt_extern_type){.kind = WRT_GLOBAL, .content = global->type, .mutable_ = global->mutable_};
      return WRT_OK;
    }
    default: return function_type(item, out, failure);
  }
}

/* ---- memories, globals, tables ---- */

static uint8_t *memory_data(wrt_store *store, const wrt_extern *memory, size_t *size) {
  (void)store;
  return wasm3_memory_data(&owner_of(memory)->guest, size);
}

static int memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                       wrt_failure *failure) {
  (void)store;
  wasm3_guest *guest = &owner_of(memory)->guest;
  uint64_t before = wasm3_memory_pages(guest);
  if (!wasm3_memory_grow(guest, delta)) return fail(failure, WRT_LIMIT, "the memory cannot grow that far");
  *previous = before;
  return WRT_OK;
}

static void global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out) {
  (void)store;
  if (global->opaque[0] == HOST_GLOBAL)
    *out = ((const host_global *)(uintptr_t)global->opaque[1])->value;
  else
    wasm3_global_get(wasm3_global(&owner_of(global)->guest, (uint32_t)global->opaque[2]), out);
}

static int global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure) {
  (void)store, (void)failure;
  if (global->opaque[0] == HOST_GLOBAL)
    ((host_global *)(uintptr_t)global->opaque[1])->value = *value;
  else
    wasm3_global_set(wasm3_global(&owner_of(global)->guest, (uint32_t)global->opaque[2]), value);
  return WRT_OK;
}

static IM3Function *table_of(const wrt_extern *table, size_t *size) {
  return wasm3_table(&owner_of(table)->guest, (uint32_t)table->opaque[2], size);
}

static uint64_t table_size(wrt_store *store, const wrt_extern *table) {
  (void)store;
  size_t size;
  table_of(table, &size);
  return size;
}

static bool table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out) {
  size_t size;
  IM3Function *elements = table_of(table, &size);
  if (index >= size) return false;
  out->u64 = 0;
  if (elements[index] != NULL) {
    wrt_extern item = function_extern(owner_of(table), elements[index]);
    lend(store, &item, out);
  }
  return true;
}

static int table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value,
                     wrt_failure *failure) {
  (void)store;
  size_t size;
  IM3Function function, *elements = table_of(table, &size);
  if (index >= size) return fail(failure, WRT_LIMIT, "the index is beyond the table");
  if (!table_function(owner_of(table), value, &function)) return fail_memory(failure);
  elements[index] = function;
  return WRT_OK;
}

static int table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                      uint64_t *previous, wrt_failure *failure) {
  instance *self = owner_of(table);
  const wasm3_limits *limits = &self->module->scan.tables[table->opaque[2]];
  uint64_t most = limits->has_maximum && limits->maximum < WASM3_MOST_ELEMENTS ? limits->maximum : WASM3_MOST_ELEMENTS;
  if (most > store->table_limit) most = store->table_limit;
  size_t size;
  IM3Function function, *elements = table_of(table, &size);
  if (size > most || delta > most - size) return fail(failure, WRT_LIMIT, "the table cannot grow that far");
  if (!table_function(self, init, &function)) return fail_memory(failure);
  if (delta > 0) {
    size_t grown = size + (size_t)delta;
    elements = realloc(elements, grown * sizeof *elements); /* as wasm3 does */
    if (elements == NULL) return fail(failure, WRT_LIMIT, "there is no memory for so large a table");
    for (size_t i = size; i < grown; i++) elements[i] = function;
    wasm3_table_put(&self->guest, (uint32_t)table->opaque[2], elements, grown);
  }
  *previous = size;
  return WRT_OK;
}

/* ---- references to host objects: no module that uses them gets this far ---- */

static int ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure) {
  (void)store, (void)data, (void)finalizer, (void)out;
  return not_supported(failure, "reference-types: wasm3 cannot hold references to host objects");
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
  return not_supported(failure, "fuel: wasm3 does not count what a guest uses");
}

static int fuel_get(wrt_store *store, uint64_t *fuel, wrt_failure *failure) {
  (void)store, (void)fuel;
  return not_supported(failure, "fuel: wasm3 does not count what a guest uses");
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
};

const wrt_engine_ops *wrt_wasm3_ops(void) { return &ops; }
const char *wrt_wasm3_version(void) { return M3_VERSION; }
const char *wrt_wasm3_proposals(void) { return WASM3_PROPOSALS; }

#endif

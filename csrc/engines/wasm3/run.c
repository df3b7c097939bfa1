/* run.c: how guests run: on which stack, how they poll, call the host and end. */
#ifdef WRT_WASM3

#include "run.h"

#include <stdlib.h>

#include "stack.h"

/* ---- failures ---- */

static const char host_unwound[] = "the host unwound the guest";
const char w3_closed[] = "the instance that it belongs to was closed";

static char *copy_text(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = malloc(size);
  if (copy != NULL) memcpy(copy, text, size); /* if this fails, the message is lost, but not the result */
  return copy;
}

int w3_fail(wrt_failure *failure, int result, const char *message) {
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(message)};
  return result;
}

int w3_fail_memory(wrt_failure *failure) { return w3_fail(failure, WRT_ERROR, "out of memory"); }

int w3_not_supported(wrt_failure *failure, const char *message) { return w3_fail(failure, WRT_UNSUPPORTED, message); }

int w3_fail_trap(wrt_failure *failure, wrt_trap trap) {
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

/* The failure of guest code. The reasons are constants of wasm3's, told apart by their addresses. */
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
    if (reason == known[i].reason) return w3_fail_trap(failure, known[i].trap);
  }
  return w3_fail(failure, WRT_ERROR, reason);
}

void w3_failure_clear(wrt_failure *failure) {
  free(failure->message);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
}

void w3_bytes_clear(wrt_bytes *bytes) { *bytes = (wrt_bytes){0}; } /* none are handed out */

void w3_type_clear(wrt_extern_type *type) {
  free(type->types);
  type->types = NULL;
}

/* ---- the native stack, and polling ---- */

/* The lowest addresses of this thread's stack that guests and the compiler may reach. Guests leave half of a small stack free,
 * as polling runs signal handlers. */
typedef struct floors {
  uintptr_t guests;
  uintptr_t compiler;
} floors;

static floors find_floors(void) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0), bottom = find_stack_bottom();
  if (bottom == 0 || bottom > here) /* a stack that the system does not know */
    return (floors){here - LEAST_HOST_STACK, here - LEAST_HOST_STACK};
  size_t quarter = host_share(here - bottom, 1);
  return (floors){bottom + host_share(here - bottom, 2),
                  bottom + (quarter < LEAST_HOST_STACK ? quarter : LEAST_HOST_STACK)};
}

static const floors *thread_floors(void) {
  static _Thread_local floors found;
  if (__builtin_expect(found.guests == 0, 0)) found = find_floors();
  return &found;
}

uintptr_t w3_thread_floor(void) { return thread_floors()->guests; }
uintptr_t w3_compiler_floor(void) { return thread_floors()->compiler; }

int wrt_wasm3_no_stack(void) { return (uintptr_t)__builtin_frame_address(0) < w3_compiler_floor(); }

static __attribute__((noinline)) void set_floor(wrt_store *store, uintptr_t floor) {
  store->floor = floor;
  for (instance *each = store->instances; each != NULL; each = each->next) wasm3_header(&each->guest)->wrt_floor = floor;
}

void w3_store_poll(wrt_store *store, int (*poll)(void *env), void *env) {
  store->poll = poll;
  store->poll_env = env;
}

void w3_engine_tick(wrt_engine *engine) { __atomic_fetch_add(&engine->ticks, 1, __ATOMIC_RELAXED); }

/* Called when the engine has ticked since this memory's guest looked last: whether the guest may go on. The guest's frame
 * begins at `frame`; calls that the host makes from here must not touch it. */
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

/* Called when a call or a loop has found that it must not go on: returns why. */
const void *wrt_wasm3_stop(M3MemoryHeader *header) {
  wrt_store *store = instance_of(header)->store;
  const void *reason = store->stopped;
  store->stopped = NULL;
  return reason == NULL ? m3Err_trapStackOverflow : reason;
}

/* ---- bulk memory, in pieces between which the guest polls ---- */

enum { PIECE = 16 << 20 };

static bool goes_on(M3MemoryHeader *header, void *frame) { return wrt_wasm3_not_ticked(header, frame); }

/* As memmove; false where the guest must end. No piece needs what earlier ones have overwritten. */
int wrt_wasm3_copy(M3MemoryHeader *header, void *frame, uint8_t *to, const uint8_t *from, size_t size) {
  bool upwards = to <= from;
  for (; size > PIECE; size -= PIECE) {
    size_t at = upwards ? 0 : size - PIECE;
    memmove(to + at, from + at, PIECE);
    if (upwards) to += PIECE, from += PIECE;
    if (!goes_on(header, frame)) return false;
  }
  memmove(to, from, size);
  return true;
}

/* As memset; false where the guest must end. */
int wrt_wasm3_fill(M3MemoryHeader *header, void *frame, uint8_t *to, uint8_t byte, size_t size) {
  for (; size > PIECE; size -= PIECE, to += PIECE) {
    memset(to, byte, PIECE);
    if (!goes_on(header, frame)) return false;
  }
  memset(to, byte, size);
  return true;
}

/* ---- host functions ---- */

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

wasm3_code w3_code_for(const wrt_extern *item) {
  if (item->opaque[0] == HOST_FUNCTION)
    return (wasm3_code){.operation = (code_t)op_call_host, .data = (void *)(uintptr_t)item->opaque[1]};
  return (wasm3_code){.operation = (code_t)op_call_guest,
                      .data = (void *)(uintptr_t)item->opaque[2],
                      .target = (void *)(uintptr_t)item->opaque[1]};
}

/* ---- the call ---- */

int w3_call(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count,
            wrt_failure *failure) {
  (void)slot_count;
  if (__builtin_expect(function->opaque[0] != GUEST_FUNCTION, 0)) {
    const host_record *record = (const host_record *)(uintptr_t)function->opaque[1];
    wrt_caller caller = {.instance = NULL};
    if (record->function(record->env, &caller, slots) == WRT_OK) return WRT_OK;
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
    return WRT_HOST;
  }
  if (is_gone(owner_of(function))) return w3_fail(failure, WRT_ERROR, w3_closed);
  const M3Function *callee = (const M3Function *)(uintptr_t)function->opaque[2];
  const M3FuncType *type = callee->funcType;
  size_t params = type->numArgs, results = type->numRets;
  uint64_t *sp = store->top, *args = sp + results;
  uintptr_t floor = w3_thread_floor();
  if (__builtin_expect(store->floor != floor, 0)) set_floor(store, floor);
  if (__builtin_expect(args + params > store->limit, 0)) return w3_fail_trap(failure, WRT_TRAP_STACK_OVERFLOW);
  for (size_t i = 0; i < params; i++) args[i] = slots[i].u64;
  /* A call from within a host function leaves a tick to be seen by the calls around it. */
  if (sp == store->bottom) wasm3_header(&owner_of(function)->guest)->wrt_seen = ticks_of(store->engine);
  const void *reason = wasm3_run(&owner_of(function)->guest, callee, sp);
  if (__builtin_expect(reason != NULL, 0)) return fail_guest(store, failure, reason);
  for (size_t i = 0; i < results; i++)
    slots[i].u64 = narrow((uint8_t)wasm3_type(type->types[i])) ? (uint32_t)sp[i] : sp[i];
  return WRT_OK;
}

#endif

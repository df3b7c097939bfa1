/* failures.c: Wasmtime's errors and traps as a wrt_failure. */
#include "failures.h"

#include "exceptions.h"
#include "stack.h"

static char *copy_text(const char *data, size_t size) {
  char *text = malloc(size + 1);
  if (text == NULL) return NULL; /* the message is lost, the result code is not */
  memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

static char *copy_name(const wasm_byte_vec *name) { return name == NULL ? NULL : copy_text(name->data, name->size); }

int wt_fail(wrt_failure *failure, int result, const char *message) {
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(message, strlen(message))};
  return result;
}

int wt_fail_memory(wrt_failure *failure) { return wt_fail(failure, WRT_ERROR, "out of memory"); }

bool wt_no_stack(size_t needed, wrt_failure *failure) {
  if (!lacks_stack(needed)) return false;
  wt_fail(failure, WRT_ERROR, "this thread has too little of its stack left for the compiler: give it 1 MiB or more by "
                              "threading.stack_size(), or compile on another one");
  return true;
}

/* Turns an owned error into a failure. */
int wt_fail_error(wrt_failure *failure, int result, wasmtime_error_t *error) {
  wasm_byte_vec text;
  wt.wasmtime_error_message(error, &text);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(text.data, text.size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasmtime_error_delete(error);
  return result;
}

int wt_fail_value(wrt_failure *failure, int result, wasmtime_error_t *error) {
  wt_fail_error(failure, result, error);
  return failure->message != NULL && strstr(failure->message, "mismatch") != NULL ? WRT_INVALID : result;
}

/* Wasmtime's trap codes, by number. */
static const uint8_t trap_codes[] = {
    WRT_TRAP_STACK_OVERFLOW,      WRT_TRAP_MEMORY_OUT_OF_BOUNDS, WRT_TRAP_HEAP_MISALIGNED,
    WRT_TRAP_TABLE_OUT_OF_BOUNDS, WRT_TRAP_INDIRECT_CALL_TO_NULL, WRT_TRAP_BAD_SIGNATURE,
    WRT_TRAP_INTEGER_OVERFLOW,    WRT_TRAP_INTEGER_DIVISION_BY_ZERO, WRT_TRAP_BAD_CONVERSION_TO_INTEGER,
    WRT_TRAP_UNREACHABLE,         WRT_TRAP_INTERRUPT,            WRT_TRAP_OUT_OF_FUEL,
    WRT_TRAP_OTHER,               WRT_TRAP_NULL_REFERENCE,       WRT_TRAP_ARRAY_OUT_OF_BOUNDS,
    WRT_TRAP_ALLOCATION_TOO_LARGE, WRT_TRAP_CAST_FAILURE};

/* Copies an owned trace. */
static void copy_frames(wrt_failure *failure, wasm_frame_vec trace) {
  if (trace.size > 0) failure->frames = calloc(trace.size, sizeof(wrt_frame));
  if (failure->frames != NULL) failure->frame_count = trace.size;
  for (size_t i = 0; i < failure->frame_count; i++) {
    failure->frames[i] = (wrt_frame){
        .func_index = wt.wasm_frame_func_index(trace.data[i]),
        .func_offset = wt.wasm_frame_func_offset(trace.data[i]),
        .module_offset = wt.wasm_frame_module_offset(trace.data[i]),
        .func_name = copy_name(wt.wasmtime_frame_func_name(trace.data[i])),
        .module_name = copy_name(wt.wasmtime_frame_module_name(trace.data[i])),
    };
  }
  wt.wasm_frame_vec_delete(&trace);
}

/* Turns an owned trap into a failure. */
static int fail_trap(wrt_failure *failure, wrt_store *store, wasm_trap_t *trap) {
  uint8_t code;
  wasm_byte_vec text;
  wasm_frame_vec trace;
  wrt_trap reason = WRT_TRAP_OTHER;
  if (wt.wasmtime_trap_code(trap, &code)) {
    if (code < sizeof trap_codes) reason = (wrt_trap)trap_codes[code];
  } else if (wt_exception_catch(store)) {
    reason = WRT_TRAP_UNCAUGHT_EXCEPTION;
  }
  wt.wasm_trap_message(trap, &text);
  size_t size = text.size > 0 ? text.size - 1 : 0; /* Wasmtime ends this text in a NUL of its own */
  *failure = (wrt_failure){.trap = reason, .message = copy_text(text.data, size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasm_trap_trace(trap, &trace);
  copy_frames(failure, trace);
  wt.wasm_trap_delete(trap);
  return WRT_TRAP;
}

/* Turns an owned error into the failure of a start function that left an exception uncaught; in a call, that is a trap. */
static int fail_uncaught(wrt_failure *failure, wasmtime_error_t *error) {
  wasm_byte_vec text;
  wasm_frame_vec trace;
  wt.wasmtime_error_message(error, &text);
  *failure = (wrt_failure){.trap = WRT_TRAP_UNCAUGHT_EXCEPTION, .message = copy_text(text.data, text.size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasmtime_error_wasm_trace(error, &trace);
  copy_frames(failure, trace);
  wt.wasmtime_error_delete(error);
  return WRT_TRAP;
}

/* Notes where the guest was that the host has unwound; `error` is consumed. */
static void fail_host(wrt_failure *failure, wasmtime_error_t *error) {
  wasm_byte_vec text;
  wasm_frame_vec trace;
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
  wt.wasmtime_error_wasm_trace(error, &trace);
  if (trace.size > 0) {
    wt.wasmtime_error_message(error, &text); /* the text has the source lines */
    failure->message = copy_text(text.data, text.size);
    wt.wasm_byte_vec_delete(&text);
  }
  copy_frames(failure, trace);
  wt.wasmtime_error_delete(error);
}

/* The failure of guest code. `result` is for an error that is neither a trap nor a failure of the host. */
int wt_fail_guest(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error, wasm_trap_t *trap) {
  bool host_failed = store->host_failed;
  store->host_failed = false;
  if (error == NULL) return fail_trap(failure, store, trap);
  if (!host_failed && wt_exception_catch(store)) return fail_uncaught(failure, error);
  if (!host_failed) return wt_fail_error(failure, result, error);
  fail_host(failure, error);
  return WRT_HOST;
}

/* How the texts of Wasmtime's traps begin, in the order of their codes. */
static const struct {
  const char *text;
  wrt_trap code;
} trap_texts[] = {
    {"call stack exhausted", WRT_TRAP_STACK_OVERFLOW},
    {"out of bounds memory access", WRT_TRAP_MEMORY_OUT_OF_BOUNDS},
    {"unaligned atomic", WRT_TRAP_HEAP_MISALIGNED},
    {"undefined element: out of bounds table access", WRT_TRAP_TABLE_OUT_OF_BOUNDS},
    {"uninitialized element", WRT_TRAP_INDIRECT_CALL_TO_NULL},
    {"indirect call type mismatch", WRT_TRAP_BAD_SIGNATURE},
    {"integer overflow", WRT_TRAP_INTEGER_OVERFLOW},
    {"integer divide by zero", WRT_TRAP_INTEGER_DIVISION_BY_ZERO},
    {"invalid conversion to integer", WRT_TRAP_BAD_CONVERSION_TO_INTEGER},
    {"wasm `unreachable` instruction executed", WRT_TRAP_UNREACHABLE},
    {"interrupt", WRT_TRAP_INTERRUPT},
    {"all fuel consumed by WebAssembly", WRT_TRAP_OUT_OF_FUEL},
    {"null reference", WRT_TRAP_NULL_REFERENCE},
};

/* Finds the trap code that a message describes; false where it describes none. */
static bool trap_in(const char *message, wrt_trap *code) {
  static const char mark[] = "wasm trap: ";
  const char *at = message == NULL ? NULL : strstr(message, mark);
  if (at == NULL) return false;
  at += sizeof mark - 1;
  *code = WRT_TRAP_OTHER;
  for (size_t i = 0; i < sizeof trap_texts / sizeof *trap_texts; i++)
    if (strncmp(at, trap_texts[i].text, strlen(trap_texts[i].text)) == 0) *code = trap_texts[i].code;
  return true;
}

int wt_fail_traced(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error) {
  if (store->host_failed) return wt_fail_guest(store, failure, result, error, NULL);
  wasm_frame_vec trace;
  wasm_byte_vec text;
  wrt_trap code = WRT_TRAP_OTHER;
  wt.wasmtime_error_message(error, &text);
  wt.wasmtime_error_wasm_trace(error, &trace);
  bool traced = trace.size > 0;
  *failure = (wrt_failure){.message = copy_text(text.data, text.size)};
  bool trapped = trap_in(failure->message, &code);
  if (wt_exception_catch(store)) code = WRT_TRAP_UNCAUGHT_EXCEPTION;
  wt_exception_drop(store); /* the tag of a component means nothing to its host */
  failure->trap = code;
  copy_frames(failure, trace);
  wt.wasm_byte_vec_delete(&text);
  wt.wasmtime_error_delete(error);
  return trapped || traced ? WRT_TRAP : result;
}

void wt_failure_clear(wrt_failure *failure) {
  for (size_t i = 0; i < failure->frame_count; i++) {
    free(failure->frames[i].func_name);
    free(failure->frames[i].module_name);
  }
  free(failure->frames);
  free(failure->message);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
}

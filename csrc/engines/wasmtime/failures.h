/* failures.h: what Wasmtime says of a failure, as wrt.h has it. For this folder only. */
#ifndef WRT_WASMTIME_FAILURES_H
#define WRT_WASMTIME_FAILURES_H

#include "objects.h"

#pragma GCC visibility push(hidden)

/* A failure in our own words, which are copied. Returns `result`. */
int wt_fail(wrt_failure *failure, int result, const char *message);

/* The failure of an allocation. */
/* Fills `failure` where the running thread has less stack left than reading or compiling a module may take. */
bool wt_no_stack(size_t needed, wrt_failure *failure);
int wt_fail_memory(wrt_failure *failure);

/* Turns Wasmtime's error, which is consumed, into a failure. Returns `result`. */
int wt_fail_error(wrt_failure *failure, int result, wasmtime_error_t *error);
/* The same for an operation that was given a value: WRT_INVALID where the error says that it is of a wrong type. */
int wt_fail_value(wrt_failure *failure, int result, wasmtime_error_t *error);

/* How guest code ended, when it did not end well: one of `error` and `trap` is there, and is consumed. `result` is for an error
 * that is neither a trap nor a failure of the host. */
int wt_fail_guest(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error, wasm_trap_t *trap);

/* How a component ended, when it did not end well, as wt_fail_guest: traps come as errors there, which have no code, and are
 * known by their text. `error` is consumed. `result` is for an error that is neither a trap nor a failure of the host. */
int wt_fail_traced(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error);

/* Frees what a failure holds. */
void wt_failure_clear(wrt_failure *failure);

#pragma GCC visibility pop

#endif

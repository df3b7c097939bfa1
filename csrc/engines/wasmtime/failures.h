/* failures.h: Wasmtime's errors and traps as a wrt_failure. For this folder only. */
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
/* The same for an operation that takes a value: WRT_INVALID where the error says that the value has a wrong type. */
int wt_fail_value(wrt_failure *failure, int result, wasmtime_error_t *error);

/* The failure of guest code: one of `error` and `trap` is there, and is consumed. `result` is for an error that is neither a
 * trap nor a failure of the host. */
int wt_fail_guest(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error, wasm_trap_t *trap);

/* The failure of a component's code, as wt_fail_guest. Its traps come as errors without a code, and are recognised by their
 * text. `error` is consumed. `result` is for an error that is neither a trap nor a failure of the host. */
int wt_fail_traced(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error);

/* Frees what a failure holds. */
void wt_failure_clear(wrt_failure *failure);

#pragma GCC visibility pop

#endif

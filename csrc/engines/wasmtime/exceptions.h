/* exceptions.h: tags, and exceptions on their way between guests and the host. For this folder only.
 *
 * The first six are operations of the engine table; wrt.h has their contract. */
#ifndef WRT_WASMTIME_EXCEPTIONS_H
#define WRT_WASMTIME_EXCEPTIONS_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int wt_tag_new(wrt_store *store, const uint8_t *types, size_t count, wrt_extern *out, wrt_failure *failure);
int wt_exception_throw(wrt_store *store, const wrt_extern *tag, const wrt_slot *values, wrt_ref *root,
                       wrt_failure *failure);
bool wt_exception_tag(wrt_store *store, wrt_extern *out);
bool wt_exception_is(wrt_store *store, const wrt_ref *root);
int wt_exception_values(wrt_store *store, wrt_slot *out, wrt_failure *failure);
int wt_exception_of(wrt_store *store, const wrt_slot *slot, wrt_failure *failure);

/* Takes an uncaught exception from Wasmtime's store, which would keep it, into ours; returns whether there was one. */
bool wt_exception_catch(wrt_store *store);
/* Releases the exception that our store has, if there is one. */
void wt_exception_drop(wrt_store *store);
/* The trap that a host function of Wasmtime's returns where ours has returned `result`, which is not WRT_OK. The caller owns
 * it, and passes it to Wasmtime. */
wasm_trap_t *wt_unwind(wrt_store *store, int result);

#pragma GCC visibility pop

#endif

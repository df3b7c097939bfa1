/* references.h: references of the proposal gc, and functions that pass them. For this folder only.
 *
 * Each is the operation of the same name in the engine table; wrt.h has its contract. */
#ifndef WRT_WASMTIME_REFERENCES_H
#define WRT_WASMTIME_REFERENCES_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int wt_call_checked(wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
                    size_t result_count, wrt_slot *slots, wrt_failure *failure);
int wt_import_types(wrt_module *module, size_t index, uint8_t *types, size_t count, wrt_failure *failure);
int wt_function_new_as(wrt_store *store, wrt_module *module, size_t index, const uint8_t *types, size_t param_count,
                       size_t result_count, wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure);
void wt_i31_to_slot(wrt_store *store, uint32_t value, wrt_slot *out);
wrt_object wt_object_kind(wrt_store *store, const wrt_slot *slot, int32_t *value);
int wt_object_root(wrt_store *store, uint8_t type, const wrt_slot *slot, wrt_ref *out, wrt_failure *failure);
bool wt_object_is(wrt_store *store, const wrt_ref *one, const wrt_ref *other);
int wt_object_size(wrt_store *store, const wrt_ref *root, uint64_t *out, wrt_failure *failure);
int wt_object_get(wrt_store *store, const wrt_ref *root, uint64_t index, wrt_type *type, wrt_slot *out,
                  wrt_failure *failure);

#pragma GCC visibility pop

#endif

/* externs.h: what the host does with functions, memories, globals and tables. For this folder only.
 *
 * The functions down to wt_table_grow are the operations of these names in the engine table; wrt.h has their contract. */
#ifndef WRT_WASMTIME_EXTERNS_H
#define WRT_WASMTIME_EXTERNS_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int wt_extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure);
void wt_type_clear(wrt_extern_type *type);
void wt_function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out);
void wt_function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out);
int wt_ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure);
void wt_ref_to_slot(wrt_store *store, const wrt_ref *ref, wrt_slot *out);
void wt_ref_delete(wrt_ref *ref);
void *wt_ref_data(wrt_store *store, const wrt_slot *slot);
int wt_function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                    wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure);
int wt_memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure);
int wt_table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                 wrt_failure *failure);
int wt_global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *slot, wrt_extern *out,
                  wrt_failure *failure);
uint8_t *wt_memory_data(wrt_store *store, const wrt_extern *memory, size_t *size);
int wt_memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                   wrt_failure *failure);
void wt_global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out);
int wt_global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *slot, wrt_failure *failure);
uint64_t wt_table_size(wrt_store *store, const wrt_extern *table);
bool wt_table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out);
int wt_table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *slot,
                 wrt_failure *failure);
int wt_table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                  uint64_t *previous, wrt_failure *failure);

/* Wasmtime's form of a function's type, its params and then its results; owned by the caller. */
wasm_functype_t *wt_new_functype(wrt_engine *engine, const uint8_t *types, size_t param_count, size_t result_count);
/* Reads such a type, of a function or a tag; what `out` then holds is the caller's (type_clear). */
int wt_read_functype(const wasm_functype_t *type, wrt_kind kind, wrt_extern_type *out, wrt_failure *failure);
bool wt_give_extern(wrt_store *store, wasmtime_extern *ext, wrt_extern *out);

/* The value in a slot. A reference is rooted, and the owner of `out` unroots it (wasmtime_val_unroot). */
void wt_val_from_slot(wrt_store *store, wrt_type type, const wrt_slot *slot, wasmtime_val *out);
/* Copies a value into a slot; its owner keeps it. */
void wt_val_to_slot(wrt_store *store, const wasmtime_val *val, wrt_slot *out);

#pragma GCC visibility pop

#endif

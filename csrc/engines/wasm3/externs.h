/* externs.h: what the host does with functions, memories, globals and tables. For this folder only.
 *
 * Each function without a comment of its own is the operation of the same name in the engine table; wrt.h has its contract. */
#ifndef WRT_WASM3_EXTERNS_H
#define WRT_WASM3_EXTERNS_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int w3_function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                    wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure);
int w3_memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure);
int w3_table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                 wrt_failure *failure);
int w3_global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out,
                  wrt_failure *failure);
void w3_function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out);
void w3_function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out);
/* The extern of a function in a table of `self`. */
wrt_extern w3_function_extern(instance *self, IM3Function function);

int w3_extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure);
uint8_t *w3_memory_data(wrt_store *store, const wrt_extern *memory, size_t *size);
int w3_memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                   wrt_failure *failure);
void w3_global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out);
int w3_global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure);
uint64_t w3_table_size(wrt_store *store, const wrt_extern *table);
bool w3_table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out);
int w3_table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value,
                 wrt_failure *failure);
int w3_table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                  uint64_t *previous, wrt_failure *failure);

#pragma GCC visibility pop

#endif
